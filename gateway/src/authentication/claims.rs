//! The claims of a token: a JSON object in which no name stands twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object whose own members have different names.
///
/// Parsers differ in which of two like names they take (RFC 7519, section 4, RFC 7515, section 10.12), so a token with
/// two of a name could mean one thing here and another at the backend.
#[derive(Debug)]
pub(super) struct Distinct(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Distinct;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
                let mut members = Map::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.contains_key(&name) {
                        map.next_value::<IgnoredAny>()?;
                        return Err(A::Error::custom("a name stands twice"));
                    }
                    let value = map.next_value()?;
                    members.insert(name, value);
                }
                Ok(Distinct(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// What is at a path of claims: the claim of that whole name, or `address.city` as the member of a member.
pub fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    at(claims.get(first)?.as_object()?, rest)
}

/// A claim as one text: texts as they are, numbers and booleans in JSON, lists of these with spaces between.
pub fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(list) => {
            let parts: Option<Vec<_>> = list
                .iter()
                .map(|value| if value.is_array() { None } else { as_text(value) })
                .collect();
            Some(parts?.join(" "))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// The scopes that a token grants: `scope` (RFC 8693, section 4.2) as one text or a list, or `scp`.
pub fn scopes(claims: &Map<String, Value>) -> Vec<Box<str>> {
    let Some(value) = claims.get("scope").or_else(|| claims.get("scp")) else {
        return Vec::new();
    };
    let mut scopes = Vec::new();
    let mut add = |text: &str| scopes.extend(text.split(' ').filter(|scope| !scope.is_empty()).map(Box::from));
    match value {
        Value::String(text) => add(text),
        Value::Array(list) => list.iter().filter_map(Value::as_str).for_each(add),
        _ => {}
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_name_that_stands_twice_is_refused() {
        assert!(serde_json::from_str::<Distinct>(r#"{"sub":"a","sub":"b"}"#).is_err());
        assert!(serde_json::from_str::<Distinct>(r#"{"sub":"a","\u0073ub":"b"}"#).is_err());
        assert!(serde_json::from_str::<Distinct>(r#"["sub"]"#).is_err());
        assert!(serde_json::from_str::<Distinct>(r#"{"sub":"a","aud":{"sub":"b"}}"#).is_ok());
    }

    #[test]
    fn claims_are_found_by_whole_names_before_paths() {
        let claims = serde_json::json!({
            "a.b": 1, "a": { "b": 2, "c": ["x", "y", 3] }, "https://acme.example/tenant": "t", "n": null
        });
        let claims = claims.as_object().unwrap();
        let text = |path: &str| at(claims, path).and_then(as_text);
        assert_eq!(text("a.b").as_deref(), Some("1"));
        assert_eq!(text("a.c").as_deref(), Some("x y 3"));
        assert_eq!(text("https://acme.example/tenant").as_deref(), Some("t"));
        for none in ["a", "n", "b", "a.d", "a.b.c", ""] {
            assert_eq!(text(none), None, "{none}");
        }
    }

    #[test]
    fn scopes_come_in_three_spellings() {
        for (claims, expected) in [
            (serde_json::json!({"scope": "a  b"}), vec!["a", "b"]),
            (serde_json::json!({"scp": ["a", "b c"]}), vec!["a", "b", "c"]),
            (serde_json::json!({"scp": "a"}), vec!["a"]),
            (serde_json::json!({"scope": 1}), vec![]),
            (serde_json::json!({}), vec![]),
        ] {
            let found = scopes(claims.as_object().unwrap());
            assert_eq!(found.iter().map(|scope| &**scope).collect::<Vec<_>>(), expected);
        }
    }
}
