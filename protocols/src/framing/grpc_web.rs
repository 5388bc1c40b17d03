//! gRPC-Web (PROTOCOL-WEB.md): gRPC's envelopes, and the trailers in a last one with flag 0x80. The text form is the
//! same in base64.

use bytes::{BufMut, Bytes, BytesMut};

use super::Limits;
use super::base64::{self, Base64};
use super::compression::Compression;
use super::envelope::{self, COMPRESSED, Envelopes};
use super::error::{Fault, FramingError};
use crate::fields::Fields;
use crate::message::{Event, Kind, Message, Outcome};

/// The envelope holds trailers.
const TRAILERS: u8 = 0x80;

/// How the envelopes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `application/grpc-web`: as they are.
    Binary,
    /// `application/grpc-web-text`: in base64.
    Text,
}

/// Takes messages, and from replies the trailers, out of gRPC-Web's envelopes.
#[derive(Debug)]
pub struct Decoder {
    envelopes: Envelopes,
    kind: Kind,
    base64: Option<Base64>,
    /// The stream is a reply, which ends with trailers.
    is_reply: bool,
    /// A fault of the base64 behind what is still to be read.
    pending: Option<FramingError>,
    ended: bool,
}

impl Decoder {
    /// A decoder of what a client sends. It has no trailers: an envelope of them is refused.
    pub fn of_request(limits: Limits, mode: Mode, compression: Option<Compression>, kind: Kind) -> Self {
        Self::new(limits, mode, compression, kind, false)
    }

    /// A decoder of what a server sends. Bytes that end without trailers are a fault.
    pub fn of_reply(limits: Limits, mode: Mode, compression: Option<Compression>, kind: Kind) -> Self {
        Self::new(limits, mode, compression, kind, true)
    }

    fn new(limits: Limits, mode: Mode, compression: Option<Compression>, kind: Kind, is_reply: bool) -> Self {
        Self {
            envelopes: Envelopes::new(limits.message, compression, if is_reply { TRAILERS } else { 0 }),
            kind,
            base64: (mode == Mode::Text).then(Base64::default),
            is_reply,
            pending: None,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        let Some(base64) = &mut self.base64 else {
            return self.envelopes.push(data);
        };
        if self.pending.is_none() {
            let (decoded, result) = base64.decode(&data);
            self.pending = result.err().map(|at| Fault::Base64.at(at));
            self.envelopes.push(decoded);
        }
    }

    pub(super) fn finish(&mut self) {
        let result = self.base64.as_ref().map_or(Ok(()), Base64::finish);
        if let (Err(at), None) = (result, self.pending) {
            self.pending = Some(Fault::Base64.at(at));
        }
        if self.pending.is_none() {
            self.envelopes.finish();
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Event>, FramingError> {
        let Some((flags, data)) = self.envelopes.next()? else {
            if let Some(error) = self.pending {
                return Err(self.envelopes.fail_with(error));
            }
            if self.envelopes.is_over() && self.is_reply && !self.ended {
                return Err(self.envelopes.fail(Fault::Truncated, 0));
            }
            return Ok(None);
        };
        let back = envelope::PREFIX + data.len();
        if self.ended {
            return Err(self.envelopes.fail(Fault::AfterEnd, back));
        }
        if flags & TRAILERS == 0 {
            return Ok(Some(Event::Message(Message { kind: self.kind, data })));
        }
        self.ended = true;
        match header_block(&data).and_then(Outcome::of_trailers) {
            Some(outcome) => Ok(Some(Event::End(outcome))),
            // What a compressed block was is not known any more.
            None if flags & COMPRESSED != 0 => Err(self.envelopes.fail(Fault::Trailers, 0)),
            None => Err(self.envelopes.fail(Fault::Trailers, data.len())),
        }
    }
}

/// Puts messages and trailers into gRPC-Web's envelopes.
#[derive(Debug)]
pub struct Encoder {
    mode: Mode,
    compression: Option<Compression>,
    scratch: BytesMut,
}

impl Encoder {
    /// `compression` must be in `grpc-encoding` of the same head.
    pub fn new(mode: Mode, compression: Option<Compression>) -> Self {
        Self {
            mode,
            compression,
            scratch: BytesMut::new(),
        }
    }

    pub(super) fn message(&mut self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        self.write(0, &message.data, self.compression, out)
    }

    pub(super) fn end(&mut self, outcome: &Outcome, out: &mut BytesMut) {
        // Trailers are far smaller than what an envelope can hold.
        let _ = self.write(TRAILERS, &block_of(&outcome.to_trailers()), None, out);
    }

    fn write(
        &mut self,
        flags: u8,
        data: &[u8],
        compression: Option<Compression>,
        out: &mut BytesMut,
    ) -> Result<(), FramingError> {
        match self.mode {
            Mode::Binary => envelope::write(flags, data, compression, out),
            Mode::Text => {
                self.scratch.clear();
                envelope::write(flags, data, compression, &mut self.scratch)?;
                base64::encode(&self.scratch, out);
                Ok(())
            }
        }
    }
}

/// Header fields as HTTP/1.1 writes them, each with its line end and without an empty line behind.
pub(super) fn block_of(fields: &Fields) -> Vec<u8> {
    let mut block = Vec::with_capacity(fields.as_wire().len() + 32 * fields.len());
    for field in fields {
        block.put_slice(field.name.as_str().as_bytes());
        block.put_slice(b": ");
        block.put_slice(field.value);
        block.put_slice(b"\r\n");
    }
    block
}

/// An envelope with a header block, which `grpc-websockets` uses for the head too.
pub(super) fn write_block(fields: &Fields, out: &mut BytesMut) {
    // A block of fields is far smaller than what an envelope can hold.
    let _ = envelope::write(TRAILERS, &block_of(fields), None, out);
}

/// The fields of a header block. Lines end with CR LF or LF; the last may have no end, and an empty one is the end.
/// None for anything else.
pub(super) fn header_block(block: &[u8]) -> Option<Fields> {
    let mut fields = Fields::new();
    let mut lines = block.split(|byte| *byte == b'\n');
    for line in &mut lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let colon = memchr::memchr(b':', line)?;
        fields.push(&line[..colon], &line[colon + 1..]).ok()?;
    }
    lines.all(<[u8]>::is_empty).then_some(fields)
}

#[cfg(test)]
mod tests;
