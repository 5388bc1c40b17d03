//! The JSON Schema of what people write, and the walks that use it: unknown keys, paths, secrets.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::file::ConfigFile;
use crate::path::{KeyPath, Step};
use crate::problems::{Problems, did_you_mean};
use crate::secret::REDACTED;

/// The JSON Schema (2020-12) of the configuration, for editors and for `causeway config schema`.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<ConfigFile>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: an optional key is one that is left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Object(table) => {
            if let Some(Value::Array(types)) = table.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    table.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(any)) = table.get_mut("anyOf") {
                any.retain(|one| one.get("type") != Some(&Value::from("null")));
                if let [Value::Object(only)] = any.as_slice() {
                    let only = only.clone();
                    table.remove("anyOf");
                    for (key, value) in only {
                        table.entry(key).or_insert(value);
                    }
                }
            }
            table.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// A schema to walk along with values.
#[derive(Debug)]
pub(crate) struct Shape {
    root: Value,
}

impl Shape {
    /// The shape of a whole configuration.
    pub(crate) fn new() -> Self {
        Self { root: schema() }
    }

    /// Reports and removes every key that does not exist.
    pub(crate) fn drop_unknown(&self, tree: &mut Map<String, Value>, problems: &mut Problems) {
        self.unknown_in(tree, &self.candidates(&[&self.root]), &KeyPath::root(), problems);
    }

    /// Calls `change` for every string that is a path or a secret, with the key's name and its format.
    pub(crate) fn each_formatted(&self, tree: &mut Map<String, Value>, change: &mut dyn FnMut(Formatted, &mut String)) {
        self.formatted_in(tree, &self.candidates(&[&self.root]), change);
    }

    /// Replaces every secret in `tree`.
    pub(crate) fn redact(&self, tree: &mut Map<String, Value>) {
        self.each_formatted(tree, &mut |format, text| {
            if format == Formatted::Secret {
                REDACTED.clone_into(text);
            }
        });
    }

    /// The JSON types that may stand at `at`; none when there is no such key.
    pub(crate) fn types_at(&self, at: &KeyPath) -> BTreeSet<String> {
        let mut here = self.candidates(&[&self.root]);
        for step in at.steps() {
            here = match step {
                Step::Index(_) => self.items(&here),
                Step::Key(name) => self.child(&here, name),
            };
        }
        types(&here).into_iter().map(str::to_owned).collect()
    }

    fn unknown_in(&self, tree: &mut Map<String, Value>, here: &[&Value], at: &KeyPath, problems: &mut Problems) {
        let known = names(here);
        // A table where a text or a list should be is told once, by its type.
        if known.is_empty() && !open(here) {
            return;
        }
        let any = open(here);
        tree.retain(|key, value| {
            let at = at.key(key);
            if !any && !known.contains(key.as_str()) {
                let list = || format!("known keys: {}", known.iter().copied().collect::<Vec<_>>().join(", "));
                let hint = did_you_mean(key, known.iter().copied()).unwrap_or_else(list);
                problems.add_hint(&at, "unknown key", hint);
                return false;
            }
            let below = self.child(here, key);
            self.unknown_below(value, &below, &at, problems);
            !value.is_null()
        });
    }

    fn unknown_below(&self, value: &mut Value, here: &[&Value], at: &KeyPath, problems: &mut Problems) {
        match value {
            // serde would take a list for a table, by the order of the fields.
            Value::Array(_) if !types(here).contains("array") => {
                problems.add(at, format!("must be {}, not a list", wanted(here)));
                *value = Value::Null;
            }
            Value::Array(list) => {
                let below = self.items(here);
                for (index, value) in list.iter_mut().enumerate() {
                    self.unknown_below(value, &below, &at.index(index), problems);
                }
            }
            Value::Object(table) => self.unknown_in(table, here, at, problems),
            _ => {}
        }
    }

    fn formatted_in(
        &self,
        tree: &mut Map<String, Value>,
        here: &[&Value],
        change: &mut dyn FnMut(Formatted, &mut String),
    ) {
        for (key, value) in tree {
            let below = self.child(here, key);
            self.formatted_below(key, value, &below, change);
        }
    }

