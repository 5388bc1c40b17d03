//! Reads the lines of a head byte by byte, and names the first rule that is broken.
//!
//! Every verdict here rests on the bytes before it alone: a prefix is refused exactly when all that can follow is.

use crate::fields::is_token;

/// Why the lines of a head or of a trailer section were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LineError {
    /// LF that no CR precedes (RFC 9112, section 2.2: we do not take it for a line end).
    #[error("bare LF")]
    BareLf,
    /// CR that no LF follows (RFC 9112, section 2.2).
    #[error("bare CR")]
    BareCr,
    /// NUL.
    #[error("NUL")]
    Nul,
    /// A line that begins with white space (RFC 9112, sections 2.2 and 5.2).
    #[error("line folding")]
    Fold,
    /// White space between name and colon (RFC 9112, section 5.1).
    #[error("white space before the colon")]
    SpaceBeforeColon,
    /// A field name that is empty, longer than 255 bytes, or no token.
    #[error("field name is not a token of 1 to 255 bytes")]
    Name,
    /// A field value with a control character.
    #[error("control character in a field value")]
    Value,
    /// More fields than the limit.
    #[error("too many fields")]
    TooManyFields,
}

impl LineError {
    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Nul => "nul",
            Self::Fold => "line_folding",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::Name => "field_name",
            Self::Value => "field_value",
            Self::TooManyFields => "too_many_fields",
        }
    }
}

/// Why a version was refused.
pub(super) enum VersionError {
    /// This byte does not belong into a version.
    Syntax(u8),
    /// Neither 1.0 nor 1.1.
    Other,
}

/// A place in a head that may still be incomplete. Each step gives `None` where the bytes end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The LF after a CR that was read.
    pub(super) fn line_feed(&mut self) -> Option<Result<(), LineError>> {
        Some(match self.next()? {
            b'\n' => Ok(()),
            _ => Err(LineError::BareCr),
        })
    }

    /// `HTTP/1.0` or `HTTP/1.1`.
    pub(super) fn version(&mut self) -> Option<Result<(), VersionError>> {
        for expected in b"HTTP/" {
            let byte = self.next()?;
            if byte != *expected {
                return Some(Err(VersionError::Syntax(byte)));
            }
        }
        for at in 0..3 {
            let byte = self.next()?;
            let legal = if at == 1 { byte == b'.' } else { byte.is_ascii_digit() };
            if !legal {
                return Some(Err(VersionError::Syntax(byte)));
            }
            if (at == 0 && byte != b'1') || (at == 2 && byte > b'1') {
                return Some(Err(VersionError::Other));
            }
        }
        Some(Ok(()))
    }

    /// Field lines up to and with the empty line that ends them.
    pub(super) fn fields(&mut self, limit: usize) -> Option<Result<(), LineError>> {
        let mut count = 0;
        loop {
            match self.peek()? {
                b'\r' => {
                    self.at += 1;
                    return self.line_feed();
                }
                b'\n' => return Some(Err(LineError::BareLf)),
                b' ' | b'\t' => return Some(Err(LineError::Fold)),
                _ if count == limit => return Some(Err(LineError::TooManyFields)),
                _ => {}
            }
            count += 1;
            if let Err(error) = self.name()? {
                return Some(Err(error));
            }
            if let Err(error) = self.text()? {
                return Some(Err(error));
            }
        }
    }

    /// A field name and its colon.
    fn name(&mut self) -> Option<Result<(), LineError>> {
        let start = self.at;
        loop {
            let error = match self.next()? {
                b':' if self.at - start > 1 => return Some(Ok(())),
                byte if is_token(byte) && self.at - start <= usize::from(u8::MAX) => continue,
                b' ' | b'\t' => LineError::SpaceBeforeColon,
                b'\n' => LineError::BareLf,
                0 => LineError::Nul,
                _ => LineError::Name,
            };
            return Some(Err(error));
        }
    }

    /// A field value or a reason phrase, and its line end.
    pub(super) fn text(&mut self) -> Option<Result<(), LineError>> {
        loop {
            let error = match self.next()? {
                b'\r' => return self.line_feed(),
                b'\t' | b' '..=b'~' | 0x80.. => continue,
                b'\n' => LineError::BareLf,
                0 => LineError::Nul,
                _ => LineError::Value,
            };
            return Some(Err(error));
        }
    }
}

/// The length of what stands before and with the first empty line; none where there is no such line yet, or where an LF
/// without a CR comes first.
pub(super) fn whole(buf: &[u8]) -> Option<usize> {
    let mut line = 0;
    for at in memchr::memchr_iter(b'\n', buf) {
        if at == 0 || buf[at - 1] != b'\r' {
            return None;
        }
        if at == line + 1 {
            return Some(at + 1);
        }
        line = at + 1;
    }
    None
}
