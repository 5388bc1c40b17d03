//! `match = {...}` of a route.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, Method};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use super::services::PROTOCOLS;
use super::value::{LongForm, TextOr, all, choice, is_host, optional};
use crate::model::{GrpcMatch, Match, PathMatch, Protocol, Segment, ValueMatch};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// Bytes of one compiled regular expression.
const REGEX: usize = 1 << 20;
/// Bytes of a path, a pattern or a value to compare with.
const TEXT: usize = 8 << 10;

/// `match = {...}` as written. An absent part matches everything.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchFile {
    /// `api.acme.example`, or `*.acme.example` for every name below.
    host: Option<String>,
    /// The whole path: `/v1/orders/{id}` takes one segment, `/v1/{rest*}` all that is left.
    path: Option<String>,
    /// That path and everything below it.
    path_prefix: Option<String>,
    /// A regular expression for the whole path.
    path_regex: Option<String>,
    /// Methods in upper case. Default: any.
    methods: Option<Vec<String>>,
    /// Header conditions, all must hold: a value, or a table.
    headers: Option<BTreeMap<String, TextOr<ValueFile>>>,
    /// Query parameter conditions, all must hold: a value, or a table.
    query: Option<BTreeMap<String, TextOr<ValueFile>>>,
    /// `package.Service` or `package.Service/Method`.
    grpc: Option<String>,
    /// Only this client protocol.
    #[schemars(extend("enum" = ["grpc", "http", "websocket"]))]
    protocol: Option<String>,
}

/// The long form of a condition on a value: exactly one of its keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ValueFile {
    /// Equal to this.
    exact: Option<String>,
    /// `true`: there, with any value.
    present: Option<bool>,
    /// A regular expression for the whole value.
    regex: Option<String>,
}

impl LongForm for ValueFile {}

impl MatchFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Match> {
        let host = optional(self.host, |text| host(&text, &at.key("host"), problems));
        let several = [
            ("path", self.path.is_some()),
            ("path_prefix", self.path_prefix.is_some()),
            ("path_regex", self.path_regex.is_some()),
            ("grpc", self.grpc.is_some()),
        ];
        let mut written = several.iter().filter(|(_, written)| *written).map(|(key, _)| *key);
        let clash = match (written.next(), written.next()) {
            (Some(first), Some(second)) => {
                problems.add_hint(
                    &at.key(second),
                    format!("stands beside `{first}`"),
                    "a route has one of the two",
                );
                true
            }
            _ => false,
        };
        let pattern = optional(self.path, |text| pattern(&text, &at.key("path"), problems));
        let prefix = optional(self.path_prefix, |text| prefix(&text, &at.key("path_prefix"), problems));
        let regex = optional(self.path_regex, |text| {
            whole_regex(&text, &at.key("path_regex"), problems)
        });
        let methods = all(self.methods, &at.key("methods"), |text, at| method(text, at, problems));
        let headers = self
            .headers
            .map(|headers| conditions(headers, &at.key("headers"), Conditions::Header, problems));
        let query = self
            .query
            .map(|query| conditions(query, &at.key("query"), Conditions::Query, problems));
        let grpc = optional(self.grpc, |text| grpc(&text, &at.key("grpc"), problems));
        let protocol = optional(self.protocol, |text| {
            choice(&text, &at.key("protocol"), &PROTOCOLS, problems)
        });
        if let (Some(Some(_)), Some(Some(Protocol::WebSocket))) = (&grpc, protocol) {
            problems.add(
                &at.key("protocol"),
                "stands beside `grpc`, which no WebSocket call can match",
            );
        }
        let path = match (pattern?, prefix?, regex?) {
            (Some(pattern), ..) => Some(PathMatch::Pattern(pattern)),
            (_, Some(prefix), _) => Some(PathMatch::Prefix(prefix)),
            (.., Some(regex)) => Some(PathMatch::Regex(regex)),
            _ => None,
        };
        (!clash).then_some(())?;
        Some(Match {
            host: host?,
            path,
            methods: methods?,
            headers: headers.unwrap_or(Some(Vec::new()))?,
            query: query.unwrap_or(Some(Vec::new()))?,
            grpc: grpc?,
            protocol: protocol?,
        })
    }

    /// What the route is about, for its name when it has none.
    pub(super) fn summary(&self) -> String {
        let host = self.host.as_deref().unwrap_or_default();
        let path = [&self.path, &self.path_prefix, &self.path_regex, &self.grpc]
            .into_iter()
            .flatten()
            .next();
        format!("{host}{}", path.map_or("", String::as_str))
    }
}

