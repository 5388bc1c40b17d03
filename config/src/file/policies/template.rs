//! Texts with parts of a call in them: `{id}`, `{header.x-tenant}`, `{claim.sub}`.

use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::brief;

/// A text with parts of a call in it. What a call does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// In order.
    pub parts: Vec<TemplatePart>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// This text.
    Text(String),
    /// `{NAME}`: a parameter of the route's path, decoded.
    Capture(String),
    /// `{header.NAME}`: a field of the request, as the client sent it.
    Header(String),
    /// `{reply.NAME}`: a field of the reply; replies only.
    Reply(String),
    /// `{query.NAME}`: a parameter of the query, decoded.
    Parameter(String),
    /// `{claim.NAME}`: a claim of the caller's token.
    Claim(String),
    /// `{subject}`: who calls.
    Subject,
    /// `{issuer}`: who vouches for that.
    Issuer,
    /// `{method}`.
    Method,
    /// `{scheme}`: how the client came, `http` or `https`.
    Scheme,
    /// `{host}`.
    Host,
    /// `{path}`: as the client asked for it.
    Path,
    /// `{query}`.
    Query,
    /// `{address}`: the client's.
    Address,
    /// `{request_id}`.
    RequestId,
    /// `{site}`: the name of this site.
    Site,
    /// `{status}`: that of the reply; replies only.
    Status,
}

/// What a template belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Reply,
}

/// Longest template, in bytes.
const LONGEST: usize = 8 << 10;

/// Parses a template; `captures` are the parameters that the route's path has. `{{` and `}}` are braces.
pub(super) fn parse(
    text: &str,
    captures: &[String],
    of: Of,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<Template> {
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        problems.add(at, "must be one line of at most 8KiB");
        return None;
    }
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(found) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(found);
        plain.push_str(before);
        if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            plain.push_str(&brace[..1]);
            rest = after;
            continue;
        }
        let Some((name, after)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) else {
            problems.add_hint(at, "has a brace without its partner", "write `{{` or `}}` for a brace");
            return None;
        };
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
        }
        parts.push(part(name, captures, of, at, problems)?);
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(TemplatePart::Text(plain));
    }
    Some(Template { parts })
}

fn part(name: &str, captures: &[String], of: Of, at: &KeyPath, problems: &mut Problems) -> Option<TemplatePart> {
    let bare = name.trim_end_matches('*');
    if captures.iter().any(|known| known.trim_end_matches('*') == bare) {
        return Some(TemplatePart::Capture(bare.to_owned()));
    }
    if let Some((kind, inside)) = name.split_once('.').filter(|(_, inside)| !inside.is_empty()) {
        match (kind, of) {
            ("header", _) => return Some(TemplatePart::Header(inside.to_ascii_lowercase())),
            ("reply", Of::Reply) => return Some(TemplatePart::Reply(inside.to_ascii_lowercase())),
            ("query", _) => return Some(TemplatePart::Parameter(inside.to_owned())),
            ("claim", _) => return Some(TemplatePart::Claim(inside.to_owned())),
            _ => {}
        }
    }
    let found = WORDS.iter().find(|(word, _)| *word == name).map(|(_, part)| part);
    match found {
        Some(TemplatePart::Status) if of == Of::Request => {}
        Some(part) => return Some(part.clone()),
        None => {}
    }
    let known = captures
        .iter()
        .map(String::as_str)
        .chain(WORDS.iter().map(|(word, _)| *word));
    let hint = did_you_mean(name, known).unwrap_or_else(|| {
        "parts are parameters of the path, `header.NAME`, `query.NAME`, `claim.NAME`, `subject`, `address` and the like".to_owned()
    });
    problems.add_hint(at, format!("there is no `{{{}}}`", brief(name)), hint);
    None
}

const WORDS: [(&str, TemplatePart); 11] = [
    ("address", TemplatePart::Address),
    ("host", TemplatePart::Host),
    ("issuer", TemplatePart::Issuer),
    ("method", TemplatePart::Method),
    ("path", TemplatePart::Path),
    ("query", TemplatePart::Query),
    ("request_id", TemplatePart::RequestId),
    ("scheme", TemplatePart::Scheme),
    ("site", TemplatePart::Site),
    ("status", TemplatePart::Status),
    ("subject", TemplatePart::Subject),
];
