//! Where two answers differ. Pure.

use causeway_config::{Compare, CompareBody};
use causeway_protocols::{ReplyHead, name};
use serde_json::Value;

/// Differences that are told of one pair; more are not looked for.
const MOST: usize = 16;
/// Characters of a value in a sample.
const SHOWN: usize = 64;

/// An answer to compare.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its head.
    pub head: &'a ReplyHead,
    /// Its body.
    pub body: &'a [u8],
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs: `status`, `header NAME`, `body`, or `body POINTER`.
    pub what: String,
    /// What the client got, cut short.
    pub first: String,
    /// What the copy got.
    pub second: String,
}

impl Difference {
    /// What it is counted by: the bounded part of [`what`](Self::what).
    pub fn kind(&self) -> &str {
        if self.what.starts_with("body") {
            "body"
        } else {
            &self.what
        }
    }
}

/// Everything that differs, as far as the rules say that it must not.
pub fn compare(rules: &Compare, first: &Answer<'_>, second: &Answer<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |what: String, first: String, second: String| {
        if found.len() < MOST {
            found.push(Difference { what, first, second });
        }
    };
    let statuses = (first.head.status, second.head.status);
    if statuses.0 != statuses.1 {
        differ(
            "status".to_owned(),
            statuses.0.as_u16().to_string(),
            statuses.1.as_u16().to_string(),
        );
    }
    for header in &rules.headers {
        let value = |answer: &Answer<'_>| {
            let values = answer.head.fields.iter().filter(|field| field.name.as_str() == header);
            values
                .map(|field| String::from_utf8_lossy(field.value).into_owned())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (one, other) = (value(first), value(second));
        if one != other {
            differ(format!("header {header}"), cut(&one), cut(&other));
        }
    }
    match rules.body {
        CompareBody::Nothing => {}
        CompareBody::Json if is_json(first) || is_json(second) => {
            let parse = |answer: &Answer<'_>| serde_json::from_slice::<Value>(answer.body).ok();
            match (parse(first), parse(second)) {
                (Some(one), Some(other)) => {
                    values(&one, &other, &mut Vec::new(), &rules.ignore, &mut |at, one, other| {
                        differ(format!("body {at}"), one, other);
                    });
                }
                _ => bytes(first.body, second.body, &mut differ),
            }
        }
        CompareBody::Bytes | CompareBody::Json => bytes(first.body, second.body, &mut differ),
    }
    found
}

fn is_json(answer: &Answer<'_>) -> bool {
    let kind = answer.head.fields.text(name::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

fn bytes(first: &[u8], second: &[u8], differ: &mut impl FnMut(String, String, String)) {
    if first != second {
        let same = first.iter().zip(second).take_while(|(one, other)| one == other).count();
        let told = |body: &[u8]| format!("{} bytes, other from byte {same} on", body.len());
        differ("body".to_owned(), told(first), told(second));
    }
}

/// Compares two values at the pointer `at`. Numbers are compared as they are written: `1` and `1.0` differ.
fn values(
    first: &Value,
    second: &Value,
    at: &mut Vec<String>,
    ignore: &[String],
    differ: &mut impl FnMut(String, String, String),
) {
    if ignore.iter().any(|pointer| covers(pointer, at)) {
        return;
    }
    let null = Value::Null;
    match (first, second) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            for name in names {
                at.push(name.clone());
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => values(one, other, at, ignore, differ),
                    (one, other) if !ignore.iter().any(|pointer| covers(pointer, at)) => {
                        let told = |value: Option<&Value>| value.map_or_else(|| "(absent)".to_owned(), shown);
                        differ(pointer(at), told(one), told(other));
                    }
                    _ => {}
                }
                at.pop();
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for place in 0..one.len().max(other.len()) {
                at.push(place.to_string());
                let item = |list: &[Value]| list.get(place).cloned();
                match (item(one), item(other)) {
                    (Some(one), Some(other)) => values(&one, &other, at, ignore, differ),
                    (one, other) if !ignore.iter().any(|pointer| covers(pointer, at)) => {
                        differ(
                            pointer(at),
                            shown(&one.unwrap_or(Value::Null)),
                            shown(other.as_ref().unwrap_or(&null)),
                        );
                    }
                    _ => {}
                }
                at.pop();
            }
        }
        (one, other) if one == other => {}
        (one, other) => differ(pointer(at), shown(one), shown(other)),
    }
}

