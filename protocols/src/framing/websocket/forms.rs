//! A WebSocket that carries one call: where its messages are in the frames, and how its ends are told.
//!
//! WebSocket has no half-close. JSON clients send an empty text, which is never JSON; `grpc-websockets` has a byte of
//! its own for it. A close frame from a client, or the loss of its socket, is a cancel, whatever its code.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{Close, Side, Socket, SocketEvent};
use crate::fields::Fields;
use crate::framing::error::{Fault, FramingError};
use crate::framing::{grpc, grpc_web, json};
use crate::message::{Event, Kind, Message, Outcome};
use crate::status::{Code, Status, close};

/// Where messages are in the frames of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every WebSocket message is a message, text or binary. There is no half-close.
    Any,
    /// `causeway.json.v1`, or no subprotocol: every text is one JSON value, and an empty text is a half-close.
    Json,
    /// `grpc-websockets`, as improbable-eng's grpc-web client speaks it: binary only. A client sends its head as a
    /// header block, then envelopes of gRPC behind a byte 0, and a byte 1 as a half-close. It is sent envelopes of
    /// gRPC-Web, of which the first holds the head and the last the trailers. Only for sockets of clients.
    GrpcWebSockets,
}

/// Takes messages out of a socket that carries one call.
#[derive(Debug)]
pub struct Decoder {
    socket: Rc<RefCell<Socket>>,
    form: Form,
    depth: u8,
    half_closed: bool,
    envelopes: Option<Envelopes>,
}

/// What `grpc-websockets` has inside its frames.
#[derive(Debug)]
struct Envelopes {
    decoder: grpc::Decoder,
    /// What the client sent as its head, once it has come.
    head: Option<Fields>,
}

impl Decoder {
    /// A decoder of the messages that the socket receives. The encoder of the other direction has the same socket.
    pub fn new(socket: Rc<RefCell<Socket>>, form: Form) -> Self {
        let limits = socket.borrow().limits;
        Self {
            socket,
            form,
            depth: limits.depth,
            half_closed: false,
            envelopes: (form == Form::GrpcWebSockets).then(|| Envelopes {
                decoder: grpc::Decoder::new(limits, None, Kind::Binary),
                head: None,
            }),
        }
    }

    /// A decoder of `grpc-websockets` for a socket whose head was read already, see [`head_of`].
    pub fn after_head(socket: Rc<RefCell<Socket>>, head: Fields) -> Self {
        let mut decoder = Self::new(socket, Form::GrpcWebSockets);
        if let Some(envelopes) = &mut decoder.envelopes {
            envelopes.head = Some(head);
        }
        decoder
    }

    /// The head of a call over `grpc-websockets`, once it has come: before the first event at the latest.
    pub fn head(&self) -> Option<&Fields> {
        self.envelopes.as_ref().and_then(|envelopes| envelopes.head.as_ref())
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
        loop {
            if let Some(envelopes) = &mut self.envelopes
                && let Some(event) = envelopes.next(&mut socket)?
            {
                return Ok(Some(event));
            }
            let message = match socket.next()? {
                None => return Ok(None),
                Some(SocketEvent::Closed(closed)) => return Ok(Some(Event::End(end_of(socket.side, &closed)))),
                Some(SocketEvent::Message(message)) => message,
            };
            if self.half_closed {
                return Err(refuse(&mut socket, Fault::AfterEnd, 0));
            }
            let Some(envelopes) = &mut self.envelopes else {
                return Self::message(self.form, self.depth, &mut self.half_closed, &mut socket, message).map(Some);
            };
            match envelopes.frame(&message) {
                Ok(Frame::More) => {}
                Ok(Frame::HalfClose) => {
                    self.half_closed = true;
                    // An envelope that is cut off is a fault, and anything else was returned before.
                    return match envelopes.next(&mut socket)? {
                        None => Ok(Some(Event::End(Outcome::new(Status::new(Code::Ok, ""))))),
                        event => Ok(event),
                    };
                }
                Err(fault) => return Err(refuse(&mut socket, fault, 0)),
            }
        }
    }

    /// What a message of the plain forms is.
    fn message(
        form: Form,
        depth: u8,
        half_closed: &mut bool,
        socket: &mut Socket,
        message: Message,
    ) -> Result<Event, FramingError> {
        match form {
            Form::GrpcWebSockets => {}
            Form::Any => {}
            Form::Json if message.kind == Kind::Binary => return Err(refuse(socket, Fault::Binary, 0)),
            Form::Json if message.data.is_empty() => {
                *half_closed = true;
                return Ok(Event::End(Outcome::new(Status::new(Code::Ok, ""))));
            }
            Form::Json => {
                if let Err((at, fault)) = json::check(&message.data, depth) {
                    return Err(refuse(socket, Fault::Json(fault), message.data.len() - at));
                }
            }
        }
        Ok(Event::Message(message))
    }
}

