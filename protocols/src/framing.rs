//! How messages are cut out of bytes and put into them, in every format that a client or a backend may use.
//!
//! - Pure: a [`Decoder`] is given chunks and asked for events. Where the stream was cut into chunks changes nothing.
//! - Bounded: what a decoder holds is one chunk and one message, and a message that announces its length is refused
//!   before any of it is read if it is over [`Limits::message`].
//! - Truthful: an [`Encoder`] ends a stream with the record that its format has for that, and a decoder tells an end
//!   from a cut.
//!
//! Enums rather than a trait, so that a call holds its framing without a box and the list can be read in one place.

use bytes::{Bytes, BytesMut};

use crate::message::{Event, Message, Outcome};

pub mod compression;
pub mod connect;
pub mod grpc;
pub mod grpc_web;
pub mod json;
pub mod json_array;
pub mod lines;
pub mod metadata;
pub mod mux;
pub mod sse;
pub mod websocket;
pub mod whole;

mod base64;
mod envelope;
mod error;
mod input;
mod status_json;
#[cfg(test)]
mod testing;

pub use compression::Compression;
pub use error::{Fault, FramingError};
pub use json::JsonFault;
pub use status_json::StatusJson;
pub use websocket::Socket;

/// What a stream of messages may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a message, also when it is decompressed.
    pub message: usize,
    /// Nesting of JSON, at most [`json::MAX_DEPTH`].
    pub depth: u8,
    /// Frames of a WebSocket message.
    pub fragments: u32,
    /// Bytes that may wait to be written to a WebSocket before more is refused.
    pub write: usize,
}

impl Default for Limits {
    /// 4 MiB, which is what gRPC takes by default; 128 levels; 1,024 frames; 256 KiB waiting.
    fn default() -> Self {
        Self {
            message: 4 << 20,
            depth: json::MAX_DEPTH,
            fragments: 1024,
            write: 256 << 10,
        }
    }
}

/// Takes messages out of a stream of bytes.
#[derive(Debug)]
pub enum Decoder {
    /// gRPC over HTTP/2.
    Grpc(grpc::Decoder),
    /// gRPC-Web.
    GrpcWeb(grpc_web::Decoder),
    /// A stream of Connect; its unary calls are [`Whole`](Self::Whole).
    Connect(connect::Decoder),
    /// A JSON array.
    JsonArray(json_array::Decoder),
    /// Lines of JSON.
    Lines(lines::Decoder),
    /// Server-sent events.
    Sse(sse::Decoder),
    /// One message.
    Whole(whole::Decoder),
    /// A WebSocket.
    WebSocket(websocket::Decoder),
}

impl Decoder {
    /// Takes the next chunk. Called when [`next`](Self::next) has said that it needs more, so that no more than one
    /// chunk is held.
    pub fn push(&mut self, data: Bytes) {
        match self {
            Self::Grpc(decoder) => decoder.push(data),
            Self::GrpcWeb(decoder) => decoder.push(data),
            Self::Connect(decoder) => decoder.push(data),
            Self::JsonArray(decoder) => decoder.push(data),
            Self::Lines(decoder) => decoder.push(data),
            Self::Sse(decoder) => decoder.push(data),
            Self::Whole(decoder) => decoder.push(data),
            Self::WebSocket(decoder) => decoder.push(data),
        }
    }

    /// No chunk follows.
    pub fn finish(&mut self) {
        match self {
            Self::Grpc(decoder) => decoder.finish(),
            Self::GrpcWeb(decoder) => decoder.finish(),
            Self::Connect(decoder) => decoder.finish(),
            Self::JsonArray(decoder) => decoder.finish(),
            Self::Lines(decoder) => decoder.finish(),
            Self::Sse(decoder) => decoder.finish(),
            Self::Whole(decoder) => decoder.finish(),
            Self::WebSocket(decoder) => decoder.finish(),
        }
    }

    /// The next event. None: more bytes are needed, or, after [`finish`](Self::finish), there is no more.
    ///
    /// # Errors
    /// At the first fault, with its place; a message that is cut off by the end of the bytes is one. The decoder is of
    /// no use after that.
    #[expect(clippy::should_implement_trait, reason = "None is not the end, and errors are")]
    pub fn next(&mut self) -> Result<Option<Event>, FramingError> {
        match self {
            Self::Grpc(decoder) => decoder.next(),
            Self::GrpcWeb(decoder) => decoder.next(),
            Self::Connect(decoder) => decoder.next(),
            Self::JsonArray(decoder) => decoder.next(),
            Self::Lines(decoder) => decoder.next(),
            Self::Sse(decoder) => decoder.next(),
            Self::Whole(decoder) => decoder.next(),
            Self::WebSocket(decoder) => decoder.next(),
        }
    }
}

/// Puts messages into a stream of bytes.
#[derive(Debug)]
pub enum Encoder {
    /// gRPC over HTTP/2.
    Grpc(grpc::Encoder),
    /// gRPC-Web.
    GrpcWeb(grpc_web::Encoder),
    /// A stream of Connect; its unary calls are [`Whole`](Self::Whole).
    Connect(connect::Encoder),
    /// A JSON array.
    JsonArray(json_array::Encoder),
    /// Lines of JSON.
    Lines(lines::Encoder),
    /// Server-sent events.
    Sse(sse::Encoder),
    /// One message.
    Whole(whole::Encoder),
    /// A WebSocket.
    WebSocket(websocket::Encoder),
}

impl Encoder {
    /// Appends a message to `out`.
    ///
    /// # Errors
    /// When the format cannot carry it, or a WebSocket is closed or too far behind; then `out` is as it was.
    pub fn message(&mut self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        match self {
            Self::Grpc(encoder) => encoder.message(message, out),
            Self::GrpcWeb(encoder) => encoder.message(message, out),
            Self::Connect(encoder) => encoder.message(message, out),
            Self::JsonArray(encoder) => encoder.message(message, out),
            Self::Lines(encoder) => encoder.message(message, out),
            Self::Sse(encoder) => encoder.message(message, out),
            Self::Whole(encoder) => encoder.message(message, out),
            Self::WebSocket(encoder) => encoder.message(message, out),
        }
    }

    /// Appends what tells, in this format, how the stream ended. Nothing follows it. gRPC and a body that is one
    /// message have no such record: there the carrier tells it.
    pub fn end(&mut self, outcome: &Outcome, out: &mut BytesMut) {
        match self {
            Self::Grpc(_) | Self::Whole(_) => {}
            Self::GrpcWeb(encoder) => encoder.end(outcome, out),
            Self::Connect(encoder) => encoder.end(outcome, out),
            Self::JsonArray(encoder) => encoder.end(outcome, out),
            Self::Lines(encoder) => encoder.end(outcome, out),
            Self::Sse(encoder) => encoder.end(outcome, out),
            Self::WebSocket(encoder) => encoder.end(outcome, out),
        }
    }
}
