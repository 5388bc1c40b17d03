//! A WebSocket at either side: a client that carries one call over it, and a backend that is spoken to over one.

use std::cell::RefCell;
use std::rc::Rc;

use causeway_protocols::framing::metadata;
use causeway_protocols::framing::websocket::{self as wire, Form as WireForm, Side as WireSide};
use causeway_protocols::framing::{Decoder, Encoder, Limits};
use causeway_protocols::message::Message;
use causeway_protocols::transcode::{BodyRule, Schema};
use causeway_protocols::{CallHead, FailureKind, Fields, Length, Protocol, ReplyHead, name};
use http::{Method, StatusCode};

use super::content::{Called, Content, Form};
use super::flow::Socket;
use super::messages::{Messages, Side};
use super::{Answer, Incoming};
use crate::error::CallError;
use crate::payload::Body;

/// The subprotocol of plain JSON: one call a socket, one message a text, an empty text for "no more input".
pub const JSON: &str = "causeway.json.v1";
/// The subprotocol of improbable-eng's grpc-web client.
pub const GRPC: &str = "grpc-websockets";

/// A socket whose frames are read here.
pub fn socket(side: WireSide, limits: Limits) -> Socket {
    Rc::new(RefCell::new(wire::Socket::new(side, limits)))
}

/// Whether the client offers this subprotocol.
pub fn offers(fields: &Fields, protocol: &str) -> bool {
    fields.has_token(name::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// The messages of a WebSocket client, for a backend that a schema describes, or for a gRPC backend without one where
/// the client speaks protobuf itself.
///
/// # Errors
/// When nothing says which method it wants.
pub fn incoming(call: &CallHead, body: Body, schema: Option<&Schema>, limits: Limits) -> Result<Incoming, CallError> {
    let socket = socket(WireSide::Server, limits);
    let path = call.target.path();
    let method = schema.and_then(|schema| schema.method(path)).cloned();
    if offers(&call.fields, GRPC) {
        let decoder = Decoder::WebSocket(wire::Decoder::new(Rc::clone(&socket), WireForm::GrpcWebSockets));
        return Ok(Incoming {
            up: Messages::decoded(Side::Client, body, decoder),
            called: method.map_or(Called::Unknown, Called::Method),
            form: Form::Proto,
            answer: Answer::WebSocket {
                encoder: wire::Encoder::new(Rc::clone(&socket), WireForm::GrpcWebSockets),
                protocol: Some(GRPC),
                alone: None,
            },
        });
    }
    let decoder = Decoder::WebSocket(wire::Decoder::new(Rc::clone(&socket), WireForm::Json));
    let messages = Messages::decoded(Side::Client, body, decoder);
    let called = match method {
        Some(method) => Called::Method(method),
        None => match schema.and_then(|schema| schema.find(&Method::GET, path).ok()) {
            Some(found) => Called::Found(Box::new(found)),
            None => Called::Unknown,
        },
    };
    let mut answer = Answer::WebSocket {
        encoder: wire::Encoder::new(socket, WireForm::Json),
        protocol: offers(&call.fields, JSON).then_some(JSON),
        alone: None,
    };
    let mut up = messages;
    if let Called::Found(found) = &called {
        let content = Content::RequestOfRule {
            found: found.clone(),
            query: call.target.query().map(Box::from),
        };
        if found.body() == BodyRule::None {
            // All of the request is in its path and query: the client need not say anything.
            let request = Messages::one(Side::Client, Message::text("")).with(content);
            if let Answer::WebSocket { alone, .. } = &mut answer {
                *alone = Some(Box::new(std::mem::replace(&mut up, request)));
            }
        } else {
            up = up.with(content);
        }
    }
    // An empty text is for those who send many: one message is all that the others have to say.
    if called.method().is_some_and(|method| !method.shape().client_streams()) {
        up = up.only_one();
    }
    Ok(Incoming {
        up,
        called,
        form: Form::Json,
        answer,
    })
}

/// The head that lets a WebSocket client in. It accepts one of the subprotocols that were offered, and no extension: what
/// is compressed could not be read.
pub fn let_in(protocol: Option<&str>) -> ReplyHead {
    let mut head = ReplyHead::new(StatusCode::SWITCHING_PROTOCOLS, Length::Streamed);
    if let Some(protocol) = protocol {
        head.fields
            .push_known(name::SEC_WEBSOCKET_PROTOCOL, protocol.as_bytes())
            .ok();
    }
    head
}

/// The head of a handshake with a WebSocket backend, at the path of the call.
pub fn head(call: &CallHead) -> CallHead {
    let mut fields = metadata::to_http(&call.fields);
    for name in [
        name::CONTENT_TYPE,
        name::SEC_WEBSOCKET_EXTENSIONS,
        name::SEC_WEBSOCKET_PROTOCOL,
        name::ACCEPT,
    ] {
        fields.remove(name);
    }
    CallHead {
        protocol: Protocol::WebSocket,
        method: Method::GET,
        scheme: call.scheme,
        target: call.target.clone(),
        fields,
        length: Length::Streamed,
        hold: false,
    }
}

/// How messages of this form travel over a backend's socket.
pub fn wire_form(form: Form) -> WireForm {
    match form {
        Form::Json => WireForm::Json,
        Form::Proto | Form::Opaque => WireForm::Any,
    }
}

/// Writes messages for a backend.
pub fn encoder(socket: &Socket, form: Form) -> Encoder {
    Encoder::WebSocket(wire::Encoder::new(Rc::clone(socket), wire_form(form)))
}

/// The messages of a backend.
pub fn replies(socket: &Socket, form: Form, body: Body) -> Messages {
    let decoder = Decoder::WebSocket(wire::Decoder::new(Rc::clone(socket), wire_form(form)));
    Messages::decoded(Side::Backend, body, decoder)
}

/// A backend that did not let us in.
pub fn refused(head: &ReplyHead) -> CallError {
    let detail = format!("the backend answered the handshake with {}", head.status.as_u16());
    let kind = match head.status {
        StatusCode::UNAUTHORIZED => FailureKind::Unauthenticated,
        StatusCode::FORBIDDEN => FailureKind::Refused,
        StatusCode::NOT_FOUND => FailureKind::NoRoute,
        StatusCode::TOO_MANY_REQUESTS => FailureKind::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => FailureKind::Overload,
        _ => FailureKind::Protocol,
    };
    CallError::new(kind, detail)
}
