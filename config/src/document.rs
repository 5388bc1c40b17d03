//! One TOML text: its values as a tree, and where each key is written.
//!
//! Posture: robust against any text. Nesting is bounded before the parser builds anything that is dropped recursively.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};
use toml_parser::parser::{Event, EventKind};

use crate::path::KeyPath;
use crate::problems::{Place, Problems};

/// Parts of one dotted key, e.g. 3 in `a.b.c = 1`.
const DOTTED: usize = 16;
/// Tables and lists in each other.
const DEPTH: usize = 32;

/// What a text says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The values.
    pub(crate) tree: Map<String, Value>,
    /// Line and column of every key and list element.
    pub(crate) places: Vec<(KeyPath, Place)>,
}

/// Reads `text`; what cannot be understood is a problem of its own and left out.
pub(crate) fn read(text: &str, place: impl Fn(usize, usize) -> Place, problems: &mut Problems) -> Document {
    let lines = Lines::new(text);
    let at = |offset: usize| {
        let (line, column) = lines.position(offset);
        place(line, column)
    };
    if let Some(offset) = dotted_too_deep(text) {
        let message = format!("a key has more than {DOTTED} parts");
        problems.add_place(at(offset), &KeyPath::root(), message, None);
        problems.set_unparsed();
        return Document::default();
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.set_unparsed();
        let offset = error.span().map_or(text.len(), |span| span.start);
        problems.add_place(
            at(offset),
            &KeyPath::root(),
            format!("not valid TOML: {}", error.message()),
            hint(error.message()),
        );
    }
    let mut reading = Reading {
        at: &at,
        places: Vec::new(),
        problems,
    };
    let tree = reading.table(table.get_ref(), &KeyPath::root(), 0);
    Document {
        tree,
        places: reading.places,
    }
}

/// Reads a single value as it stands right of `=`, if it is one.
pub(crate) fn read_value(text: &str) -> Option<Value> {
    if dotted_too_deep(&format!("x = {text}")).is_some() || text.contains('\n') {
        return None;
    }
    let value = DeValue::parse(text).ok()?;
    let mut problems = Problems::default();
    let mut reading = Reading {
        at: &|_| Place::Nowhere,
        places: Vec::new(),
        problems: &mut problems,
    };
    let value = reading.value(value.get_ref(), &KeyPath::root(), 0);
    (problems.count() == 0).then_some(value).flatten()
}

fn hint(message: &str) -> Option<String> {
    message
        .contains("duplicate key")
        .then(|| "a key may be written once; use `[[..]]` for an entry of a list".to_owned())
}

/// The offset of a dotted key with too many parts: the parser would nest one table per part.
fn dotted_too_deep(text: &str) -> Option<usize> {
    let tokens = toml_parser::Source::new(text).lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    {
        let mut guard = toml_parser::parser::RecursionGuard::new(&mut events, 80);
        toml_parser::parser::parse_document(&tokens, &mut guard, &mut ());
    }
    let mut parts = 1;
    for event in &events {
        match event.kind() {
            EventKind::KeySep => {
                parts += 1;
                if parts > DOTTED {
                    return Some(event.span().start());
                }
            }
            EventKind::SimpleKey | EventKind::Whitespace => {}
            _ => parts = 1,
        }
    }
    None
}

struct Reading<'a> {
    at: &'a dyn Fn(usize) -> Place,
    places: Vec<(KeyPath, Place)>,
    problems: &'a mut Problems,
}

impl Reading<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &KeyPath, depth: usize) -> Map<String, Value> {
        let mut tree = Map::new();
        for (key, value) in table.iter() {
            let path = path.key(key.get_ref());
            self.places.push((path.clone(), (self.at)(key.span().start)));
            if let Some(value) = self.value(value.get_ref(), &path, depth + 1) {
                tree.insert(key.get_ref().to_string(), value);
            }
        }
        tree
    }

    fn value(&mut self, value: &DeValue<'_>, path: &KeyPath, depth: usize) -> Option<Value> {
        if depth > DEPTH {
            return self.refuse(path, &format!("is nested more than {DEPTH} deep"));
        }
        match value {
            DeValue::Array(list) => {
                let mut tree = Vec::new();
                for element in list.iter() {
                    let path = path.index(tree.len());
                    self.places.push((path.clone(), (self.at)(element.span().start)));
                    tree.extend(self.value(element.get_ref(), &path, depth + 1));
                }
                Some(Value::Array(tree))
            }
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Datetime(value) => Some(Value::String(value.to_string())),
            DeValue::Float(value) => match value.as_str().parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => Some(Value::Number(number)),
                None => self.refuse(path, "must be a finite number"),
            },
            DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
                Ok(number) => Some(Value::Number(number.into())),
                Err(_) => self.refuse(path, "is too large a number"),
            },
            DeValue::String(text) => Some(Value::String(text.to_string())),
            DeValue::Table(table) => Some(Value::Object(self.table(table, path, depth))),
        }
    }

    fn refuse(&mut self, path: &KeyPath, message: &str) -> Option<Value> {
        let place = self
            .places
            .iter()
            .rev()
            .find(|(known, _)| known == path)
            .map(|(_, place)| place.clone());
        self.problems
            .add_place(place.unwrap_or(Place::Nowhere), path, message, None);
        None
    }
}

/// Byte offsets to lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let mut starts = vec![0];
        starts.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at + 1),
        );
        Self { text, starts }
    }

    /// Line and column in characters, both counted from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        // A line of megabytes would make every look-up slow; nobody counts that far.
        let before = self
            .text
            .as_bytes()
            .get(start..offset.min(self.text.len()))
            .unwrap_or_default();
        let column = if before.len() > 10_000 {
            before.len()
        } else {
            before.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
        };
        (line, column + 1)
    }
}
