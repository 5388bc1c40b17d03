//! A socket with a read buffer of fixed size, for both ends of the benchmark.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::failure::{During, Failure, Result};
use crate::wire::{Body, Framing};

/// A connection and what has been read from it but not used yet.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffered {
    /// `capacity` bounds what is read ahead, and the size of a head or frame.
    pub(crate) fn new(stream: TcpStream, capacity: usize) -> Self {
        Self {
            stream,
            buffer: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, used: usize) {
        self.start = (self.start + used).min(self.end);
    }

    /// Reads more.
    ///
    /// # Errors
    /// When the other side has closed, or the buffer is full of one unfinished thing.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        if free.is_empty() {
            return Err(Failure::new("a head or frame larger than the buffer"));
        }
        match self.stream.read(free).await.during("reading")? {
            0 => Err(Failure::new("the connection was closed")),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    /// Reads a body to its end.
    pub(crate) async fn body(&mut self, framing: Framing, mut content: impl FnMut(&[u8])) -> Result<()> {
        let mut body = Body::new(framing);
        loop {
            let used = body.feed(self.unread(), &mut content)?;
            self.consume(used);
            if body.is_done() {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.during("writing")
    }
}
