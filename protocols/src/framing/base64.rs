//! A stream of base64 in chunks, as the text form of gRPC-Web has it: padding may stand in the middle, where one piece
//! that was encoded by itself ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// Characters that are decoded together.
const QUANTUM: usize = 4;

/// Takes base64 off a stream.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// The beginning of a quantum.
    kept: [u8; QUANTUM],
    count: usize,
    /// Characters of whole quanta that were decoded.
    decoded: u64,
}

impl Base64 {
    /// Decodes the next chunk. With an error, at the offset of the quantum that is none, comes what was before it.
    pub(super) fn decode(&mut self, data: &[u8]) -> (Bytes, Result<(), u64>) {
        let mut out = BytesMut::with_capacity((self.count + data.len()) / QUANTUM * 3);
        let mut rest = data;
        if self.count > 0 {
            let missing = (QUANTUM - self.count).min(rest.len());
            self.kept[self.count..self.count + missing].copy_from_slice(&rest[..missing]);
            self.count += missing;
            rest = &rest[missing..];
            if self.count == QUANTUM {
                let quantum = self.kept;
                self.count = 0;
                if !self.add(&quantum, &mut out) {
                    return (out.freeze(), Err(self.decoded));
                }
            }
        }
        while rest.len() >= QUANTUM {
            // Everything before the next padding at once, or the quantum with the padding.
            let plain = memchr(b'=', rest).unwrap_or(rest.len()) / QUANTUM * QUANTUM;
            let (piece, after) = rest.split_at(plain.max(QUANTUM));
            if !self.add(piece, &mut out) {
                // Where in it? Quantum by quantum.
                for quantum in piece.chunks(QUANTUM) {
                    if !self.add(quantum, &mut out) {
                        break;
                    }
                }
                return (out.freeze(), Err(self.decoded));
            }
            rest = after;
        }
        if !rest.is_empty() {
            self.kept[..rest.len()].copy_from_slice(rest);
            self.count = rest.len();
        }
        (out.freeze(), Ok(()))
    }

    /// Whether the stream may end here. If not, at which character it is incomplete.
    pub(super) fn finish(&self) -> Result<(), u64> {
        if self.count == 0 { Ok(()) } else { Err(self.decoded) }
    }

    fn add(&mut self, quanta: &[u8], out: &mut BytesMut) -> bool {
        let start = out.len();
        out.resize(start + quanta.len() / QUANTUM * 3, 0);
        match STANDARD.decode_slice(quanta, &mut out[start..]) {
            Ok(count) => {
                out.truncate(start + count);
                self.decoded += quanta.len() as u64;
                true
            }
            Err(_) => {
                out.truncate(start);
                false
            }
        }
    }
}

/// Appends bytes as base64 that is padded by itself.
pub(super) fn encode(data: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(STANDARD.encode(data).as_bytes());
}
