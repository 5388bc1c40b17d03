//! Where a JSON value ends (RFC 8259), found byte by byte without building anything.
//!
//! The whole grammar is checked, and UTF-8 and surrogates in strings, so that both sites give the same verdict whoever
//! parses the value later. Only duplicate keys are left to the parser.

/// Nesting that is let through whatever the limits say: the brackets that are open are bits of a `u128`.
pub const MAX_DEPTH: u8 = 128;

/// Which rule a JSON text broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// A byte that cannot stand where it does.
    #[error("unexpected character")]
    Unexpected,
    /// Something that begins like a number, `true`, `false` or `null` and is not.
    #[error("malformed literal")]
    Literal,
    /// A control character, or an escape that is none, in a string.
    #[error("malformed string")]
    String,
    /// A surrogate without its other half.
    #[error("lone surrogate")]
    Surrogate,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// Nested too deeply.
    #[error("nested too deeply")]
    Depth,
    /// More than white space after the value.
    #[error("data after the value")]
    Trailing,
    /// The text ended inside the value.
    #[error("text ends too early")]
    Truncated,
}

/// White space of JSON.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether a text that is JSON is an object. What serde derives for a struct would take an array as well.
pub fn is_object(text: &[u8]) -> bool {
    text.iter().find(|byte| !is_space(**byte)) == Some(&b'{')
}

/// Checks that a text is exactly one JSON value with white space around.
///
/// # Errors
/// The fault and the offset of the byte where it was seen.
pub fn check(text: &[u8], depth: u8) -> Result<(), (usize, JsonFault)> {
    let mut scanner = Scanner::new(depth);
    match scanner.scan(text)? {
        Some(end) => match text[end..].iter().position(|byte| !is_space(*byte)) {
            Some(at) => Err((end + at, JsonFault::Trailing)),
            None => Ok(()),
        },
        None if scanner.may_end() => Ok(()),
        None => Err((text.len(), JsonFault::Truncated)),
    }
}

/// What is expected, or under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value, after white space.
    Value,
    /// A value or `]`.
    FirstElement,
    /// A key or `}`.
    FirstKey,
    /// A key.
    Key,
    Colon,
    /// `,` or the closing bracket.
    After,
    /// Inside a string; whether it is a key.
    String {
        key: bool,
    },
    Escape {
        key: bool,
    },
    /// Hexadecimal digits of `\u` still to come, and what they are so far.
    Hex {
        key: bool,
        left: u8,
        unit: u16,
    },
    /// After a high surrogate, before the backslash of the low one.
    LowBackslash {
        key: bool,
    },
    LowU {
        key: bool,
    },
    /// Continuation bytes still to come, and the range of the next one.
    Utf8 {
        key: bool,
        left: u8,
        from: u8,
        to: u8,
    },
    /// Of `true`, `false` or `null` still to come.
    Word(&'static [u8]),
    Number(Number),
    Done,
}

/// Where in a number (RFC 8259, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

/// Finds the end of one value in a text that comes in pieces.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    /// One bit for each open bracket, the innermost lowest: 1 for an object.
    open: u128,
    depth: u8,
    limit: u8,
    /// The last `\u` was a high surrogate.
    high: bool,
}

impl Scanner {
    /// A scanner before a value, which may be nested `depth` deep, at most [`MAX_DEPTH`].
    pub fn new(depth: u8) -> Self {
        Self {
            state: State::Value,
            open: 0,
            depth: 0,
            limit: depth.min(MAX_DEPTH),
            high: false,
        }
    }

    /// Whether the value is whole if the text ends here. Only a number that is not nested shows its end no other way.
    pub fn may_end(&self) -> bool {
        match self.state {
            State::Done => true,
            State::Number(at) => self.depth == 0 && at.is_whole(),
            _ => false,
        }
    }

