//! `google.rpc.Status` as JSON: how an HTTP client is told of a gRPC status, and how an HTTP backend may tell one.

use std::sync::LazyLock;

use bytes::Bytes;

use super::error::TranscodeError;
use super::json::{Json, Peek};
use super::schema::Schema;
use super::types::WireType;
use super::wire::{put_piece, put_varint};
use super::{from_json as read, number, text, to_json as write};
use crate::status::{Code, Status};

/// What is known without anybody's schema: the error details of `google.rpc` among others.
static KNOWN: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_descriptor_set(&[]).expect("the well-known files make a schema, as a test shows"));

const ANY: &str = "google.protobuf.Any";

/// Appends `{"code":5,"message":"..","details":[..]}`. A code without a name keeps its number.
///
/// Details are written as their types say, by `schema` and by what every schema has. A detail of an unknown type keeps
/// its bytes: `{"@type":"..","value":"base64"}`.
pub fn to_json(status: &Status, schema: Option<&Schema>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    text::integer(status.number, out);
    out.extend_from_slice(b",\"message\":");
    text::quoted(status.message.as_bytes(), out);
    out.extend_from_slice(b",\"details\":[");
    let start = out.len();
    // What cannot be read of the details is left out: the status itself must be told all the same.
    let _ = write::each(&status.details, |number, wire_type, raw| {
        if (number, wire_type) == (3, WireType::Len) {
            if out.len() > start {
                out.push(b',');
            }
            detail(schema.unwrap_or(&KNOWN), raw.piece(), out);
        }
    });
    out.extend_from_slice(b"]}");
}

fn detail(schema: &Schema, any: &[u8], out: &mut Vec<u8>) {
    let any_type = schema.types.named(ANY);
    if let Some(id) = any_type
        && write::message(&schema.types, id, any, &[], out).is_ok()
    {
        return;
    }
    let (mut url, mut value) = (&[][..], &[][..]);
    let _ = write::each(any, |number, wire_type, raw| match (number, wire_type) {
        (1, WireType::Len) => url = raw.piece(),
        (2, WireType::Len) => value = raw.piece(),
        _ => {}
    });
    out.extend_from_slice(b"{\"@type\":");
    text::quoted(String::from_utf8_lossy(url).as_bytes(), out);
    out.extend_from_slice(b",\"value\":");
    text::quoted_base64(value, out);
    out.push(b'}');
}

/// Reads the status of an error body; `None` where it tells of none.
///
/// Understood: `google.rpc.Status`, the same inside of `{"error": ..}` with the code's name in `status` (Google's REST
/// services), and Connect's errors, whose code is a name. Further keys are passed over.
pub fn from_json(json: &[u8], schema: Option<&Schema>) -> Option<Status> {
    let mut reader = Json::new(json);
    let told = Told::read(&mut reader, Depth::Outer).and_then(|told| reader.finish().map(|()| told));
    told.ok()?.status(schema.unwrap_or(&KNOWN))
}

/// What an error body says.
#[derive(Debug, Default)]
struct Told<'a> {
    code: Option<Code>,
    name: Option<Code>,
    message: String,
    details: Vec<&'a [u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    InError,
    Outer,
}

impl<'a> Told<'a> {
    fn read(json: &mut Json<'a>, depth: Depth) -> Result<Self, TranscodeError> {
        let mut told = Self::default();
        json.open(b'{')?;
        let mut first = true;
        while let Some(key) = json.key(&mut first)? {
            match (&*key, json.peek()?) {
                (b"code", Peek::Number) => {
                    let code = number::integer(json.number()?)
                        .ok()
                        .and_then(|code| u8::try_from(code).ok());
                    told.code = code.and_then(|code| Code::ALL.get(usize::from(code)).copied());
                }
                (b"code" | b"status", Peek::String) => told.name = named(&json.string()?),
                (b"message", Peek::String) => told.message = String::from_utf8_lossy(&json.string()?).into_owned(),
                (b"details", Peek::Array) => {
                    json.open(b'[')?;
                    let mut first = true;
                    while json.item(&mut first)? {
                        told.details.push(json.text()?);
                    }
                }
                (b"error", Peek::Object) if depth == Depth::Outer => {
                    let inner = Self::read(json, Depth::InError)?;
                    if inner.code.or(inner.name).is_some() {
                        told = inner;
                    }
                }
                _ => json.skip()?,
            }
        }
        Ok(told)
    }

