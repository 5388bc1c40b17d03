//! The two directions of an HTTP/1.1 connection, on the client's and on the backend's side.
//!
//! The parsers are pure and live in `causeway_protocols::http1`; here they meet a socket. A connection that became a
//! WebSocket uses the same two halves with no framing at all.

mod body;
mod outlet;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use causeway_protocols::FailureKind;

pub use self::body::{BodyKind, Http1Body};
pub use self::outlet::{Http1Outlet, OutletKind};
use crate::payload::Broken;
use crate::scratch;
use crate::service::breaker::Permit;
use crate::service::endpoint::Endpoint;
use crate::socket::Socket;

/// Which side of the gateway a connection is on; it decides whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We answer requests.
    Client,
    /// We make them.
    Backend,
}

impl Side {
    /// The failure that a read or write error on this side is.
    pub(crate) fn broken(self, doing: &str, error: &io::Error) -> Broken {
        let timed_out = error.kind() == io::ErrorKind::TimedOut;
        let kind = match (self, timed_out) {
            (Self::Client, true) => FailureKind::ClientTimeout,
            (Self::Client, false) => FailureKind::Cancelled,
            (Self::Backend, true) => FailureKind::Deadline,
            (Self::Backend, false) => FailureKind::Protocol,
        };
        let who = if self == Self::Client { "client" } else { "backend" };
        Broken::new(kind, format!("{doing} the {who}: {error}"))
    }
}

/// One HTTP/1.1 connection, shared by the two directions of the exchange that is on it.
#[derive(Debug)]
pub struct Http1Connection {
    socket: Rc<Socket>,
    side: Side,
    /// Bytes that were read and belong to what comes next.
    buffer: RefCell<BytesMut>,
    /// The message we read has ended.
    read_done: Cell<bool>,
    /// The message we write has ended.
    write_done: Cell<bool>,
    /// The connection may carry another exchange.
    reusable: Cell<bool>,
    /// The pool that a backend connection goes back to.
    home: Weak<Endpoint>,
    /// Its place among the connections of the gateway to its service, where these are limited.
    permit: Option<Permit>,
}

impl Http1Connection {
    /// A connection of a client.
    pub fn of_client(socket: Rc<Socket>) -> Rc<Self> {
        Self::new(socket, Side::Client, Weak::new(), None)
    }

    /// A connection to a backend, returned to `home` when an exchange leaves it in order.
    pub fn of_backend(socket: Rc<Socket>, permit: Option<Permit>, home: &Rc<Endpoint>) -> Rc<Self> {
        Self::new(socket, Side::Backend, Rc::downgrade(home), permit)
    }

    fn new(socket: Rc<Socket>, side: Side, home: Weak<Endpoint>, permit: Option<Permit>) -> Rc<Self> {
        Rc::new(Self {
            socket,
            side,
            buffer: RefCell::new(BytesMut::new()),
            read_done: Cell::new(true),
            write_done: Cell::new(true),
            reusable: Cell::new(true),
            home,
            permit,
        })
    }

    /// The socket below.
    pub fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    /// Whether the message that is read has ended.
    pub fn is_read_done(&self) -> bool {
        self.read_done.get()
    }

    /// Whether the message that is written has ended.
    pub fn is_write_done(&self) -> bool {
        self.write_done.get()
    }

    /// Whether another exchange may follow.
    pub fn is_reusable(&self) -> bool {
        self.reusable.get() && self.read_done.get() && self.write_done.get()
    }

    /// No further exchange on this connection.
    pub fn close_after(&self) {
        self.reusable.set(false);
    }

    /// A message is about to be read.
    pub fn begin_read(&self) {
        self.read_done.set(false);
    }

    /// The message that is read has no body, or its end has come.
    pub fn end_read(&self) {
        self.read_done.set(true);
    }

    /// A message is about to be written.
    pub fn begin_write(&self) {
        self.write_done.set(false);
    }

    /// Parses from what is buffered, or from what arrives; `parse` says how many bytes it took, or that it needs more.
    /// `Ok(None)` is the end of the connection between messages, with nothing buffered.
    ///
    /// # Errors
    /// Those of the socket and those of `parse`; `UnexpectedEof` inside a message.
    pub fn poll_parse<T, E: From<io::Error>>(
        &self,
        cx: &mut Context<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> Poll<Result<Option<T>, E>> {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.is_empty()
            && let Some((parsed, used)) = parse(&buffer)?
        {
            advance(&mut buffer, used);
            return Poll::Ready(Ok(Some(parsed)));
        }
        loop {
            let parsed = scratch::lend(|scratch| {
                let count = match ready!(self.socket.poll_read(cx, scratch)) {
                    Ok(count) => count,
                    Err(error) => return Poll::Ready(Err(error.into())),
                };
                if count == 0 {
                    return Poll::Ready(if buffer.is_empty() {
                        Ok(Some(None))
                    } else {
                        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                    });
                }
                let fresh = &scratch[..count];
                // The usual case: the whole head arrives in one read, and nothing of it is ever stored.
                if buffer.is_empty() {
                    let parsed = match parse(fresh) {
                        Ok(parsed) => parsed,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    let used = parsed.as_ref().map_or(0, |(_, used)| *used);
                    buffer.extend_from_slice(fresh.get(used..).unwrap_or_default());
                    return Poll::Ready(Ok(parsed.map(|(parsed, _)| Some(parsed))));
                }
                buffer.extend_from_slice(fresh);
                let parsed = match parse(&buffer) {
                    Ok(parsed) => parsed,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                Poll::Ready(Ok(parsed.map(|(parsed, used)| {
                    advance(&mut buffer, used);
                    Some(parsed)
                })))
            });
            if let Some(done) = ready!(parsed)? {
                return Poll::Ready(Ok(done));
            }
        }
    }

    /// Whether part of a message is buffered.
    pub fn has_buffered(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    /// What is buffered, for another parser.
    pub fn take_buffered(&self) -> BytesMut {
        self.buffer.take()
    }

    /// Watches for the client's going away while nothing is read from it: ready with `true` when it has, pending while
    /// it has not. What it sends meanwhile (its next request) is kept, up to `limit` bytes, then left in the kernel.
    pub fn poll_gone(&self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        loop {
            let mut buffer = self.buffer.borrow_mut();
            if buffer.len() >= limit {
                return Poll::Pending;
            }
            let read =
                scratch::lend(
                    |scratch| match ready!(self.socket.poll_read(cx, &mut scratch[..limit.min(4096)])) {
                        Ok(0) | Err(_) => Poll::Ready(true),
                        Ok(count) => {
                            buffer.extend_from_slice(&scratch[..count]);
                            Poll::Ready(false)
                        }
                    },
                );
            if ready!(read) {
                self.reusable.set(false);
                return Poll::Ready(());
            }
        }
    }
}

/// Drops what was used; an empty buffer gives its memory back.
fn advance(buffer: &mut BytesMut, used: usize) {
    if used >= buffer.len() {
        *buffer = BytesMut::new();
    } else {
        bytes::Buf::advance(buffer, used);
    }
}

impl Drop for Http1Connection {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let clean = self.is_reusable() && self.buffer.get_mut().is_empty();
            home.give_back(clean.then(|| Rc::clone(&self.socket)), self.permit.take());
        }
    }
}