/// A host to match: exact, or `*.` and a suffix.
fn host(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    if is_host(name) && (name.len() == lower.len() || name.parse::<std::net::IpAddr>().is_err()) {
        return Some(lower);
    }
    let without_port = name.rsplit_once(':').map(|(name, _)| name).filter(|name| is_host(name));
    let hint = match without_port {
        _ if text == "*" => "leave `host` out to match every host".to_owned(),
        Some(name) => format!("hosts are compared without the port: write `{name}`"),
        None => "write a name such as `api.acme.example`, or `*.acme.example`".to_owned(),
    };
    problems.add_hint(at, format!("`{}` is not a host", brief(text)), hint);
    None
}

/// `/v1/orders/{id}`. `/` has no segments; a slash at the end makes an empty last one.
fn pattern(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<Vec<Segment>> {
    let rest = plain_path(text, at, problems)?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let before = problems.count();
    let mut names = BTreeSet::new();
    let mut segments = Vec::new();
    let count = rest.split('/').count();
    for (index, part) in rest.split('/').enumerate() {
        let last = index + 1 == count;
        let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => match name.strip_suffix('*') {
                Some(_) if !last => {
                    problems.add_hint(
                        at,
                        format!("`{}` is not the last segment", brief(part)),
                        "only the last one takes all that is left",
                    );
                    continue;
                }
                Some(name) => Segment::Rest(name.to_owned()),
                None => Segment::Parameter(name.to_owned()),
            },
            None if part.contains(['{', '}']) => {
                problems.add_hint(
                    at,
                    format!("`{}` mixes text and a parameter", brief(part)),
                    "a parameter is a whole segment; use `path_regex` for parts of one",
                );
                continue;
            }
            None if part.is_empty() && !last => {
                problems.add_hint(
                    at,
                    "has an empty segment",
                    "paths are normalised before they are matched, so `//` never matches",
                );
                continue;
            }
            None => Segment::Literal(part.to_owned()),
        };
        if let Segment::Parameter(name) | Segment::Rest(name) = &segment {
            if !is_parameter(name) {
                problems.add_hint(
                    at,
                    format!("`{}` is not a parameter name", brief(name)),
                    "a name has 1 to 32 letters, digits and `_`, and does not start with a digit",
                );
            } else if !names.insert(name.clone()) {
                problems.add(at, format!("parameter `{name}` is there twice"));
            }
        }
        segments.push(segment);
    }
    (problems.count() == before).then_some(segments)
}

fn is_parameter(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// A path prefix, without a slash at its end.
pub(super) fn prefix(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let rest = plain_path(text, at, problems)?;
    if rest.contains(['{', '}']) {
        problems.add_hint(at, "takes no parameters", "use `path`, e.g. `/v1/{rest*}`");
        return None;
    }
    let trimmed = text.trim_end_matches('/');
    if trimmed.contains("//") {
        problems.add_hint(
            at,
            "has an empty segment",
            "paths are normalised before they are matched, so `//` never matches",
        );
        return None;
    }
    Some(if trimmed.is_empty() {
        "/".to_owned()
    } else {
        trimmed.to_owned()
    })
}

/// A path that a normalised one can equal; gives what follows its first slash.
fn plain_path<'a>(text: &'a str, at: &KeyPath, problems: &mut Problems) -> Option<&'a str> {
    let Some(rest) = text.strip_prefix('/') else {
        problems.add_hint(
            at,
            format!("`{}` does not start with `/`", brief(text)),
            format!("write `/{}`", brief(text)),
        );
        return None;
    };
    if text.len() > TEXT {
        problems.add(at, format!("is longer than {TEXT} bytes"));
    } else if let Some(bad) = rest.chars().find(|c| c.is_control() || matches!(c, '?' | '#' | '\\')) {
        let hint = match bad {
            '?' => "match query parameters with `query`",
            _ => "a path has neither `#`, `\\` nor control characters",
        };
        problems.add_hint(at, format!("has {bad:?} in it"), hint);
    } else if rest.split('/').any(|part| matches!(part, "." | "..")) {
        problems.add_hint(
            at,
            "has a dot segment",
            "paths are normalised before they are matched, so it never matches",
        );
    } else {
        return Some(rest);
    }
    None
}

