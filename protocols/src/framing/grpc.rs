//! gRPC over HTTP/2 ("Length-Prefixed-Message"): a prefix of five bytes and the message.
//!
//! Messages do not align with the DATA frames that carry them. The end is told by the carrier's trailers.

use bytes::{Bytes, BytesMut};

use super::Limits;
use super::compression::Compression;
use super::envelope::{self, Envelopes};
use super::error::FramingError;
use crate::message::{Event, Kind, Message};

/// Takes messages out of gRPC's envelopes.
#[derive(Debug)]
pub struct Decoder {
    envelopes: Envelopes,
    kind: Kind,
}

impl Decoder {
    /// `compression` is what `grpc-encoding` says; without it no message may be compressed. The kind is binary unless
    /// the content type is `application/grpc+json`.
    pub fn new(limits: Limits, compression: Option<Compression>, kind: Kind) -> Self {
        Self {
            envelopes: Envelopes::new(limits.message, compression, 0),
            kind,
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.envelopes.push(data);
    }

    pub(super) fn finish(&mut self) {
        self.envelopes.finish();
    }

    pub(super) fn next(&mut self) -> Result<Option<Event>, FramingError> {
        let kind = self.kind;
        let envelope = self.envelopes.next()?;
        Ok(envelope.map(|(_, data)| Event::Message(Message { kind, data })))
    }
}

/// Puts messages into gRPC's envelopes.
#[derive(Debug)]
pub struct Encoder {
    compression: Option<Compression>,
}

impl Encoder {
    /// `compression` must be in `grpc-encoding` of the same head.
    pub fn new(compression: Option<Compression>) -> Self {
        Self { compression }
    }

    pub(super) fn message(&self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        envelope::write(0, &message.data, self.compression, out)
    }
}

#[cfg(test)]
mod tests;
