//! The bytes that a decoder was given and has not used: one chunk, and what was kept of earlier ones.

use bytes::{Bytes, BytesMut};

use super::error::{Fault, FramingError};

/// Cuts pieces off the front of a stream that comes in chunks.
///
/// A piece that lies whole in a chunk is a slice of it; any other is gathered in `kept`, which holds the beginning of
/// one piece and never more.
#[derive(Debug, Default)]
pub(super) struct Input {
    chunk: Bytes,
    kept: BytesMut,
    /// Bytes of the stream before `chunk`.
    before: u64,
    finished: bool,
    failed: Option<FramingError>,
}

impl Input {
    /// Takes the next chunk. If the last one is not used up, which callers should not let happen, they are joined.
    pub(super) fn push(&mut self, data: Bytes) {
        if self.failed.is_some() || self.finished {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = data;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + data.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&data);
            self.chunk = joined.freeze();
        }
    }

    /// No chunk follows.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether no chunk follows and the last is used up.
    pub(super) fn is_over(&self) -> bool {
        self.finished && self.chunk.is_empty()
    }

    /// What has not been looked at.
    pub(super) fn rest(&self) -> &[u8] {
        &self.chunk
    }

    /// Bytes that are kept of the present piece.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The piece that ends after `count` bytes of the rest.
    pub(super) fn cut(&mut self, count: usize) -> Bytes {
        let end = self.split(count);
        if self.kept.is_empty() {
            return end;
        }
        self.kept.extend_from_slice(&end);
        std::mem::take(&mut self.kept).freeze()
    }

    /// Looks at `count` bytes of the rest without a use for them.
    pub(super) fn skip(&mut self, count: usize) {
        let _ = self.split(count);
    }

    /// Keeps `count` bytes of the rest as a part of the present piece.
    pub(super) fn keep(&mut self, count: usize) {
        let part = self.split(count);
        self.kept.extend_from_slice(&part);
    }

    /// The next `count` bytes, once all are there; until then they are kept as they come, so that what is allocated is
    /// what has arrived, whatever length was announced.
    pub(super) fn take(&mut self, count: usize) -> Option<Bytes> {
        let missing = count.saturating_sub(self.kept.len());
        if self.chunk.len() >= missing {
            return Some(self.cut(missing));
        }
        self.keep(self.chunk.len());
        None
    }

    /// The fault of before, if there was one: then nothing more is decoded.
    pub(super) fn check(&self) -> Result<(), FramingError> {
        self.failed.map_or(Ok(()), Err)
    }

    /// A fault `ahead` bytes into the rest, or before it where `ahead` is negative. Everything that was held is let go.
    pub(super) fn fail(&mut self, fault: Fault, ahead: i64) -> FramingError {
        let error = fault.at(self.before.saturating_add_signed(ahead));
        self.fail_with(error)
    }

    /// As [`fail`](Self::fail), with an error that is placed already.
    pub(super) fn fail_with(&mut self, error: FramingError) -> FramingError {
        self.chunk = Bytes::new();
        self.kept = BytesMut::new();
        self.failed = Some(error);
        error
    }

    fn split(&mut self, count: usize) -> Bytes {
        let count = count.min(self.chunk.len());
        self.before += count as u64;
        if count == self.chunk.len() {
            return std::mem::take(&mut self.chunk);
        }
        self.chunk.split_to(count)
    }
}