/// Whether an ignored pointer is this place or above it.
fn covers(ignored: &str, at: &[String]) -> bool {
    let mut parts = ignored.split('/').skip(1);
    let mut here = at.iter();
    loop {
        match (parts.next(), here.next()) {
            (None, _) => return true,
            (Some(_), None) => return false,
            (Some(part), Some(name)) => {
                let plain = part.replace("~1", "/").replace("~0", "~");
                if part != "*" && plain != *name {
                    return false;
                }
            }
        }
    }
}

/// RFC 6901.
fn pointer(at: &[String]) -> String {
    at.iter().fold(String::new(), |text, part| {
        text + "/" + &part.replace('~', "~0").replace('/', "~1")
    })
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    short
}

#[cfg(test)]
mod tests {
    use causeway_protocols::Length;
    use http::StatusCode;

    use super::*;

    fn head(status: u16, kind: &str) -> ReplyHead {
        let mut head = ReplyHead::new(StatusCode::from_u16(status).unwrap(), Length::Streamed);
        head.fields.push_known(name::CONTENT_TYPE, kind.as_bytes()).unwrap();
        head
    }

    fn rules(body: CompareBody, ignore: &[&str]) -> Compare {
        Compare {
            headers: vec!["content-type".to_owned()],
            body,
            ignore: ignore.iter().map(|pointer| (*pointer).to_owned()).collect(),
            values: true,
        }
    }

    fn json(first: &str, second: &str, ignore: &[&str]) -> Vec<String> {
        let head = head(200, "application/json; charset=utf-8");
        let (first, second) = (
            Answer {
                head: &head,
                body: first.as_bytes(),
            },
            Answer {
                head: &head,
                body: second.as_bytes(),
            },
        );
        compare(&rules(CompareBody::Json, ignore), &first, &second)
            .into_iter()
            .map(|one| format!("{}: {} {}", one.what, one.first, one.second))
            .collect()
    }

    #[test]
    fn json_differs_by_what_it_says_not_by_how_it_is_written() {
        for (first, second, ignore, want) in [
            (r#"{"a":1,"b":[1,2]}"#, r#"{ "b": [1, 2], "a": 1 }"#, &[][..], &[][..]),
            (r#"{"a":1}"#, r#"{"a":2}"#, &[][..], &["body /a: 1 2"][..]),
            (r#"{"a":1}"#, r#"{"a":2}"#, &["/a"][..], &[][..]),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#, &["/a"][..], &[][..]),
            (r#"{"a":1}"#, r#"{}"#, &[][..], &["body /a: 1 (absent)"][..]),
            (r#"{"a":1}"#, r#"{}"#, &["/a"][..], &[][..]),
            (r#"{}"#, r#"{"a":null}"#, &[][..], &["body /a: (absent) null"][..]),
            (r#"[{"t":1},{"t":2}]"#, r#"[{"t":3},{"t":4}]"#, &["/*/t"][..], &[][..]),
            (r#"[1]"#, r#"[1,2]"#, &[][..], &["body /1: null 2"][..]),
            (r#"{"a/b":1}"#, r#"{"a/b":2}"#, &["/a~1b"][..], &[][..]),
            (r#"{"a/b":1}"#, r#"{"a/b":2}"#, &[][..], &["body /a~1b: 1 2"][..]),
            (r#"1"#, r#""1""#, &[][..], &[r#"body : 1 "1""#][..]),
        ] {
            assert_eq!(json(first, second, ignore), want, "{first} {second} {ignore:?}");
        }
        assert_eq!(
            json("{", "{}", &[]),
            ["body: 1 bytes, other from byte 1 on 2 bytes, other from byte 1 on"]
        );
    }

    #[test]
    fn status_and_fields_count_and_the_number_of_differences_is_bounded() {
        let (one, other) = (head(200, "text/plain"), head(500, "text/html"));
        let answer = |head, body| Answer { head, body };
        let found = compare(
            &rules(CompareBody::Bytes, &[]),
            &answer(&one, b"a"),
            &answer(&other, b"b"),
        );
        let kinds: Vec<_> = found.iter().map(Difference::kind).collect();
        assert_eq!(kinds, ["status", "header content-type", "body"]);
        let found = compare(
            &rules(CompareBody::Nothing, &[]),
            &answer(&one, b"a"),
            &answer(&one, b"b"),
        );
        assert!(found.is_empty());
        let list = |from: u32| serde_json::to_string(&(from..from + 100).collect::<Vec<_>>()).unwrap();
        assert_eq!(json(&list(0), &list(1), &[]).len(), MOST);
    }
}
