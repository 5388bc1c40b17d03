//! A request that a rule matched: its message made of path, query and body, and the reply as the rule wants it.

use std::borrow::Cow;
use std::sync::Arc;

use super::collect::{Collected, Room};
use super::error::{Place, TranscodeError};
use super::from_json::{self, Bound};
use super::method::{HTTP_BODY, Method};
use super::rule::{Binding, Body, Target};
use super::template::decode;
use super::to_json;
use super::types::{FieldId, Kind, Label, TypeId, Types, WireType};
use super::values::{drop_default, put_parameter};
use super::wire::{self, put_piece, put_varint};

/// The method of a request, with the variables of its path.
#[derive(Clone, Debug)]
pub struct Found {
    method: Arc<Method>,
    binding: usize,
    /// As in the path, still percent-encoded.
    variables: Vec<String>,
}

/// What the body of a request is to the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// JSON of one field of the request message.
    Field,
    /// There must be none.
    None,
    /// Not JSON: it becomes the content of a `google.api.HttpBody`; see [`Found::request_raw`].
    Raw,
    /// JSON of the request message.
    Whole,
}

/// What [`Found::reply`] has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyContent {
    /// JSON.
    Json,
    /// The content of a `google.api.HttpBody`.
    Raw {
        /// Its content type; may be empty.
        content_type: String,
    },
}

impl Found {
    pub(super) fn new(method: &Arc<Method>, binding: usize, segments: &[&str]) -> Self {
        let template = &method.bindings[binding].template;
        let variables = template.variables.iter().map(|variable| {
            let span = template.span(variable, segments.len());
            segments.get(span).unwrap_or_default().join("/")
        });
        Self {
            variables: variables.collect(),
            method: method.clone(),
            binding,
        }
    }

    /// The method.
    pub fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// What the request's body is.
    pub fn body(&self) -> BodyRule {
        let input = self.method.input();
        match self.rule().body {
            Body::Nothing => BodyRule::None,
            Body::Whole if input.is_http_body() => BodyRule::Raw,
            Body::Whole => BodyRule::Whole,
            Body::Field(id) if is_raw(self.types(), input.id, id) => BodyRule::Raw,
            Body::Field(_) => BodyRule::Field,
        }
    }

    /// Whether the reply is not JSON but the content of a `google.api.HttpBody`.
    pub fn raw_reply(&self) -> bool {
        self.rule().raw_reply(&self.method)
    }

    /// Appends the request message of the path, the query and a JSON body.
    ///
    /// For the further messages of a client stream give no query: path variables are applied to each.
    ///
    /// # Errors
    /// With the place, when a part is malformed, unknown, or contradicts another; `out` is as it was then.
    pub fn request(&self, query: Option<&str>, body: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        let body = body.filter(|body| !body.is_empty());
        self.whole(out, query, |bound, out| {
            let (types, input) = (self.types(), self.method.input().id);
            match (self.rule().body, body) {
                (_, None) => Ok(()),
                (Body::Nothing, Some(_)) => Err(TranscodeError::whole("the method takes no body")),
                (Body::Whole, Some(json)) => from_json::message(types, input, json, bound, out),
                (Body::Field(id), Some(json)) => from_json::field(types, (input, id), json, bound, out),
            }
        })
    }

    /// Appends the request message of the path, the query and a body that is kept as it is (`google.api.HttpBody`).
    ///
    /// # Errors
    /// As [`Self::request`], and when the method takes no such body.
    pub fn request_raw(
        &self,
        query: Option<&str>,
        content_type: &str,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        if self.body() != BodyRule::Raw {
            return Err(TranscodeError::whole("the method takes no raw body"));
        }
        self.whole(out, query, |_, out| {
            match self.rule().body {
                Body::Field(id) => {
                    let ty = self.types().message(self.method.input().id);
                    put_varint(ty.fields[id as usize].tag().into(), out);
                    let start = wire::open(out);
                    put_http_body(content_type, data, out);
                    wire::close(start, out);
                }
                _ => put_http_body(content_type, data, out),
            }
            Ok(())
        })
    }

