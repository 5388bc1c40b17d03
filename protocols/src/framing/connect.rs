//! Connect (connectrpc.com/docs/protocol): streams in envelopes that end with one of JSON, and what a unary call has in
//! place of them: an error in JSON, a message in the query, a timeout and trailers in header fields.

use bytes::{Bytes, BytesMut};

use super::Limits;
use super::compression::Compression;
use super::envelope::{self, COMPRESSED, Envelopes};
use super::error::{Fault, FramingError};
use crate::message::{Event, Kind, Message, Outcome};

mod error;
mod unary;

pub use error::{code_name, error_from_json, error_to_json};
pub use unary::{Get, GetError, parse_get, parse_timeout, trailers_from_fields, trailers_to_fields};

/// The envelope is the end of the stream.
const END_STREAM: u8 = 0x02;

/// Takes messages, and from replies the end, out of Connect's envelopes.
#[derive(Debug)]
pub struct Decoder {
    envelopes: Envelopes,
    kind: Kind,
    /// The stream is a reply, which has an end of its own.
    is_reply: bool,
    ended: bool,
}

impl Decoder {
    /// A decoder of what a client streams. The end of the bytes is its end.
    pub fn of_request(limits: Limits, compression: Option<Compression>, kind: Kind) -> Self {
        Self::new(limits, compression, kind, false)
    }

    /// A decoder of what a server streams. Bytes that end without an end of stream message are a fault.
    pub fn of_reply(limits: Limits, compression: Option<Compression>, kind: Kind) -> Self {
        Self::new(limits, compression, kind, true)
    }

    fn new(limits: Limits, compression: Option<Compression>, kind: Kind, is_reply: bool) -> Self {
        Self {
            envelopes: Envelopes::new(limits.message, compression, if is_reply { END_STREAM } else { 0 }),
            kind,
            is_reply,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.envelopes.push(data);
    }

    pub(super) fn finish(&mut self) {
        self.envelopes.finish();
    }

    pub(super) fn next(&mut self) -> Result<Option<Event>, FramingError> {
        let Some((flags, data)) = self.envelopes.next()? else {
            if self.envelopes.is_over() && self.is_reply && !self.ended {
                return Err(self.envelopes.fail(Fault::Truncated, 0));
            }
            return Ok(None);
        };
        if self.ended {
            return Err(self.envelopes.fail(Fault::AfterEnd, envelope::PREFIX + data.len()));
        }
        if flags & END_STREAM == 0 {
            return Ok(Some(Event::Message(Message { kind: self.kind, data })));
        }
        self.ended = true;
        match error::end_from_json(&data) {
            Some(outcome) => Ok(Some(Event::End(outcome))),
            None => {
                let back = if flags & COMPRESSED == 0 { data.len() } else { 0 };
                Err(self.envelopes.fail(Fault::EndStream, back))
            }
        }
    }
}

/// Puts messages and the end into Connect's envelopes.
#[derive(Debug)]
pub struct Encoder {
    compression: Option<Compression>,
}

impl Encoder {
    /// `compression` must be in `connect-content-encoding` of the same head.
    pub fn new(compression: Option<Compression>) -> Self {
        Self { compression }
    }

    pub(super) fn message(&self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        envelope::write(0, &message.data, self.compression, out)
    }

    /// Only replies have it; what a client streams ends with its bytes.
    pub(super) fn end(&self, outcome: &Outcome, out: &mut BytesMut) {
        // An error is far smaller than what an envelope can hold.
        let _ = envelope::write(END_STREAM, &error::end_to_json(outcome), None, out);
    }
}

#[cfg(test)]
mod tests;
