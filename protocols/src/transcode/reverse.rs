//! A rule turned round: the HTTP request that a gRPC request message stands for, and the reply message of an HTTP
//! answer, for a gRPC client of an HTTP backend.

use std::borrow::Cow;

use http::Method as HttpMethod;

use super::active::Active;
use super::collect::{Collected, Room};
use super::error::TranscodeError;
use super::found::{http_body, is_raw, put_http_body};
use super::json::{Json, Peek};
use super::method::Method;
use super::rule::{Binding, Body, Target};
use super::template::Segment;
use super::types::{Field, FieldId, Kind, Label, Special, TypeId, Types};
use super::wire::{self, RECURSION, Raw, Wire, put_varint};
use super::{from_json, to_json};

/// An HTTP request that a message was turned into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// The method.
    pub method: HttpMethod,
    /// Percent-encoded; begins with `/`.
    pub path_and_query: String,
    /// The body, where the rule has one.
    pub body: Option<HttpBody>,
}

/// The body of an [`HttpCall`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpBody {
    /// `application/json`, or what a `google.api.HttpBody` says.
    pub content_type: String,
    /// What is sent.
    pub data: Vec<u8>,
}

impl Method {
    /// The HTTP request of a request message: by the first rule that says every part of its path, else
    /// `POST /package.Service/Method`. Of a client stream, the first message makes the request; of further ones only
    /// the body counts.
    ///
    /// # Errors
    /// When the message is malformed, a value does not fit the path, or a field has no place in a query.
    pub fn to_http(&self, proto: &[u8]) -> Result<HttpCall, TranscodeError> {
        let rule = self.reversed();
        let (types, input) = (self.types(), self.input().id);
        let mut omit: Vec<&[FieldId]> = rule.variables.iter().map(|target| &*target.path).collect();
        let body = match rule.body {
            Body::Nothing => None,
            Body::Whole if self.input().is_http_body() => Some(raw(proto)?),
            Body::Whole => Some(HttpBody::json(|out| to_json::message(types, input, proto, &omit, out))?),
            Body::Field(id) if is_raw(types, input, id) => {
                let ty = types.message(input);
                let collected = Collected::of(ty, proto)?;
                let mut room = Room::of_message(proto.len());
                let single = collected.single(&ty.fields[id as usize], collected.field(id), &mut room)?;
                Some(raw(single.raw().piece())?)
            }
            Body::Field(id) => Some(HttpBody::json(|out| {
                to_json::field(types, (input, id), proto, &omit, out)
            })?),
        };
        let mut path_and_query = rule.path(types, input, proto)?;
        let in_body = match rule.body {
            Body::Field(id) => vec![id],
            Body::Nothing | Body::Whole => Vec::new(),
        };
        if rule.body != Body::Whole {
            if !in_body.is_empty() {
                omit.push(&in_body);
            }
            let mut query = Query {
                types,
                omit: &omit,
                out: &mut path_and_query,
                separator: '?',
                depth: 0,
                room: Room::of_message(proto.len()),
            };
            query.message(input, proto, "", Active::all(omit.len()))?;
        }
        let method = match (&rule.http, &body) {
            (Some(method), _) => method.clone(),
            (None, Some(_)) => HttpMethod::POST,
            (None, None) => HttpMethod::GET,
        };
        Ok(HttpCall {
            method,
            path_and_query,
            body,
        })
    }

    /// Appends the reply message of an HTTP answer: JSON of the message or of its `response_body`, or anything where
    /// that is a `google.api.HttpBody`. No body at all is an empty message.
    ///
    /// # Errors
    /// With the byte and the field, when the answer is not JSON or not of the type; `out` is as it was then.
    pub fn from_http_reply(&self, content_type: &str, body: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        let rule = self.reversed();
        let (types, output) = (self.types(), self.output().id);
        match rule.response {
            None if self.output().is_http_body() => put_http_body(content_type, body, out),
            Some(id) if is_raw(types, output, id) => {
                put_varint(types.message(output).fields[id as usize].tag().into(), out);
                let start = wire::open(out);
                put_http_body(content_type, body, out);
                wire::close(start, out);
            }
            _ if body.is_empty() => {}
            None => from_json::message(types, output, body, &[], out)?,
            Some(id) => from_json::field(types, (output, id), body, &[], out)?,
        }
        Ok(())
    }

