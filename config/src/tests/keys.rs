//! The schema, the README and the code name the same keys.

use std::collections::BTreeSet;

use crate::schema::{Shape, schema};

#[test]
fn the_committed_schema_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/causeway.schema.json");
    let now = schema();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&now).unwrap())).unwrap();
    }
    let committed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(
        committed == now,
        "run the test once with UPDATE_SCHEMA=1, and commit config/causeway.schema.json"
    );
}

#[test]
fn every_key_is_in_the_readme_and_no_other() {
    let readme = include_str!("../../README.md");
    let written: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(key, _)| key.to_owned()))
        .collect();
    let keys = Shape::new().keys();
    let missing: Vec<_> = keys.difference(&written).collect();
    let unknown: Vec<_> = written.difference(&keys).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing in the README: {missing:?}; unknown: {unknown:?}"
    );
}

#[test]
fn every_default_is_a_known_key() {
    let mut problems = crate::problems::Problems::default();
    let text = include_str!("../defaults.toml");
    let mut read = crate::document::read(text, |_, _| crate::Place::Nowhere, &mut problems);
    Shape::new().drop_unknown(&mut read.tree, &mut problems);
    assert_eq!(problems.count(), 0);
}
