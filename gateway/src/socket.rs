//! A connected socket with its clocks, below any parser.
//!
//! Reading and writing take `&self`, so that the two directions of an exchange can share one socket without a lock.
//! "Readiness first, then a buffer": nothing is held for a connection that has nothing to say.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::clock::{Clock, Timer};

/// What the reader waits for, and so which clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// No clock.
    Free,
    /// One deadline, whatever arrives before it: a head, or an idle connection.
    Until,
    /// A pause of at most this long.
    Pause(Duration),
}

#[derive(Debug)]
enum Stream {
    Plain(RefCell<TcpStream>),
    Tls(RefCell<Box<TlsStream<TcpStream>>>),
}

/// A TCP connection, clear or under TLS.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    reading: Cell<Reading>,
    read_timer: Timer,
    write_timer: Timer,
    writing: Cell<bool>,
    write_stall: Duration,
}

impl Socket {
    /// Wraps a connected socket. A write that makes no progress for `write_stall` fails with `TimedOut`.
    pub fn plain(stream: TcpStream, clock: &Rc<Clock>, write_stall: Duration) -> Self {
        Self::new(Stream::Plain(RefCell::new(stream)), clock, write_stall)
    }

    /// As [`plain`](Self::plain), after a TLS handshake.
    pub fn tls(stream: TlsStream<TcpStream>, clock: &Rc<Clock>, write_stall: Duration) -> Self {
        Self::new(Stream::Tls(RefCell::new(Box::new(stream))), clock, write_stall)
    }

    fn new(stream: Stream, clock: &Rc<Clock>, write_stall: Duration) -> Self {
        Self {
            stream,
            reading: Cell::new(Reading::Free),
            read_timer: clock.timer(),
            write_timer: clock.timer(),
            writing: Cell::new(false),
            write_stall,
        }
    }

    /// Reads fail with `TimedOut` once `after` is over, however much arrives before.
    pub fn read_within(&self, after: Duration) {
        self.reading.set(Reading::Until);
        self.read_timer.arm(after);
    }

    /// Reads fail with `TimedOut` after a pause of this length.
    pub fn read_pause(&self, pause: Duration) {
        self.reading.set(Reading::Pause(pause));
        self.read_timer.arm(pause);
    }

    /// Reads wait for ever.
    pub fn read_freely(&self) {
        if self.reading.replace(Reading::Free) != Reading::Free {
            self.read_timer.disarm();
        }
    }

    /// Reads into `into`; 0 is the end.
    ///
    /// # Errors
    /// Those of the socket, and `TimedOut` when a clock has run out.
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = match &self.stream {
            // Through `AsyncRead`, which knows that a short read has emptied the socket: no read that finds nothing.
            Stream::Plain(stream) => {
                let mut buffer = ReadBuf::new(into);
                Pin::new(&mut *stream.borrow_mut())
                    .poll_read(cx, &mut buffer)
                    .map_ok(|()| buffer.filled().len())
            }
            Stream::Tls(stream) => {
                let mut buffer = ReadBuf::new(into);
                let mut stream = stream.borrow_mut();
                match Pin::new(&mut **stream).poll_read(cx, &mut buffer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
                    // A TLS client that closes the socket without close_notify: the end, as everybody treats it;
                    // lengths and chunks tell whether the message was whole.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                }
            }
        };
        self.clock_read(cx, read)
    }

    fn clock_read(&self, cx: &Context<'_>, read: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match read {
            Poll::Ready(done) => {
                if let Reading::Pause(pause) = self.reading.get() {
                    self.read_timer.arm(pause);
                }
                Poll::Ready(done)
            }
            Poll::Pending if self.reading.get() == Reading::Free => Poll::Pending,
            Poll::Pending => self.read_timer.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Reads into a buffer that is given `size` bytes of room, but only once there is something to read.
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_read_into(&self, cx: &mut Context<'_>, into: &mut BytesMut, size: usize) -> Poll<io::Result<usize>> {
        let read = match &self.stream {
            Stream::Plain(stream) => {
                let mut stream = stream.borrow_mut();
                match stream.poll_read_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        into.reserve(size);
                        tokio_util::io::poll_read_buf(Pin::new(&mut *stream), cx, into)
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            }
            Stream::Tls(stream) => {
                into.reserve(size);
                match tokio_util::io::poll_read_buf(Pin::new(&mut **stream.borrow_mut()), cx, into) {
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                    read => read,
                }
            }
        };
        self.clock_read(cx, read)
    }

    /// Whether bytes or the end are known to wait, without a system call. For sockets that nobody reads just now: the
    /// waker of a waiting reader would be lost.
    pub fn has_input(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                stream.borrow().poll_read_ready(&mut cx).is_ready()
            }
            Stream::Tls(stream) => {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                stream.borrow().get_ref().0.poll_read_ready(&mut cx).is_ready()
            }
        }
    }

    /// Writes some of `from`.
    ///
    /// # Errors
    /// Those of the socket, and `TimedOut` when nothing could be written for the stall time.
    pub fn poll_write(&self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(from)])
    }

    /// Writes some of several buffers in one call.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, from: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wrote = match &self.stream {
            Stream::Plain(stream) => Pin::new(&mut *stream.borrow_mut()).poll_write_vectored(cx, from),
            Stream::Tls(stream) => Pin::new(&mut **stream.borrow_mut()).poll_write_vectored(cx, from),
        };
        self.clock_write(cx, wrote)
    }

    /// Pushes out what TLS holds back. Clear text holds nothing back.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => {
                let flushed = Pin::new(&mut **stream.borrow_mut()).poll_flush(cx);
                self.clock_write(cx, flushed)
            }
        }
    }

    fn clock_write<T>(&self, cx: &Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match wrote {
            Poll::Ready(done) => {
                if self.writing.replace(false) {
                    self.write_timer.disarm();
                }
                Poll::Ready(done)
            }
            Poll::Pending => {
                if !self.writing.replace(true) {
                    self.write_timer.arm(self.write_stall);
                }
                self.write_timer.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Plain(stream) => {
                let closed = socket2::SockRef::from(&*stream.borrow()).shutdown(Shutdown::Write);
                Poll::Ready(match closed {
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                    done => done,
                })
            }
            Stream::Tls(stream) => {
                let done = ready!(Pin::new(&mut **stream.borrow_mut()).poll_shutdown(cx));
                Poll::Ready(done)
            }
        }
    }

    fn tcp<T>(&self, with: impl FnOnce(&TcpStream) -> T) -> T {
        match &self.stream {
            Stream::Plain(stream) => with(&stream.borrow()),
            Stream::Tls(stream) => with(stream.borrow().get_ref().0),
        }
    }

    /// Whether TLS is on.
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The protocol that ALPN agreed on.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.borrow().get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
        }
    }

    /// The other end's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.tcp(|stream| stream.peer_addr().ok())
    }

    /// The next close discards what is unsent and tells the other side by RST: the only way to say "cut short" where
    /// the end of a body is the end of the connection.
    pub fn abort_on_close(&self) {
        self.tcp(|stream| {
            // Failing to set it leaves an ordinary close.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        });
    }
}

/// A shared socket as the pair of traits that `h2` wants.
#[derive(Clone, Debug)]
pub struct SharedSocket(pub Rc<Socket>);

impl AsyncRead for SharedSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = ready!(self.0.poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
