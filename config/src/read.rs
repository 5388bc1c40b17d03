//! From the merged tree to file types: a value that does not fit is reported and left out, and the rest goes on.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::path::{KeyPath, Step};
use crate::problems::Problems;

/// A whole section, e.g. `[limits]`.
pub(crate) fn section<T: DeserializeOwned>(
    tree: &mut Map<String, Value>,
    name: &str,
    problems: &mut Problems,
) -> Option<T> {
    let at = KeyPath::root().key(name);
    value(tree.remove(name)?, &at, problems)
}

/// The entries of a list of tables, e.g. `[[routes]]`, each with its path.
pub(crate) fn list<T: DeserializeOwned>(
    tree: &mut Map<String, Value>,
    name: &str,
    problems: &mut Problems,
) -> Vec<(KeyPath, T)> {
    let at = KeyPath::root().key(name);
    match tree.remove(name) {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries
            .into_iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let at = at.index(index);
                let entry = value(entry, &at, problems)?;
                Some((at, entry))
            })
            .collect(),
        Some(other) => {
            let hint = format!("write each entry under `[[{name}]]`");
            problems.add_hint(&at, format!("must be a list, not {}", kind(&other)), hint);
            Vec::new()
        }
    }
}

fn value<T: DeserializeOwned>(mut value: Value, at: &KeyPath, problems: &mut Problems) -> Option<T> {
    // Each turn takes at least one value out, so this ends.
    loop {
        let error = match serde_path_to_error::deserialize(&value) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let mut steps = Vec::new();
        for segment in error.path() {
            match segment {
                Segment::Map { key } => steps.push(Step::Key(key.clone())),
                Segment::Seq { index } => steps.push(Step::Index(*index)),
                Segment::Enum { .. } | Segment::Unknown => break,
            }
        }
        let here = steps.iter().fold(at.clone(), |at, step| at.with(step.clone()));
        let found = find(&value, &steps).map(kind);
        if !problems.broken(&here) {
            problems.add(&here, message(&error.inner().to_string(), found));
        }
        // What is left of a list would move up, so a bad element takes its list with it.
        while matches!(steps.last(), Some(Step::Index(_))) {
            steps.pop();
        }
        if !remove(&mut value, &steps) {
            return None;
        }
    }
}

/// serde's message without the value in it, which may be a secret in the wrong place.
fn message(serde: &str, found: Option<&str>) -> String {
    let Some((_, expected)) = serde.rsplit_once(", expected ") else {
        return "is not valid".to_owned();
    };
    let expected = match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        "f64" => "a number",
        "i64" | "u64" => "a whole number",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    match found {
        Some(found) => format!("must be {expected}, not {found}"),
        None => format!("must be {expected}"),
    }
}

/// What a value is, in the words of TOML.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Bool(_) => "a boolean",
        Value::Null => "nothing",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::Object(_) => "a table",
        Value::String(_) => "a string",
    }
}

fn find<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Index(index) => value.get(index),
        Step::Key(key) => value.get(key),
    })
}

fn remove(value: &mut Value, steps: &[Step]) -> bool {
    let Some((Step::Key(last), rest)) = steps.split_last() else {
        return false;
    };
    let parent = rest.iter().try_fold(value, |value, step| match step {
        Step::Index(index) => value.get_mut(index),
        Step::Key(key) => value.get_mut(key),
    });
    parent
        .and_then(Value::as_object_mut)
        .is_some_and(|table| table.remove(last).is_some())
}