    fn formatted_below(
        &self,
        key: &str,
        value: &mut Value,
        here: &[&Value],
        change: &mut dyn FnMut(Formatted, &mut String),
    ) {
        match value {
            Value::Array(list) => {
                let below = self.items(here);
                for value in list {
                    self.formatted_below(key, value, &below, change);
                }
            }
            Value::Object(table) => self.formatted_in(table, here, change),
            Value::String(text) => {
                let format = here.iter().find_map(|schema| schema.get("format")?.as_str());
                match format {
                    Some("path") => change(Formatted::Path, text),
                    Some("secret") if key.ends_with("_file") => change(Formatted::Path, text),
                    Some("secret") => change(Formatted::Secret, text),
                    Some("reflection-or-path") if text != "reflection" => change(Formatted::Path, text),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The schemas that `schemas` stand for, with references and alternatives followed.
    fn candidates<'a>(&'a self, schemas: &[&'a Value]) -> Vec<&'a Value> {
        let mut found = Vec::new();
        let mut open: Vec<&Value> = schemas.to_vec();
        // Our schema is finite and does not refer to itself; the bound is for the day it does.
        for _ in 0..1000 {
            let Some(schema) = open.pop() else { break };
            found.push(schema);
            if let Some(name) = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|name| name.strip_prefix("#/$defs/"))
            {
                open.extend(self.root.get("$defs").and_then(|defs| defs.get(name)));
            }
            for word in ["anyOf", "oneOf", "allOf"] {
                open.extend(schema.get(word).and_then(Value::as_array).into_iter().flatten());
            }
        }
        found
    }

    fn child<'a>(&'a self, here: &[&'a Value], name: &str) -> Vec<&'a Value> {
        let named: Vec<&Value> = here
            .iter()
            .filter_map(|schema| schema.get("properties")?.get(name))
            .collect();
        let any = || {
            here.iter()
                .filter_map(|schema| schema.get("additionalProperties"))
                .filter(|any| any.is_object())
        };
        self.candidates(&if named.is_empty() { any().collect() } else { named })
    }

    fn items<'a>(&'a self, here: &[&'a Value]) -> Vec<&'a Value> {
        self.candidates(&here.iter().filter_map(|schema| schema.get("items")).collect::<Vec<_>>())
    }

    /// Every key that takes something else than a table, e.g. `listeners[].tls.certificate`.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.keys_of(&self.candidates(&[&self.root]), "", &mut found);
        found
    }

    #[cfg(test)]
    fn keys_of(&self, here: &[&Value], at: &str, found: &mut BTreeSet<String>) {
        for name in names(here) {
            let path = if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}.{name}")
            };
            self.key_at(&self.child(here, name), path, found);
        }
        if here
            .iter()
            .any(|schema| schema.get("additionalProperties").is_some_and(Value::is_object))
        {
            self.key_at(&self.child(here, "\0"), format!("{at}.NAME"), found);
        }
    }

    #[cfg(test)]
    fn key_at(&self, here: &[&Value], path: String, found: &mut BTreeSet<String>) {
        let types = types(here);
        if ["boolean", "integer", "number", "string"]
            .iter()
            .any(|name| types.contains(name))
        {
            found.insert(path.clone());
        }
        // A table that may be written several times has the same keys each time.
        if types.contains("array") && names(here).is_empty() {
            self.key_at(&self.items(here), format!("{path}[]"), found);
        }
        self.keys_of(here, &path, found);
    }
}

/// What a string is, as far as it must be treated apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formatted {
    /// A path, relative to the file it is written in.
    Path,
    /// A secret.
    Secret,
}

fn names<'a>(here: &[&'a Value]) -> BTreeSet<&'a str> {
    here.iter()
        .filter_map(|schema| schema.get("properties")?.as_object())
        .flat_map(|properties| properties.keys().map(String::as_str))
        .collect()
}

/// The JSON types that may stand here.
fn types<'a>(here: &[&'a Value]) -> BTreeSet<&'a str> {
    here.iter()
        .filter_map(|schema| schema.get("type"))
        .flat_map(|types| match types {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

/// The same in words.
fn wanted(here: &[&Value]) -> String {
    let words = types(here).into_iter().map(|name| match name {
        "boolean" => "a boolean",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "a table",
        _ => "a string",
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// Whether keys of any name may stand here.
fn open(here: &[&Value]) -> bool {
    here.iter().any(|schema| {
        schema
            .get("additionalProperties")
            .is_some_and(|any| any != &Value::Bool(false))
    })
}
