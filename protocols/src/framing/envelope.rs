//! Messages behind a prefix of five bytes, as gRPC, gRPC-Web and Connect have them: a byte of flags and a big-endian
//! `u32` length (gRPC over HTTP/2, "Length-Prefixed-Message").
//!
//! - A length over the limit is refused before any byte of the message is kept.
//! - What is allocated is what has arrived: a length that lies costs nothing.

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::Compression;
use super::error::{Fault, FramingError};
use super::input::Input;

/// Flags and length.
pub(super) const PREFIX: usize = 5;

/// The message is compressed.
pub(super) const COMPRESSED: u8 = 0x01;

/// Takes envelopes apart.
#[derive(Debug)]
pub(super) struct Envelopes {
    input: Input,
    limit: usize,
    compression: Option<Compression>,
    /// Flags that may be set beside [`COMPRESSED`].
    allowed: u8,
    /// Flags and length of the envelope whose content is being waited for.
    open: Option<(u8, usize)>,
}

impl Envelopes {
    /// `compression` is what the head agreed on; none and identity allow no compressed message.
    pub(super) fn new(limit: usize, compression: Option<Compression>, allowed: u8) -> Self {
        Self {
            input: Input::default(),
            limit,
            compression: compression.filter(|compression| *compression != Compression::Identity),
            allowed,
            open: None,
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.input.push(data);
    }

    pub(super) fn finish(&mut self) {
        self.input.finish();
    }

    /// Whether the bytes are over.
    pub(super) fn is_over(&self) -> bool {
        self.input.is_over()
    }

    /// A fault `back` bytes before what is to be read next.
    pub(super) fn fail(&mut self, fault: Fault, back: usize) -> FramingError {
        self.input.fail(fault, -(back as i64))
    }

    /// A fault that is placed already.
    pub(super) fn fail_with(&mut self, error: FramingError) -> FramingError {
        self.input.fail_with(error)
    }

    /// The next envelope: its flags, and its content decompressed.
    pub(super) fn next(&mut self) -> Result<Option<(u8, Bytes)>, FramingError> {
        self.input.check()?;
        let (flags, length) = match self.open {
            Some(open) => open,
            None => {
                let Some(open) = self.prefix()? else {
                    return Ok(None);
                };
                *self.open.insert(open)
            }
        };
        let Some(data) = self.input.take(length) else {
            return if self.input.is_over() {
                Err(self.input.fail(Fault::Truncated, 0))
            } else {
                Ok(None)
            };
        };
        self.open = None;
        let data = self.decompress(flags, data)?;
        Ok(Some((flags, data)))
    }

    fn prefix(&mut self) -> Result<Option<(u8, usize)>, FramingError> {
        let Some(prefix) = self.input.take(PREFIX) else {
            return if self.input.is_over() && self.input.kept() > 0 {
                Err(self.input.fail(Fault::Truncated, 0))
            } else {
                Ok(None)
            };
        };
        let at = -(PREFIX as i64);
        let [flags, a, b, c, d] = *prefix.first_chunk().unwrap_or(&[0; PREFIX]);
        if flags & !(COMPRESSED | self.allowed) != 0 {
            return Err(self.input.fail(Fault::Flags(flags), at));
        }
        if flags & COMPRESSED != 0 && self.compression.is_none() {
            return Err(self.input.fail(Fault::CompressedFlag, at));
        }
        match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
            Ok(length) if length <= self.limit => Ok(Some((flags, length))),
            _ => Err(self.input.fail(Fault::TooLarge { limit: self.limit }, at)),
        }
    }

    fn decompress(&mut self, flags: u8, data: Bytes) -> Result<Bytes, FramingError> {
        let Some(compression) = self.compression.filter(|_| flags & COMPRESSED != 0) else {
            return Ok(data);
        };
        let at = -(data.len() as i64);
        match compression.decompress(&data, self.limit) {
            Ok(data) => Ok(data),
            Err(fault) => Err(self.input.fail(fault, at)),
        }
    }
}

/// Writes one envelope, its content compressed if a compression is given.
pub(super) fn write(
    flags: u8,
    data: &[u8],
    compression: Option<Compression>,
    out: &mut BytesMut,
) -> Result<(), FramingError> {
    let start = out.len();
    let compression = compression.filter(|compression| *compression != Compression::Identity);
    out.reserve(PREFIX + if compression.is_some() { 0 } else { data.len() });
    out.put_u8(if compression.is_some() {
        flags | COMPRESSED
    } else {
        flags
    });
    out.put_u32(0);
    match compression {
        Some(compression) => compression.compress(data, out),
        None => out.put_slice(data),
    }
    let length = out.len() - start - PREFIX;
    let Ok(announced) = u32::try_from(length) else {
        out.truncate(start);
        let limit = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        return Err(Fault::TooLarge { limit }.at(0));
    };
    out[start + 1..start + PREFIX].copy_from_slice(&announced.to_be_bytes());
    Ok(())
}
