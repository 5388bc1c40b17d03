//! One application message, with its framing removed, and the grammar of a stream of them.

use bytes::Bytes;

use crate::fields::Fields;
use crate::status::Status;

/// What a WebSocket calls text and binary; every other carrier follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text, as JSON is.
    Text,
    /// Bytes, as protobuf is.
    Binary,
}

/// One application message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Text or binary.
    pub kind: Kind,
    /// The content, uncompressed. Often a slice of the chunk that it came in.
    pub data: Bytes,
}

impl Message {
    /// A text message. That it is UTF-8 is for the decoder, or whoever reads it, to see to.
    pub fn text(data: impl Into<Bytes>) -> Self {
        Self {
            kind: Kind::Text,
            data: data.into(),
        }
    }

    /// A binary message.
    pub fn binary(data: impl Into<Bytes>) -> Self {
        Self {
            kind: Kind::Binary,
            data: data.into(),
        }
    }
}

/// What a stream of messages is made of: any number of messages, then at most one end, then nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Message),
    /// The framing itself said how the stream ended.
    End(Outcome),
}

/// How a stream of messages ended: only where the framing itself says so (gRPC-Web, Connect, a WebSocket's close, an
/// error record of SSE, NDJSON or a JSON array). Otherwise the trailers of the carrier say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: Status,
    /// Trailers; without `grpc-status`, `grpc-message` and `grpc-status-details-bin`, which are in the status.
    pub trailers: Fields,
}

impl Outcome {
    /// This status, without trailers.
    pub fn new(status: Status) -> Self {
        Self {
            status,
            trailers: Fields::new(),
        }
    }
}
