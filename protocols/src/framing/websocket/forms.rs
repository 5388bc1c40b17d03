//! A WebSocket that carries one call: where its messages are in the frames, and how its ends are told.
//!
//! WebSocket has no half-close. JSON clients send an empty text, which is never JSON; `grpc-websockets` has a byte of
//! its own for it. A close frame from a client, or the loss of its socket, is a cancel, whatever its code.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{Close, Side, Socket, SocketEvent};
use crate::framing::error::{Fault, FramingError};
use crate::framing::json;
use crate::message::{Event, Kind, Message, Outcome};
use crate::status::{Code, Status, close};

/// Where messages are in the frames of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every WebSocket message is a message, text or binary. There is no half-close.
    Any,
    /// `causeway.json.v1`, or no subprotocol: every text is one JSON value, and an empty text is a half-close.
    Json,
}

/// Takes messages out of a socket that carries one call.
#[derive(Debug)]
pub struct Decoder {
    socket: Rc<RefCell<Socket>>,
    form: Form,
    depth: u8,
    half_closed: bool,
}

impl Decoder {
    /// A decoder of the messages that the socket receives. The encoder of the other direction has the same socket.
    pub fn new(socket: Rc<RefCell<Socket>>, form: Form) -> Self {
        let depth = socket.borrow().limits.depth;
        Self {
            socket,
            form,
            depth,
            half_closed: false,
        }
    }

    /// The socket, whose output is to be written after every call of `next`.
    pub fn socket(&self) -> &Rc<RefCell<Socket>> {
        &self.socket
    }

    pub(in crate::framing) fn push(&self, data: Bytes) {
        self.socket.borrow_mut().receive(data);
    }

    pub(in crate::framing) fn finish(&self) {
        self.socket.borrow_mut().finish();
    }

    /// A half-close is the end OK of what a client sends. A cancel may follow it, as a second end.
    pub(in crate::framing) fn next(&mut self) -> Result<Option<Event>, FramingError> {
        let mut socket = self.socket.borrow_mut();
        let message = match socket.next()? {
            None => return Ok(None),
            Some(SocketEvent::Closed(closed)) => return Ok(Some(Event::End(end_of(socket.side, &closed)))),
            Some(SocketEvent::Message(message)) => message,
        };
        if self.half_closed {
            return Err(refuse(&mut socket, Fault::AfterEnd, 0));
        }
        match self.form {
            Form::Any => {}
            Form::Json if message.kind == Kind::Binary => return Err(refuse(&mut socket, Fault::Binary, 0)),
            Form::Json if message.data.is_empty() => {
                self.half_closed = true;
                return Ok(Some(Event::End(Outcome::new(Status::new(Code::Ok, "")))));
            }
            Form::Json => {
                if let Err((at, fault)) = json::check(&message.data, self.depth) {
                    return Err(refuse(&mut socket, Fault::Json(fault), message.data.len() - at));
                }
            }
        }
        Ok(Some(Event::Message(message)))
    }
}

/// Closes the socket for a fault that it does not know of itself, `back` bytes before what was read last.
fn refuse(socket: &mut Socket, fault: Fault, back: usize) -> FramingError {
    let read = socket.received - socket.pipe.input.len() as u64;
    socket.fail(fault.at(read.saturating_sub(back as u64)))
}

/// What a close means: from a client it is a cancel, from a backend the status of the call.
fn end_of(side: Side, closed: &Close) -> Outcome {
    Outcome::new(match side {
        Side::Server => Status::new(
            Code::Cancelled,
            format!("client closed the WebSocket with code {}", closed.code),
        ),
        Side::Client => close::of_close(closed.code, &closed.reason, close::ClosedBy::Peer),
    })
}

/// Puts messages into a socket that carries one call.
#[derive(Debug)]
pub struct Encoder {
    socket: Rc<RefCell<Socket>>,
    form: Form,
}

impl Encoder {
    /// An encoder of the messages that the socket sends.
    pub fn new(socket: Rc<RefCell<Socket>>, form: Form) -> Self {
        Self { socket, form }
    }

    /// The socket.
    pub fn socket(&self) -> &Rc<RefCell<Socket>> {
        &self.socket
    }

    pub(in crate::framing) fn message(&self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        if self.form == Form::Json {
            if message.kind == Kind::Binary {
                return Err(Fault::Binary.at(0));
            }
            // It would be read as a half-close.
            if message.data.is_empty() {
                return Err(Fault::Unwritable.at(0));
            }
        }
        let mut socket = self.socket.borrow_mut();
        socket.send(message)?;
        socket.write_output(out);
        Ok(())
    }

    /// Towards a client the status becomes a close frame. Towards a backend a call that ends OK is a half-close, told
    /// where the form has a way to, and any other end is a close.
    pub(in crate::framing) fn end(&self, outcome: &Outcome, out: &mut BytesMut) {
        let mut socket = self.socket.borrow_mut();
        if socket.side == Side::Client && outcome.status.is_ok() {
            if self.form == Form::Json {
                // A socket that is closed already has no use for it.
                let _ = socket.send(&Message::text(Bytes::new()));
            }
        } else {
            let (code, reason) = close::close_of(&outcome.status);
            socket.close(code, &reason);
        }
        socket.write_output(out);
    }
}
