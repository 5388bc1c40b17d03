//! An HTTP backend that a client of another protocol uses, by the rules of `google.api.http` read backwards.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};

use causeway_protocols::framing::metadata;
use causeway_protocols::framing::{self, Compression, Decoder, Encoder, Limits};
use causeway_protocols::message::{Kind, Message, Outcome};
use causeway_protocols::status::of_http_rest;
use causeway_protocols::transcode::{Method, Schema, Shape};
use causeway_protocols::{CallHead, FailureKind, Length, Protocol, ReplyHead, Target, name};

use super::content::{Content, Form};
use super::fault::Fault;
use super::flow::UpFlow;
use super::link::Link;
use super::messages::{Messages, Next, Side};
use super::{Flow, http};
use crate::error::CallError;
use crate::payload::{Body, Chunk};

/// Of a reply that says what went wrong, so much is read.
const ERROR_LIMIT: usize = 64 * 1024;

/// The call to the backend. Its path, and all of a unary call, are in the first message, which is waited for.
///
/// # Errors
/// When the client sends no message, or one that the rule cannot be filled from.
pub async fn call(
    call: &CallHead,
    mut up: Messages,
    form: Form,
    method: &Arc<Method>,
    link: &Rc<Link>,
) -> Result<(CallHead, Body), CallError> {
    let first = std::future::poll_fn(|cx| up.poll_next(cx)).await?;
    let Next::Message(first) = first else {
        return Err(CallError::new(FailureKind::BadRequest, "the call has no message"));
    };
    let proto = match form {
        Form::Json => {
            let mut out = Vec::new();
            method
                .request_from_json(&first.data, &mut out)
                .map_err(|error| Fault::of_request(&error))?;
            Bytes::from(out)
        }
        Form::Proto | Form::Opaque => first.data.clone(),
    };
    let asked = method.to_http(&proto).map_err(|error| Fault::of_request(&error))?;
    let target = Target::parse(call.target.authority.clone(), asked.path_and_query.as_bytes())
        .map_err(|error| CallError::new(FailureKind::BadRequest, error.to_string()))?;
    let mut fields = metadata::to_http(&call.fields);
    let streams = matches!(method.shape(), Shape::ClientStream | Shape::Bidi);
    let accept: &[u8] = match method.shape() {
        Shape::Unary | Shape::ClientStream => b"application/json",
        Shape::ServerStream | Shape::Bidi => b"application/x-ndjson, text/event-stream, application/json;q=0.5",
    };
    fields.set(name::ACCEPT, accept).ok();
    let (body, length) = if streams {
        fields.set(name::CONTENT_TYPE, b"application/x-ndjson").ok();
        let json = match form {
            Form::Json => first,
            Form::Proto | Form::Opaque => {
                let mut out = Vec::new();
                method
                    .request_to_json(&proto, &mut out)
                    .map_err(|error| Fault::of_request(&error))?;
                up = up.with(Content::RequestToJson(Arc::clone(method)));
                Message::text(out)
            }
        };
        up.put_back(Next::Message(json));
        let encoder = Encoder::Lines(framing::lines::Encoder::new(http::status_form(None)));
        let flow = UpFlow::new(Rc::new(RefCell::new(up)), encoder, Rc::clone(link));
        (Flow::up(flow), Length::Streamed)
    } else {
        match asked.body {
            None => (Body::Empty, Length::Empty),
            Some(body) => {
                fields.set(name::CONTENT_TYPE, body.content_type.as_bytes()).ok();
                let length = Length::Exactly(body.data.len() as u64);
                (Body::Bytes(body.data.into()), length)
            }
        }
    };
    let head = CallHead {
        protocol: Protocol::Http,
        method: asked.method,
        scheme: call.scheme,
        target,
        fields,
        length,
        hold: false,
    };
    Ok((head, body))
}

/// The messages of the backend's reply, in the client's form.
///
/// # Errors
/// When the reply is in a form that is not known here.
pub async fn replies(
    head: &ReplyHead,
    body: Body,
    method: &Arc<Method>,
    form: Form,
    (schema, limits): (Option<&Schema>, Limits),
) -> Result<Messages, CallError> {
    if !head.status.is_success() {
        let outcome = failure(head, body, schema).await;
        return Ok(Messages::ended(Side::Backend, outcome));
    }
    let content_type = head.fields.text(name::CONTENT_TYPE).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let streams = matches!(method.shape(), Shape::ServerStream | Shape::Bidi);
    let records = || Some(http::status_form(None));
    let decoder = match media {
        "text/event-stream" if streams => Decoder::Sse(framing::sse::Decoder::new(limits, records())),
        "application/json" if streams => Decoder::JsonArray(framing::json_array::Decoder::new(limits, records())),
        _ if streams => Decoder::Lines(framing::lines::Decoder::new(
            limits,
            records(),
            framing::lines::Wrapping::Result,
        )),
        _ => Decoder::Whole(whole(head, limits)?),
    };
    let content = match (streams, form) {
        (true, Form::Json) => Content::AsIs,
        (true, Form::Proto | Form::Opaque) => Content::ReplyFromJson(Arc::clone(method)),
        (false, form) => Content::ReplyFromHttp {
            method: Arc::clone(method),
            content_type: content_type.into(),
            json: form == Form::Json,
        },
    };
    Ok(Messages::decoded(Side::Backend, body, decoder).with(content))
}

/// A whole body, decompressed.
///
/// # Errors
/// When it is compressed in a way that is not known here.
pub fn whole(head: &ReplyHead, limits: Limits) -> Result<framing::whole::Decoder, CallError> {
    let declared = match head.length {
        Length::Exactly(length) => Some(length),
        Length::Empty => Some(0),
        Length::Streamed => None,
    };
    let decoder = framing::whole::Decoder::new(limits, declared, Kind::Binary);
    match head.fields.get(name::CONTENT_ENCODING) {
        None => Ok(decoder),
        Some(text) => {
            let compression = Compression::of_name(text).ok_or_else(|| {
                CallError::new(FailureKind::Protocol, "the reply's content-encoding is not known here")
            })?;
            Ok(decoder.compressed(compression))
        }
    }
}

/// What a failed reply is as a status: what its body says, if it is a `google.rpc.Status`, else what its own status is
/// nearest to.
async fn failure(head: &ReplyHead, mut body: Body, schema: Option<&Schema>) -> Outcome {
    let mut text = BytesMut::new();
    // What cannot be read is left out: the status of the reply is known.
    let _ = std::future::poll_fn(|cx| {
        loop {
            match ready!(body.poll_chunk(cx)) {
                Ok(Chunk::Data(data)) if text.len() + data.len() <= ERROR_LIMIT => text.extend_from_slice(&data),
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
    if let Some(status) = causeway_protocols::transcode::status_json::from_json(&text, schema)
        && !status.is_ok()
    {
        return Outcome::new(status);
    }
    let retry_after = head.fields.text(name::RETRY_AFTER);
    Outcome::new(of_http_rest(head.status, retry_after))
}
