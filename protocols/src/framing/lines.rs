//! One JSON value a line (NDJSON): LF or CR LF ends a line, and blank lines mean nothing.
//!
//! A stream that failed ends with a line `{"error": Status}`. grpc-gateway wraps every message as `{"result": ..}`.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Fault, FramingError};
use super::input::Input;
use super::json;
use super::{Limits, StatusJson};
use crate::message::{Event, Message, Outcome};

/// What stands in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrapping {
    /// The message.
    #[default]
    Bare,
    /// `{"result": message}`, as grpc-gateway writes; a line without `result` is taken as it is.
    Result,
}

/// Cuts messages out of lines.
#[derive(Debug)]
pub struct Decoder {
    input: Input,
    limits: Limits,
    records: Option<StatusJson>,
    wrapping: Wrapping,
    ended: bool,
}

impl Decoder {
    /// A decoder before the first line. With `records`, a line `{"error": Status}` is the end of the stream; without,
    /// it is a message like any other.
    pub fn new(limits: Limits, records: Option<StatusJson>, wrapping: Wrapping) -> Self {
        Self {
            input: Input::default(),
            limits,
            records,
            wrapping,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.input.push(data);
    }

    pub(super) fn finish(&mut self) {
        self.input.finish();
    }

    pub(super) fn next(&mut self) -> Result<Option<Event>, FramingError> {
        self.input.check()?;
        loop {
            let rest = self.input.rest();
            let end = memchr(b'\n', rest);
            let more = end.unwrap_or(rest.len());
            let limit = self.limits.message;
            // One byte more, because it may be the CR of a line end.
            if self.input.kept() + more > limit.saturating_add(1) {
                let ahead = limit as i64 - self.input.kept() as i64;
                return Err(self.input.fail(Fault::TooLarge { limit }, ahead));
            }
            let line = match end {
                Some(end) => {
                    let line = self.input.cut(end);
                    self.input.skip(1);
                    line
                }
                None => {
                    self.input.keep(more);
                    if !self.input.is_over() || self.input.kept() == 0 {
                        return Ok(None);
                    }
                    self.input.cut(0)
                }
            };
            let behind = line.len() as i64 + i64::from(end.is_some());
            if let Some(event) = self.line(line, behind)? {
                return Ok(Some(event));
            }
        }
    }

    /// What a line says, `behind` bytes before where the input is now.
    fn line(&mut self, line: Bytes, behind: i64) -> Result<Option<Event>, FramingError> {
        let limit = self.limits.message;
        let line = match line.strip_suffix(b"\r") {
            Some(stripped) => line.slice(..stripped.len()),
            None => line,
        };
        if line.iter().all(|byte| json::is_space(*byte)) {
            return Ok(None);
        }
        if self.ended {
            return Err(self.input.fail(Fault::AfterEnd, -behind));
        }
        if line.len() > limit {
            return Err(self.input.fail(Fault::TooLarge { limit }, limit as i64 - behind));
        }
        if let Err((at, fault)) = json::check(&line, self.limits.depth) {
            return Err(self.input.fail(Fault::Json(fault), at as i64 - behind));
        }
        if let Some(status) = self.records.as_ref().and_then(|records| records.read_record(&line)) {
            self.ended = true;
            return Ok(Some(Event::End(Outcome::new(status))));
        }
        let data = match self.wrapping {
            Wrapping::Bare => line,
            Wrapping::Result => unwrapped(line),
        };
        Ok(Some(Event::Message(Message::text(data))))
    }
}

/// A line of grpc-gateway.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

fn unwrapped(line: Bytes) -> Bytes {
    match serde_json::from_slice::<Wrapped<'_>>(&line) {
        Ok(wrapped) if json::is_object(&line) => line.slice_ref(wrapped.result.get().as_bytes()),
        _ => line,
    }
}

/// Writes messages as lines.
#[derive(Debug)]
pub struct Encoder {
    status: StatusJson,
}

impl Encoder {
    /// An encoder before the first line.
    pub fn new(status: StatusJson) -> Self {
        Self { status }
    }

    /// Line breaks in JSON stand between tokens only, where a space means the same.
    pub(super) fn message(&self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        if message.data.iter().all(|byte| json::is_space(*byte)) {
            return Err(Fault::Unwritable.at(0));
        }
        let start = out.len();
        out.reserve(message.data.len() + 1);
        out.put_slice(&message.data);
        for byte in &mut out[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        out.put_u8(b'\n');
        Ok(())
    }

    /// Nothing where the stream went well.
    pub(super) fn end(&self, outcome: &Outcome, out: &mut BytesMut) {
        if !outcome.status.is_ok() {
            self.status.write_record(&outcome.status, out);
            out.put_u8(b'\n');
        }
    }
}

#[cfg(test)]
mod tests;
