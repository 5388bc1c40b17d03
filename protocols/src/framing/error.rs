//! Why a stream of messages could not be cut, and what each side is told of it.

use http::StatusCode;

use super::json::JsonFault;
use crate::status::{Code, Status};
use crate::websocket::WsViolation;

/// What was wrong, and at which byte of the stream. The decoder that reports it is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct FramingError {
    /// What was wrong.
    pub fault: Fault,
    /// Bytes of the stream before the place. For gRPC-Web text they are counted after base64 is taken off, unless the
    /// base64 itself is wrong. An encoder reports 0.
    pub offset: u64,
}

/// What was wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A message, or what an announced length says of it, is over the limit.
    #[error("message is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A compressed message would be over the limit.
    #[error("message is larger than {limit} bytes when decompressed")]
    Inflated {
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes ended inside a message, or before the end that the format demands.
    #[error("stream ends too early")]
    Truncated,
    /// There is more after the end.
    #[error("data after the end of the stream")]
    AfterEnd,
    /// More or fewer bytes than `content-length` had announced.
    #[error("body is not as long as announced")]
    Length,
    /// Flags of an envelope that have no meaning.
    #[error("unknown flags {0:#04x} in a message prefix")]
    Flags(u8),
    /// A compressed message although no compression was agreed on.
    #[error("compressed message without a compression in the head")]
    CompressedFlag,
    /// Compressed data that cannot be read.
    #[error("malformed {0} data")]
    Compressed(&'static str),
    /// Not base64.
    #[error("malformed base64")]
    Base64,
    /// Trailers of gRPC-Web that are no header block, or no `grpc-status` in them.
    #[error("malformed trailers frame")]
    Trailers,
    /// The last envelope of a Connect stream is not as Connect says.
    #[error("malformed end of stream message")]
    EndStream,
    /// Not JSON (RFC 8259).
    #[error("malformed JSON: {0}")]
    Json(JsonFault),
    /// Not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A binary message where text is needed.
    #[error("binary message where text is needed")]
    Binary,
    /// A text message where binary is needed.
    #[error("text message where binary is needed")]
    Text,
    /// A message that the target format cannot carry, as a line break in a line.
    #[error("message cannot be written in this format")]
    Unwritable,
    /// A frame of `grpc-websockets` that does not begin with 0 or 1, or a head that is no header block.
    #[error("malformed frame of grpc-websockets")]
    GrpcWebSockets,
    /// A frame of `causeway.mux.v1` that does not say what it should.
    #[error("malformed frame of causeway.mux.v1: {0}")]
    Mux(&'static str),
    /// A rule of WebSocket was broken.
    #[error("{0}")]
    WebSocket(WsViolation),
    /// A close frame with a code that must not be on the wire (RFC 6455, section 7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// A WebSocket was written to after its close frame.
    #[error("WebSocket is closed")]
    Closed,
    /// More waits to be written than the limit allows.
    #[error("too many bytes wait to be written")]
    WriteBuffer,
}

impl Fault {
    /// What the sender of the stream is told when it is a client.
    pub fn code(self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::Inflated { .. } | Self::WriteBuffer => Code::ResourceExhausted,
            Self::WebSocket(violation) if violation.close_code() == 1009 => Code::ResourceExhausted,
            Self::Closed => Code::Cancelled,
            Self::Unwritable => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }

    /// The same where the stream came from a backend: it is not the client's argument that is wrong.
    pub fn code_of_backend(self) -> Code {
        match self.code() {
            Code::InvalidArgument => Code::Internal,
            code => code,
        }
    }

    /// What an HTTP client is told.
    pub fn http(self) -> StatusCode {
        match self.code() {
            Code::ResourceExhausted => StatusCode::PAYLOAD_TOO_LARGE,
            code => code.http(),
        }
    }

    /// The close code for a WebSocket peer that sent it (RFC 6455, section 7.4.1).
    pub fn close(self) -> u16 {
        match self {
            Self::TooLarge { .. } | Self::Inflated { .. } => 1009,
            Self::WriteBuffer => 1013,
            Self::Binary | Self::Text => 1003,
            Self::Utf8
            | Self::Json(_)
            | Self::Base64
            | Self::Compressed(_)
            | Self::CompressedFlag
            | Self::Flags(_)
            | Self::GrpcWebSockets
            | Self::Mux(_)
            | Self::Trailers
            | Self::EndStream
            | Self::Truncated
            | Self::AfterEnd
            | Self::Length => 1007,
            Self::WebSocket(violation) => violation.close_code(),
            Self::CloseCode(_) => 1002,
            Self::Closed => 1000,
            Self::Unwritable => 1011,
        }
    }

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Inflated { .. } => "inflated",
            Self::Truncated => "truncated",
            Self::AfterEnd => "after_end",
            Self::Length => "length",
            Self::Flags(_) => "flags",
            Self::CompressedFlag => "compressed_flag",
            Self::Compressed(_) => "compressed",
            Self::Base64 => "base64",
            Self::Trailers => "trailers",
            Self::EndStream => "end_stream",
            Self::Json(_) => "json",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::Text => "text",
            Self::Unwritable => "unwritable",
            Self::GrpcWebSockets => "grpc_websockets",
            Self::Mux(_) => "mux",
            Self::WebSocket(violation) => violation.label(),
            Self::CloseCode(_) => "close_code",
            Self::Closed => "closed",
            Self::WriteBuffer => "write_buffer",
        }
    }

    /// This fault at a place.
    pub(crate) fn at(self, offset: u64) -> FramingError {
        FramingError { fault: self, offset }
    }
}

impl FramingError {
    /// The status for a client that sent the stream; the message names the fault and the place.
    pub fn status(&self) -> Status {
        Status::new(self.fault.code(), self.to_string())
    }

    /// The status for a client when a backend sent the stream.
    pub fn status_of_backend(&self) -> Status {
        Status::new(self.fault.code_of_backend(), self.to_string())
    }
}
