//! An HTTP client: its body as messages, and messages as the body of its reply.

use causeway_protocols::framing::{self, Compression, Decoder, Encoder, Limits, StatusJson};
use causeway_protocols::message::{Kind, Message, Outcome};
use causeway_protocols::status::Status;
use causeway_protocols::transcode::{BodyRule, Found, Missed, Schema, Shape, status_json};
use causeway_protocols::{CallHead, FailureKind, Fields, Length, ReplyHead, name};
use http::StatusCode;
use std::sync::Arc;

use super::content::{Called, Content, Form};
use super::messages::{Messages, Side};
use super::{Answer, Incoming};
use crate::error::CallError;
use crate::payload::Body;

/// How a stream of messages is written for an HTTP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON array, element by element.
    Array,
    /// NDJSON.
    Lines,
    /// Server-sent events.
    Events,
}

impl Format {
    /// What the client would rather have, by `accept`; an array where it says nothing of the three.
    pub fn of(fields: &Fields) -> Self {
        let mut best = (0u16, Self::Array);
        for value in fields.all(name::ACCEPT) {
            for part in value.split(|byte| *byte == b',') {
                let mut pieces = part.split(|byte| *byte == b';');
                let kind = pieces.next().unwrap_or_default().trim_ascii();
                let quality = pieces.find_map(quality).unwrap_or(1000);
                let format = if kind.eq_ignore_ascii_case(b"text/event-stream") {
                    Self::Events
                } else if is_lines(kind) {
                    Self::Lines
                } else if kind.eq_ignore_ascii_case(b"application/json") {
                    Self::Array
                } else {
                    continue;
                };
                if quality > best.0 {
                    best = (quality, format);
                }
            }
        }
        best.1
    }

