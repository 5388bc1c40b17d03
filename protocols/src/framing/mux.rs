//! `causeway.mux.v1`: many calls over one WebSocket, each frame a JSON object in a text message.
//!
//! A client sends `{"id", "method", "metadata", "timeout_ms", "traceparent", "message", "end", "cancel", "credit"}`: `id`
//! always, `method` and what goes with it to open a call, and what it has to say. It is sent `{"id", "message"}`,
//! `{"id", "status", "trailers"}` as the end of a call, and `{"id", "credit"}`. Credit counts messages.
//!
//! Only the frame is read here. A message stays the JSON that it was, as a slice of the frame.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::metadata::Metadata;
use super::error::{Fault, FramingError};
use super::{Limits, StatusJson, json};
use crate::fields::Fields;
use crate::message::{Kind, Message, Outcome};

pub mod session;

mod metadata;

pub use session::{Session, Step};

/// Bytes of an id, with its quotes if it is a string.
const MAX_ID: usize = 66;

/// Bytes of the name of a method.
const MAX_METHOD: usize = 512;

/// Bytes of `traceparent`; version 00 has 55.
const MAX_TRACEPARENT: usize = 128;

/// A timeout has at most ten digits, as in Connect.
const MAX_TIMEOUT: u64 = 9_999_999_999;

/// The id of a call, as the client wrote it: a number without sign, or a string of 1 to 64 characters of printable ASCII
/// without quote and backslash, so that two ids are the same exactly if they are written the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Box<str>);

impl CallId {
    /// The id as JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    fn parse(raw: &str) -> Option<Self> {
        let is_number = raw.len() <= 16 && raw.bytes().all(|byte| byte.is_ascii_digit());
        let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let is_text = inside.is_some_and(|text| {
            !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'\\')
        });
        (raw.len() <= MAX_ID && (is_number || is_text)).then(|| Self(raw.into()))
    }
}

/// What opens a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// `package.Service/Method`, without a slash in front.
    pub method: String,
    /// Metadata as it was sent; what may cross is for [`super::metadata::to_grpc`] to say.
    pub metadata: Fields,
    /// Time that the call has, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// W3C trace context, as it was sent.
    pub traceparent: Option<String>,
}

/// How the client's direction of a call goes on after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// More may come.
    Open,
    /// No message will come: a half-close.
    End,
    /// The call is of no interest any more.
    Cancel,
}

/// A frame from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which call it is about.
    pub id: CallId,
    /// The call begins here.
    pub open: Option<Open>,
    /// A message, after the opening.
    pub message: Option<Message>,
    /// What follows the message.
    pub after: After,
    /// Messages that the client will take beyond those it has allowed before.
    pub credit: u32,
}

/// A frame as written. serde refuses a key that is there twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: Option<String>,
    metadata: Option<Metadata>,
    timeout_ms: Option<u64>,
    traceparent: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    message: Option<&'a RawValue>,
    #[serde(default)]
    end: bool,
    #[serde(default)]
    cancel: bool,
    #[serde(default)]
    credit: u32,
}

/// `null` is a message too.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads a frame from a client.
///
/// # Errors
/// [`Fault::Binary`], [`Fault::Json`] at its place in the frame, or [`Fault::Mux`], which says what is wrong. All of them
/// end the socket, as nobody knows which call was meant.
pub fn parse(frame: &Message, limits: &Limits) -> Result<Request, FramingError> {
    let text = &frame.data;
    if frame.kind == Kind::Binary {
        return Err(Fault::Binary.at(0));
    }
    if text.len() > limits.message {
        let limit = limits.message;
        return Err(Fault::TooLarge { limit }.at(0));
    }
    // The frame itself is one level around its message.
    let depth = limits.depth.saturating_add(1);
    json::check(text, depth).map_err(|(at, fault)| Fault::Json(fault).at(at as u64))?;
    request(text).map_err(|what| Fault::Mux(what).at(0))
}

fn request(text: &Bytes) -> Result<Request, &'static str> {
    if !json::is_object(text) {
        return Err("not an object");
    }
    let written: Written<'_> =
        serde_json::from_slice(text).map_err(|_| "a key is unknown, missing, there twice or of the wrong type")?;
    let id =
        CallId::parse(written.id.get()).ok_or("`id` is neither a number nor a string of 1 to 64 plain characters")?;
    let open = match written.method {
        Some(method) => Some(Open {
            method: check_method(&method)?,
            metadata: written.metadata.map(|metadata| metadata.0).unwrap_or_default(),
            timeout_ms: match written.timeout_ms {
                Some(timeout) if timeout > MAX_TIMEOUT => return Err("`timeout_ms` has more than ten digits"),
                timeout => timeout,
            },
            traceparent: match written.traceparent {
                Some(text) if text.len() > MAX_TRACEPARENT => return Err("`traceparent` is too long"),
                text => text,
            },
        }),
        None if written.metadata.is_some() || written.timeout_ms.is_some() || written.traceparent.is_some() => {
            return Err("`metadata`, `timeout_ms` and `traceparent` go with `method`");
        }
        None => None,
    };
    let after = match (written.end, written.cancel) {
        (true, true) => return Err("`end` and `cancel` exclude each other"),
        (_, true) if open.is_some() || written.message.is_some() => return Err("`cancel` stands alone"),
        (_, true) => After::Cancel,
        (true, _) => After::End,
        (false, _) => After::Open,
    };
    let message = written
        .message
        .map(|raw| Message::text(text.slice_ref(raw.get().as_bytes())));
    if open.is_none() && message.is_none() && after == After::Open && written.credit == 0 {
        return Err("nothing is said");
    }
    Ok(Request {
        id,
        open,
        message,
        after,
        credit: written.credit,
    })
}

/// `package.Service/Method`; a slash in front is taken off.
fn check_method(text: &str) -> Result<String, &'static str> {
    let method = text.strip_prefix('/').unwrap_or(text);
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    };
    match method.split_once('/') {
        Some((service, name)) if method.len() <= MAX_METHOD && is_name(service) && is_name(name) => {
            Ok(method.to_owned())
        }
        _ => Err("`method` is not `package.Service/Method`"),
    }
}

/// Writes a message of a call.
///
/// # Errors
/// [`Fault::Unwritable`] for a message that is no JSON text; then `out` is as it was.
pub fn write_message(id: &CallId, message: &Message, depth: u8, out: &mut BytesMut) -> Result<(), FramingError> {
    if message.kind == Kind::Binary || json::check(&message.data, depth).is_err() {
        return Err(Fault::Unwritable.at(0));
    }
    out.reserve(message.data.len() + id.0.len() + 20);
    begin(id, out);
    out.put_slice(b",\"message\":");
    out.put_slice(&message.data);
    out.put_u8(b'}');
    Ok(())
}

/// Writes the end of a call.
pub fn write_end(id: &CallId, outcome: &Outcome, status: &StatusJson, out: &mut BytesMut) {
    begin(id, out);
    out.put_slice(b",\"status\":");
    out.put_slice(&status.of(&outcome.status));
    if !outcome.trailers.is_empty() {
        out.put_slice(b",\"trailers\":");
        metadata::write(&outcome.trailers, out);
    }
    out.put_u8(b'}');
}

/// Writes how many more messages of a call will be taken.
pub fn write_credit(id: &CallId, credit: u32, out: &mut BytesMut) {
    begin(id, out);
    out.put_slice(b",\"credit\":");
    out.put_slice(credit.to_string().as_bytes());
    out.put_u8(b'}');
}

fn begin(id: &CallId, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":");
    out.put_slice(id.0.as_bytes());
}

#[cfg(test)]
mod tests;
