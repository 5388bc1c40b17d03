//! Reading a message body off an HTTP/1.1 connection.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use causeway_protocols::http1::{ChunkedDecoder, Decoded};
use causeway_protocols::{End, FailureKind};

use super::{Http1Connection, Side};
use crate::payload::{Broken, Chunk};
use crate::scratch;

/// How the end of a body is known.
#[derive(Debug)]
pub enum BodyKind {
    /// By its length: so many bytes are still to come.
    Length(u64),
    /// By its last chunk.
    Chunked(Box<ChunkedDecoder>),
    /// By the end of the connection: a reply without a length, or a WebSocket.
    UntilClose,
}

/// A body, read as it is pulled.
#[derive(Debug)]
pub struct Http1Body {
    connection: Rc<Http1Connection>,
    kind: BodyKind,
    /// Bytes that may still come before the body is too large.
    allowed: u64,
    /// The client waits for `100 Continue`; so many bytes of it are still to be written.
    permit: &'static [u8],
    /// The last read filled its buffer: the next goes straight into a large one.
    bulk: bool,
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Http1Body {
    /// The body of the message that begins now. More than `limit` bytes are refused.
    pub fn new(connection: Rc<Http1Connection>, kind: BodyKind, limit: u64) -> Self {
        connection.begin_read();
        Self {
            connection,
            kind,
            allowed: limit,
            permit: &[],
            bulk: false,
        }
    }

    /// Sends `100 Continue` when the body is first asked for.
    pub fn on_permit(mut self) -> Self {
        self.permit = CONTINUE;
        self
    }

    /// The next piece.
    ///
    /// # Errors
    /// When the connection ends, stalls or breaks its framing inside the body, or the body is over its limit.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let side = self.connection.side;
        while !self.permit.is_empty() {
            let wrote = ready!(self.connection.socket.poll_write(cx, self.permit));
            let wrote = wrote.map_err(|error| side.broken("writing to", &error))?;
            self.permit = &self.permit[wrote..];
            if self.permit.is_empty() {
                ready!(self.connection.socket.poll_flush(cx)).map_err(|error| side.broken("writing to", &error))?;
            }
        }
        loop {
            if let Some(chunk) = self.take()? {
                return Poll::Ready(Ok(chunk));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => return Poll::Ready(self.at_close()),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(side.broken("reading from", &error))),
            }
        }
    }

    /// What can be had from the buffer.
    fn take(&mut self) -> Result<Option<Chunk>, Broken> {
        let mut buffer = self.connection.buffer.borrow_mut();
        let data = match &mut self.kind {
            BodyKind::Length(0) => {
                self.connection.read_done.set(true);
                return Ok(Some(Chunk::End(End::default())));
            }
            _ if buffer.is_empty() => return Ok(None),
            BodyKind::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= count as u64;
                split(&mut buffer, count)
            }
            BodyKind::UntilClose => {
                let count = buffer.len();
                split(&mut buffer, count)
            }
            BodyKind::Chunked(decoder) => match decoder.decode(&mut buffer) {
                Ok(Decoded::Data(data)) => data,
                Ok(Decoded::NeedMore) => return Ok(None),
                Ok(Decoded::End(trailers)) => {
                    self.connection.read_done.set(true);
                    return Ok(Some(Chunk::End(End { trailers })));
                }
                Err(error) => {
                    self.connection.close_after();
                    let kind = match self.connection.side {
                        Side::Client => FailureKind::BadRequest,
                        Side::Backend => FailureKind::Protocol,
                    };
                    return Err(Broken::new(kind, error.to_string()));
                }
            },
        };
        self.allowed = self.allowed.checked_sub(data.len() as u64).ok_or_else(|| {
            self.connection.close_after();
            Broken::new(FailureKind::TooLarge, "body is over its limit")
        })?;
        Ok(Some(Chunk::Data(data)))
    }

    /// Reads into the buffer; says how much.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let mut buffer = self.connection.buffer.borrow_mut();
        let count = if self.bulk {
            let count = ready!(self.connection.socket.poll_read_into(cx, &mut buffer, scratch::SIZE))?;
            self.bulk = count >= scratch::SIZE / 8;
            count
        } else {
            let count = scratch::lend(|scratch| {
                let count = ready!(self.connection.socket.poll_read(cx, scratch))?;
                buffer.extend_from_slice(&scratch[..count]);
                Poll::Ready(Ok::<_, std::io::Error>(count))
            });
            let count = ready!(count)?;
            self.bulk = count >= scratch::SIZE / 4;
            count
        };
        Poll::Ready(Ok(count))
    }

    fn at_close(&self) -> Result<Chunk, Broken> {
        self.connection.close_after();
        match self.kind {
            BodyKind::UntilClose => {
                self.connection.read_done.set(true);
                Ok(Chunk::End(End::default()))
            }
            _ => Err(self
                .connection
                .side
                .broken("reading from", &std::io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// The first bytes of the buffer, whose memory goes along when they are all there is.
fn split(buffer: &mut BytesMut, count: usize) -> Bytes {
    if count == buffer.len() {
        std::mem::take(buffer).freeze()
    } else {
        buffer.split_to(count).freeze()
    }
}
