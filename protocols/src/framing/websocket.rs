//! WebSocket messages without sockets (RFC 6455): bytes in, messages out, and back, for either end.
//!
//! `tungstenite` masks, joins fragments, answers pings and closes. In front of it stands the [`Tracker`] of pass-through,
//! which sees every frame header before any payload is kept: lengths that lie, too many fragments and reserved bits end
//! there, at a known byte. permessage-deflate is not known here; whoever makes the handshake declines it.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};

use super::Limits;
use super::error::{Fault, FramingError};
use crate::message::{Kind, Message};
use crate::status::close::cut_reason;
use crate::websocket::{Counts, Direction, Tracker, TrackerLimits, WsViolation};

mod forms;

pub use forms::{Decoder, Encoder, Form, head_of};

/// What is read at a time, and kept by an idle socket.
const READ_BUFFER: usize = 4 * 1024;

/// An output buffer over this is given back when it is empty.
const KEPT_OUTPUT: usize = 4 * 1024;

/// Which end of the socket we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The peer is a client.
    Server,
    /// The peer is a backend.
    Client,
}

/// A close frame, or what stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code; 1005 where the frame had none, 1006 where the bytes ended without a frame (RFC 6455, section 7.1.5).
    pub code: u16,
    /// The reason; may be empty.
    pub reason: String,
}

/// What has come out of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// A message.
    Message(Message),
    /// The peer will send nothing more. Comes once.
    Closed(Close),
}

/// One WebSocket after its handshake.
#[derive(Debug)]
pub struct Socket {
    side: Side,
    limits: Limits,
    context: WebSocketContext,
    pipe: Pipe,
    tracker: Tracker,
    /// Bytes received so far.
    received: u64,
    /// A fault of a frame whose predecessors are still to be read.
    pending: Option<FramingError>,
    failed: Option<FramingError>,
    /// No bytes follow.
    finished: bool,
    /// The peer has closed.
    closed: bool,
}

/// The two directions as `tungstenite` sees them.
#[derive(Debug, Default)]
struct Pipe {
    input: Bytes,
    output: BytesMut,
    /// Answers to pings have to wait: then only the last is kept.
    is_full: bool,
}

