//! gRPC at either side: a client whose messages are read, and a backend that is called.

use causeway_protocols::framing::grpc as wire;
use causeway_protocols::framing::metadata;
use causeway_protocols::framing::{Compression, Decoder, Encoder, Limits};
use causeway_protocols::message::{Kind, Outcome};
use causeway_protocols::status::{Status, of_http_strict};
use causeway_protocols::{CallHead, Code, FailureKind, Fields, Length, Protocol, ReplyHead, Target, name};
use http::{Method, StatusCode};

use super::content::{Called, Form};
use super::fault::Fault;
use super::messages::{Ending, Messages, Side};
use super::{Answer, Incoming};
use crate::error::CallError;
use crate::payload::Body;
use causeway_protocols::transcode::Schema;

/// How a call ended, as its trailers say; without a status the backend has broken off.
pub fn outcome(trailers: Fields) -> Outcome {
    Outcome::of_trailers(trailers).unwrap_or_else(|| {
        Outcome::new(Status::new(
            Code::Unknown,
            "the backend ended the call without a status",
        ))
    })
}

/// What the messages of a gRPC content type hold.
pub fn form(content_type: Option<&[u8]>) -> Form {
    let subtype = content_type
        .and_then(|text| text.split(|byte| matches!(byte, b';' | b' ')).next())
        .and_then(|text| text.rsplit(|byte| *byte == b'+').next());
    match subtype {
        Some(b"json") => Form::Json,
        _ => Form::Proto,
    }
}

/// What kind of WebSocket message, and of decoder output, a form is.
pub fn kind(form: Form) -> Kind {
    match form {
        Form::Json => Kind::Text,
        Form::Proto | Form::Opaque => Kind::Binary,
    }
}

/// The messages of a gRPC client.
///
/// # Errors
/// When it compresses in a way that is not known here.
pub fn incoming(call: &CallHead, body: Body, schema: Option<&Schema>, limits: Limits) -> Result<Incoming, CallError> {
    let form = form(call.fields.get(name::CONTENT_TYPE));
    let compression = compression(&call.fields).map_err(|text| {
        let detail = format!("grpc-encoding `{text}` is not known here");
        CallError::new(FailureKind::BadRequest, detail)
    })?;
    let decoder = Decoder::Grpc(wire::Decoder::new(limits, compression, kind(form)));
    let called = match schema.and_then(|schema| schema.method(call.target.path())) {
        Some(method) => Called::Method(method.clone()),
        None => Called::Unknown,
    };
    Ok(Incoming {
        up: Messages::decoded(Side::Client, body, decoder),
        called,
        form,
        answer: Answer::Grpc { form },
    })
}

fn compression(fields: &Fields) -> Result<Option<Compression>, String> {
    match fields.get_named("grpc-encoding") {
        None => Ok(None),
        Some(text) => Compression::of_name(text)
            .map(Some)
            .ok_or_else(|| String::from_utf8_lossy(text).escape_debug().to_string()),
    }
}

/// The head of a call to a gRPC backend.
///
/// # Errors
/// When the path cannot be one.
pub fn head(call: &CallHead, path: &str) -> Result<CallHead, CallError> {
    let target = Target::parse(call.target.authority.clone(), path.as_bytes())
        .map_err(|error| CallError::new(FailureKind::BadRequest, error.to_string()))?;
    let mut fields = metadata::to_grpc(&call.fields);
    fields.set(name::CONTENT_TYPE, b"application/grpc").ok();
    Ok(CallHead {
        protocol: Protocol::Grpc,
        method: Method::POST,
        scheme: call.scheme,
        target,
        fields,
        length: Length::Streamed,
        hold: false,
    })
}

/// Writes messages for a gRPC peer.
pub fn encoder() -> Encoder {
    Encoder::Grpc(wire::Encoder::new(None))
}

/// The messages of a gRPC backend's reply.
///
/// # Errors
/// When it compresses in a way that nobody asked for.
pub fn replies(head: &ReplyHead, body: Body, limits: Limits) -> Result<Messages, Fault> {
    let is_grpc = head
        .fields
        .get(name::CONTENT_TYPE)
        .is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let stated = head.fields.has(name::GRPC_STATUS);
    if (head.status != StatusCode::OK || !is_grpc) && !stated {
        let message = format!("the backend answered with HTTP status {}", head.status.as_u16());
        let outcome = Outcome::new(Status::new(of_http_strict(head.status), message));
        let ending = Ending::As(Box::new(outcome));
        // Whatever it says is no message.
        let decoder = Decoder::Grpc(wire::Decoder::new(limits, None, Kind::Binary));
        return Ok(Messages::decoded(Side::Backend, Body::Empty, decoder).ending(ending));
    }
    let compression = compression(&head.fields).map_err(|text| {
        Fault::new(
            FailureKind::Protocol,
            format!("grpc-encoding `{text}` is not known here"),
        )
    })?;
    let decoder = Decoder::Grpc(wire::Decoder::new(limits, compression, Kind::Binary));
    let early = stated.then(|| Box::new(outcome(head.fields.clone())));
    Ok(Messages::decoded(Side::Backend, body, decoder).ending(Ending::Grpc { head: early }))
}

/// The head of a reply to a gRPC client, with what crosses of the backend's own.
pub fn reply_head(form: Form, metadata: &Fields) -> ReplyHead {
    let mut head = ReplyHead::new(StatusCode::OK, Length::Streamed);
    head.fields = metadata.clone();
    let kind: &[u8] = match form {
        Form::Json => b"application/grpc+json",
        Form::Proto | Form::Opaque => b"application/grpc",
    };
    head.fields.set(name::CONTENT_TYPE, kind).ok();
    head
}
