//! Server-sent events (WHATWG HTML, "Server-sent events"): the data of an event is a message.
//!
//! `event: error` carries the Status of a stream that failed and `event: end` says that it is complete. An event that is
//! cut off is an error here, where a browser drops it in silence.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;

use super::error::{Fault, FramingError};
use super::input::Input;
use super::{Limits, StatusJson};
use crate::message::{Event, Message, Outcome};
use crate::status::{Code, Status};

/// Bytes that a line may have beside its value: the longest field name, a colon and a space.
const FIELD: usize = 8;

/// The mark that a stream may begin with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Takes events apart.
#[derive(Debug)]
pub struct Decoder {
    input: Input,
    limits: Limits,
    records: Option<StatusJson>,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet.
    begin: bool,
    event: Bytes,
    data: Gathered,
    last_id: String,
    retry: Option<u64>,
    ended: bool,
}

/// The data lines of an event, joined by LF.
#[derive(Debug, Default)]
struct Gathered {
    /// The only line so far, as it came.
    only: Option<Bytes>,
    joined: BytesMut,
}

impl Decoder {
    /// A decoder at the start of a stream. With `records`, the events `error` and `end` are the end of the stream;
    /// without, their data is a message like any other.
    pub fn new(limits: Limits, records: Option<StatusJson>) -> Self {
        Self {
            input: Input::default(),
            limits,
            records,
            after_cr: false,
            begin: true,
            event: Bytes::new(),
            data: Gathered::default(),
            last_id: String::new(),
            retry: None,
            ended: false,
        }
    }

    /// The last `id`; empty if there was none.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The last `retry`, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
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
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if line.is_empty() {
                if let Some(event) = self.dispatch()? {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Option<Bytes>, FramingError> {
        if self.after_cr && !self.input.rest().is_empty() {
            self.after_cr = false;
            if self.input.rest().starts_with(b"\n") {
                self.input.skip(1);
            }
        }
        let rest = self.input.rest();
        let end = memchr2(b'\r', b'\n', rest);
        let more = end.unwrap_or(rest.len());
        let limit = self.limits.message;
        let allowed = limit.saturating_add(FIELD).saturating_sub(self.input.kept());
        if more > allowed {
            return Err(self.input.fail(Fault::TooLarge { limit }, allowed as i64));
        }
        let Some(end) = end else {
            self.input.keep(more);
            let is_cut = self.input.kept() > 0 || !self.data.is_empty();
            if self.input.is_over() && is_cut {
                return Err(self.input.fail(Fault::Truncated, 0));
            }
            return Ok(None);
        };
        self.after_cr = rest[end] == b'\r';
        let mut line = self.input.cut(end);
        self.input.skip(1);
        if std::mem::take(&mut self.begin) && line.starts_with(BOM) {
            line = line.slice(BOM.len()..);
        }
        Ok(Some(line))
    }

    /// Fields that are not known, and comments, mean nothing.
    fn field(&mut self, line: &Bytes) -> Result<(), FramingError> {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let after = line.slice(colon + 1..);
                let value = if after.starts_with(b" ") {
                    after.slice(1..)
                } else {
                    after
                };
                (&line[..colon], value)
            }
            None => (&line[..], Bytes::new()),
        };
        match name {
            b"data" => {
                if self.data.len() + value.len() > self.limits.message {
                    let limit = self.limits.message;
                    return Err(self.input.fail(Fault::TooLarge { limit }, 0));
                }
                self.data.add(value);
            }
            b"event" => self.event = value,
            b"id" if !value.contains(&0) => {
                self.last_id = String::from_utf8_lossy(&value).into_owned();
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            }
            _ => {}
        }
        Ok(())
    }

    /// What the event that a blank line has ended says.
    fn dispatch(&mut self) -> Result<Option<Event>, FramingError> {
        let event = std::mem::take(&mut self.event);
        let data = self.data.take();
        if let Some(status) = self.end_record(&event, data.as_deref().unwrap_or_default()) {
            self.ended = true;
            return Ok(Some(Event::End(Outcome::new(status))));
        }
        let Some(data) = data else {
            return Ok(None);
        };
        if self.ended {
            return Err(self.input.fail(Fault::AfterEnd, 0));
        }
        if std::str::from_utf8(&data).is_err() {
            return Err(self.input.fail(Fault::Utf8, 0));
        }
        Ok(Some(Event::Message(Message::text(data))))
    }

    /// The status that an event tells. Data that is no Status becomes the message of an unknown error.
    fn end_record(&self, event: &[u8], data: &[u8]) -> Option<Status> {
        let records = self.records.as_ref().filter(|_| !self.ended)?;
        match event {
            b"end" => Some(Status::new(Code::Ok, "")),
            b"error" => Some(
                records
                    .read(data)
                    .unwrap_or_else(|| Status::new(Code::Unknown, String::from_utf8_lossy(data))),
            ),
            _ => None,
        }
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.only.is_none() && self.joined.is_empty()
    }

    /// Bytes with the LF that the next line would add.
    fn len(&self) -> usize {
        match &self.only {
            Some(only) => only.len() + 1,
            None if self.joined.is_empty() => 0,
            None => self.joined.len() + 1,
        }
    }

    fn add(&mut self, line: Bytes) {
        if self.is_empty() {
            self.only = Some(line);
            return;
        }
        if let Some(only) = self.only.take() {
            self.joined.extend_from_slice(&only);
        }
        self.joined.put_u8(b'\n');
        self.joined.extend_from_slice(&line);
    }

    fn take(&mut self) -> Option<Bytes> {
        match self.only.take() {
            Some(only) => Some(only),
            None if self.joined.is_empty() => None,
            None => Some(std::mem::take(&mut self.joined).freeze()),
        }
    }
}

/// Writes messages as events.
#[derive(Debug)]
pub struct Encoder {
    status: StatusJson,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(status: StatusJson) -> Self {
        Self { status }
    }

    /// Writes an `id` for the message that follows. Line breaks and NUL, which an id cannot have, are left out.
    pub fn id(&mut self, id: &str, out: &mut BytesMut) {
        out.put_slice(b"id: ");
        out.extend(id.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        out.put_u8(b'\n');
    }

    /// Writes a comment that keeps the connection from looking idle.
    pub fn keepalive(&mut self, out: &mut BytesMut) {
        out.put_slice(b":\n\n");
    }

    pub(super) fn message(&self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        if std::str::from_utf8(&message.data).is_err() {
            return Err(Fault::Unwritable.at(0));
        }
        write_data(&message.data, out);
        out.put_u8(b'\n');
        Ok(())
    }

    pub(super) fn end(&self, outcome: &Outcome, out: &mut BytesMut) {
        if outcome.status.is_ok() {
            // Browsers drop events without data.
            out.put_slice(b"event: end\ndata: {}\n\n");
        } else {
            out.put_slice(b"event: error\n");
            write_data(&self.status.of(&outcome.status), out);
            out.put_u8(b'\n');
        }
    }
}

/// One `data` line for each line of the text; CR, LF and CR LF end one.
fn write_data(text: &[u8], out: &mut BytesMut) {
    out.reserve(text.len() + 16);
    let mut rest = text;
    loop {
        let end = memchr2(b'\r', b'\n', rest);
        out.put_slice(b"data: ");
        out.put_slice(&rest[..end.unwrap_or(rest.len())]);
        out.put_u8(b'\n');
        let Some(end) = end else {
            return;
        };
        let width = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
}

#[cfg(test)]
mod tests;
