//! The two directions of a translated exchange as bodies: messages pulled from one side, framed for the other.
//!
//! Nothing is queued but what makes one piece of some kilobytes: a slow reader stops the pulling, message by message.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use causeway_protocols::framing::{Encoder, websocket};
use causeway_protocols::message::Outcome;
use causeway_protocols::status::close;
use causeway_protocols::{Code, End, FailureKind};

use super::fault::Fault;
use super::link::Link;
use super::messages::{Messages, Next};
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::{Broken, Chunk};

/// Messages are put together up to this size while more of them are there.
pub(super) const PIECE: usize = 16 * 1024;

/// A WebSocket's two directions are one object.
pub type Socket = Rc<RefCell<websocket::Socket>>;

/// What the client sends, framed for the backend.
#[derive(Debug)]
pub struct UpFlow {
    from: Rc<RefCell<Messages>>,
    encoder: Encoder,
    /// The backend's WebSocket, if it is one: it stays open until the reply is over.
    socket: Option<Socket>,
    link: Rc<Link>,
    out: BytesMut,
    ended: bool,
}

impl UpFlow {
    /// A flow to a backend that reads what `encoder` writes.
    pub fn new(from: Rc<RefCell<Messages>>, encoder: Encoder, link: Rc<Link>) -> Self {
        let socket = match &encoder {
            Encoder::WebSocket(encoder) => Some(Rc::clone(encoder.socket())),
            _ => None,
        };
        Self {
            from,
            encoder,
            socket,
            link,
            out: BytesMut::new(),
            ended: false,
        }
    }

    /// The next piece; see [`Body::poll_chunk`](crate::payload::Body::poll_chunk).
    ///
    /// # Errors
    /// When the client breaks off, or sends what cannot be translated; the link knows more.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        loop {
            if self.out.len() >= PIECE {
                return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
            }
            if self.ended {
                return self.poll_ended(cx);
            }
            let next = self.from.borrow_mut().poll_next(cx);
            let fault = match next {
                Poll::Pending => {
                    self.take_output();
                    if self.out.is_empty() {
                        self.link.watch(cx.waker());
                        return Poll::Pending;
                    }
                    return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
                }
                Poll::Ready(Ok(Next::Message(message))) => match self.encoder.message(&message, &mut self.out) {
                    Ok(()) => continue,
                    Err(error) => Fault::new(FailureKind::Internal, error.to_string()),
                },
                Poll::Ready(Ok(Next::End(outcome))) if outcome.status.is_ok() => {
                    self.ended = true;
                    self.encoder.end(&outcome, &mut self.out);
                    continue;
                }
                Poll::Ready(Ok(Next::End(outcome))) => Fault::new(FailureKind::Cancelled, outcome.status.message),
                Poll::Ready(Err(fault)) => fault,
            };
            self.link.fail(fault.clone());
            return Poll::Ready(Err(fault.broken));
        }
    }

    /// The client has said all. A WebSocket has no half-close of its own: it is kept for pongs and the closing handshake.
    fn poll_ended(&mut self, cx: &Context<'_>) -> Poll<Result<Chunk, Broken>> {
        if let Some(socket) = &self.socket
            && self.link.is_reply_over()
        {
            let (code, reason) = close::close_of(&causeway_protocols::status::Status::new(Code::Ok, ""));
            socket.borrow_mut().close(code, &reason);
        }
        self.take_output();
        if !self.out.is_empty() {
            return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
        }
        if self.socket.is_some() && !self.link.is_reply_over() {
            self.link.watch(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(Chunk::End(End::default())))
    }

    fn take_output(&mut self) {
        if let Some(socket) = &self.socket {
            socket.borrow_mut().write_output(&mut self.out);
        }
    }
}

/// Who reads the reply, for what its end looks like.
#[derive(Debug)]
pub enum Reader {
    /// An HTTP client: the format has a terminal record.
    Http,
    /// A gRPC client: trailers.
    Grpc,
    /// A WebSocket client: a close frame.
    WebSocket {
        /// Its socket.
        socket: Socket,
        /// What it sends; read on for pings and its close when nobody else reads it any more.
        client: Rc<RefCell<Messages>>,
        /// Nobody else ever reads it.
        alone: bool,
    },
    /// A client whose format has its trailers within it.
    InBand,
}

