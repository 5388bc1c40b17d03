//! What makes calls alike, so that they go to the same endpoint.

use std::hash::{Hash, Hasher};

use causeway_config::HashOn;
use causeway_protocols::{CallHead, name};
use serde_json::Value;

use crate::context::CallContext;

/// The same number for calls that are alike, in every gateway: by what the service says, or else by the client's address.
pub fn of(hash_on: &HashOn, head: &CallHead, cx: &CallContext) -> u64 {
    let found = match hash_on {
        HashOn::Address => None,
        HashOn::Header(name) => head.fields.get_named(name).map(number),
        HashOn::Cookie(name) => cookie(head, name).map(number),
        HashOn::Query(name) => head.target.query().and_then(|query| parameter(query, name)).map(number),
        HashOn::Claim(name) => cx
            .principal
            .get()
            .and_then(|principal| match principal.claims.get(name) {
                Some(Value::String(text)) => Some(number(text.as_bytes())),
                Some(Value::Null) | None if name == "sub" => Some(number(principal.subject.as_bytes())),
                Some(Value::Null) | None => None,
                Some(other) => Some(number(other.to_string().as_bytes())),
            }),
    };
    found.unwrap_or_else(|| match cx.caller.address() {
        Some(std::net::IpAddr::V4(address)) => number(&address.octets()),
        Some(std::net::IpAddr::V6(address)) => number(&address.octets()),
        None => 0,
    })
}

/// With fixed keys, so that gateways agree.
fn number(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The value of a cookie (RFC 6265, section 5.4): the first of that name.
fn cookie<'a>(head: &'a CallHead, wanted: &str) -> Option<&'a [u8]> {
    let pairs = head
        .fields
        .all(name::COOKIE)
        .flat_map(|line| line.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(at);
        (name.trim_ascii() == wanted.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    values.next()
}

/// The first parameter of that name, as it is written.
fn parameter<'a>(query: &'a str, wanted: &str) -> Option<&'a [u8]> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_is_the_one() {
        #[rustfmt::skip]
        let table = [
            ("a=1&b=2&a=3", "a", Some("1")), ("a=1&b=2", "b", Some("2")), ("aa=1", "a", None), ("a", "a", Some("")), ("", "a", None),
            ("x=a=1", "a", None), ("a==", "a", Some("=")),
        ];
        for (query, name, value) in table {
            assert_eq!(parameter(query, name), value.map(str::as_bytes), "{query} {name}");
        }
    }
}
