//! What HTTP is to whom: gRPC-Web and Connect clients are HTTP to everybody but the gateway that has their gRPC service, and
//! to whoever has to refuse them.

use causeway_protocols::framing::connect::{self, parse_get, parse_timeout, trailers_to_fields};
use causeway_protocols::framing::grpc_web::{self, Mode};
use causeway_protocols::framing::{Compression, Decoder, Encoder, Limits, whole};
use causeway_protocols::message::{Message, Outcome};
use causeway_protocols::status::Status;
use causeway_protocols::transcode::Schema;
use causeway_protocols::{CallHead, FailureKind, Fields, Length, Protocol, ReplyHead, name};
use http::{Method, StatusCode};
use std::time::Duration;

use super::answer::Answer;
use super::content::{Called, Form};
use super::messages::{Messages, Side};
use super::{Incoming, grpc, http as plain};
use crate::call::Reply;
use crate::error::CallError;
use crate::payload::Body;
use crate::refuse;

/// What a client speaks, where HTTP is several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// gRPC over HTTP/2.
    Grpc,
    /// Plain HTTP.
    Http,
    /// A WebSocket.
    WebSocket,
    /// gRPC-Web.
    GrpcWeb {
        /// In base64.
        text: bool,
        /// JSON rather than protobuf.
        json: bool,
    },
    /// A unary call of Connect.
    ConnectUnary {
        /// JSON rather than protobuf.
        json: bool,
    },
    /// A stream of Connect.
    ConnectStream {
        /// JSON rather than protobuf.
        json: bool,
    },
}

impl Dialect {
    /// What the head of a call says.
    pub fn of(call: &CallHead) -> Self {
        match call.protocol {
            Protocol::Grpc => return Self::Grpc,
            Protocol::WebSocket => return Self::WebSocket,
            Protocol::Http => {}
        }
        if call.method == Method::GET {
            let query = call.target.query().unwrap_or_default();
            return match query.split('&').any(|pair| pair == "connect=v1") {
                true => Self::ConnectUnary {
                    json: query.split('&').any(|pair| pair == "encoding=json"),
                },
                false => Self::Http,
            };
        }
        if call.method != Method::POST {
            return Self::Http;
        }
        let media = plain::media_type(&call.fields);
        match media {
            b"application/grpc-web" | b"application/grpc-web+proto" => Self::GrpcWeb {
                text: false,
                json: false,
            },
            b"application/grpc-web+json" => Self::GrpcWeb {
                text: false,
                json: true,
            },
            b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Self::GrpcWeb {
                text: true,
                json: false,
            },
            b"application/connect+proto" => Self::ConnectStream { json: false },
            b"application/connect+json" => Self::ConnectStream { json: true },
            b"application/proto" => Self::ConnectUnary { json: false },
            b"application/json" if call.fields.get_named("connect-protocol-version").is_some() => {
                Self::ConnectUnary { json: true }
            }
            _ => Self::Http,
        }
    }

    fn form(self) -> Form {
        match self {
            Self::GrpcWeb { json: true, .. }
            | Self::ConnectUnary { json: true }
            | Self::ConnectStream { json: true } => Form::Json,
            _ => Form::Proto,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::GrpcWeb { text: true, .. } => "application/grpc-web-text+proto",
            Self::GrpcWeb { json: true, .. } => "application/grpc-web+json",
            Self::GrpcWeb { .. } => "application/grpc-web+proto",
            Self::ConnectUnary { json: true } => "application/json",
            Self::ConnectUnary { json: false } => "application/proto",
            Self::ConnectStream { json: true } => "application/connect+json",
            Self::ConnectStream { json: false } => "application/connect+proto",
            Self::Grpc | Self::Http | Self::WebSocket => "application/octet-stream",
        }
    }

    /// The deadline that the client states in a way of its own.
    pub fn timeout(self, fields: &Fields) -> Option<Duration> {
        match self {
            Self::ConnectUnary { .. } | Self::ConnectStream { .. } => {
                fields.get_named("connect-timeout-ms").and_then(parse_timeout)
            }
            _ => None,
        }
    }
}

/// The messages of a gRPC-Web or Connect client.
///
/// # Errors
/// A compression that is not known here, or a query that is no call.
pub fn incoming(
    dialect: Dialect,
    call: &CallHead,
    body: Body,
    schema: Option<&Schema>,
    limits: Limits,
) -> Result<Incoming, CallError> {
    let form = dialect.form();
    let kind = grpc::kind(form);
    let up = match dialect {
        Dialect::GrpcWeb { text, .. } => {
            let mode = if text { Mode::Text } else { Mode::Binary };
            let compression = compression(&call.fields, "grpc-encoding")?;
            let decoder = grpc_web::Decoder::of_request(limits, mode, compression, kind);
            Messages::decoded(Side::Client, body, Decoder::GrpcWeb(decoder))
        }
        Dialect::ConnectStream { .. } => {
            let compression = compression(&call.fields, "connect-content-encoding")?;
            let decoder = connect::Decoder::of_request(limits, compression, kind);
            Messages::decoded(Side::Client, body, Decoder::Connect(decoder))
        }
        _ if call.method == Method::GET => {
            let bad = |error: String| CallError::new(FailureKind::BadRequest, error);
            let get = parse_get(call.target.query().unwrap_or_default()).map_err(|error| bad(error.to_string()))?;
            let data = get
                .compression
                .decompress(&get.message.data, limits.message)
                .map_err(|fault| bad(format!("query parameter `message`: {fault}")))?;
            Messages::one(Side::Client, Message { data, ..get.message })
        }
        _ => {
            let declared = match call.length {
                Length::Exactly(length) => Some(length),
                Length::Empty => Some(0),
                Length::Streamed => None,
            };
            let decoder = whole::Decoder::new(limits, declared, kind);
            let decoder = match compression(&call.fields, "content-encoding")? {
                Some(compression) => decoder.compressed(compression),
                None => decoder,
            };
            Messages::decoded(Side::Client, body, Decoder::Whole(decoder))
        }
    };
    let method = schema.and_then(|schema| schema.method(call.target.path()));
    Ok(Incoming {
        up,
        called: method.map_or(Called::Unknown, |method| Called::Method(method.clone())),
        form,
        answer: Answer::Web(dialect),
    })
}

