//! Configuration of causeway: TOML as people write it, checked into a model that is valid by type.
//!
//! [`load`] layers defaults, files, environment and arguments, and gives either a whole [`Config`] or every
//! mistake at once ([`ConfigProblems`]), each with file, line, column, key and a hint.
//!
//! Posture: robust against any input. Files are bounded in size and number, nesting is bounded, and secrets are in
//! no message.

mod document;
mod file;
mod layers;
mod model;
mod path;
mod policies;
mod problems;
mod read;
mod schema;
mod secret;
mod sources;
mod units;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use model::*;
pub use policies::*;
pub use problems::{ConfigProblems, Place, Problem};
pub use schema::schema;
pub use secret::{REDACTED, Secret};
pub use units::Rate;

use layers::Layers;
use path::KeyPath;
use problems::Problems;
use schema::Shape;
use serde_json::{Map, Value};
use sources::Source;

/// Reads a configuration: defaults, then `files` in order, then `CAUSEWAY_` variables of the environment with `__`
/// between names, then `overrides` as pairs of key path and value (`--set limits.head=64KiB`); the later wins.
///
/// A directory stands for its `*.toml`, and so does a pattern such as `conf/*.toml`; `conf.d/*.toml` and
/// `peers.d/*.toml` beside the first file are read after it. Lists of several files are joined; the environment and
/// overrides replace a list. Paths in a file are relative to it.
///
/// # Errors
/// Everything that is wrong, sorted by file and position.
pub fn load(files: &[PathBuf], overrides: &[(String, String)]) -> Result<Config, ConfigProblems> {
    read_all(files, overrides)
}

/// Reads a configuration from one text, called `name` in problems; paths are relative to the working directory,
/// and neither other files nor the environment are read.
///
/// # Errors
/// Everything that is wrong, sorted by position.
pub fn load_str(name: &str, text: &str) -> Result<Config, ConfigProblems> {
    let mut problems = Problems::default();
    let source = text_source(name, text, &mut problems);
    let layers = Layers {
        files: vec![source],
        ..Layers::default()
    };
    assemble(&layers, problems)
}

/// The configuration that [`load`] would use, defaults included, as TOML; secrets are redacted, and paths resolved.
///
/// # Errors
/// Everything that is wrong: a key in the wrong place could be a secret, so nothing is printed then.
pub fn render_effective(files: &[PathBuf], overrides: &[(String, String)]) -> Result<String, ConfigProblems> {
    Ok(load(files, overrides)?.effective.to_string())
}

fn read_all(files: &[PathBuf], overrides: &[(String, String)]) -> Result<Config, ConfigProblems> {
    let mut problems = Problems::default();
    let files = sources::read(files, &mut problems);
    let read = files
        .iter()
        .map(|source| source.file.clone())
        .filter(|file| !file.as_os_str().is_empty())
        .collect();
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("CAUSEWAY_")) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => environment.push((name.to_owned(), value)),
            Err(_) => {
                let place = Place::Environment(name.to_owned());
                problems.add_place(place, &KeyPath::root(), "is not UTF-8 text", None);
            }
        }
    }
    // The order of the environment means nothing; a stable one makes equal inputs give equal results.
    environment.sort();
    let layers = Layers {
        files,
        environment,
        arguments: overrides.to_vec(),
    };
    let mut config = assemble(&layers, problems)?;
    config.sources = read;
    Ok(config)
}

fn text_source(name: &str, text: &str, problems: &mut Problems) -> Source {
    let file = PathBuf::from(name);
    if text.len() as u64 > sources::FILE {
        let message = format!("is larger than {}", units::shown_size(sources::FILE));
        problems.add_place(Place::file(0, &file), &KeyPath::root(), message, None);
        return Source {
            file,
            folder: PathBuf::new(),
            text: String::new(),
        };
    }
    Source {
        file,
        folder: PathBuf::new(),
        text: text.to_owned(),
    }
}

/// Merges, checks and reports.
fn assemble(layers: &Layers, mut problems: Problems) -> Result<Config, ConfigProblems> {
    let shape = Shape::new();
    let unread = problems.count() > 0;
    let (mut tree, places) = layers::merge(layers, &shape, &mut problems);
    // What a file that cannot be read would have said is missing everywhere: tell only that.
    if unread || problems.unparsed() {
        return Err(problems.into_problems(&places));
    }
    let effective = tree.clone();
    shape.drop_unknown(&mut tree, &mut problems);
    let config = file::parse(tree, &mut problems);
    match config {
        Some(mut config) if problems.count() == 0 => {
            config.effective = render(effective)?.into();
            Ok(config)
        }
        _ => Err(problems.into_problems(&places)),
    }
}

fn render(mut tree: Map<String, Value>) -> Result<String, ConfigProblems> {
    Shape::new().redact(&mut tree);
    toml::to_string_pretty(&tree).map_err(|error| {
        let mut problems = Problems::default();
        problems.add(&KeyPath::root(), format!("writing it as TOML: {error}"));
        problems.into_problems(&problems::Places::default())
    })
}