    /// Appends the reply as the HTTP client sees it: JSON, of one field if the rule says so, or what a
    /// `google.api.HttpBody` holds.
    ///
    /// # Errors
    /// When the reply is malformed or has no JSON form; `out` is as it was then.
    pub fn reply(&self, proto: &[u8], out: &mut Vec<u8>) -> Result<ReplyContent, TranscodeError> {
        let (types, output) = (self.types(), self.method.output().id);
        let response = self.rule().response;
        if self.raw_reply() {
            let body = match response {
                None => Cow::Borrowed(proto),
                Some(id) => {
                    let ty = types.message(output);
                    let collected = Collected::of(ty, proto)?;
                    let mut room = Room::of_message(proto.len());
                    let single = collected.single(&ty.fields[id as usize], collected.field(id), &mut room)?;
                    Cow::Owned(single.raw().piece().to_vec())
                }
            };
            let (content_type, data) = http_body(&body)?;
            out.extend_from_slice(data);
            return Ok(ReplyContent::Raw {
                content_type: content_type.to_owned(),
            });
        }
        match response {
            None => to_json::message(types, output, proto, &[], out)?,
            Some(id) => to_json::field(types, (output, id), proto, &[], out)?,
        }
        Ok(ReplyContent::Json)
    }

    fn rule(&self) -> &Binding {
        &self.method.bindings[self.binding]
    }

    fn types(&self) -> &Types {
        self.method.types()
    }

