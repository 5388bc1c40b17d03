//! Compressed messages: what `grpc-encoding`, `connect-content-encoding` and `content-encoding` name.
//!
//! Decompressing stops at the limit, and allocates as the output grows: a bomb costs what a message may cost anyway.

use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression as Level;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::error::Fault;

/// Bytes that are decompressed at a time.
const STEP: usize = 8 * 1024;

/// Windows of zstd that are taken in any case: compressors that do not know the size ahead announce 2 MiB.
const LEAST_WINDOW: usize = 2 << 20;

/// Larger windows are taken by nobody (RFC 9659, section 3).
const MOST_WINDOW: usize = 8 << 20;

/// How messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// `deflate`, which is zlib (RFC 1950).
    Deflate,
    /// zstd (RFC 8878).
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Deflate, Self::Zstd];

    /// What a message is decompressed from, as a field of a head lists it.
    pub const ACCEPTED: &'static str = "gzip,deflate,zstd";

    /// The compression of this name; none for an unknown one.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|compression| compression.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The first compression of a list field such as `grpc-accept-encoding` that is known here.
    pub fn first_of(list: &[u8]) -> Option<Self> {
        list.split(|byte| *byte == b',')
            .find_map(|name| Self::of_name(name.trim_ascii()))
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses a message of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Fault::Inflated`] over the limit, [`Fault::Compressed`] for what is malformed, cut short or followed by more.
    pub fn decompress(self, data: &Bytes, limit: usize) -> Result<Bytes, Fault> {
        let malformed = |_| Fault::Compressed(self.name());
        match self {
            Self::Identity if data.len() > limit => Err(Fault::TooLarge { limit }),
            Self::Identity => Ok(data.clone()),
            Self::Gzip => read_all(MultiGzDecoder::new(&data[..]), limit).map_err(malformed)?,
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(&data[..]);
                let content = read_all(&mut decoder, limit).map_err(malformed)?;
                self.ended(content, decoder.get_ref())
            }
            Self::Zstd => {
                let mut rest = &data[..];
                let mut frame = FrameDecoder::new();
                frame.set_max_window_size(limit.clamp(LEAST_WINDOW, MOST_WINDOW) as u64);
                let mut decoder = StreamingDecoder::new_with_decoder(&mut rest, &mut frame)
                    .map_err(|_| Fault::Compressed(self.name()))?;
                let content = read_all(&mut decoder, limit).map_err(malformed)?;
                let announced = frame.get_checksum_from_data();
                if content.is_ok() && announced.is_some() && announced != frame.get_calculated_checksum() {
                    return Err(Fault::Compressed(self.name()));
                }
                self.ended(content, rest)
            }
        }
    }

    /// Nothing may follow the compressed data.
    fn ended(self, content: Result<Bytes, Fault>, rest: &[u8]) -> Result<Bytes, Fault> {
        if content.is_ok() && !rest.is_empty() {
            return Err(Fault::Compressed(self.name()));
        }
        content
    }

    /// Compresses a message, fast rather than small.
    pub fn compress(self, data: &[u8], out: &mut BytesMut) {
        // Writing to memory does not fail.
        let _: io::Result<()> = match self {
            Self::Identity => {
                out.put_slice(data);
                Ok(())
            }
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out.writer(), Level::fast());
                encoder.write_all(data).and_then(|()| encoder.finish().map(|_| ()))
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(out.writer(), Level::fast());
                encoder.write_all(data).and_then(|()| encoder.finish().map(|_| ()))
            }
            Self::Zstd => {
                out.put_slice(&compress_to_vec(data, CompressionLevel::Fastest));
                Ok(())
            }
        };
    }
}

/// Reads to the end, or one byte over the limit.
fn read_all(mut from: impl Read, limit: usize) -> io::Result<Result<Bytes, Fault>> {
    let mut out = BytesMut::new();
    loop {
        let start = out.len();
        let room = STEP.min(limit.saturating_add(1) - start);
        out.resize(start + room, 0);
        let read = from.read(&mut out[start..])?;
        out.truncate(start + read);
        if read == 0 {
            return Ok(Ok(out.freeze()));
        }
        if out.len() > limit {
            return Ok(Err(Fault::Inflated { limit }));
        }
    }
}

#[cfg(test)]
mod tests;