    /// Looks at the next piece. Returns where in it the value ended, or none if it goes on.
    ///
    /// # Errors
    /// The fault, and the offset in the piece of the byte that showed it.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, JsonFault)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Done {
                return Ok(Some(at));
            }
            if let State::String { .. } = self.state {
                // Most bytes of most texts are plain characters of strings.
                let plain = bytes[at..].iter().position(|byte| !is_plain(*byte));
                at += plain.unwrap_or(bytes.len() - at);
                let Some(&byte) = bytes.get(at) else {
                    return Ok(None);
                };
                self.step(byte).map_err(|fault| (at, fault))?;
                at += 1;
                continue;
            }
            match self.step(byte).map_err(|fault| (at, fault))? {
                Taken::Yes => at += 1,
                Taken::No => {}
            }
        }
        Ok((self.state == State::Done).then_some(at))
    }

    fn step(&mut self, byte: u8) -> Result<Taken, JsonFault> {
        let next = match self.state {
            State::Value | State::FirstElement | State::FirstKey | State::Key | State::Colon | State::After
                if is_space(byte) =>
            {
                return Ok(Taken::Yes);
            }
            State::FirstElement if byte == b']' => return self.close(0),
            State::Value | State::FirstElement => return self.value(byte),
            State::FirstKey if byte == b'}' => return self.close(1),
            State::FirstKey | State::Key if byte == b'"' => State::String { key: true },
            State::Colon if byte == b':' => State::Value,
            State::After => match byte {
                b',' if self.open & 1 == 1 => State::Key,
                b',' => State::Value,
                b'}' => return self.close(1),
                b']' => return self.close(0),
                _ => return Err(JsonFault::Unexpected),
            },
            State::FirstKey | State::Key | State::Colon | State::Done => return Err(JsonFault::Unexpected),
            State::Word(rest) => match rest.split_first() {
                Some((expected, [])) if *expected == byte => self.ended(),
                Some((expected, rest)) if *expected == byte => State::Word(rest),
                _ => return Err(JsonFault::Literal),
            },
            State::Number(number) => match number.next(byte) {
                Some(number) => State::Number(number),
                None if number.is_whole() && !is_wordlike(byte) => {
                    self.state = self.ended();
                    return Ok(Taken::No);
                }
                None => return Err(JsonFault::Literal),
            },
            _ => self.in_string(byte)?,
        };
        self.state = next;
        Ok(Taken::Yes)
    }

    fn value(&mut self, byte: u8) -> Result<Taken, JsonFault> {
        self.state = match byte {
            b'{' => return self.nest(1, State::FirstKey),
            b'[' => return self.nest(0, State::FirstElement),
            b'"' => State::String { key: false },
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            _ => return Err(JsonFault::Unexpected),
        };
        Ok(Taken::Yes)
    }

    fn nest(&mut self, bit: u128, state: State) -> Result<Taken, JsonFault> {
        if self.depth >= self.limit {
            return Err(JsonFault::Depth);
        }
        self.depth += 1;
        self.open = self.open << 1 | bit;
        self.state = state;
        Ok(Taken::Yes)
    }

    fn close(&mut self, bit: u128) -> Result<Taken, JsonFault> {
        if self.depth == 0 || self.open & 1 != bit {
            return Err(JsonFault::Unexpected);
        }
        self.depth -= 1;
        self.open >>= 1;
        self.state = self.ended();
        Ok(Taken::Yes)
    }

    /// The state after a value.
    fn ended(&self) -> State {
        if self.depth == 0 { State::Done } else { State::After }
    }

    fn in_string(&mut self, byte: u8) -> Result<State, JsonFault> {
        Ok(match self.state {
            State::String { key } => match byte {
                b'"' if key => State::Colon,
                b'"' => self.ended(),
                b'\\' => State::Escape { key },
                0..0x20 => return Err(JsonFault::String),
                0x20..0x80 => State::String { key },
                _ => utf8(byte, key)?,
            },
            State::Utf8 { key, left, from, to } => match left {
                _ if byte < from || byte > to => return Err(JsonFault::Utf8),
                0 | 1 => State::String { key },
                _ => State::Utf8 {
                    key,
                    left: left - 1,
                    from: 0x80,
                    to: 0xbf,
                },
            },
            State::Escape { key } => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::String { key },
                b'u' => State::Hex { key, left: 4, unit: 0 },
                _ => return Err(JsonFault::String),
            },
            State::Hex { key, left, unit } => {
                let digit = char::from(byte).to_digit(16).ok_or(JsonFault::String)?;
                // A hexadecimal digit has four bits.
                let unit = unit << 4 | digit as u16;
                if left > 1 {
                    State::Hex {
                        key,
                        left: left - 1,
                        unit,
                    }
                } else {
                    self.unit(unit, key)?
                }
            }
            State::LowBackslash { key } if byte == b'\\' => State::LowU { key },
            State::LowU { key } if byte == b'u' => State::Hex { key, left: 4, unit: 0 },
            _ => return Err(JsonFault::Surrogate),
        })
    }

    /// A whole `\u` escape; surrogates come in pairs.
    fn unit(&mut self, unit: u16, key: bool) -> Result<State, JsonFault> {
        match (unit, std::mem::take(&mut self.high)) {
            (0xd800..=0xdbff, false) => {
                self.high = true;
                Ok(State::LowBackslash { key })
            }
            (0xdc00..=0xdfff, true) => Ok(State::String { key }),
            (0xd800..=0xdfff, _) | (_, true) => Err(JsonFault::Surrogate),
            _ => Ok(State::String { key }),
        }
    }
}

/// Whether a byte was used up.
enum Taken {
    Yes,
    No,
}

impl Number {
    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Power)
    }

    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }
}

/// What could only be meant as more of a number or word.
fn is_wordlike(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-')
}

/// A character of a string that changes nothing.
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// The first byte of a character of several (RFC 3629, section 4).
fn utf8(byte: u8, key: bool) -> Result<State, JsonFault> {
    let (left, from, to) = match byte {
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xe1..=0xef => (2, 0x80, 0xbf),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return Err(JsonFault::Utf8),
    };
    Ok(State::Utf8 { key, left, from, to })
}

#[cfg(test)]
mod tests;
