//! Metadata as JSON: an object whose values are strings, or arrays of strings where a name has several.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::fields::Fields;

/// Names and values that a call may have.
const MAX_FIELDS: usize = 100;

/// Bytes that all of them may have, as a header list of gRPC is asked to keep to.
const MAX_BYTES: usize = 16 * 1024;

/// Metadata as read. Names that are no field names, or are there twice, are refused.
pub(super) struct Metadata(pub(super) Fields);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MetadataVisitor).map(Self)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::new();
        while let Some(name) = map.next_key::<String>()? {
            let name = name.to_ascii_lowercase();
            if fields.get_named(&name).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
            let values = match map.next_value()? {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            for value in values {
                fields
                    .push(name.as_bytes(), value.as_bytes())
                    .map_err(A::Error::custom)?;
                if fields.len() > MAX_FIELDS || fields.as_wire().len() > MAX_BYTES {
                    return Err(A::Error::custom("too much metadata"));
                }
            }
        }
        Ok(fields)
    }
}

/// Writes fields as JSON, names in order. Values that are not UTF-8 have their bytes replaced.
pub(super) fn write(fields: &Fields, out: &mut BytesMut) {
    let mut names = BTreeMap::<&str, Vec<String>>::new();
    for field in fields {
        let value = String::from_utf8_lossy(field.value).into_owned();
        names.entry(field.name.as_str()).or_default().push(value);
    }
    // Strings and lists of them always have a JSON form.
    out.put_slice(&serde_json::to_vec(&names).unwrap_or_else(|_| b"{}".to_vec()));
}