    fn status(self, schema: &Schema) -> Option<Status> {
        // Where both are there the number may be an HTTP status, and the name is sure.
        let code = self.name.or(self.code).filter(|code| *code != Code::Ok)?;
        let mut status = Status::new(code, self.message);
        let mut encoded = Vec::new();
        for json in self.details {
            let start = encoded.len();
            encoded.push(0x1a);
            let piece = super::wire::open(&mut encoded);
            match put_detail(schema, json, &mut encoded) {
                Some(()) => super::wire::close(piece, &mut encoded),
                None => encoded.truncate(start),
            }
        }
        if !encoded.is_empty() {
            let mut details = vec![0x08];
            put_varint(status.number.into(), &mut details);
            details.push(0x12);
            put_piece(status.message.as_bytes(), &mut details);
            details.extend_from_slice(&encoded);
            status.details = Bytes::from(details);
        }
        Some(status)
    }
}

fn named(name: &[u8]) -> Option<Code> {
    // Connect spells it in American.
    if name == b"canceled" {
        return Some(Code::Cancelled);
    }
    Code::ALL
        .into_iter()
        .find(|code| code.name().as_bytes().eq_ignore_ascii_case(name))
}

/// Appends the content of an Any: of a known type, or as the bytes of an unknown one.
fn put_detail(schema: &Schema, json: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let any = schema.types.named(ANY)?;
    if read::message(&schema.types, any, json, &[], out).is_ok() {
        return Some(());
    }
    let mut reader = Json::new(json);
    let (mut url, mut value) = (Vec::new(), Vec::new());
    reader.open(b'{').ok()?;
    let mut first = true;
    while let Some(key) = reader.key(&mut first).ok()? {
        match (&*key, reader.peek().ok()?) {
            (b"@type", Peek::String) => url = reader.string().ok()?.into_owned(),
            (b"type", Peek::String) => url = [b"type.googleapis.com/", &*reader.string().ok()?].concat(),
            (b"value", Peek::String) => {
                value.clear();
                text::unbase64(&reader.string().ok()?, &mut value).ok()?;
            }
            _ => reader.skip().ok()?,
        }
    }
    if url.is_empty() {
        return None;
    }
    out.push(0x0a);
    put_piece(&url, out);
    out.push(0x12);
    put_piece(&value, out);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_its_details_survive_both_ways() {
        let json = concat!(
            r#"{"code":8,"message":"slow down","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"},"#,
            r#"{"@type":"type.googleapis.com/nobody.Knows","value":"AQI="}]}"#
        );
        let status = from_json(json.as_bytes(), None).unwrap();
        assert_eq!(
            (status.code, status.number, &*status.message),
            (Code::ResourceExhausted, 8, "slow down")
        );
        let mut out = Vec::new();
        to_json(&status, None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }

    #[test]
    fn a_code_beyond_the_known_ones_keeps_its_number() {
        let mut out = Vec::new();
        to_json(&Status::of_number(42, "\"odd\""), None, &mut out);
        assert_eq!(out, br#"{"code":42,"message":"\"odd\"","details":[]}"#);
    }

    #[test]
    fn broken_details_do_not_hide_the_status() {
        let mut status = Status::new(Code::NotFound, "gone");
        status.details = Bytes::from_static(b"\x1a\x03\x0a\x01x\xff");
        let mut out = Vec::new();
        to_json(&status, None, &mut out);
        assert_eq!(
            out,
            br#"{"code":5,"message":"gone","details":[{"@type":"x","value":""}]}"#
        );
    }

    #[test]
    fn the_error_bodies_of_others_are_understood() {
        #[rustfmt::skip]
        let table = [
            (r#"{"code":5,"message":"x"}"#, Some(Code::NotFound)), (r#"{"error":"x","code":5,"message":"x"}"#, Some(Code::NotFound)),
            (r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#, Some(Code::NotFound)), (r#"{"code":"not_found","message":"x"}"#, Some(Code::NotFound)),
            (r#"{"code":"canceled"}"#, Some(Code::Cancelled)), (r#"{"code":404,"message":"x"}"#, None), (r#"{"code":0}"#, None), (r#"{"code":-1}"#, None),
            (r#"{"message":"x"}"#, None), ("[]", None), ("", None), ("<html>", None), (r#"{"code":5}x"#, None), (r#"{"code":17}"#, None), (r#"{"code":"odd"}"#, None),
        ];
        for (json, code) in table {
            assert_eq!(
                from_json(json.as_bytes(), None).map(|status| status.code),
                code,
                "{json}"
            );
        }
        let connect = from_json(
            br#"{"code":"aborted","details":[{"type":"nobody.Knows","value":"AQI"}]}"#,
            None,
        )
        .unwrap();
        let mut out = Vec::new();
        to_json(&connect, None, &mut out);
        let expected =
            r#"{"code":10,"message":"","details":[{"@type":"type.googleapis.com/nobody.Knows","value":"AQI="}]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