    /// Whether the client has asked for a stream by name.
    pub fn is_stream(self) -> bool {
        self != Self::Array
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// Writes messages in this format; `status` writes what a failed stream ends with.
    pub fn encoder(self, status: StatusJson) -> Encoder {
        match self {
            Self::Array => Encoder::JsonArray(framing::json_array::Encoder::new(status)),
            Self::Lines => Encoder::Lines(framing::lines::Encoder::new(status)),
            Self::Events => Encoder::Sse(framing::sse::Encoder::new(status)),
        }
    }
}

/// `q=0.5` in thousandths (RFC 9110, section 12.4.2).
fn quality(parameter: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(parameter.trim_ascii()).ok()?;
    let value = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let value: f32 = value.parse().ok()?;
    // Clamped, so it fits.
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

fn is_lines(kind: &[u8]) -> bool {
    [
        &b"application/x-ndjson"[..],
        b"application/ndjson",
        b"application/jsonl",
        b"application/jsonlines",
        b"application/x-jsonlines",
    ]
    .iter()
    .any(|name| kind.eq_ignore_ascii_case(name))
}

/// The media type of a body, without parameters.
pub fn media_type(fields: &Fields) -> &[u8] {
    let value = fields.get(name::CONTENT_TYPE).unwrap_or_default();
    value
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

/// The JSON of a status, with details by the schema where there is one.
pub fn status_form(schema: Option<Arc<Schema>>) -> StatusJson {
    let reading = schema.clone();
    StatusJson::new(
        move |status| {
            let mut out = Vec::new();
            status_json::to_json(status, schema.as_deref(), &mut out);
            out
        },
        move |text| status_json::from_json(text, reading.as_deref()),
    )
}

/// The messages of an HTTP client for a backend with a schema.
///
/// # Errors
/// No rule for the request, a body where the rule has none, or one in a form that is not known here.
pub fn incoming(call: &CallHead, body: Body, schema: &Schema, limits: Limits) -> Result<Incoming, CallError> {
    let found = schema
        .find(&call.method, call.target.path())
        .map_err(|missed| match missed {
            Missed::NotFound => {
                let detail = format!("no method of the service has {} {}", call.method, call.target.path());
                CallError::new(FailureKind::NoRoute, detail)
            }
            Missed::Method { allow } => {
                let detail = format!("{} has no {}", call.target.path(), call.method);
                let allow: Vec<_> = allow.iter().map(http::Method::as_str).collect();
                CallError::new(FailureKind::Method, detail).field(name::ALLOW, &allow.join(", "))
            }
        })?;
    let (up, format) = (requests(call, body, &found, limits)?, Format::of(&call.fields));
    Ok(Incoming {
        up,
        answer: Answer::Http { format },
        called: Called::Found(Box::new(found)),
        form: Form::Json,
    })
}

/// The messages of an HTTP client for a backend without a schema: each line of NDJSON is one, any other body is one as a
/// whole.
///
/// # Errors
/// When it is compressed in a way that is not known here.
pub fn opaque(call: &CallHead, body: Body, limits: Limits) -> Result<Incoming, CallError> {
    let media = media_type(&call.fields);
    let text = media.starts_with(b"text/") || media.ends_with(b"json") || media.is_empty();
    let has_body = !(body.is_empty() || matches!(call.length, Length::Empty | Length::Exactly(0)));
    let (up, form) = if !has_body {
        let nothing = Outcome::new(Status::new(causeway_protocols::Code::Ok, ""));
        (Messages::ended(Side::Client, nothing), Form::Opaque)
    } else if is_lines(media) {
        uncompressed(call)?;
        let decoder = framing::lines::Decoder::new(limits, None, framing::lines::Wrapping::Bare);
        // A stream has an end, which JSON has a way to tell over a WebSocket.
        (
            Messages::decoded(Side::Client, body, Decoder::Lines(decoder)),
            Form::Json,
        )
    } else {
        let decoder = whole(call, limits, if text { Kind::Text } else { Kind::Binary })?;
        (Messages::decoded(Side::Client, body, decoder), Form::Opaque)
    };
    Ok(Incoming {
        up,
        called: Called::Unknown,
        form,
        answer: Answer::Http {
            format: Format::of(&call.fields),
        },
    })
}

fn requests(call: &CallHead, body: Body, found: &Found, limits: Limits) -> Result<Messages, CallError> {
    let query = call.target.query().map(Box::from);
    let of_rule = || Content::RequestOfRule {
        found: Box::new(found.clone()),
        query: call.target.query().map(Box::from),
    };
    let has_body = !(body.is_empty() || matches!(call.length, Length::Empty | Length::Exactly(0)));
    let rule = found.body();
    if rule == BodyRule::None {
        if has_body {
            let detail = format!("{} {} takes no body", call.method, call.target.path());
            return Err(CallError::new(FailureKind::BadRequest, detail));
        }
        return Ok(Messages::one(Side::Client, Message::text("")).with(of_rule()));
    }
    if rule == BodyRule::Raw {
        let content_type = call.fields.text(name::CONTENT_TYPE).unwrap_or_default().into();
        let content = Content::RequestOfRaw {
            found: Box::new(found.clone()),
            query,
            content_type,
        };
        let decoder = whole(call, limits, Kind::Binary)?;
        return Ok(Messages::decoded(Side::Client, body, decoder).with(content));
    }
    let kind = media_type(&call.fields);
    let streams = matches!(found.method().shape(), Shape::ClientStream | Shape::Bidi);
    let json = kind.is_empty() || kind.eq_ignore_ascii_case(b"application/json") || kind.ends_with(b"+json");
    let decoder = if streams && is_lines(kind) {
        uncompressed(call)?;
        Decoder::Lines(framing::lines::Decoder::new(
            limits,
            None,
            framing::lines::Wrapping::Bare,
        ))
    } else if streams && json {
        uncompressed(call)?;
        Decoder::JsonArray(framing::json_array::Decoder::new(limits, None))
    } else if json || !has_body {
        whole(call, limits, Kind::Text)?
    } else {
        let detail = format!(
            "content-type `{}` is not JSON",
            String::from_utf8_lossy(kind).escape_debug()
        );
        return Err(CallError::new(FailureKind::BadRequest, detail));
    };
    Ok(Messages::decoded(Side::Client, body, decoder).with(of_rule()))
}

fn whole(call: &CallHead, limits: Limits, kind: Kind) -> Result<Decoder, CallError> {
    let declared = match call.length {
        Length::Exactly(length) => Some(length),
        Length::Empty => Some(0),
        Length::Streamed => None,
    };
    let decoder = framing::whole::Decoder::new(limits, declared, kind);
    Ok(Decoder::Whole(match compression(&call.fields)? {
        Some(compression) => decoder.compressed(compression),
        None => decoder,
    }))
}

fn compression(fields: &Fields) -> Result<Option<Compression>, CallError> {
    match fields.get(name::CONTENT_ENCODING) {
        None => Ok(None),
        Some(text) => Compression::of_name(text).map(Some).ok_or_else(|| {
            let text = String::from_utf8_lossy(text);
            let detail = format!("content-encoding `{}` is not known here", text.escape_debug());
            CallError::new(FailureKind::BadRequest, detail)
        }),
    }
}

fn uncompressed(call: &CallHead) -> Result<(), CallError> {
    match compression(&call.fields)? {
        None | Some(Compression::Identity) => Ok(()),
        Some(_) => Err(CallError::new(
            FailureKind::BadRequest,
            "a stream of messages cannot be compressed as a whole",
        )),
    }
}

/// The head and body of a reply that is one message, or none.
pub fn whole_reply(mut fields: Fields, content_type: &str, body: bytes::Bytes) -> (ReplyHead, Body) {
    let mut head = ReplyHead::new(StatusCode::OK, Length::Exactly(body.len() as u64));
    // Names of types hold nothing that a field cannot.
    fields.set(name::CONTENT_TYPE, content_type.as_bytes()).ok();
    head.fields = fields;
    (head, Body::Bytes(body))
}

/// The head of a reply that is a stream.
pub fn stream_head(mut fields: Fields, content_type: Option<&str>, format: Format) -> ReplyHead {
    let mut head = ReplyHead::new(StatusCode::OK, Length::Streamed);
    let content_type = content_type.unwrap_or_else(|| format.content_type());
    fields.set(name::CONTENT_TYPE, content_type.as_bytes()).ok();
    if format == Format::Events && !fields.has(name::CACHE_CONTROL) {
        fields.push_known(name::CACHE_CONTROL, b"no-cache").ok();
    }
    head.fields = fields;
    head
}

/// A failed call, before anything of its reply has been written: `google.rpc.Status` as JSON with its HTTP status.
pub fn failed(outcome: &Outcome, status: &StatusJson) -> (ReplyHead, Body) {
    let body = bytes::Bytes::from(status.of(&outcome.status));
    let mut head = ReplyHead::new(outcome.status.code.http(), Length::Exactly(body.len() as u64));
    head.fields.push_known(name::CONTENT_TYPE, b"application/json").ok();
    head.fields.push_known(name::CACHE_CONTROL, b"no-store").ok();
    (head, Body::Bytes(body))
}

/// What the one message of a unary reply is, and how the call ended.
#[derive(Debug)]
pub enum Only {
    /// A message, and all is well.
    Message(Message),
    /// It failed.
    Failed(Outcome),
}

/// Decides about a unary reply from the steps that were taken.
pub fn only(message: Option<Message>, outcome: Outcome) -> Result<Only, CallError> {
    match (message, outcome.status.is_ok()) {
        (_, false) => Ok(Only::Failed(outcome)),
        (Some(message), true) => Ok(Only::Message(message)),
        (None, true) => Err(CallError::new(
            FailureKind::Protocol,
            "the backend ended the call without a message",
        )),
    }
}

/// Writes raw messages (`google.api.HttpBody`) one behind the other.
pub fn raw_encoder() -> Encoder {
    Encoder::Whole(framing::whole::Encoder::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_accepted_most() {
        #[rustfmt::skip]
        let table = [
            ("", Format::Array), ("*/*", Format::Array), ("application/json", Format::Array),
            ("text/event-stream", Format::Events), ("application/x-ndjson", Format::Lines),
            ("application/json;q=0.5, application/x-ndjson;q=0.8", Format::Lines),
            ("text/html, text/event-stream;q=0.1, application/json;q=0.9", Format::Array),
            ("TEXT/Event-Stream", Format::Events), ("application/jsonl; q=0", Format::Array),
        ];
        for (accept, format) in table {
            let mut fields = Fields::new();
            fields.push(b"accept", accept.as_bytes()).unwrap();
            assert_eq!(Format::of(&fields), format, "{accept}");
        }
    }
}