/// A regular expression that must match as a whole.
fn whole_regex(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<Regex> {
    if text.len() > TEXT {
        problems.add(at, format!("is longer than {TEXT} bytes"));
        return None;
    }
    // Alone first: `a)|(b` is wrong, but would be right between our brackets.
    let alone = RegexBuilder::new(text).size_limit(REGEX).build();
    match alone.and_then(|_| RegexBuilder::new(&format!(r"\A(?:{text})\z")).size_limit(REGEX).build()) {
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(limit)) => {
            problems.add_hint(
                at,
                format!("compiles to more than {limit} bytes"),
                "use fewer or smaller repetitions",
            );
            None
        }
        Err(error) => {
            // The last line says what; those before draw a picture that needs a screen of its own.
            let text = error.to_string();
            let reason = text.lines().next_back().unwrap_or("is wrong");
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            problems.add(at, format!("is not a regular expression: {reason}"));
            None
        }
    }
}

fn method(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    if Method::from_bytes(text.as_bytes()).is_err() {
        problems.add(at, format!("`{}` is not a method", brief(&text)));
        return None;
    }
    if text.chars().any(|c| c.is_ascii_lowercase()) {
        problems.add_hint(
            at,
            format!("`{text}` is not in upper case"),
            format!("write `{}`", text.to_ascii_uppercase()),
        );
        return None;
    }
    Some(text)
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conditions {
    Header,
    Query,
}

fn conditions(
    table: BTreeMap<String, TextOr<ValueFile>>,
    at: &KeyPath,
    of: Conditions,
    problems: &mut Problems,
) -> Option<Vec<(String, ValueMatch)>> {
    let parsed: Vec<Option<(String, ValueMatch)>> = table
        .into_iter()
        .map(|(name, condition)| {
            let at = at.key(&name);
            let name = match of {
                Conditions::Query if name.is_empty() || name.len() > TEXT => {
                    problems.add(&at, "is not a parameter name");
                    None
                }
                Conditions::Query => Some(name),
                Conditions::Header => match HeaderName::from_bytes(name.as_bytes()) {
                    Ok(header) => Some(header.as_str().to_owned()),
                    Err(_) => {
                        problems.add(&at, "is not a header name");
                        None
                    }
                },
            };
            let value = match condition {
                TextOr::Text(text) => Some(ValueMatch::Exact(text)),
                TextOr::Long(long) => long.parse(&at, problems),
            };
            Some((name?, value?))
        })
        .collect();
    parsed.into_iter().collect()
}

impl ValueFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<ValueMatch> {
        match (self.exact, self.present, self.regex) {
            (Some(text), None, None) => Some(ValueMatch::Exact(text)),
            (None, Some(true), None) => Some(ValueMatch::Present),
            (None, None, Some(text)) => whole_regex(&text, &at.key("regex"), problems).map(ValueMatch::Regex),
            (None, Some(false), None) => {
                problems.add(&at.key("present"), "must be true; conditions on absence do not exist");
                None
            }
            // A misspelt one has been told already.
            (None, None, None) if problems.broken_below(at) => None,
            _ => {
                problems.add(at, "must have exactly one of `exact`, `present` and `regex`");
                None
            }
        }
    }
}

/// `package.Service` or `package.Service/Method`.
pub(super) fn grpc(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<GrpcMatch> {
    let identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let (service, method) = match text.split_once('/') {
        Some((service, method)) => (service, Some(method)),
        None => (text, None),
    };
    if text.len() <= TEXT && service.split('.').all(identifier) && method.is_none_or(identifier) {
        return Some(GrpcMatch {
            service: service.to_owned(),
            method: method.map(str::to_owned),
        });
    }
    let hint = "write `package.Service` or `package.Service/Method` without a slash in front";
    problems.add_hint(at, format!("`{}` is not a gRPC service or method", brief(text)), hint);
    None
}