impl Socket {
    /// A socket right after the handshake.
    pub fn new(side: Side, limits: Limits) -> Self {
        let (role, peer) = match side {
            Side::Server => (Role::Server, Direction::Client),
            Side::Client => (Role::Client, Direction::Server),
        };
        let message = limits.message as u64;
        let tracker = Tracker::new(
            peer,
            TrackerLimits {
                frame: message,
                fragments: limits.fragments,
                message,
                rsv1: false,
            },
        );
        Self {
            side,
            limits,
            context: WebSocketContext::new(role, Some(config(&limits, 0))),
            pipe: Pipe::default(),
            tracker,
            received: 0,
            pending: None,
            failed: None,
            finished: false,
            closed: false,
        }
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Takes the next bytes from the peer. Called when [`next`](Self::next) has said that it needs more.
    pub fn receive(&mut self, mut data: Bytes) {
        if self.closed || self.failed.is_some() || self.pending.is_some() {
            return;
        }
        let before = self.received;
        self.received += data.len() as u64;
        if let Err(violation) = self.tracker.pass(&data) {
            data.truncate(violation.good);
            let fault = Fault::WebSocket(violation.rule);
            self.pending = Some(fault.at(before + violation.good as u64));
        }
        self.pipe.push(data);
    }

    /// No bytes follow.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The next event; none if more bytes are needed or the peer has closed. Answers to pings and closes are in the
    /// output after it.
    ///
    /// # Errors
    /// At the first fault. The close frame that tells the peer is in the output, and nothing more is read.
    #[expect(clippy::should_implement_trait, reason = "None is not the end, and errors are")]
    pub fn next(&mut self) -> Result<Option<SocketEvent>, FramingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while !self.closed {
            self.pipe.is_full = self.pipe.output.len() >= self.limits.write;
            match self.context.read(&mut self.pipe) {
                Ok(tungstenite::Message::Text(text)) => {
                    return Ok(Some(SocketEvent::Message(Message::text(text))));
                }
                Ok(tungstenite::Message::Binary(data)) => {
                    return Ok(Some(SocketEvent::Message(Message::binary(data))));
                }
                Ok(tungstenite::Message::Close(frame)) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    });
                    return Ok(Some(self.close_by_peer(code, reason)));
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(error) = self.pending.take() {
                        return Err(self.fail(error));
                    }
                    if self.finished {
                        return Ok(Some(self.close_by_peer(1006, String::new())));
                    }
                    return Ok(None);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Ok(Some(self.close_by_peer(1006, String::new())));
                }
                Err(error) => {
                    let at = self.received - self.pipe.input.len() as u64;
                    return Err(self.fail(fault_of(&error, self.limits.message).at(at)));
                }
            }
        }
        Ok(None)
    }

    /// Puts a message into the output. It may be over the limits of what is received.
    ///
    /// # Errors
    /// [`Fault::Closed`] after a close frame either way, [`Fault::WriteBuffer`] when more than [`Limits::write`] bytes
    /// wait already, [`Fault::Utf8`] for text that is not UTF-8.
    pub fn send(&mut self, message: &Message) -> Result<(), FramingError> {
        let data = message.data.clone();
        let length = data.len();
        let message = match message.kind {
            Kind::Binary => tungstenite::Message::Binary(data),
            Kind::Text => tungstenite::Message::Text(data.try_into().map_err(|_| Fault::Utf8.at(0))?),
        };
        self.write(message, length)
    }

    /// Puts a ping into the output. The payload is at most 125 bytes; more are left out.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), FramingError> {
        let payload = Bytes::copy_from_slice(&payload[..payload.len().min(125)]);
        let length = payload.len();
        self.write(tungstenite::Message::Ping(payload), length)
    }

    fn write(&mut self, message: tungstenite::Message, length: usize) -> Result<(), FramingError> {
        if !self.context.can_write() {
            return Err(Fault::Closed.at(0));
        }
        if self.pipe.output.len() >= self.limits.write {
            return Err(Fault::WriteBuffer.at(0));
        }
        self.pipe.is_full = false;
        // One message may be larger than what may wait.
        let room = config(&self.limits, length);
        self.context
            .set_config(|config| config.max_write_buffer_size = room.max_write_buffer_size);
        let written = self
            .context
            .write(&mut self.pipe, message)
            .and_then(|()| self.context.flush(&mut self.pipe));
        written.map_err(|error| fault_of(&error, self.limits.message).at(0))
    }

    /// Puts a close frame into the output, unless there was one. The reason is cut to what a frame can hold; a code
    /// that must not be on the wire (RFC 6455, section 7.4.1) makes a frame without one.
    pub fn close(&mut self, code: u16, reason: &str) {
        let code = CloseCode::from(code);
        let frame = code.is_allowed().then(|| CloseFrame {
            code,
            reason: cut_reason(reason).into(),
        });
        self.pipe.is_full = false;
        // It fails when there was a close frame already, and then there is nothing to do.
        let _ = self.context.close(&mut self.pipe, frame);
    }

    /// Whether messages can be sent: no close frame has been sent or received.
    pub fn is_open(&self) -> bool {
        self.context.can_write()
    }

    /// Whether nothing more will come: the peer has closed, or broken a rule.
    pub fn is_closed(&self) -> bool {
        self.closed || self.failed.is_some()
    }

    /// What has come from the peer so far; a driver sees in it whether anything has come since its last ping.
    pub fn counts(&self) -> Counts {
        self.tracker.counts()
    }

    /// Bytes that wait to be written.
    pub fn pending_output(&self) -> usize {
        self.pipe.output.len()
    }

    /// What is to be written to the peer.
    pub fn take_output(&mut self) -> Bytes {
        self.pipe.take_output().freeze()
    }

    /// Appends to `out` what is to be written to the peer.
    pub fn write_output(&mut self, out: &mut BytesMut) {
        let output = self.pipe.take_output();
        if out.is_empty() {
            *out = output;
        } else {
            out.extend_from_slice(&output);
        }
    }

    fn close_by_peer(&mut self, code: u16, reason: String) -> SocketEvent {
        self.closed = true;
        self.pipe.is_full = false;
        // The answer to a close frame; a server's context says in an error that it was the last.
        let _ = self.context.flush(&mut self.pipe);
        SocketEvent::Closed(Close { code, reason })
    }

    fn fail(&mut self, error: FramingError) -> FramingError {
        self.failed = Some(error);
        self.pipe.input = Bytes::new();
        self.close(error.fault.close(), error.fault.label());
        error
    }
}

/// `waiting` bytes may be written beside what may wait.
fn config(limits: &Limits, waiting: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(limits.write.saturating_add(waiting).saturating_add(1024))
        .max_message_size(Some(limits.message))
        .max_frame_size(Some(limits.message))
}

fn fault_of(error: &Error, limit: usize) -> Fault {
    match error {
        Error::Capacity(_) => Fault::TooLarge { limit },
        Error::Utf8(_) => Fault::Utf8,
        Error::WriteBufferFull(_) => Fault::WriteBuffer,
        Error::Protocol(ProtocolError::SendAfterClosing) | Error::ConnectionClosed | Error::AlreadyClosed => {
            Fault::Closed
        }
        Error::Protocol(ProtocolError::InvalidCloseSequence) => Fault::WebSocket(WsViolation::ClosePayload),
        // The tracker has judged every header before.
        _ => Fault::WebSocket(WsViolation::Opcode),
    }
}

impl Pipe {
    fn push(&mut self, data: Bytes) {
        if self.input.is_empty() {
            self.input = data;
        } else {
            let mut joined = BytesMut::from(&self.input[..]);
            joined.extend_from_slice(&data);
            self.input = joined.freeze();
        }
    }

    fn take_output(&mut self) -> BytesMut {
        if self.output.capacity() > KEPT_OUTPUT {
            std::mem::take(&mut self.output)
        } else {
            self.output.split()
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.input.len());
        self.input.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.is_full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.output.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
