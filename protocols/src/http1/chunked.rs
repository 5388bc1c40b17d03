//! Bodies in chunks (RFC 9112, section 7.1): bytes in, slices of data and trailers out.
//!
//! Chunk extensions are checked and dropped, and so are trailers that could be taken for something of the head. A line
//! is read when it is whole; until then it stays in the buffer, and is bounded there.

use bytes::{Bytes, BytesMut};

use super::lines::{self, Cursor, LineError};
use super::names;
use crate::fields::{Fields, is_token};

/// Bytes that a chunk line may have, with size, extensions and line end.
const MAX_LINE: usize = 256;

/// Bytes that all chunk extensions of a body may have together.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Hexadecimal digits that a size may have: 60 bits.
const MAX_DIGITS: usize = 15;

/// Bytes that a trailer section may have.
const MAX_TRAILERS: usize = 8 * 1024;

/// Trailers that a body may have.
const MAX_TRAILER_FIELDS: usize = 32;

/// What a decoder made of its input.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// Data of the body, never empty; a slice of the input.
    Data(Bytes),
    /// More input is needed.
    NeedMore,
    /// The end of the body, with its trailers. What is left in the input belongs to the next message.
    End(Fields),
}

/// Why a chunked body was refused. The connection cannot be used any more; before a reply has begun, a client gets
/// a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Not one to fifteen hexadecimal digits.
    #[error("chunk size is not one to fifteen hexadecimal digits")]
    Size,
    /// A malformed chunk extension, or white space in the chunk line.
    #[error("malformed chunk extension")]
    Extension,
    /// A chunk line over 256 bytes, or 16 KiB of extensions in one body.
    #[error("chunk extensions are too long")]
    ExtensionTooLong,
    /// Something other than CR LF where a chunk line or chunk ends.
    #[error("chunk does not end with CR LF")]
    LineEnd,
    /// A trailer breaks a rule of RFC 9112, sections 2.2 and 5.
    #[error("malformed trailer: {0}")]
    Trailer(LineError),
    /// Trailers over 8 KiB.
    #[error("trailers are too large")]
    TrailersTooLarge,
    /// More input after the end.
    #[error("decoding after the end of the body")]
    Ended,
}

impl ChunkError {
    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Size => "chunk_size",
            Self::Extension => "chunk_extension",
            Self::ExtensionTooLong => "chunk_extension_too_long",
            Self::LineEnd => "chunk_line_end",
            Self::Trailer(_) => "trailer",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::Ended => "chunk_after_end",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At a chunk line.
    Line,
    /// In the data of a chunk: bytes left, never 0.
    Data(u64),
    /// At the CR LF after a chunk.
    AfterData,
    /// At the trailers.
    Trailers,
    Ended,
    Failed(ChunkError),
}

/// Takes the chunks of one body apart.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    extensions: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the first chunk line.
    pub fn new() -> Self {
        Self {
            state: State::Line,
            extensions: 0,
        }
    }

    /// Whether the end of the body was reached.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Bytes that are still to come in the present chunk: how much of a body can be passed on without looking at it.
    pub fn remaining(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// Takes the next piece off the front of `input`. Call until it needs more. What it leaves in `input` is less than
    /// 8 KiB of an incomplete line or trailer section.
    ///
    /// # Errors
    /// See [`ChunkError`]; the same from then on.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, ChunkError> {
        let result = self.step(input);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Decoded, ChunkError> {
        loop {
            match self.state {
                State::Line => {
                    let Some((size, length)) = chunk_line(input)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    // The size and the line end are not counted, so that small chunks may be many.
                    self.extensions += length.saturating_sub(MAX_DIGITS + 2);
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(ChunkError::ExtensionTooLong);
                    }
                    let _ = input.split_to(length);
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(Decoded::NeedMore);
                    }
                    let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                    let left = left - take as u64;
                    self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                    return Ok(Decoded::Data(input.split_to(take).freeze()));
                }
                State::AfterData => {
                    let seen = &input[..input.len().min(2)];
                    if !b"\r\n".starts_with(seen) {
                        return Err(ChunkError::LineEnd);
                    }
                    if seen.len() < 2 {
                        return Ok(Decoded::NeedMore);
                    }
                    let _ = input.split_to(2);
                    self.state = State::Line;
                }
                State::Trailers => {
                    let Some((fields, length)) = trailers(input)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    let _ = input.split_to(length);
                    self.state = State::Ended;
                    return Ok(Decoded::End(fields));
                }
                State::Ended => return Err(ChunkError::Ended),
                State::Failed(error) => return Err(error),
            }
        }
    }
}