    /// The first rule whose path can be made of a message; the default at last.
    fn reversed(&self) -> &Binding {
        let last = self.bindings.len() - 1;
        self.bindings
            .iter()
            .find(|rule| rule.is_reversible())
            .unwrap_or(&self.bindings[last])
    }
}

impl HttpBody {
    fn json(write: impl FnOnce(&mut Vec<u8>) -> Result<(), TranscodeError>) -> Result<Self, TranscodeError> {
        let mut data = Vec::new();
        write(&mut data)?;
        Ok(Self {
            content_type: "application/json".to_owned(),
            data,
        })
    }
}

fn raw(proto: &[u8]) -> Result<HttpBody, TranscodeError> {
    let (content_type, data) = http_body(proto)?;
    Ok(HttpBody {
        content_type: content_type.to_owned(),
        data: data.to_vec(),
    })
}

impl Binding {
    /// Whether every wildcard of the path is part of a variable.
    fn is_reversible(&self) -> bool {
        let template = &self.template;
        template.segments.iter().enumerate().all(|(at, segment)| match segment {
            Segment::Literal(_) => true,
            _ => template
                .variables
                .iter()
                .any(|variable| variable.segments.contains(&at)),
        })
    }

    fn path(&self, types: &Types, input: TypeId, proto: &[u8]) -> Result<String, TranscodeError> {
        let template = &self.template;
        let mut path = String::new();
        let mut at = 0;
        while let Some(segment) = template.segments.get(at) {
            path.push('/');
            let variables = template.variables.iter().zip(&self.variables);
            let mut starting = variables.filter(|(variable, _)| variable.segments.start == at);
            if let Some((variable, target)) = starting.next() {
                let text = text(types, input, proto, target).map_err(|error| error.below(&variable.name))?;
                let pattern = &template.segments[variable.segments.clone()];
                let multi = template.is_multi(variable);
                put_value(&text, pattern, multi, &mut path)
                    .map_err(|reason| TranscodeError::whole(reason).below(&variable.name))?;
                at = variable.segments.end;
            } else {
                if let Segment::Literal(literal) = segment {
                    put_encoded(literal.as_bytes(), &mut path);
                }
                at += 1;
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        if let Some(verb) = &template.verb {
            path.push(':');
            put_encoded(verb.as_bytes(), &mut path);
        }
        Ok(path)
    }
}

/// The value of a path variable, as text.
fn text(types: &Types, input: TypeId, proto: &[u8], target: &Target) -> Result<Vec<u8>, TranscodeError> {
    let mut room = Room::of_message(proto.len());
    let (mut id, mut proto) = (input, Cow::Borrowed(proto));
    for (step, left) in target.path.iter().zip((0..target.path.len()).rev()) {
        let ty = types.message(id);
        let field = &ty.fields[*step as usize];
        let inside = {
            let collected = Collected::of(ty, &proto)?;
            let single = collected.single(field, collected.field(*step), &mut room)?;
            if left == 0 {
                let mut text = Vec::new();
                put_text(types, field.kind, single.raw(), &mut text)?;
                return Ok(text);
            }
            single.raw().piece().to_vec()
        };
        id = field.kind.message().unwrap_or(id);
        proto = Cow::Owned(inside);
    }
    Ok(Vec::new())
}

/// Appends a value as text: what its JSON is, without quotes.
fn put_text(types: &Types, kind: Kind, raw: Raw<'_>, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut json = Vec::new();
    to_json::value(types, kind, raw, &mut json)?;
    let mut reader = Json::new(&json);
    match reader.peek()? {
        Peek::String => out.extend_from_slice(&reader.string()?),
        _ => out.extend_from_slice(&json),
    }
    Ok(())
}

/// Puts a variable into a path, if it fits the segments of the template.
fn put_value(text: &[u8], pattern: &[Segment], multi: bool, path: &mut String) -> Result<(), &'static str> {
    let parts: Vec<_> = if multi {
        text.split(|byte| *byte == b'/').collect()
    } else {
        vec![text]
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err("an empty value cannot be in a path");
    }
    // Whoever reads the path may take these for steps in it, encoded or not.
    if parts.iter().any(|part| matches!(*part, b"." | b"..")) {
        return Err("`.` and `..` cannot be in a path");
    }
    let rest = pattern.iter().position(|segment| *segment == Segment::Rest);
    let fits = |(segment, part): (&Segment, &&[u8])| match segment {
        Segment::Literal(literal) => literal.as_bytes() == *part,
        Segment::Rest | Segment::Single => true,
    };
    let fit = match rest {
        None => parts.len() == pattern.len() && pattern.iter().zip(&parts).all(fits),
        Some(rest) => {
            let after = pattern.len() - rest - 1;
            parts.len() >= rest + after
                && pattern[..rest].iter().zip(&parts).all(fits)
                && pattern[rest + 1..].iter().zip(&parts[parts.len() - after..]).all(fits)
        }
    };
    if !fit {
        return Err("the value does not fit the path of the rule");
    }
    for (part, at) in parts.iter().zip(0..) {
        if at > 0 {
            path.push('/');
        }
        let mut rest = *part;
        // A slash that was not between segments has stayed encoded when the path was read.
        while let Some(slash) = find_slash(rest).filter(|_| multi) {
            put_encoded(&rest[..slash], path);
            path.push_str("%2F");
            rest = &rest[slash + 3..];
        }
        put_encoded(rest, path);
    }
    Ok(())
}

fn find_slash(text: &[u8]) -> Option<usize> {
    text.windows(3).position(|window| window.eq_ignore_ascii_case(b"%2f"))
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn put_encoded(text: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        let char = char::from(*byte);
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char);
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Writes what is neither in the path nor in the body.
struct Query<'a> {
    types: &'a Types,
    omit: &'a [&'a [FieldId]],
    out: &'a mut String,
    /// What comes before the next parameter.
    separator: char,
    depth: u32,
    room: Room,
}

