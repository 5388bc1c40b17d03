//! A body that is one message.

use bytes::{BufMut, Bytes, BytesMut};

use super::Limits;
use super::compression::Compression;
use super::error::{Fault, FramingError};
use crate::message::{Event, Kind, Message};

/// Gathers a body.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    declared: Option<u64>,
    compression: Compression,
    kind: Kind,
    /// The first chunk, as it came.
    only: Bytes,
    joined: BytesMut,
    length: u64,
    state: State,
    failed: Option<FramingError>,
}

#[derive(Debug)]
enum State {
    Open,
    Finished,
    Over,
}

impl Decoder {
    /// `declared` is what `content-length` says. One over the limit is refused at once, before anything is read.
    pub fn new(limits: Limits, declared: Option<u64>, kind: Kind) -> Self {
        Self {
            limits,
            declared,
            compression: Compression::Identity,
            kind,
            only: Bytes::new(),
            joined: BytesMut::new(),
            length: 0,
            state: State::Open,
            failed: None,
        }
    }

    /// The body is compressed, as `content-encoding` says. The limit holds for what it is decompressed to.
    #[must_use]
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// What is over a limit is not kept; the fault is told by [`next`](Self::next).
    pub(super) fn push(&mut self, data: Bytes) {
        self.length = self.length.saturating_add(data.len() as u64);
        if self.fault().is_some() {
            self.only = Bytes::new();
            self.joined = BytesMut::new();
        } else if self.only.is_empty() && self.joined.is_empty() {
            self.only = data;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.only));
            self.joined.extend_from_slice(&data);
        }
    }

    pub(super) fn finish(&mut self) {
        if let State::Open = self.state {
            self.state = State::Finished;
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Event>, FramingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.step().inspect_err(|error| self.failed = Some(*error))
    }

    fn step(&mut self) -> Result<Option<Event>, FramingError> {
        if let Some(fault) = self.fault() {
            let most = self.declared.unwrap_or(u64::MAX).min(self.limits.message as u64);
            return Err(fault.at(self.length.min(most)));
        }
        if !matches!(self.state, State::Finished) {
            return Ok(None);
        }
        if self.declared.is_some_and(|declared| declared != self.length) {
            return Err(Fault::Truncated.at(self.length));
        }
        self.state = State::Over;
        let data = if self.joined.is_empty() {
            std::mem::take(&mut self.only)
        } else {
            std::mem::take(&mut self.joined).freeze()
        };
        let data = self
            .compression
            .decompress(&data, self.limits.message)
            .map_err(|fault| fault.at(0))?;
        if self.kind == Kind::Text
            && let Err(error) = std::str::from_utf8(&data)
        {
            return Err(Fault::Utf8.at(error.valid_up_to() as u64));
        }
        Ok(Some(Event::Message(Message { kind: self.kind, data })))
    }

    fn fault(&self) -> Option<Fault> {
        let limit = self.limits.message;
        if self.length.max(self.declared.unwrap_or(0)) > limit as u64 {
            return Some(Fault::TooLarge { limit });
        }
        self.declared
            .is_some_and(|declared| self.length > declared)
            .then_some(Fault::Length)
    }
}

/// Writes the one message of a body.
#[derive(Debug, Default)]
pub struct Encoder {
    written: bool,
}

impl Encoder {
    /// An encoder before the message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A second message is refused: the body would not be what either of them is.
    pub(super) fn message(&mut self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        if std::mem::replace(&mut self.written, true) {
            return Err(Fault::Unwritable.at(0));
        }
        out.put_slice(&message.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