/// What a frame of `grpc-websockets` was.
enum Frame {
    HalfClose,
    More,
}

impl Envelopes {
    fn next(&mut self, socket: &mut Socket) -> Result<Option<Event>, FramingError> {
        // Places are those in the envelopes.
        self.decoder.next().map_err(|error| socket.fail(error))
    }

    fn frame(&mut self, message: &Message) -> Result<Frame, Fault> {
        if self.head.is_none() {
            self.head = Some(head_of(message)?);
            return Ok(Frame::More);
        }
        match (message.kind, message.data.split_first()) {
            (Kind::Text, _) => Err(Fault::Text),
            (_, Some((0, _))) => {
                self.decoder.push(message.data.slice(1..));
                Ok(Frame::More)
            }
            (_, Some((1, []))) => {
                self.decoder.finish();
                Ok(Frame::HalfClose)
            }
            _ => Err(Fault::GrpcWebSockets),
        }
    }
}

/// The head of a call over `grpc-websockets`: the first message of its client.
///
/// # Errors
/// When it is no header block in a binary message.
pub fn head_of(message: &Message) -> Result<Fields, Fault> {
    match message.kind {
        Kind::Text => Err(Fault::Text),
        Kind::Binary => grpc_web::header_block(&message.data).ok_or(Fault::GrpcWebSockets),
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
    /// The head of the reply is written, where the form has one.
    headed: bool,
}

impl Encoder {
    /// An encoder of the messages that the socket sends.
    pub fn new(socket: Rc<RefCell<Socket>>, form: Form) -> Self {
        Self {
            socket,
            form,
            headed: false,
        }
    }

    /// Writes the head of a reply over `grpc-websockets`; the other forms have none. Without it the first message, or
    /// the end, writes an empty one.
    ///
    /// # Errors
    /// As those of a message.
    pub fn head(&mut self, fields: &Fields, out: &mut BytesMut) -> Result<(), FramingError> {
        if self.form != Form::GrpcWebSockets || std::mem::replace(&mut self.headed, true) {
            return Ok(());
        }
        let mut block = BytesMut::new();
        grpc_web::write_block(fields, &mut block);
        self.send(&Message::binary(block), out)
    }

    fn send(&self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        let mut socket = self.socket.borrow_mut();
        socket.send(message)?;
        socket.write_output(out);
        Ok(())
    }

    /// The socket.
    pub fn socket(&self) -> &Rc<RefCell<Socket>> {
        &self.socket
    }

    pub(in crate::framing) fn message(&mut self, message: &Message, out: &mut BytesMut) -> Result<(), FramingError> {
        match self.form {
            Form::Any => self.send(message, out),
            Form::Json if message.kind == Kind::Binary => Err(Fault::Binary.at(0)),
            // It would be read as a half-close.
            Form::Json if message.data.is_empty() => Err(Fault::Unwritable.at(0)),
            Form::Json => self.send(message, out),
            Form::GrpcWebSockets => {
                self.head(&Fields::new(), out)?;
                let mut envelope = BytesMut::new();
                grpc::Encoder::new(None).message(message, &mut envelope)?;
                self.send(&Message::binary(envelope), out)
            }
        }
    }

    /// Towards a client the status becomes a close frame, and before it the trailers of a form that has them. Towards a
    /// backend a call that ends OK is a half-close, told where the form has a way to, and any other end is a close.
    pub(in crate::framing) fn end(&mut self, outcome: &Outcome, out: &mut BytesMut) {
        // A socket that is closed already has no use for any of it.
        if self.form == Form::GrpcWebSockets {
            let mut trailers = BytesMut::new();
            grpc_web::write_block(&outcome.to_trailers(), &mut trailers);
            let _ = self
                .head(&Fields::new(), out)
                .and_then(|()| self.send(&Message::binary(trailers), out));
        }
        let mut socket = self.socket.borrow_mut();
        match self.form {
            // The trailers have said it.
            Form::GrpcWebSockets => socket.close(1000, ""),
            Form::Any if socket.side == Side::Client && outcome.status.is_ok() => {}
            Form::Json if socket.side == Side::Client && outcome.status.is_ok() => {
                let _ = socket.send(&Message::text(Bytes::new()));
            }
            Form::Any | Form::Json => {
                let (code, reason) = close::close_of(&outcome.status);
                socket.close(code, &reason);
            }
        }
        socket.write_output(out);
    }
}

#[cfg(test)]
mod tests;