fn compression(fields: &Fields, name: &str) -> Result<Option<Compression>, CallError> {
    let Some(text) = fields.get_named(name) else {
        return Ok(None);
    };
    Compression::of_name(text).map(Some).ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        CallError::new(
            FailureKind::BadRequest,
            format!("{name} `{}` is not known here", text.escape_debug()),
        )
    })
}

/// The head of a reply that is a stream, and what writes it.
pub fn stream(dialect: Dialect, mut metadata: Fields) -> (ReplyHead, Encoder) {
    metadata.set(name::CONTENT_TYPE, dialect.content_type().as_bytes()).ok();
    let mut head = ReplyHead::new(StatusCode::OK, Length::Streamed);
    head.fields = metadata;
    let encoder = match dialect {
        Dialect::GrpcWeb { text: true, .. } => Encoder::GrpcWeb(grpc_web::Encoder::new(Mode::Text, None)),
        Dialect::GrpcWeb { .. } => Encoder::GrpcWeb(grpc_web::Encoder::new(Mode::Binary, None)),
        _ => Encoder::Connect(connect::Encoder::new(None)),
    };
    (head, encoder)
}

/// The reply of a unary call of Connect. A message without an end that is well is none.
pub fn unary(dialect: Dialect, metadata: Fields, message: Option<Message>, outcome: &Outcome) -> (ReplyHead, Body) {
    let (status, content_type, data) = match message {
        Some(message) if outcome.status.is_ok() => (StatusCode::OK, dialect.content_type(), message.data),
        _ => {
            let status = match outcome.status.is_ok() {
                true => &Status::new(causeway_protocols::Code::Internal, "the backend sent no message"),
                false => &outcome.status,
            };
            let json = connect::error_to_json(status).into();
            (status.code.http(), "application/json", json)
        }
    };
    let mut head = ReplyHead::new(status, Length::Exactly(data.len() as u64));
    head.fields = metadata;
    head.fields.set(name::CONTENT_TYPE, content_type.as_bytes()).ok();
    trailers_to_fields(&outcome.trailers, &mut head.fields);
    (head, Body::Bytes(data))
}

/// A refusal in the client's own dialect, where that is not what its protocol says already.
pub fn refuse(dialect: Dialect, error: &CallError) -> Option<Reply> {
    let message = refuse::told(error.kind, &error.detail);
    let outcome = Outcome::new(Status::new(error.kind.code(), message));
    let (mut head, body) = match dialect {
        Dialect::Grpc | Dialect::Http | Dialect::WebSocket => return None,
        Dialect::ConnectUnary { .. } => unary(dialect, Fields::new(), None, &outcome),
        Dialect::GrpcWeb { .. } | Dialect::ConnectStream { .. } => {
            let (mut head, mut encoder) = stream(dialect, Fields::new());
            let mut out = bytes::BytesMut::new();
            encoder.end(&outcome, &mut out);
            head.length = Length::Exactly(out.len() as u64);
            (head, Body::Bytes(out.freeze()))
        }
    };
    refuse::add_fields(&mut head.fields, error);
    Some(Reply::whole(head, body))
}

#[cfg(test)]
mod tests {
    use causeway_protocols::{Authority, Scheme, Target};

    use super::*;

    fn dialect(method: Method, target: &str, fields: &[(&str, &str)]) -> Dialect {
        let mut head = CallHead {
            protocol: Protocol::Http,
            method,
            scheme: Scheme::Http,
            target: Target::parse(Authority::parse(b"a.example").unwrap(), target.as_bytes()).unwrap(),
            fields: Fields::new(),
            length: Length::Streamed,
            hold: false,
        };
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        Dialect::of(&head)
    }

    #[test]
    fn a_dialect_is_known_by_its_content_type_version_or_query() {
        let post = |kind| dialect(Method::POST, "/a.B/C", &[("content-type", kind)]);
        assert_eq!(post("application/json"), Dialect::Http);
        assert_eq!(post("text/plain"), Dialect::Http);
        let web = |text, json| Dialect::GrpcWeb { text, json };
        assert_eq!(post("application/grpc-web"), web(false, false));
        assert_eq!(post("application/grpc-web+json; charset=utf-8"), web(false, true));
        assert_eq!(post("application/grpc-web-text"), web(true, false));
        assert_eq!(post("application/connect+json"), Dialect::ConnectStream { json: true });
        assert_eq!(post("application/proto"), Dialect::ConnectUnary { json: false });
        let versioned = [("content-type", "application/json"), ("connect-protocol-version", "1")];
        let unary = Dialect::ConnectUnary { json: true };
        assert_eq!(dialect(Method::POST, "/a.B/C", &versioned), unary);
        assert_eq!(dialect(Method::PUT, "/a.B/C", &versioned), Dialect::Http);
        let target = "/a.B/C?connect=v1&encoding=json&message=%7B%7D";
        assert_eq!(dialect(Method::GET, target, &[]), unary);
        assert_eq!(dialect(Method::GET, "/a.B/C?connect=v2", &[]), Dialect::Http);
    }
}
