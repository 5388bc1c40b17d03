//! What has arrived for a call and was not taken yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Payloads up to this size are put together, so that a window full of tiny frames costs a window of memory and not a
/// queue entry and an allocation for each byte.
const SMALL: usize = 512;
/// Behind others, payloads up to this size are copied: a slice of a read buffer keeps all of it alive, and who waits in
/// a queue may wait long.
const DETACH: usize = 8 * 1024;
/// Size of what small payloads are put together into.
const PACK: usize = 4096;

/// A queue of payloads. Credit bounds it: nothing is pushed that was not granted.
#[derive(Debug, Default)]
pub struct Inbox {
    chunks: VecDeque<Bytes>,
    /// Small payloads behind the last chunk.
    pack: BytesMut,
    bytes: usize,
}

impl Inbox {
    /// An empty one; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a payload.
    pub fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        if data.is_empty() {
            return;
        }
        // The first payload is handed on as it is: with a reader that keeps up nothing is ever copied.
        if data.len() > SMALL || (self.chunks.is_empty() && self.pack.is_empty()) {
            self.seal();
            let queued = !self.chunks.is_empty() && data.len() <= DETACH;
            let data = if queued { Bytes::copy_from_slice(&data) } else { data };
            self.chunks.push_back(data);
            return;
        }
        if self.pack.len() + data.len() > PACK {
            self.seal();
        }
        if self.pack.capacity() == 0 {
            self.pack.reserve(PACK);
        }
        self.pack.extend_from_slice(&data);
    }

    /// Takes the next bytes.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.chunks.is_empty() {
            self.seal();
        }
        let data = self.chunks.pop_front()?;
        self.bytes -= data.len();
        Some(data)
    }

    /// Drops everything and gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn seal(&mut self) {
        if self.pack.len() > PACK / 2 {
            self.chunks.push_back(std::mem::take(&mut self.pack).freeze());
        } else if !self.pack.is_empty() {
            self.chunks.push_back(Bytes::copy_from_slice(&self.pack));
            self.pack.clear();
        }
    }
}
