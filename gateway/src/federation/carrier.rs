//! TLS over TCP under a tunnel: one large read, one large write.
//!
//! TLS is driven here rather than by a stream type, so that a connection can be handed to another thread after its
//! handshake, and so that a whole batch of frames becomes one write.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::scratch;

/// Plaintext given to TLS before its ciphertext is written: four records, one `writev`.
const BATCH: usize = 64 * 1024;

/// A connection with its TLS.
#[derive(Debug)]
pub struct Carrier {
    stream: RefCell<TcpStream>,
    tls: RefCell<Connection>,
}

impl Carrier {
    /// Takes over a socket and a TLS connection past its handshake.
    ///
    /// # Errors
    /// When the socket cannot be registered with this worker.
    pub fn new(stream: std::net::TcpStream, tls: Connection) -> io::Result<Self> {
        Ok(Self {
            stream: RefCell::new(TcpStream::from_std(stream)?),
            tls: RefCell::new(tls),
        })
    }

    /// Appends what has arrived to `into`; 0 is the end.
    ///
    /// # Errors
    /// Those of the socket and of TLS.
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut tls = self.tls.borrow_mut();
        let before = into.len();
        // What came along with the handshake.
        if !drain(&mut tls, into)? {
            return Poll::Ready(Ok(0));
        }
        while into.len() == before {
            let alive = scratch::lend(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                if let Err(error) = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer)) {
                    return Poll::Ready(Err(error));
                }
                let mut cipher = buffer.filled();
                if cipher.is_empty() {
                    return Poll::Ready(Ok(false));
                }
                into.reserve(cipher.len());
                let mut alive = true;
                while !cipher.is_empty() && alive {
                    if tls.read_tls(&mut cipher)? == 0 {
                        break;
                    }
                    tls.process_new_packets().map_err(io::Error::other)?;
                    alive = drain(&mut tls, into)?;
                }
                Poll::Ready(Ok::<_, io::Error>(alive))
            });
            if !ready!(alive)? {
                break;
            }
        }
        Poll::Ready(Ok(into.len() - before))
    }

    /// Writes `from` away; ready when nothing of it, and nothing in TLS, is left.
    ///
    /// # Errors
    /// Those of the socket and of TLS.
    pub fn poll_write(&self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        let mut tls = self.tls.borrow_mut();
        loop {
            while tls.wants_write() {
                let mut stream = self.stream.borrow_mut();
                match tls.write_tls(&mut Polled {
                    stream: &mut stream,
                    cx,
                }) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if from.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let taken = tls.writer().write(&from[..from.len().min(BATCH)])?;
            from.advance(taken);
        }
    }

    /// Says at the TLS level that nothing more comes.
    pub fn close(&self) {
        self.tls.borrow_mut().send_close_notify();
    }
}

/// Moves plaintext out of TLS; false when the other side has closed.
fn drain(tls: &mut Connection, into: &mut BytesMut) -> io::Result<bool> {
    let mut reader = tls.reader();
    loop {
        let mut chunk = [0u8; 4096];
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(count) => into.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// The socket as the blocking writer that TLS wants: what would block says so.
struct Polled<'a, 'b> {
    stream: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(from)])
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write_vectored(self.cx, from) {
            Poll::Ready(wrote) => wrote,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
