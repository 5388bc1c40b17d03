//! Filling the templates of legs. Pure. What is filled in can never be more than one value where it stands.

use causeway_config::Piece;
use serde_json::Value;

use super::Captured;

/// What there is to fill in.
pub(super) struct Values<'a> {
    pub(super) captured: &'a Captured,
    /// The result of a leg by its place.
    pub(super) results: &'a dyn Fn(usize) -> Option<&'a Value>,
    /// The place of a leg by its name.
    pub(super) legs: &'a dyn Fn(&str) -> Option<usize>,
}

impl Values<'_> {
    fn of(&self, piece: &Piece) -> Option<Value> {
        match piece {
            Piece::Text(text) => Some(Value::from(text.as_str())),
            Piece::Capture(name) => {
                // The star only says how it is written.
                let name = name.trim_end_matches('*');
                let found = self.captured.iter().find(|(known, _)| **known == *name)?;
                Some(Value::from(decoded(&found.1)))
            }
            Piece::Result { leg, pointer } => (self.results)(*leg)?.pointer(pointer).cloned(),
        }
    }
}

/// Path and query. Values are percent-encoded, so that none ends a segment or a parameter; only what captures all that is
/// left of a path keeps its slashes. None where a value is missing, or is no text, number or boolean.
pub(super) fn path(pieces: &[Piece], values: &Values<'_>) -> Option<String> {
    let mut path = String::new();
    for piece in pieces {
        match (piece, values.of(piece)?) {
            (Piece::Text(text), _) => path.push_str(text),
            (Piece::Capture(name), Value::String(text)) if name.ends_with('*') => encode(&text, b"/", &mut path),
            (_, Value::String(text)) => encode(&text, b"", &mut path),
            (_, Value::Number(number)) => encode(&number.to_string(), b"", &mut path),
            (_, Value::Bool(yes)) => path.push_str(if yes { "true" } else { "false" }),
            _ => return None,
        }
    }
    Some(path)
}

/// A body. A string that is one placeholder becomes its value, whatever type that has; placeholders in longer strings
/// become text.
pub(super) fn body(template: &Value, values: &Values<'_>) -> Option<Value> {
    Some(match template {
        Value::String(text) => {
            // It was parsed once when the configuration was checked, with these names.
            let pieces = Piece::parse(text, values.legs).ok()?;
            string(&pieces, values)?
        }
        Value::Array(list) => Value::Array(list.iter().map(|one| body(one, values)).collect::<Option<_>>()?),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, one)| Some((name.clone(), body(one, values)?)))
                .collect::<Option<_>>()?,
        ),
        other => other.clone(),
    })
}

fn string(pieces: &[Piece], values: &Values<'_>) -> Option<Value> {
    if let [only @ (Piece::Capture(_) | Piece::Result { .. })] = pieces {
        return values.of(only);
    }
    let mut text = String::new();
    for piece in pieces {
        match values.of(piece)? {
            Value::String(part) => text.push_str(&part),
            other @ (Value::Number(_) | Value::Bool(_)) => text.push_str(&other.to_string()),
            _ => return None,
        }
    }
    Some(Value::from(text))
}

/// A capture without its percent-encoding: the normalised path was checked to be UTF-8.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| {
            char::from(byte?)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => bytes.push(high * 16 + low),
                _ => bytes.push(byte),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encode(text: &str, keep: &[u8], out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill<T>(with: impl Fn(&Values<'_>) -> T) -> T {
        let captured = vec![("id".into(), "a%26b=%C3%A9".into()), ("rest".into(), "x/y%20z".into())];
        let user = json!({ "name": "a/b?c", "age": 7, "tags": ["x"], "ok": true, "none": null });
        let results = |at: usize| (at == 0).then_some(&user);
        with(&Values {
            captured: &captured,
            results: &results,
            legs: &|name| (name == "user").then_some(0),
        })
    }

    fn filled(text: &str) -> Option<String> {
        fill(|values| path(&Piece::parse(text, values.legs).unwrap(), values))
    }

    #[test]
    fn no_value_ends_a_segment_or_a_parameter() {
        for (text, want) in [
            ("/plain", Some("/plain")),
            ("/u/{id}", Some("/u/a%26b%3D%C3%A9")),
            ("/u?id={id}&x=1", Some("/u?id=a%26b%3D%C3%A9&x=1")),
            ("/u/{rest*}", Some("/u/x/y%20z")),
            ("/u/{user:/name}", Some("/u/a%2Fb%3Fc")),
            ("/u/{user:/age}/{user:/ok}/{user:/tags/0}", Some("/u/7/true/x")),
            ("/u/{user:/tags}", None),
            ("/u/{user:/none}", None),
            ("/u/{user:/missing}", None),
            ("/u/{nothing}", None),
        ] {
            assert_eq!(filled(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_body_gets_values_of_their_own_type_and_no_text_ends_a_string() {
        let template =
            json!({ "id": "{id}", "age": "{user:/age}", "all": ["{user:/tags}"], "text": "<{user:/name}>", "n": 1 });
        let want = json!({ "id": "a&b=\u{e9}", "age": 7, "all": [["x"]], "text": "<a/b?c>", "n": 1 });
        assert_eq!(fill(|values| body(&template, values)), Some(want));
        assert_eq!(fill(|values| body(&json!("{user:/missing}"), values)), None);
    }

    #[test]
    fn templates_that_make_no_sense_are_refused() {
        for text in ["{", "}", "a{b", "{user:x}", "{other:/x}", "a}b{c}"] {
            assert!(
                Piece::parse(text, &|name| (name == "user").then_some(0)).is_err(),
                "{text}"
            );
        }
    }
}
