//! A JSON array whose elements are the messages, cut out and written while the array is still growing.
//!
//! - No tree is built: the scanner of [`super::json`] finds where an element ends, and checks its grammar on the way.
//! - An element that lies whole in a chunk is a slice of it.
//! - A stream that failed ends with `{"error": Status}` as the last element, and the array is closed all the same.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::{Fault, FramingError};
use super::input::Input;
use super::json::{JsonFault, Scanner, is_space};
use super::{Limits, StatusJson};
use crate::message::{Event, Message, Outcome};

/// Where in the array a decoder is.
#[derive(Debug)]
enum State {
    /// Before `[`.
    Begin,
    /// After `[`: an element or `]`.
    First,
    /// After `,`: an element.
    Next,
    Element(Scanner),
    /// After an element: `,` or `]`.
    After,
    /// After an error record: `]`.
    Last,
    End,
}

/// Cuts the elements out of an array.
#[derive(Debug)]
pub struct Decoder {
    input: Input,
    limits: Limits,
    records: Option<StatusJson>,
    state: State,
}

impl Decoder {
    /// A decoder before the array. With `records`, an element `{"error": Status}` is the end of the stream; without,
    /// it is a message like any other.
    pub fn new(limits: Limits, records: Option<StatusJson>) -> Self {
        Self {
            input: Input::default(),
            limits,
            records,
            state: State::Begin,
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
            if let State::Element(scanner) = &mut self.state {
                // One byte over the limit, because a number shows its end by what follows.
                let allowed = self.limits.message.saturating_sub(self.input.kept());
                let rest = self.input.rest();
                let seen = &rest[..rest.len().min(allowed.saturating_add(1))];
                match scanner.scan(seen) {
                    Ok(Some(end)) if end <= allowed => return Ok(Some(self.element(end))),
                    Ok(_) if seen.len() > allowed => {
                        let limit = self.limits.message;
                        return Err(self.input.fail(Fault::TooLarge { limit }, allowed as i64));
                    }
                    Ok(_) => return self.wait(),
                    Err((at, fault)) => return Err(self.input.fail(Fault::Json(fault), at as i64)),
                }
            }
            let spaces = self.input.rest().iter().take_while(|byte| is_space(**byte)).count();
            self.input.skip(spaces);
            let Some(&byte) = self.input.rest().first() else {
                return self.wait();
            };
            let next = match (&self.state, byte) {
                (State::Begin, b'[') => State::First,
                (State::After, b',') => State::Next,
                (State::First | State::After | State::Last, b']') => State::End,
                (State::First | State::Next, _) => {
                    // The array itself is one level of the depth that a body may have.
                    self.state = State::Element(Scanner::new(self.limits.depth.saturating_sub(1)));
                    continue;
                }
                (State::End | State::Last, _) => return Err(self.input.fail(Fault::AfterEnd, 0)),
                _ => return Err(self.input.fail(Fault::Json(JsonFault::Unexpected), 0)),
            };
            self.input.skip(1);
            self.state = next;
        }
    }

    /// An element that ends after `end` bytes of what is there.
    fn element(&mut self, end: usize) -> Event {
        let data = self.input.cut(end);
        if let Some(status) = self.records.as_ref().and_then(|records| records.read_record(&data)) {
            self.state = State::Last;
            return Event::End(Outcome::new(status));
        }
        self.state = State::After;
        Event::Message(Message::text(data))
    }

    /// Keeps what is there of an element, or says that the bytes are over.
    fn wait(&mut self) -> Result<Option<Event>, FramingError> {
        if let State::Element(_) = self.state {
            let rest = self.input.rest().len();
            self.input.keep(rest);
        }
        match self.state {
            State::End => Ok(None),
            _ if self.input.is_over() => Err(self.input.fail(Fault::Truncated, 0)),
            _ => Ok(None),
        }
    }
}

/// Writes messages as the elements of an array.
#[derive(Debug)]
pub struct Encoder {
    status: StatusJson,
    begun: bool,
}

impl Encoder {
    /// An encoder before the array.
    pub fn new(status: StatusJson) -> Self {
        Self { status, begun: false }
    }

    pub(super) fn message(&mut self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        if message.data.is_empty() {
            return Err(Fault::Unwritable.at(0));
        }
        out.reserve(message.data.len() + 1);
        self.separate(out);
        out.put_slice(&message.data);
        Ok(())
    }

    pub(super) fn end(&mut self, outcome: &Outcome, out: &mut BytesMut) {
        if outcome.status.is_ok() {
            if !self.begun {
                out.put_u8(b'[');
            }
        } else {
            self.separate(out);
            self.status.write_record(&outcome.status, out);
        }
        out.put_u8(b']');
    }

    fn separate(&mut self, out: &mut BytesMut) {
        out.put_u8(if self.begun { b',' } else { b'[' });
        self.begun = true;
    }
}

#[cfg(test)]
mod tests;
