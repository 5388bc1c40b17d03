//! The layers of a configuration, each over the one before: defaults, files, environment, arguments.

use std::collections::HashMap;

use figment::value::{Dict, Value as FigmentValue};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::{Map, Value};

use crate::document;
use crate::path::{KeyPath, Step};
use crate::problems::{Place, Places, Problems};
use crate::schema::{Formatted, Shape};
use crate::sources::Source;

/// What environment variables of ours begin with.
const PREFIX: &str = "CAUSEWAY_";
/// What is used where nothing is written.
const DEFAULTS: &str = include_str!("defaults.toml");

/// Everything a configuration is made of besides the defaults.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Files in order. Lists of several files are joined; anything else of a later file wins.
    pub(crate) files: Vec<Source>,
    /// Variables of the environment. Lists are replaced.
    pub(crate) environment: Vec<(String, String)>,
    /// Key and value of arguments. Lists are replaced.
    pub(crate) arguments: Vec<(String, String)>,
}

/// A layer as figment takes it.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<figment::value::Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Puts the layers over each other. Paths come out relative to nothing but the working directory.
pub(crate) fn merge(layers: &Layers, shape: &Shape, problems: &mut Problems) -> (Map<String, Value>, Places) {
    let mut places = Places::default();
    // What nobody wrote is missing in the first file.
    if let Some(first) = layers.files.first() {
        places.insert(KeyPath::root(), Place::file(0, &first.file));
    }
    let mut figment = Figment::new();
    let add = |figment: Figment, name: &str, tree: &Map<String, Value>, over: Over, problems: &mut Problems| {
        match FigmentValue::serialize(tree) {
            Ok(FigmentValue::Dict(_, values)) => {
                let layer = Layer {
                    name: name.to_owned(),
                    values,
                };
                match over {
                    Over::Join => figment.admerge(layer),
                    Over::Replace => figment.merge(layer),
                }
            }
            _ => {
                problems.add(&KeyPath::root(), format!("{name} cannot be understood"));
                figment
            }
        }
    };

    let defaults = document::read(DEFAULTS, |_, _| Place::Nowhere, problems);
    figment = add(figment, "defaults", &defaults.tree, Over::Replace, problems);

    let mut lengths: HashMap<KeyPath, usize> = HashMap::new();
    for (order, source) in layers.files.iter().enumerate() {
        let place = |line, column| Place::File {
            order,
            file: source.file.clone(),
            line,
            column,
        };
        let mut read = document::read(&source.text, place, problems);
        shape.each_formatted(&mut read.tree, &mut |format, text| {
            if format == Formatted::Path && !text.is_empty() {
                *text = source.folder.join(&*text).to_string_lossy().into_owned();
            }
        });
        for (at, place) in read.places {
            let offset = at
                .outer_list()
                .and_then(|(list, _)| lengths.get(&list).copied())
                .unwrap_or(0);
            places.insert(at.shifted(offset), place);
        }
        count_lists(&read.tree, &KeyPath::root(), &mut lengths);
        figment = add(
            figment,
            &source.file.display().to_string(),
            &read.tree,
            Over::Join,
            problems,
        );
    }

    let environment = layers.environment.iter().filter_map(|(name, value)| {
        let keys = name.strip_prefix(PREFIX)?;
        // Single words are also the program's own options (`CAUSEWAY_CONFIG`): only those we know are ours.
        let key = keys.to_ascii_lowercase().replace("__", ".");
        let ours = key.contains('.') || !shape.types_at(&KeyPath::root().key(&key)).is_empty();
        ours.then(|| (key, value, Place::Environment(name.clone())))
    });
    let arguments = layers
        .arguments
        .iter()
        .map(|(key, value)| (key.clone(), value, Place::Argument(key.clone())));
    for (key, value, place) in environment.chain(arguments) {
        let Some(at) = keys(&key) else {
            problems.add_place(
                place,
                &KeyPath::root(),
                "is not a key",
                Some("write names with dots between them, such as `limits.head`; lists are given whole".to_owned()),
            );
            continue;
        };
        let tree = nested(at.steps(), typed(value, &at, shape));
        places.replace(at, place.clone());
        figment = add(figment, &place.to_string(), &tree, Over::Replace, problems);
    }

    let tree = match figment.extract::<Value>() {
        Ok(Value::Object(tree)) => tree,
        Ok(_) => Map::new(),
        // figment quotes values, which may be secrets.
        Err(_) => {
            problems.add(&KeyPath::root(), "the layers cannot be put together");
            Map::new()
        }
    };
    (tree, places)
}

/// How a layer treats the lists below it.
#[derive(Clone, Copy)]
enum Over {
    Join,
    Replace,
}

/// `limits.head` as a path; none when it is empty, too deep, or goes into a list.
fn keys(text: &str) -> Option<KeyPath> {
    let parts: Vec<&str> = text.split('.').map(str::trim).collect();
    let good = |part: &&str| !part.is_empty() && !part.contains(['[', ']', '"', '\'']);
    (parts.len() <= 8 && parts.iter().all(good)).then(|| parts.iter().fold(KeyPath::root(), |at, part| at.key(part)))
}

/// A value without quotes is text where only text may stand, and TOML where it is TOML.
fn typed(text: &str, at: &KeyPath, shape: &Shape) -> Value {
    let types = shape.types_at(at);
    let only_text = types.contains("string") && types.len() == 1;
    if only_text && !text.starts_with(['"', '\'']) {
        return Value::String(text.to_owned());
    }
    document::read_value(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn nested(steps: &[Step], value: Value) -> Map<String, Value> {
    let mut tree = Map::new();
    if let Some((Step::Key(first), rest)) = steps.split_first() {
        let below = if rest.is_empty() {
            value
        } else {
            Value::Object(nested(rest, value))
        };
        tree.insert(first.clone(), below);
    }
    tree
}

/// Adds up how long each list is that the next file would extend.
fn count_lists(tree: &Map<String, Value>, at: &KeyPath, lengths: &mut HashMap<KeyPath, usize>) {
    for (key, value) in tree {
        match value {
            Value::Array(list) => *lengths.entry(at.key(key)).or_default() += list.len(),
            Value::Object(below) => count_lists(below, &at.key(key), lengths),
            _ => {}
        }
    }
}
