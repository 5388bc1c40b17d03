//! A body that is compressed while it flows.
//!
//! What the source has is compressed in small pieces on the worker itself; when it has nothing more for now, what the
//! encoder holds back is pushed out, so that events reach their reader when they happen. The encoder's memory is bounded
//! by its window: some 256 KiB for gzip, some 1 MiB for Brotli.

use std::io::{self, Write as _};
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use bytes::Bytes;
use causeway_config::Encoding;
use causeway_protocols::{End, FailureKind};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Body, Broken, Chunk};

/// Bytes that are compressed at once.
const PIECE: usize = 16 * 1024;
/// Pieces in one poll, so that a reply that shrinks to nothing does not hold others up.
const TURNS: usize = 8;
/// Output that is worth sending.
const WORTH: usize = 8 * 1024;
/// Base-2 logarithm of Brotli's window: what its memory follows from.
const WINDOW: u32 = 18;

enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    Done,
}

/// A body and its encoder.
pub struct Compressed {
    from: Body,
    encoder: Encoder,
    /// Taken from the source, and not compressed yet.
    input: Bytes,
    /// What the encoder may hold back.
    held: bool,
    /// The end of the source, once it has come.
    end: Option<End>,
}

impl Compressed {
    /// `from`, compressed at a level from 1 to 9.
    pub fn new(from: Body, encoding: Encoding, level: u8) -> Self {
        let level = u32::from(level.clamp(1, 9));
        let encoder = match encoding {
            Encoding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), PIECE, level, WINDOW);
                Encoder::Brotli(Box::new(writer))
            }
            Encoding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(level))),
        };
        Self {
            from,
            encoder,
            input: Bytes::new(),
            held: false,
            end: None,
        }
    }

    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        for _ in 0..TURNS {
            if !self.input.is_empty() {
                let piece = self.input.split_to(self.input.len().min(PIECE));
                self.held = true;
                self.encoder.write(&piece).map_err(|error| failed(&error))?;
                if self.encoder.waiting() >= WORTH {
                    return Poll::Ready(Ok(Chunk::Data(self.encoder.take())));
                }
                continue;
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(Ok(Chunk::End(end)));
            }
            match self.from.poll_chunk(cx) {
                Poll::Ready(Ok(Chunk::Data(data))) => self.input = data,
                Poll::Ready(Ok(Chunk::End(end))) => {
                    let rest = self.encoder.finish().map_err(|error| failed(&error))?;
                    if rest.is_empty() {
                        return Poll::Ready(Ok(Chunk::End(end)));
                    }
                    self.end = Some(end);
                    return Poll::Ready(Ok(Chunk::Data(rest)));
                }
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending => {
                    if !std::mem::take(&mut self.held) {
                        return Poll::Pending;
                    }
                    self.encoder.flush().map_err(|error| failed(&error))?;
                    let data = self.encoder.take();
                    if data.is_empty() {
                        return Poll::Pending;
                    }
                    return Poll::Ready(Ok(Chunk::Data(data)));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(super) fn absorb(&mut self, cx: &mut Context<'_>) {
        self.from.absorb(cx);
    }
}

impl std::fmt::Debug for Compressed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressed")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Brotli(writer) => writer.write_all(data),
            Self::Gzip(writer) => writer.write_all(data),
            Self::Done => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Brotli(writer) => writer.flush(),
            Self::Gzip(writer) => writer.flush(),
            Self::Done => Ok(()),
        }
    }

    /// Bytes of output.
    fn waiting(&self) -> usize {
        match self {
            Self::Brotli(writer) => writer.get_ref().len(),
            Self::Gzip(writer) => writer.get_ref().len(),
            Self::Done => 0,
        }
    }

    fn take(&mut self) -> Bytes {
        match self {
            Self::Brotli(writer) => std::mem::take(writer.get_mut()).into(),
            Self::Gzip(writer) => std::mem::take(writer.get_mut()).into(),
            Self::Done => Bytes::new(),
        }
    }

    fn finish(&mut self) -> io::Result<Bytes> {
        match std::mem::replace(self, Self::Done) {
            Self::Brotli(writer) => Ok(writer.into_inner().into()),
            Self::Gzip(writer) => Ok(writer.finish()?.into()),
            Self::Done => Ok(Bytes::new()),
        }
    }
}

/// Writing to memory does not fail; if an encoder says so, the reply is not whole.
fn failed(error: &io::Error) -> Broken {
    Broken::new(FailureKind::Internal, format!("compressing the reply: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::Coded;
    use super::*;

    fn read_all(mut body: Compressed) -> Vec<u8> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut out = Vec::new();
        loop {
            match body.poll_chunk(&mut cx) {
                Poll::Ready(Ok(Chunk::Data(data))) => out.extend_from_slice(&data),
                Poll::Ready(Ok(Chunk::End(_))) => return out,
                Poll::Ready(Err(broken)) => panic!("{broken}"),
                // It has had its turn.
                Poll::Pending => {}
            }
        }
    }

    fn expand(encoding: Encoding, wire: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(wire).read_to_end(&mut out).unwrap(),
            Encoding::Brotli => brotli::Decompressor::new(wire, 4096).read_to_end(&mut out).unwrap(),
        };
        out
    }

    #[test]
    fn what_comes_out_expands_to_what_went_in_however_it_was_cut() {
        let text: Vec<u8> = (0..400_000u32).flat_map(|n| (n / 7 % 97).to_le_bytes()).collect();
        for encoding in [Encoding::Gzip, Encoding::Brotli] {
            for cut in [1, 1000, 65_536, text.len()] {
                let short = &text[..text.len().min(cut * 2000)];
                let pieces = short.chunks(cut).map(Bytes::copy_from_slice).collect();
                let wire = read_all(Compressed::new(Coded::again(pieces, Body::Empty), encoding, 4));
                assert!(expand(encoding, &wire) == short, "{encoding:?} in pieces of {cut}");
            }
            let wire = read_all(Compressed::new(Body::Empty, encoding, 9));
            assert!(expand(encoding, &wire).is_empty(), "{encoding:?} of nothing");
        }
    }
}
