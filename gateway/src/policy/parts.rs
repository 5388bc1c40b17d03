//! Templates over the parts of a call, filled in.

use causeway_config::{Template, TemplatePart};
use causeway_protocols::{Fields, ReplyHead};
use serde_json::Value;

use crate::context::CallContext;

/// The text of a template; what the call does not have is empty.
pub(super) fn fill(template: &Template, cx: &CallContext, reply: Option<&ReplyHead>) -> String {
    let mut text = String::new();
    for part in &template.parts {
        put(part, cx, reply, &mut text);
    }
    text
}

fn put(part: &TemplatePart, cx: &CallContext, reply: Option<&ReplyHead>, text: &mut String) {
    let request = cx.request.get();
    let principal = cx.principal.get();
    match part {
        TemplatePart::Text(plain) => text.push_str(plain),
        TemplatePart::Capture(name) => text.push_str(&unescaped(captured(cx, name))),
        TemplatePart::Header(name) => field(request.map(|request| &request.fields), name, text),
        TemplatePart::Reply(name) => field(reply.map(|reply| &reply.fields), name, text),
        TemplatePart::Parameter(name) => {
            let query = request.and_then(|request| request.target.query()).unwrap_or_default();
            text.push_str(&parameter(query, name).unwrap_or_default());
        }
        TemplatePart::Claim(name) => match principal.and_then(|principal| principal.claims.get(name)) {
            Some(Value::String(claim)) => text.push_str(claim),
            Some(Value::Null) | None => {}
            Some(other) => text.push_str(&other.to_string()),
        },
        TemplatePart::Subject => text.push_str(principal.map_or("", |principal| &principal.subject)),
        TemplatePart::Issuer => text.push_str(principal.map_or("", |principal| &principal.issuer)),
        TemplatePart::Method => text.push_str(cx.asked.method.as_str()),
        TemplatePart::Scheme => text.push_str(request.map_or("", |request| request.scheme.label())),
        TemplatePart::Host => text.push_str(request.map_or("", |request| request.target.authority.host())),
        TemplatePart::Path => text.push_str(&cx.asked.path),
        TemplatePart::Query => text.push_str(request.and_then(|request| request.target.query()).unwrap_or_default()),
        TemplatePart::Address => {
            if let Some(address) = cx.caller.address() {
                text.push_str(&address.to_string());
            }
        }
        TemplatePart::RequestId => text.push_str(cx.request_id.as_deref().unwrap_or_default()),
        TemplatePart::Site => text.push_str(&cx.world.snapshot.config.site.name),
        TemplatePart::Status => {
            if let Some(reply) = reply {
                text.push_str(reply.status.as_str());
            }
        }
    }
}

/// What a parameter of the route's path stands for.
fn captured<'c>(cx: &'c CallContext, name: &str) -> &'c str {
    let captures = cx.captures.get().map(Vec::as_slice).unwrap_or_default();
    captures
        .iter()
        .find(|(known, _)| **known == *name)
        .map_or("", |(_, value)| value)
}

fn field(fields: Option<&Fields>, name: &str, text: &mut String) {
    if let Some(value) = fields.and_then(|fields| fields.get_named(name)) {
        text.push_str(&String::from_utf8_lossy(value));
    }
}

/// The first value of a parameter of a query, decoded.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    pairs(query)
        .find(|(known, _)| decoded(known) == name)
        .map(|(_, value)| decoded(value))
}

/// The parameters of a query as they stand.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A name or a value of a query, decoded: `+` is a space.
pub(super) fn decoded(text: &str) -> String {
    unescaped(&text.replace('+', " "))
}

/// Without percent-encoding. Bytes that are not UTF-8 are replaced.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match byte {
            b'%' => match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(decoded) => {
                    out.push(decoded);
                    at += 2;
                }
                None => out.push(byte),
            },
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A name or a value of a query, encoded: only unreserved characters stay (RFC 3986, section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded_to_the_same() {
        for text in ["", "a b&c=d", "\u{e9}%", "1+1", "a/b?c#d"] {
            assert_eq!(decoded(&encoded(text)), text);
        }
        assert_eq!(parameter("a=1&b%20c=%2B+x&a=2", "b c").as_deref(), Some("+ x"));
        assert_eq!(parameter("a=1", "b"), None);
        assert_eq!(
            (decoded("%zz"), decoded("%4"), decoded("%+1")),
            ("%zz".into(), "%4".into(), "% 1".into())
        );
    }
}
