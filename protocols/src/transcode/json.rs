//! A reader of JSON text (RFC 8259) that hands out tokens where they lie and keeps no tree.
//!
//! Strict: no byte order mark, nothing after the value, no lone surrogates, no invalid UTF-8. Bounded: [`DEPTH`] and
//! [`NUMBER`].

use std::borrow::Cow;

use super::error::{Place, TranscodeError};
use super::text::plain_run;

/// How deep arrays and objects may lie in each other.
pub(super) const DEPTH: u32 = 128;

/// The longest number, in bytes.
pub(super) const NUMBER: usize = 1024;

/// What the next value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peek {
    Array,
    False,
    Null,
    Number,
    Object,
    String,
    True,
}

/// What [`Json::key_or`] has found.
#[derive(Clone, Debug)]
pub(super) enum Key<'a> {
    /// There is no further key.
    End,
    /// The one that was expected.
    Expected,
    /// Another; it is UTF-8.
    Other(Cow<'a, [u8]>),
}

#[derive(Clone, Debug)]
pub(super) struct Json<'a> {
    text: &'a [u8],
    at: usize,
    key_at: usize,
    depth: u32,
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            key_at: 0,
            depth: 0,
        }
    }

    /// Where the reader is, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where the last key was.
    pub(super) fn key_at(&self) -> usize {
        self.key_at
    }

    #[cold]
    pub(super) fn error(&self, reason: impl Into<Cow<'static, str>>) -> TranscodeError {
        self.error_at(self.at, reason)
    }

    #[cold]
    pub(super) fn error_at(&self, at: usize, reason: impl Into<Cow<'static, str>>) -> TranscodeError {
        TranscodeError::new(Place::Json(at), reason)
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        self.space();
        self.text.get(self.at).copied()
    }

    /// What the next value is, from its first byte.
    pub(super) fn peek(&mut self) -> Result<Peek, TranscodeError> {
        Ok(match self.byte() {
            Some(b'"') => Peek::String,
            Some(b'{') => Peek::Object,
            Some(b'[') => Peek::Array,
            Some(b'-' | b'0'..=b'9') => Peek::Number,
            Some(b't') => Peek::True,
            Some(b'f') => Peek::False,
            Some(b'n') => Peek::Null,
            _ => return Err(self.unexpected("a value")),
        })
    }

    #[cold]
    fn unexpected(&self, wanted: &str) -> TranscodeError {
        let found = match self.text.get(self.at) {
            None => "the JSON ends".to_owned(),
            Some(0xef) if self.at == 0 => "a byte order mark".to_owned(),
            Some(byte @ 0x21..0x7f) => format!("found `{}`", char::from(*byte)),
            Some(byte) => format!("found the byte {byte:#04x}"),
        };
        self.error(format!("expected {wanted}, {found}"))
    }

    /// Takes `true`, `false` or `null`, which [`Self::peek`] has seen the first byte of.
    pub(super) fn word(&mut self, word: &str) -> Result<(), TranscodeError> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Begins an object or an array.
    pub(super) fn open(&mut self, bracket: u8) -> Result<(), TranscodeError> {
        if self.byte() != Some(bracket) {
            return Err(self.unexpected(if bracket == b'{' { "an object" } else { "an array" }));
        }
        if self.depth == DEPTH {
            return Err(self.error("nested too deep"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// The next key of an object, or its end. `first` is true before the first.
    pub(super) fn key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, [u8]>>, TranscodeError> {
        Ok(match self.key_or(first, None)? {
            Key::Expected | Key::End => None,
            Key::Other(key) => Some(key),
        })
    }

    /// The next key of an object. If it is the expected one, which is given with its quotes and its colon as it would be
    /// written, it is compared and not read.
    pub(super) fn key_or(&mut self, first: &mut bool, expected: Option<&[u8]>) -> Result<Key<'a>, TranscodeError> {
        if !self.more(first, b'}')? {
            return Ok(Key::End);
        }
        if self.byte() != Some(b'"') {
            return Err(self.unexpected("a key"));
        }
        self.key_at = self.at;
        if let Some(expected) = expected
            && self.text[self.at..].starts_with(expected)
        {
            self.at += expected.len();
            return Ok(Key::Expected);
        }
        let key = self.string()?;
        if self.byte() != Some(b':') {
            return Err(self.unexpected("`:`"));
        }
        self.at += 1;
        Ok(Key::Other(key))
    }

    /// Whether an array has a further element; at its end, takes the bracket.
    pub(super) fn item(&mut self, first: &mut bool) -> Result<bool, TranscodeError> {
        self.more(first, b']')
    }

    fn more(&mut self, first: &mut bool, end: u8) -> Result<bool, TranscodeError> {
        match self.byte() {
            Some(byte) if byte == end => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected(if end == b'}' { "`,` or `}`" } else { "`,` or `]`" })),
        }
    }

    /// A string, which [`Self::peek`] has seen. It is UTF-8.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, TranscodeError> {
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        let (length, ascii) = plain_run(rest);
        let plain = &rest[..length];
        match rest.get(length) {
            Some(b'"') => {
                if !ascii {
                    self.utf8(plain, start)?;
                }
                self.at = start + length + 1;
                Ok(Cow::Borrowed(plain))
            }
            Some(b'\\') => {
                let text = self.unescape(start, plain)?;
                Ok(Cow::Owned(text))
            }
            _ => Err(self.ends_badly(start + length)),
        }
    }

    #[cold]
    fn ends_badly(&self, at: usize) -> TranscodeError {
        match self.text.get(at) {
            Some(_) => self.error_at(at, "a control character in a string must be escaped"),
            None => self.error("the string has no end"),
        }
    }

    fn utf8(&self, text: &[u8], at: usize) -> Result<(), TranscodeError> {
        match std::str::from_utf8(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error_at(at + error.valid_up_to(), "invalid UTF-8")),
        }
    }

    fn unescape(&mut self, start: usize, plain: &[u8]) -> Result<Vec<u8>, TranscodeError> {
        let mut out = plain.to_vec();
        let mut at = start + plain.len();
        self.utf8(plain, start)?;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let (length, ascii) = plain_run(rest);
            if !ascii {
                self.utf8(&rest[..length], at)?;
            }
            out.extend_from_slice(&rest[..length]);
            at += length;
            match self.text.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(out);
                }
                Some(b'\\') => at = self.escape(at, &mut out)?,
                _ => return Err(self.ends_badly(at)),
            }
        }
    }

    /// Reads the escape at `at`; returns where it ends.
    fn escape(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, TranscodeError> {
        let byte = match self.text.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(at, out),
            _ => return Err(self.error_at(at, "there is no such escape")),
        };
        out.push(byte);
        Ok(at + 2)
    }

    fn unicode(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, TranscodeError> {
        let wrong = || self.error_at(at, "`\\u` needs four hexadecimal digits");
        let first = self.hex(at + 2).ok_or_else(wrong)?;
        let (code, end) = match first {
            0xd800..0xdc00 => {
                let second = (self.text.get(at + 6..at + 8) == Some(b"\\u"))
                    .then(|| self.hex(at + 8))
                    .flatten();
                match second {
                    Some(second @ 0xdc00..0xe000) => (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), at + 12),
                    _ => return Err(self.error_at(at, "a lone surrogate")),
                }
            }
            code => (code, at + 6),
        };
        let Some(char) = char::from_u32(code) else {
            return Err(self.error_at(at, "a lone surrogate"));
        };
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(end)
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |value, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(value << 4 | digit)
        })
    }

    /// A number, which [`Self::peek`] has seen. It follows the grammar and is at most [`NUMBER`] long.
    pub(super) fn number(&mut self) -> Result<&'a [u8], TranscodeError> {
        let rest = &self.text[self.at..];
        let Some(length) = number_length(rest) else {
            return Err(self.error("not a number"));
        };
        if length > NUMBER {
            return Err(self.error("a number of too many digits"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// Passes over the next value, which is read all the same.
    pub(super) fn skip(&mut self) -> Result<(), TranscodeError> {
        match self.peek()? {
            Peek::Array => {
                self.open(b'[')?;
                let mut first = true;
                while self.item(&mut first)? {
                    self.skip()?;
                }
                Ok(())
            }
            Peek::Object => {
                self.open(b'{')?;
                let mut first = true;
                while self.key(&mut first)?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            Peek::False => self.word("false"),
            Peek::Null => self.word("null"),
            Peek::Number => self.number().map(drop),
            Peek::String => self.string().map(drop),
            Peek::True => self.word("true"),
        }
    }

    /// The text of the next value, which is read all the same.
    pub(super) fn text(&mut self) -> Result<&'a [u8], TranscodeError> {
        self.space();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Checks that nothing follows but space.
    pub(super) fn finish(&mut self) -> Result<(), TranscodeError> {
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }
}

/// How long the number at the start of `text` is: `-? (0|[1-9][0-9]*) (.[0-9]+)? ([eE][+-]?[0-9]+)?`.
pub(super) fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at] == b'0') {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}
