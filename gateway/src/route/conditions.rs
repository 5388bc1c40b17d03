//! The conditions of a route beside host and path.

use std::borrow::Cow;

use causeway_config::{Match, PathMatch, Protocol as Spoken, ValueMatch};
use causeway_protocols::{CallHead, FieldName, NameId, Protocol};
use regex::Regex;

/// What [`anchor`] puts around a pattern.
pub(super) const ANCHORED: (&str, &str) = (r"\A(?:", r")\z");

/// Whether a route's conditions hold for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All do.
    Fits,
    /// All but the method.
    Method,
    /// Another does not.
    Fails,
}

/// Method, headers, query and protocol.
#[derive(Debug)]
pub(super) struct Conditions {
    methods: Vec<Box<str>>,
    headers: Vec<(HeaderName, ValueMatch)>,
    query: Vec<(Box<str>, ValueMatch)>,
    protocol: Option<Protocol>,
}

#[derive(Debug)]
enum HeaderName {
    Known(NameId),
    Other(Box<str>),
}

impl Conditions {
    pub(super) fn of(matches: &Match) -> Self {
        let mut methods: Vec<Box<str>> = matches.methods.iter().map(|method| method.as_str().into()).collect();
        // A gRPC call is always a POST.
        if matches.grpc.is_some() {
            methods = vec!["POST".into()];
        }
        Self {
            methods,
            headers: matches
                .headers
                .iter()
                .map(|(name, value)| {
                    let name = match NameId::of(name.as_bytes()) {
                        Some(id) => HeaderName::Known(id),
                        None => HeaderName::Other(name.to_ascii_lowercase().into()),
                    };
                    (name, value.clone())
                })
                .collect(),
            query: matches
                .query
                .iter()
                .map(|(name, value)| (name.as_str().into(), value.clone()))
                .collect(),
            protocol: matches.protocol.map(|protocol| match protocol {
                Spoken::Grpc => Protocol::Grpc,
                Spoken::Http => Protocol::Http,
                Spoken::WebSocket => Protocol::WebSocket,
            }),
        }
    }

    /// Greater comes first.
    pub(super) fn weight(&self) -> (bool, usize, usize, bool) {
        (
            !self.methods.is_empty(),
            self.headers.len(),
            self.query.len(),
            self.protocol.is_some(),
        )
    }

    /// The methods named; empty means any.
    pub(super) fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|method| &**method)
    }

    pub(super) fn check(&self, head: &CallHead) -> Verdict {
        let others = self.protocol.is_none_or(|protocol| protocol == head.protocol)
            && self.headers.iter().all(|(name, value)| has_field(head, name, value))
            && self.query.iter().all(|(name, value)| {
                head.target
                    .query()
                    .is_some_and(|query| has_parameter(query, name, value))
            });
        if !others {
            return Verdict::Fails;
        }
        if self.methods.is_empty() || self.methods().any(|method| method == head.method.as_str()) {
            return Verdict::Fits;
        }
        Verdict::Method
    }
}

/// Holds when any field of the name has the value.
fn has_field(head: &CallHead, name: &HeaderName, value: &ValueMatch) -> bool {
    let wanted = match name {
        HeaderName::Known(id) => FieldName::Known(*id),
        HeaderName::Other(text) => FieldName::Other(text),
    };
    head.fields
        .iter()
        .filter(|field| field.name == wanted)
        .any(|field| match value {
            ValueMatch::Present => true,
            ValueMatch::Exact(text) => field.value == text.as_bytes(),
            ValueMatch::Regex(regex) => field.text().is_some_and(|text| matches_whole(regex, text)),
        })
}

/// Holds when any parameter of the name has the value, both compared once decoded (`+` is a space).
fn has_parameter(query: &str, name: &str, value: &ValueMatch) -> bool {
    query.split('&').any(|pair| {
        let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
        decoded(key).eq(name.bytes())
            && match value {
                ValueMatch::Present => true,
                ValueMatch::Exact(wanted) => decoded(text).eq(wanted.bytes()),
                ValueMatch::Regex(regex) if text.bytes().any(|byte| matches!(byte, b'%' | b'+')) => {
                    String::from_utf8(decoded(text).collect()).is_ok_and(|text| matches_whole(regex, &text))
                }
                ValueMatch::Regex(regex) => matches_whole(regex, text),
            }
    })
}

/// The first parameter of this name, decoded.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
        decoded(key).eq(name.bytes()).then(|| {
            if text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
                Cow::Owned(decoded(text).collect())
            } else {
                Cow::Borrowed(text.as_bytes())
            }
        })
    })
}

/// Decodes `application/x-www-form-urlencoded`; a malformed escape stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        match first {
            b'+' => Some(b' '),
            b'%' => {
                let escaped = tail.split_first_chunk::<2>().and_then(|(&[high, low], tail)| {
                    let value = char::from(high).to_digit(16)? * 16 + char::from(low).to_digit(16)?;
                    Some((u8::try_from(value).ok()?, tail))
                });
                let Some((value, tail)) = escaped else {
                    return Some(b'%');
                };
                rest = tail;
                Some(value)
            }
            plain => Some(plain),
        }
    })
}

/// Whether a regex matches a text from end to end.
pub(super) fn matches_whole(regex: &Regex, text: &str) -> bool {
    regex
        .find(text)
        .is_some_and(|found| found.start() == 0 && found.end() == text.len())
}

/// Anchors every regex of a match, so that alternatives are tried until one takes the whole text.
pub(super) fn anchor_all(matches: &mut Match) {
    if let Some(PathMatch::Regex(regex)) = &mut matches.path {
        anchor(regex);
    }
    for (_, value) in matches.headers.iter_mut().chain(&mut matches.query) {
        if let ValueMatch::Regex(regex) = value {
            anchor(regex);
        }
    }
}

fn anchor(regex: &mut Regex) {
    let pattern = regex.as_str();
    if pattern.starts_with(ANCHORED.0) && pattern.ends_with(ANCHORED.1) {
        return;
    }
    // Fails only for a pattern that ends in a comment of verbose mode; that one is matched as it is.
    if let Ok(anchored) = Regex::new(&format!("{}{pattern}{}", ANCHORED.0, ANCHORED.1)) {
        *regex = anchored;
    }
}
