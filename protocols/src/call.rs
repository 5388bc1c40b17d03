//! The heads of a call and of its reply, free of any protocol's framing.

use http::{Method, StatusCode};

use crate::fields::Fields;
use crate::target::Target;

/// What a client or a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP requests and replies.
    Http,
    /// A WebSocket: after the head, raw frames both ways.
    WebSocket,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Http, Self::WebSocket];

    /// The word used in configuration, logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }
}

/// How the client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is known of a body before it is read. Each hop frames it anew from this; client framing is never forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// No body follows.
    Empty,
    /// So many bytes follow. In a reply to HEAD or a 304 none do, and this is what `content-length` says.
    Exactly(u64),
    /// Bytes follow until an end is signalled.
    Streamed,
}

/// The head of a call.
///
/// `fields` never holds what describes one hop: `host`, `connection`, `content-length`, `transfer-encoding`, `te`,
/// `trailer`, `upgrade`, `expect`, `keep-alive`, `grpc-timeout`, and of the WebSocket handshake only
/// `sec-websocket-protocol` and `sec-websocket-extensions` are kept.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// What the client speaks.
    pub protocol: Protocol,
    /// The method; `GET` for a WebSocket, also where it came by extended CONNECT.
    pub method: Method,
    /// How the client reached the entry site.
    pub scheme: Scheme,
    /// Authority, normalised path, query.
    pub target: Target,
    /// End-to-end header fields.
    pub fields: Fields,
    /// What is known of the body.
    pub length: Length,
    /// The client waits for `100 Continue` before it sends the body.
    pub hold: bool,
}

/// The head of a reply.
///
/// `fields` never holds what describes one hop, as in [`CallHead`]; of a WebSocket answer `sec-websocket-protocol` and
/// `sec-websocket-extensions` are kept.
#[derive(Clone, Debug)]
pub struct ReplyHead {
    /// The status; for a WebSocket that was let in 101, also where it goes out as 200 over HTTP/2.
    pub status: StatusCode,
    /// End-to-end header fields.
    pub fields: Fields,
    /// What is known of the body.
    pub length: Length,
}

impl ReplyHead {
    /// A head without fields.
    pub fn new(status: StatusCode, length: Length) -> Self {
        Self {
            status,
            fields: Fields::new(),
            length,
        }
    }
}

/// The end of one direction of an exchange. There is exactly one, and nothing after it.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// Trailers; empty where there are none.
    pub trailers: Fields,
}
