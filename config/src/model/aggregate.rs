//! One answer from several calls.

use std::time::Duration;

use serde_json::Value;

use super::ServiceRef;

/// `[routes.aggregate]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// The calls. A leg comes behind those that it needs.
    pub legs: Vec<Leg>,
    /// How their results become one.
    pub merge: Merge,
    /// The status of an answer where optional legs have failed: 200, 206 or 207. Default 200.
    pub partial_status: u16,
}

/// How results become one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Each under the name of its leg.
    ByName,
    /// Members of all objects in one, those of later legs before those of earlier ones, also inside of objects.
    Deep,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Its name in the answer and in templates.
    pub name: String,
    /// Who is called.
    pub to: ServiceRef,
    /// Default `GET`, with a body `POST`.
    pub method: http::Method,
    /// Path and query.
    pub path: Vec<Piece>,
    /// A JSON body; strings that are one placeholder become its value.
    pub body: Option<Value>,
    /// Legs, by their place, that have to be done before.
    pub after: Vec<usize>,
    /// Up to the end of its reply. Default 5 s.
    pub timeout: Duration,
    /// Whether there is an answer without it.
    pub optional: bool,
    /// Largest reply in bytes. Default 1 MiB.
    pub max_body: u64,
    /// A JSON pointer to the part of the reply that is wanted; none: all of it.
    pub pick: Option<String>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// What the route's match captured under this name; slashes stay where it captured all that was left.
    Capture(String),
    /// What this JSON pointer finds in the result of an earlier leg.
    Result {
        /// The leg, by its place.
        leg: usize,
        /// RFC 6901; empty for the whole result.
        pointer: String,
    },
}

impl Piece {
    /// Reads a template: text with `{capture}` and `{leg:/pointer}`; `leg` finds a leg by its name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, leg: &dyn Fn(&str) -> Option<usize>) -> Result<Vec<Self>, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let inside = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((name, after)) = inside else {
                return Err("has a brace without its partner".to_owned());
            };
            if !before.is_empty() {
                pieces.push(Self::Text(before.to_owned()));
            }
            pieces.push(match name.split_once(':') {
                None => Self::Capture(name.to_owned()),
                Some((name, pointer)) if pointer.is_empty() || pointer.starts_with('/') => Self::Result {
                    leg: leg(name).ok_or_else(|| format!("`{name}` is no other leg"))?,
                    pointer: pointer.to_owned(),
                },
                Some((name, _)) => return Err(format!("what follows `{name}:` is no JSON pointer")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Self::Text(rest.to_owned()));
        }
        Ok(pieces)
    }
}