    /// Writes the fields of path and query, then what `body` writes, or nothing at all.
    fn whole(
        &self,
        out: &mut Vec<u8>,
        query: Option<&str>,
        body: impl FnOnce(&[Bound<'_>], &mut Vec<u8>) -> Result<(), TranscodeError>,
    ) -> Result<(), TranscodeError> {
        let variables = self.variables()?;
        let query = self.query(query.unwrap_or_default(), &variables)?;
        if let Body::Field(id) = self.rule().body {
            let body = Target {
                path: vec![id],
                parent: self.method.input().id,
            };
            let in_oneof = body.field(self.types()).oneof.is_some();
            let mut others = variables.iter().chain(&query);
            if in_oneof && others.any(|other| rival(self.types(), &body, &other.path)) {
                return Err(TranscodeError::whole(RIVAL).below(&body.field(self.types()).json_name));
            }
        }
        let start = out.len();
        let mut given: Vec<_> = variables.iter().chain(&query).collect();
        given.sort_by(|a, b| a.path.cmp(&b.path));
        put_given(self.types(), self.method.input().id, &given, 0, out);
        let result = body(&variables, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn variables(&self) -> Result<Vec<Bound<'_>>, TranscodeError> {
        let (types, rule) = (self.types(), self.rule());
        let given = rule.template.variables.iter().zip(&rule.variables).zip(&self.variables);
        given
            .map(|((variable, target), text)| {
                let wrong = |reason: Cow<'static, str>| TranscodeError::new(Place::Path(variable.name.clone()), reason);
                let mut decoded = Vec::new();
                decode(text, !rule.template.is_multi(variable), &mut decoded)
                    .ok_or_else(|| wrong("`%` needs two hexadecimal digits".into()))?;
                let encoded = encode(types, target, &decoded).map_err(wrong)?;
                Ok(Bound {
                    path: Cow::Borrowed(&target.path),
                    encoded,
                })
            })
            .collect()
    }

    fn query(&self, query: &str, variables: &[Bound<'_>]) -> Result<Vec<Bound<'static>>, TranscodeError> {
        let types = self.types();
        let mut given: Vec<Bound<'static>> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let readable = |text: &str| {
                let mut decoded = Vec::new();
                decode(&text.replace('+', " "), true, &mut decoded).map(|()| decoded)
            };
            let name = readable(name).and_then(|name| String::from_utf8(name).ok());
            let wrong = |reason: Cow<'static, str>| {
                TranscodeError::new(Place::Query(name.clone().unwrap_or_else(|| pair.to_owned())), reason)
            };
            let (Some(name), Some(value)) = (&name, readable(value)) else {
                return Err(wrong("malformed percent-encoding".into()));
            };
            let target = Target::of(types, self.method.input().id, name).map_err(|reason| wrong(reason.into()))?;
            match self.rule().body {
                Body::Whole => return Err(wrong("the method takes everything from the body".into())),
                Body::Field(id) if target.path.first() == Some(&id) => {
                    return Err(wrong("it belongs into the body".into()));
                }
                _ => {}
            }
            let encoded = encode(types, &target, &value).map_err(wrong)?;
            if let Some(variable) = variables.iter().find(|variable| *variable.path == target.path) {
                if variable.encoded != encoded {
                    return Err(wrong("the path has another value for it".into()));
                }
                continue;
            }
            let field = target.field(types);
            let others = || variables.iter().chain(&given);
            if field.is_single() && others().any(|other| *other.path == target.path) {
                return Err(wrong("given twice".into()));
            }
            if field.oneof.is_some() && others().any(|other| rival(types, &target, &other.path)) {
                return Err(wrong(RIVAL.into()));
            }
            given.push(Bound {
                path: Cow::Owned(target.path),
                encoded,
            });
        }
        Ok(given)
    }
}

const RIVAL: &str = "another field of the same oneof is set too";

/// Whether another path ends in the same oneof of the same message.
fn rival(types: &Types, target: &Target, other: &[FieldId]) -> bool {
    let (Some((_, parent)), Some((last, other_parent))) = (target.path.split_last(), other.split_last()) else {
        return false;
    };
    let fields = &types.message(target.parent).fields;
    parent == other_parent
        && target.path.last() != Some(last)
        && fields[*last as usize].oneof == target.field(types).oneof
}

/// Tag and value of a field, from the text of a variable or a parameter; nothing for the default of an implicit field.
fn encode(types: &Types, target: &Target, text: &[u8]) -> Result<Vec<u8>, Cow<'static, str>> {
    let field = target.field(types);
    if let Label::Map(_) = field.label {
        return Err("a map cannot be given by parameters".into());
    }
    if let Kind::Group(_) = field.kind {
        return Err("a message cannot be given by one parameter".into());
    }
    let mut encoded = Vec::new();
    put_varint(field.tag().into(), &mut encoded);
    let value = encoded.len();
    put_parameter(types, field.kind, text, &mut encoded)?;
    if field.label == Label::Implicit {
        drop_default(0, value, &mut encoded);
    }
    Ok(encoded)
}

/// Writes fields that are in the order of their paths, each message on the way once.
fn put_given(types: &Types, id: TypeId, given: &[&Bound<'_>], level: usize, out: &mut Vec<u8>) {
    for same in given.chunk_by(|a, b| a.path[level] == b.path[level]) {
        let field = &types.message(id).fields[same[0].path[level] as usize];
        match field.kind {
            Kind::Message(inside) if same[0].path.len() > level + 1 => {
                put_varint(field.tag().into(), out);
                let start = wire::open(out);
                put_given(types, inside, same, level + 1, out);
                wire::close(start, out);
            }
            _ => same.iter().for_each(|bound| out.extend_from_slice(&bound.encoded)),
        }
    }
}

impl Binding {
    /// Whether the answer is the content of a `google.api.HttpBody`.
    pub(super) fn raw_reply(&self, method: &Method) -> bool {
        let output = method.output();
        match self.response {
            None => output.is_http_body(),
            Some(id) => is_raw(method.types(), output.id, id),
        }
    }
}

/// Whether a field is one `google.api.HttpBody`.
pub(super) fn is_raw(types: &Types, id: TypeId, field: FieldId) -> bool {
    let field = &types.message(id).fields[field as usize];
    match field.kind {
        Kind::Message(id) => field.is_single() && &*types.message(id).name == HTTP_BODY,
        _ => false,
    }
}

/// Appends a `google.api.HttpBody`: `content_type` = 1, `data` = 2.
pub(super) fn put_http_body(content_type: &str, data: &[u8], out: &mut Vec<u8>) {
    for (tag, piece) in [(0x0a, content_type.as_bytes()), (0x12, data)] {
        if !piece.is_empty() {
            out.push(tag);
            put_piece(piece, out);
        }
    }
}

/// Content type and data of a `google.api.HttpBody`.
pub(super) fn http_body(proto: &[u8]) -> Result<(&str, &[u8]), TranscodeError> {
    let (mut content_type, mut data) = (&[][..], &[][..]);
    to_json::each(proto, |number, wire_type, raw| match (number, wire_type) {
        (1, WireType::Len) => content_type = raw.piece(),
        (2, WireType::Len) => data = raw.piece(),
        _ => {}
    })?;
    let content_type = std::str::from_utf8(content_type);
    let content_type =
        content_type.map_err(|_| TranscodeError::protobuf("invalid UTF-8 in a string").below("contentType"))?;
    Ok((content_type, data))
}
