//! The path condition of a route as places in the tree, and what its parameters capture.

use causeway_config::{GrpcMatch, Match, PathMatch, Segment};
use causeway_protocols::Target;
use causeway_protocols::target::Authority;
use regex::Regex;

use super::captures::Captures;
use super::conditions::matches_whole;

/// Where a route hangs in the tree.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) parts: Vec<Part>,
    pub(super) ending: Ending,
    captured: Vec<Captured>,
}

/// One step down the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// This segment, in its normal form.
    Literal(Box<str>),
    /// Any segment that is not empty.
    Parameter,
}

/// What may follow the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing.
    Exact,
    /// What the regex says.
    Regex,
    /// Anything, also nothing.
    Below,
}

/// Which part of a path a capture is.
#[derive(Clone, Copy, Debug)]
enum Captured {
    Segment(usize),
    From(usize),
}

impl Pattern {
    pub(super) fn of(matches: &Match) -> Self {
        let mut pattern = Self {
            parts: Vec::new(),
            ending: Ending::Exact,
            captured: Vec::new(),
        };
        match (&matches.path, &matches.grpc) {
            (Some(PathMatch::Pattern(segments)), _) => pattern.add_segments(segments),
            (Some(PathMatch::Prefix(prefix)), _) => {
                pattern.add_literals(prefix.trim_matches('/'));
                pattern.ending = Ending::Below;
            }
            (Some(PathMatch::Regex(regex)), _) => {
                pattern.add_literals(&literal_segments(regex.as_str()));
                pattern.ending = Ending::Regex;
            }
            (None, Some(grpc)) => {
                pattern.add_literals(&grpc.service);
                pattern.parts.push(match &grpc.method {
                    Some(method) => Part::Literal(normal(method).into()),
                    None => Part::Parameter,
                });
            }
            (None, None) => pattern.ending = Ending::Below,
        }
        pattern
    }

    fn add_segments(&mut self, segments: &[Segment]) {
        for segment in segments {
            match segment {
                // A trailing slash is an empty last segment.
                Segment::Literal(text) if text.is_empty() => self.parts.push(Part::Literal("".into())),
                Segment::Literal(text) => self.add_literals(text),
                Segment::Parameter(_) => {
                    self.captured.push(Captured::Segment(self.parts.len()));
                    self.parts.push(Part::Parameter);
                }
                Segment::Rest(_) => {
                    self.captured.push(Captured::From(self.parts.len()));
                    self.ending = Ending::Below;
                }
            }
        }
        // The path `/`.
        if self.parts.is_empty() && self.ending == Ending::Exact {
            self.parts.push(Part::Literal("".into()));
        }
    }

    fn add_literals(&mut self, text: &str) {
        if !text.is_empty() {
            let text = normal(text);
            self.parts
                .extend(text.split('/').map(|part| Part::Literal(part.into())));
        }
    }

    /// The part of the path condition that the tree does not decide.
    pub(super) fn admits(&self, matches: &Match, path: &str) -> bool {
        match &matches.path {
            Some(PathMatch::Regex(regex)) if !matches_whole(regex, path) => return false,
            // The tree lets `OPTIONS *` through to what takes everything.
            Some(_) if !path.starts_with('/') => return false,
            Some(_) => {}
            None => return true,
        }
        matches.grpc.as_ref().is_none_or(|grpc| is_grpc_path(grpc, path))
    }

    /// What the parameters stand for in a path that matches.
    pub(super) fn captures(&self, path: &str) -> Captures {
        let mut captures = Captures::default();
        let (mut at, mut start) = (0, 1);
        for captured in &self.captured {
            let (Captured::Segment(wanted) | Captured::From(wanted)) = *captured;
            while at < wanted {
                start = end_of_segment(path, start) + 1;
                at += 1;
            }
            match captured {
                Captured::Segment(_) => captures.push(start, end_of_segment(path, start)),
                // Where `{rest*}` stands for nothing the path has ended before it.
                Captured::From(_) => captures.push(start.min(path.len()), path.len()),
            }
        }
        captures
    }
}

fn end_of_segment(path: &str, start: usize) -> usize {
    match path.get(start..).and_then(|rest| rest.find('/')) {
        Some(length) => start + length,
        None => path.len(),
    }
}

/// Whether a path is `/service/method`.
fn is_grpc_path(grpc: &GrpcMatch, path: &str) -> bool {
    let method = path
        .strip_prefix('/')
        .and_then(|rest| rest.strip_prefix(grpc.service.as_str()))
        .and_then(|rest| rest.strip_prefix('/'));
    match (method, &grpc.method) {
        (Some(method), Some(wanted)) => method == wanted,
        (Some(method), None) => !method.is_empty() && !method.contains('/'),
        (None, _) => false,
    }
}

/// Text of the configuration in the form that the paths of calls have. What no path can be stays, and matches none.
fn normal(text: &str) -> String {
    // What people write in a pattern may be meant as it is: `é` for `%C3%A9`, a space for `%20`.
    let mut raw = String::with_capacity(text.len() + 1);
    raw.push('/');
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e if byte != b'\\' && byte != b'#' && byte != b'?' => raw.push(char::from(byte)),
            _ => raw.push_str(&format!("%{byte:02X}")),
        }
    }
    match Target::parse(Authority::default(), raw.as_bytes()) {
        Ok(target) => target.path().trim_start_matches('/').to_owned(),
        Err(_) => text.to_owned(),
    }
}

/// The whole segments that every match of a regex begins with, joined by `/`. Errs on the short side.
fn literal_segments(pattern: &str) -> String {
    let pattern = pattern
        .strip_prefix(super::conditions::ANCHORED.0)
        .and_then(|rest| rest.strip_suffix(super::conditions::ANCHORED.1))
        .unwrap_or(pattern);
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    // An alternative, or a flag, may change what the beginning means.
    if pattern.contains('|') || pattern.contains("(?") {
        return String::new();
    }
    let mut literal = String::new();
    let mut rest = pattern.chars();
    while let Some(char) = rest.next() {
        match char {
            '\\' => match rest.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => literal.push(escaped),
                _ => break,
            },
            // These take the character before them back.
            '*' | '?' | '{' | '+' => {
                literal.pop();
                break;
            }
            '.' | '[' | '(' | ')' | '$' | '^' => break,
            plain => literal.push(plain),
        }
    }
    // What stands behind the last slash may be the beginning of a longer segment.
    match literal.rsplit_once('/') {
        Some((whole, _)) if whole.starts_with('/') => whole.trim_start_matches('/').to_owned(),
        _ => String::new(),
    }
}

/// The groups of a path regex by name, or by number as text.
pub(super) fn regex_capture<'p>(regex: &Regex, path: &'p str, name: &str) -> Option<&'p str> {
    let groups = regex.captures(path)?;
    let group = match name.parse() {
        Ok(number) => groups.get(number),
        Err(_) => groups.name(name),
    };
    group.map(|group| group.as_str())
}
