//! Path templates of `google.api.http` (google/api/http.proto, "Path template syntax").
//!
//! ```text
//! Template = "/" Segments [ ":" LITERAL ]      Segment  = "*" | "**" | LITERAL | Variable
//! Segments = Segment { "/" Segment }           Variable = "{" FieldPath [ "=" Segments ] "}"
//! ```
//!
//! `**` may be followed by literals, as Envoy has it, and comes once. `/` alone is the root.

use std::ops::Range;

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) segments: Vec<Segment>,
    pub(super) verb: Option<String>,
    pub(super) variables: Vec<Variable>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    Literal(String),
    /// `**`: any number of segments.
    Rest,
    /// `*`: one segment.
    Single,
}

/// A variable, and which segments of the template it spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Like `book.name`.
    pub(super) name: String,
    pub(super) segments: Range<usize>,
}

/// Why a template is none.
pub(super) type Reason = &'static str;

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Reason> {
        let rest = text.strip_prefix('/').ok_or("a template begins with `/`")?;
        let mut parser = Parser {
            rest,
            template: Self {
                segments: Vec::new(),
                verb: None,
                variables: Vec::new(),
            },
        };
        if !rest.is_empty() {
            parser.segments(Place::Top)?;
            parser.verb()?;
        }
        if !parser.rest.is_empty() {
            return Err("expected `/`, `:` or the end after a segment");
        }
        parser.template.checked()
    }

    fn checked(self) -> Result<Self, Reason> {
        let wild = self.segments.iter().position(|segment| *segment == Segment::Rest);
        if let Some(at) = wild
            && self.segments[at + 1..]
                .iter()
                .any(|segment| !matches!(segment, Segment::Literal(_)))
        {
            return Err("only literals may follow `**`");
        }
        let mut names: Vec<_> = self.variables.iter().map(|variable| &variable.name).collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a variable is there twice");
        }
        // One path is left over for the body.
        if self.variables.len() >= super::active::PATHS {
            return Err("too many variables");
        }
        Ok(self)
    }

    /// The segments of a path of `count` segments that a variable spans.
    pub(super) fn span(&self, variable: &Variable, count: usize) -> Range<usize> {
        // What `**` took more, or less, than one segment moves all that follows it.
        let rest = self.segments.iter().position(|segment| *segment == Segment::Rest);
        let moved = |at: usize| match rest {
            Some(rest) if at > rest => (at + count).saturating_sub(self.segments.len()),
            _ => at,
        };
        moved(variable.segments.start)..moved(variable.segments.end)
    }

    /// Whether a variable may hold more than one segment: then `%2F` in it stays encoded.
    pub(super) fn is_multi(&self, variable: &Variable) -> bool {
        let segments = &self.segments[variable.segments.clone()];
        segments.len() > 1 || segments.contains(&Segment::Rest)
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.segments.is_empty() {
            f.write_str("/")?;
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "/{literal}")?,
                Segment::Rest => f.write_str("/**")?,
                Segment::Single => f.write_str("/*")?,
            }
        }
        self.verb.iter().try_for_each(|verb| write!(f, ":{verb}"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    InVariable,
    Top,
}

struct Parser<'a> {
    rest: &'a str,
    template: Template,
}

impl<'a> Parser<'a> {
    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn segments(&mut self, place: Place) -> Result<(), Reason> {
        loop {
            self.segment(place)?;
            if !self.take("/") {
                return Ok(());
            }
        }
    }

    fn segment(&mut self, place: Place) -> Result<(), Reason> {
        if self.take("{") {
            if place == Place::InVariable {
                return Err("a variable inside of a variable");
            }
            return self.variable();
        }
        let segment = if self.take("**") {
            if self.template.segments.contains(&Segment::Rest) {
                return Err("`**` may come once");
            }
            Segment::Rest
        } else if self.take("*") {
            Segment::Single
        } else {
            Segment::Literal(self.literal()?.to_owned())
        };
        self.template.segments.push(segment);
        Ok(())
    }

    fn variable(&mut self) -> Result<(), Reason> {
        let end = self.rest.find(['}', '=']).ok_or("a variable without `}`")?;
        let (name, rest) = self.rest.split_at(end);
        let is_identifier = |part: &str| {
            !part.starts_with(|first: char| first.is_ascii_digit())
                && !part.is_empty()
                && part.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        };
        if !name.split('.').all(is_identifier) {
            return Err("the name of a variable is a field, or fields with dots between");
        }
        self.rest = rest;
        let start = self.template.segments.len();
        if self.take("=") {
            self.segments(Place::InVariable)?;
        } else {
            self.template.segments.push(Segment::Single);
        }
        if !self.take("}") {
            return Err("a variable without `}`");
        }
        self.template.variables.push(Variable {
            name: name.to_owned(),
            segments: start..self.template.segments.len(),
        });
        Ok(())
    }

    fn verb(&mut self) -> Result<(), Reason> {
        if self.take(":") {
            self.template.verb = Some(self.literal()?.to_owned());
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<&'a str, Reason> {
        let end = self
            .rest
            .find(['/', ':', '{', '}', '*', '?', '#'])
            .unwrap_or(self.rest.len());
        let (literal, rest) = self.rest.split_at(end);
        if literal.is_empty() {
            return Err("a segment is empty");
        }
        self.rest = rest;
        Ok(literal)
    }
}

/// Percent-decodes a piece of a path. `None` where `%` is not followed by two hexadecimal digits.
///
/// With `slashes` false, `%2F` stays as it is, so that it can be told from a `/` between segments.
pub(super) fn decode(text: &str, slashes: bool, out: &mut Vec<u8>) -> Option<()> {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = text.as_bytes();
    while let Some(at) = memchr::memchr(b'%', bytes) {
        out.extend_from_slice(&bytes[..at]);
        let [_, high, low, rest @ ..] = &bytes[at..] else {
            return None;
        };
        match (hex(*high)? << 4 | hex(*low)?) as u8 {
            b'/' if !slashes => out.extend_from_slice(&bytes[at..at + 3]),
            byte => out.push(byte),
        }
        bytes = rest;
    }
    out.extend_from_slice(bytes);
    Some(())
}