/// The size in the chunk line at the start of `input`, and the line's length. Every byte is judged when it is there.
fn chunk_line(input: &[u8]) -> Result<Option<(u64, usize)>, ChunkError> {
    let seen = &input[..input.len().min(MAX_LINE)];
    let mut size = 0u64;
    let mut at = 0;
    while let Some(digit) = seen.get(at).and_then(|byte| char::from(*byte).to_digit(16)) {
        if at == MAX_DIGITS {
            return Err(ChunkError::Size);
        }
        size = size * 16 + u64::from(digit);
        at += 1;
    }
    let mut state = match seen.get(at) {
        None => return Ok(None),
        Some(_) if at == 0 => return Err(ChunkError::Size),
        Some(b'\r' | b';') => Extension::Outside,
        Some(b'\n') => return Err(ChunkError::LineEnd),
        Some(b' ' | b'\t') => return Err(ChunkError::Extension),
        Some(_) => return Err(ChunkError::Size),
    };
    while let Some(&byte) = seen.get(at) {
        at += 1;
        state = match (state, byte) {
            (Extension::End, b'\n') => return Ok(Some((size, at))),
            (Extension::End, _) => return Err(ChunkError::LineEnd),
            (_, b'\n') => return Err(ChunkError::LineEnd),
            (state, byte) => state.next(byte).ok_or(ChunkError::Extension)?,
        };
    }
    if at == MAX_LINE {
        return Err(ChunkError::ExtensionTooLong);
    }
    Ok(None)
}

/// Where in `*( ";" name [ "=" ( token / quoted-string ) ] ) CR` a chunk line is (RFC 9112, section 7.1.1). The white
/// space that the grammar tolerates is refused.
#[derive(Clone, Copy)]
enum Extension {
    /// After the size or a quoted value.
    Outside,
    /// After `;`.
    NameStart,
    Name,
    /// After `=`.
    ValueStart,
    Value,
    Quoted,
    /// After a backslash in a quoted value.
    Escaped,
    /// After CR.
    End,
}

impl Extension {
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Outside | Self::Name | Self::Value, b'\r') => Some(Self::End),
            (Self::Outside | Self::Name | Self::Value, b';') => Some(Self::NameStart),
            (Self::Name, b'=') => Some(Self::ValueStart),
            (Self::NameStart | Self::Name, _) if is_token(byte) => Some(Self::Name),
            (Self::ValueStart, b'"') => Some(Self::Quoted),
            (Self::ValueStart | Self::Value, _) if is_token(byte) => Some(Self::Value),
            (Self::Quoted, b'"') => Some(Self::Outside),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Quoted | Self::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Some(Self::Quoted),
            _ => None,
        }
    }
}

/// The trailers at the start of `input`, and the section's length with its empty line.
fn trailers(input: &[u8]) -> Result<Option<(Fields, usize)>, ChunkError> {
    if input.starts_with(b"\r\n") {
        return Ok(Some((Fields::new(), 2)));
    }
    let seen = &input[..input.len().min(MAX_TRAILERS)];
    let diagnosis = Cursor::new(seen).fields(MAX_TRAILER_FIELDS);
    if let Some(Err(error)) = diagnosis {
        return Err(ChunkError::Trailer(error));
    }
    let Some(length) = lines::whole(seen) else {
        return if seen.len() == MAX_TRAILERS {
            Err(ChunkError::TrailersTooLarge)
        } else {
            Ok(None)
        };
    };
    let mut storage = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((read, headers))) = httparse::parse_headers(&seen[..length], &mut storage) else {
        return Err(ChunkError::Trailer(LineError::Name));
    };
    if read != length {
        return Err(ChunkError::Trailer(LineError::Name));
    }
    let mut fields = Fields::new();
    for header in headers {
        if !names::is_forbidden_trailer(header.name.as_bytes()) {
            fields
                .push(header.name.as_bytes(), header.value)
                .map_err(|_| ChunkError::Trailer(LineError::Value))?;
        }
    }
    Ok(Some((fields, length)))
}