impl Query<'_> {
    fn message(&mut self, id: TypeId, proto: &[u8], prefix: &str, active: Active) -> Result<(), TranscodeError> {
        if self.depth == RECURSION {
            return Err(TranscodeError::protobuf("messages nested too deep"));
        }
        self.depth += 1;
        let ty = self.types.message(id);
        let collected = Collected::of(ty, proto)?;
        for places in collected.fields() {
            let id = places[0].field;
            let field = &ty.fields[id as usize];
            let step = active.step(self.omit.iter().copied(), id);
            if step.end.is_some() {
                continue;
            }
            let name = format!("{prefix}{}", field.json_name);
            let below = |error: TranscodeError| error.below(&name);
            match field.label {
                Label::Explicit | Label::Implicit => {
                    let single = collected.single(field, places, &mut self.room)?;
                    if field.label == Label::Implicit && single.raw().is_default() {
                        continue;
                    }
                    match field.kind.message() {
                        Some(id) if self.types.message(id).special.is_none() => {
                            self.message(id, single.raw().piece(), &format!("{name}."), step.inside)?;
                        }
                        _ => self.parameter(&name, field, single.raw()).map_err(below)?,
                    }
                }
                Label::Packed | Label::Repeated => {
                    for raw in collected.raws(places) {
                        let (wire_type, raw) = raw?;
                        if wire_type == field.kind.wire() {
                            self.parameter(&name, field, raw).map_err(below)?;
                            continue;
                        }
                        let mut packed = Wire::new(raw.piece());
                        while !packed.is_empty() {
                            let raw = packed.packed(field.kind)?;
                            self.parameter(&name, field, raw).map_err(below)?;
                        }
                    }
                }
                Label::Map(_) => return Err(below(TranscodeError::whole("a map cannot be in a query"))),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn parameter(&mut self, name: &str, field: &Field, raw: Raw<'_>) -> Result<(), TranscodeError> {
        let special = field.kind.message().map(|id| self.types.message(id).special);
        let is_text = match special {
            None => true,
            Some(special) => matches!(
                special,
                Some(Special::Duration | Special::FieldMask | Special::Timestamp | Special::Wrapper(_))
            ),
        };
        if !is_text {
            return Err(TranscodeError::whole("a message cannot be in a query"));
        }
        let mut text = Vec::new();
        put_text(self.types, field.kind, raw, &mut text)?;
        self.out.push(self.separator);
        self.separator = '&';
        put_encoded(name.as_bytes(), self.out);
        self.out.push('=');
        put_encoded(&text, self.out);
        Ok(())
    }
}
