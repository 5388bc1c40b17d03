//! The calls of one `causeway.mux.v1` socket: which are open, and how many messages each side may still send.
//!
//! Each call begins with [`FIRST_CREDIT`] messages either way; more has to be allowed by the side that receives. So one
//! slow call holds neither the socket nor another call, and what waits is bounded by calls times credit. Credit is of
//! messages, not bytes: a message has a limit of its own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::BytesMut;

use super::{After, CallId, Open, parse, write_credit, write_end, write_message};
use crate::framing::error::{Fault, FramingError};
use crate::framing::{Limits, StatusJson};
use crate::message::{Message, Outcome};
use crate::status::{Code, Status};

/// Messages that either side of a new call may send before it is allowed more.
pub const FIRST_CREDIT: u32 = 16;

/// What a frame of the client means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A call begins, perhaps with its first message.
    Open {
        /// Its id.
        id: CallId,
        /// What it is to.
        open: Open,
        /// The message.
        message: Option<Message>,
        /// What follows it.
        after: After,
    },
    /// More of a call that is open.
    More {
        /// Its id.
        id: CallId,
        /// The message.
        message: Option<Message>,
        /// What follows it. With [`After::Cancel`] the call is forgotten, and nothing more is written for it.
        after: After,
    },
    /// The client broke a rule of this call, or has too many. It was told and the call is forgotten; if it was open,
    /// what was made for it is to be dropped. Other calls go on.
    Failed {
        /// Its id.
        id: CallId,
        /// What the client was told.
        status: Status,
    },
    /// Nothing to do: credit, or a frame that crossed the end of its call.
    Nothing,
}

/// The calls of one socket.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    status: StatusJson,
    max_calls: usize,
    calls: HashMap<CallId, Call>,
}

#[derive(Debug)]
struct Call {
    /// Messages that the client may send.
    receive: u32,
    /// Messages that we may send.
    send: u32,
    half_closed: bool,
}

impl Session {
    /// A session without calls, which will have at most `max_calls` at a time.
    pub fn new(limits: Limits, status: StatusJson, max_calls: usize) -> Self {
        Self {
            limits,
            status,
            max_calls,
            calls: HashMap::new(),
        }
    }

    /// Whether a call is open.
    pub fn is_open(&self, id: &CallId) -> bool {
        self.calls.contains_key(id)
    }

    /// Calls that are open.
    pub fn open_calls(&self) -> usize {
        self.calls.len()
    }

    /// Takes a frame from the client. What it has to be told at once is appended to `out` as the content of a text.
    ///
    /// # Errors
    /// When nobody can say which call a frame means, or it opens one under the id of another: the socket is to be
    /// closed.
    pub fn receive(&mut self, frame: &Message, out: &mut BytesMut) -> Result<Step, FramingError> {
        let request = parse(frame, &self.limits)?;
        let id = request.id;
        let is_new = request.open.is_some();
        let room = self.calls.len() < self.max_calls;
        let call = match self.calls.entry(id.clone()) {
            Entry::Occupied(_) if is_new => return Err(Fault::Mux("`id` is in use").at(0)),
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if !is_new => return Ok(Step::Nothing),
            Entry::Vacant(_) if !room => {
                let status = Status::new(Code::ResourceExhausted, "too many calls on this WebSocket");
                return Ok(self.fail(id, status, out));
            }
            Entry::Vacant(entry) => entry.insert(Call {
                receive: FIRST_CREDIT,
                send: FIRST_CREDIT,
                half_closed: false,
            }),
        };
        call.send = call.send.saturating_add(request.credit);
        if request.message.is_some() {
            if call.half_closed {
                let status = Status::new(Code::InvalidArgument, "message after the end of the call's input");
                return Ok(self.fail(id, status, out));
            }
            let Some(left) = call.receive.checked_sub(1) else {
                let status = Status::new(Code::ResourceExhausted, "more messages than there was credit for");
                return Ok(self.fail(id, status, out));
            };
            call.receive = left;
        }
        let message = request.message;
        let after = request.after;
        match after {
            After::Open => {}
            After::End if call.half_closed => return Ok(Step::Nothing),
            After::End => call.half_closed = true,
            After::Cancel => {
                self.calls.remove(&id);
            }
        }
        Ok(match request.open {
            Some(open) => Step::Open {
                id,
                open,
                message,
                after,
            },
            None if message.is_none() && after == After::Open => Step::Nothing,
            None => Step::More { id, message, after },
        })
    }

    /// Messages that may be written for a call; 0 for one that is not open.
    pub fn credit(&self, id: &CallId) -> u32 {
        self.calls.get(id).map_or(0, |call| call.send)
    }

    /// Writes a message of a call, as the content of a text.
    ///
    /// # Errors
    /// [`Fault::Closed`] for a call that is not open, [`Fault::WriteBuffer`] without credit, [`Fault::Unwritable`] for
    /// what is no JSON.
    pub fn message(&mut self, id: &CallId, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        let call = self.calls.get_mut(id).ok_or_else(|| Fault::Closed.at(0))?;
        let left = call.send.checked_sub(1).ok_or_else(|| Fault::WriteBuffer.at(0))?;
        write_message(id, message, self.limits.depth, out)?;
        call.send = left;
        Ok(())
    }

    /// Allows the client more messages of a call; nothing for one that is not open or has no more to say.
    pub fn allow(&mut self, id: &CallId, credit: u32, out: &mut BytesMut) {
        if let Some(call) = self.calls.get_mut(id).filter(|call| !call.half_closed && credit > 0) {
            call.receive = call.receive.saturating_add(credit);
            write_credit(id, credit, out);
        }
    }

    /// Writes the end of a call and forgets it; nothing for one that is not open.
    pub fn end(&mut self, id: &CallId, outcome: &Outcome, out: &mut BytesMut) {
        if self.calls.remove(id).is_some() {
            write_end(id, outcome, &self.status, out);
        }
    }

    fn fail(&mut self, id: CallId, status: Status, out: &mut BytesMut) -> Step {
        self.calls.remove(&id);
        write_end(&id, &Outcome::new(status.clone()), &self.status, out);
        Step::Failed { id, status }
    }
}

#[cfg(test)]
mod tests;