/// What the backend sends, framed for the client.
#[derive(Debug)]
pub struct DownFlow {
    from: Messages,
    encoder: Encoder,
    reader: Reader,
    /// The backend's WebSocket, if it is one: what it has to answer goes out with the request.
    backend: Option<Socket>,
    link: Rc<Link>,
    cx: Rc<CallContext>,
    out: BytesMut,
    end: Option<End>,
}

impl DownFlow {
    /// A flow to a client that reads what `encoder` writes.
    pub fn new(
        from: Messages,
        encoder: Encoder,
        reader: Reader,
        backend: Option<Socket>,
        link: Rc<Link>,
        cx: Rc<CallContext>,
    ) -> Self {
        Self {
            from,
            encoder,
            reader,
            backend,
            link,
            cx,
            out: BytesMut::new(),
            end: None,
        }
    }

    /// The next piece; see [`Body::poll_chunk`](crate::payload::Body::poll_chunk). However the exchange ends, the last
    /// piece says so in the client's format.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        loop {
            if self.out.len() >= PIECE {
                return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
            }
            if self.end.is_some() {
                if !self.out.is_empty() {
                    return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
                }
                return Poll::Ready(Ok(Chunk::End(self.end.take().unwrap_or_default())));
            }
            self.listen(cx);
            if let Some(fault) = self.link.fault() {
                self.fail(&fault);
                continue;
            }
            match self.from.poll_next(cx) {
                Poll::Pending => {
                    self.answer_backend(cx);
                    if !self.out.is_empty() {
                        return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
                    }
                    self.link.watch(cx.waker());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(Next::Message(message))) => {
                    if let Err(error) = self.encoder.message(&message, &mut self.out) {
                        self.fail(&Fault::of_backend(&error));
                    }
                }
                Poll::Ready(Ok(Next::End(outcome))) => {
                    self.answer_backend(cx);
                    self.finish(outcome, None);
                }
                Poll::Ready(Err(fault)) => self.fail(&fault),
            }
        }
    }

    /// Hears what a WebSocket client says after it has said all, and takes the pongs that it is owed.
    fn listen(&mut self, cx: &mut Context<'_>) {
        let Reader::WebSocket { socket, client, alone } = &self.reader else {
            return;
        };
        let said_all = *alone || client.borrow().is_over();
        if said_all && self.link.fault().is_none() {
            let next = client.borrow_mut().poll_next(cx);
            match next {
                // It says once more that it has said all.
                Poll::Ready(Ok(Next::End(outcome))) if outcome.status.is_ok() => {}
                Poll::Pending => {}
                Poll::Ready(Ok(Next::Message(_))) => {
                    let fault = Fault::new(FailureKind::BadRequest, "a message after the last one");
                    self.link.fail(Fault {
                        close: Some(1002),
                        ..fault
                    });
                }
                Poll::Ready(Ok(Next::End(outcome))) => {
                    self.link
                        .fail(Fault::new(FailureKind::Cancelled, outcome.status.message));
                }
                Poll::Ready(Err(fault)) => self.link.fail(fault),
            }
        }
        socket.borrow_mut().write_output(&mut self.out);
    }

    /// A backend's WebSocket may be owed a pong or a close, which goes out in the other direction.
    fn answer_backend(&self, cx: &Context<'_>) {
        if let Some(socket) = &self.backend
            && socket.borrow().pending_output() > 0
        {
            cx.waker().wake_by_ref();
        }
    }

    fn fail(&mut self, fault: &Fault) {
        self.cx.record.borrow_mut().failed(&CallError::from(fault.clone()));
        self.finish(fault.outcome(), fault.close);
    }

    fn finish(&mut self, outcome: Outcome, close: Option<u16>) {
        self.link.reply_is_over();
        let end = match &self.reader {
            Reader::Grpc => End {
                trailers: outcome.to_trailers(),
            },
            Reader::Http => {
                self.encoder.end(&outcome, &mut self.out);
                End {
                    trailers: outcome.trailers,
                }
            }
            Reader::InBand => {
                self.encoder.end(&outcome, &mut self.out);
                End::default()
            }
            Reader::WebSocket { socket, .. } => {
                match close {
                    Some(code) => socket.borrow_mut().close(code, &outcome.status.message),
                    None => self.encoder.end(&outcome, &mut self.out),
                }
                socket.borrow_mut().write_output(&mut self.out);
                End::default()
            }
        };
        self.end = Some(end);
    }

    /// Takes in what has arrived while the client does not read; see [`Body::absorb`](crate::payload::Body::absorb).
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        self.from.absorb(cx);
    }
}
