//! Writing a message onto an HTTP/1.1 connection.

use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use causeway_protocols::http1::encode;
use causeway_protocols::{End, FailureKind};

use super::Http1Connection;
use crate::payload::Broken;

/// Pieces up to this size are copied behind the head so that one write takes both; larger ones are written in place.
const JOIN: usize = 16 * 1024;

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutletKind {
    /// By its length: so many bytes are still to go.
    Length(u64),
    /// By a last chunk, with trailers where the other side takes them.
    Chunked,
    /// By closing the connection.
    Close,
    /// By shutting our direction down: a WebSocket.
    Raw,
    /// There is none: whatever comes is dropped (a reply to HEAD).
    Nothing,
}

/// The rest of a message: what of its head is unwritten, and its body.
#[derive(Debug)]
pub struct Http1Outlet {
    connection: Rc<Http1Connection>,
    out: BytesMut,
    kind: OutletKind,
    /// A chunk's header is in `out`, and this much of the chunk is still to be sent.
    chunk: usize,
    ended: bool,
}

impl Http1Outlet {
    /// Begins a message with this head.
    pub fn new(connection: Rc<Http1Connection>, head: BytesMut, kind: OutletKind) -> Self {
        connection.begin_write();
        if kind == OutletKind::Close || kind == OutletKind::Raw {
            connection.close_after();
        }
        Self {
            connection,
            out: head,
            kind,
            chunk: 0,
            ended: false,
        }
    }

    /// Takes bytes from the front of `data`.
    ///
    /// # Errors
    /// When the connection fails, or the body is longer than it was said to be.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<(), Broken>> {
        match &mut self.kind {
            OutletKind::Nothing => {
                data.clear();
                return Poll::Ready(Ok(()));
            }
            OutletKind::Length(left) if (data.len() as u64) > *left => {
                return Poll::Ready(Err(Broken::new(
                    FailureKind::Protocol,
                    "body is longer than its content-length",
                )));
            }
            OutletKind::Chunked if self.chunk == 0 => {
                encode::chunk_header(data.len(), &mut self.out);
                self.chunk = data.len();
            }
            _ => {}
        }
        if self.out.len() + data.len() <= JOIN {
            self.out.extend_from_slice(data);
            let count = data.len();
            self.sent(data, count);
            return Poll::Ready(Ok(()));
        }
        while !data.is_empty() {
            let parts = [IoSlice::new(&self.out), IoSlice::new(data)];
            let parts = if self.out.is_empty() { &parts[1..] } else { &parts[..] };
            let wrote = ready!(self.connection.socket.poll_write_vectored(cx, parts));
            let wrote = wrote.map_err(|error| self.connection.side.broken("writing to", &error))?;
            if wrote == 0 {
                let error = std::io::ErrorKind::WriteZero.into();
                return Poll::Ready(Err(self.connection.side.broken("writing to", &error)));
            }
            let of_out = wrote.min(self.out.len());
            self.out.advance(of_out);
            self.sent(data, wrote - of_out);
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes of the body are written or in `out`.
    fn sent(&mut self, data: &mut Bytes, count: usize) {
        data.advance(count);
        match &mut self.kind {
            OutletKind::Length(left) => *left -= count as u64,
            OutletKind::Chunked => {
                self.chunk -= count;
                if self.chunk == 0 {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            _ => {}
        }
    }

    /// Writes what is held back. An idle connection then holds no buffer.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let side = self.connection.side;
        while !self.out.is_empty() {
            let wrote = ready!(self.connection.socket.poll_write(cx, &self.out));
            match wrote.map_err(|error| side.broken("writing to", &error))? {
                0 => return Poll::Ready(Err(side.broken("writing to", &std::io::ErrorKind::WriteZero.into()))),
                wrote => self.out.advance(wrote),
            }
        }
        self.out = BytesMut::new();
        self.connection
            .socket
            .poll_flush(cx)
            .map_err(|error| side.broken("writing to", &error))
    }

    /// Ends the message.
    ///
    /// # Errors
    /// When the connection fails, or the body is shorter than it was said to be.
    pub fn poll_end(&mut self, cx: &mut Context<'_>, end: &mut Option<End>) -> Poll<Result<(), Broken>> {
        if !std::mem::replace(&mut self.ended, true) {
            match self.kind {
                OutletKind::Length(left) if left > 0 => {
                    self.abort();
                    let broken = Broken::new(FailureKind::Protocol, "body is shorter than its content-length");
                    return Poll::Ready(Err(broken));
                }
                OutletKind::Chunked => encode::chunk_end(&end.take().unwrap_or_default().trailers, &mut self.out),
                _ => {}
            }
        }
        ready!(self.poll_flush(cx))?;
        if self.kind == OutletKind::Raw {
            let shut = ready!(self.connection.socket.poll_shutdown(cx));
            shut.map_err(|error| self.connection.side.broken("closing to", &error))?;
        }
        self.connection.write_done.set(true);
        Poll::Ready(Ok(()))
    }

    /// Makes sure that the other side sees the message as cut short.
    pub fn abort(&mut self) {
        self.connection.close_after();
        if self.kind == OutletKind::Close {
            self.connection.socket.abort_on_close();
        }
        self.out.clear();
    }
}
