//! The whole of `transcode` against schemas of every kind of field, and against another implementation.

use std::sync::{Arc, LazyLock};

use super::*;

mod content;
mod oracle;
mod paths;
mod rules;
mod schemas;

fn schema(files: &[(&str, &str)]) -> Result<Schema, SchemaError> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    Schema::from_descriptor_set(&compile(&files)?)
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    schema(&[
        ("everything.proto", include_str!("tests/everything.proto")),
        ("old.proto", include_str!("tests/old.proto")),
        ("library.proto", include_str!("tests/library.proto")),
    ])
    .unwrap()
});

fn plan(name: &str) -> Plan {
    SCHEMA.message(name).unwrap()
}

fn method(name: &str) -> &'static Arc<Method> {
    SCHEMA.method(&format!("/library.v1.Library/{name}")).unwrap()
}

/// Through protobuf and back.
fn round(plan: &Plan, json: &str) -> Result<String, TranscodeError> {
    let (mut proto, mut out) = (Vec::new(), Vec::new());
    plan.from_json(json.as_bytes(), &mut proto)?;
    plan.to_json(&proto, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}
