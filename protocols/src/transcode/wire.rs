//! The wire form of protobuf: tags, varints, fixed numbers, length-delimited pieces, groups.

use super::error::TranscodeError;
use super::types::{Kind, WireType};

/// How deep groups may lie in each other when they are skipped, and messages when they are read (as in protobuf itself).
pub(super) const RECURSION: u32 = 100;

/// One value as it lies on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Fixed32(u32),
    Fixed64(u64),
    /// A length-delimited piece, or what is between the tags of a group.
    Piece(&'a [u8]),
    Varint(u64),
}

impl<'a> Raw<'a> {
    /// Whether it is the default of an implicit field.
    pub(super) fn is_default(self) -> bool {
        match self {
            Self::Fixed32(value) => value == 0,
            Self::Fixed64(value) | Self::Varint(value) => value == 0,
            Self::Piece(piece) => piece.is_empty(),
        }
    }

    /// What a value that is not there reads as.
    pub(super) fn absent(kind: Kind) -> Self {
        match kind.wire() {
            WireType::Fixed32 => Self::Fixed32(0),
            WireType::Fixed64 => Self::Fixed64(0),
            WireType::Varint => Self::Varint(0),
            WireType::Len | WireType::Start | WireType::End => Self::Piece(&[]),
        }
    }

    pub(super) fn piece(self) -> &'a [u8] {
        match self {
            Self::Piece(piece) => piece,
            _ => &[],
        }
    }

    pub(super) fn varint(self) -> u64 {
        match self {
            Self::Varint(value) => value,
            _ => 0,
        }
    }

    pub(super) fn fixed32(self) -> u32 {
        match self {
            Self::Fixed32(value) => value,
            _ => 0,
        }
    }

    pub(super) fn fixed64(self) -> u64 {
        match self {
            Self::Fixed64(value) => value,
            _ => 0,
        }
    }
}

/// Reads one message, front to back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How much is left: subtracted from the whole, where the reader is.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field number and wire type, and its value; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, WireType, Raw<'a>)>, TranscodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire) = self.tag()?;
        Ok(Some((number, wire, self.value(number, wire)?)))
    }

    /// Whether a field of this number is next.
    pub(super) fn tag_is(&self, number: u32) -> bool {
        let mut ahead = *self;
        !self.rest.is_empty() && ahead.tag().is_ok_and(|(next, _)| next == number)
    }

    #[inline]
    pub(super) fn tag(&mut self) -> Result<(u32, WireType), TranscodeError> {
        let tag = self.varint()?;
        let Ok(tag) = u32::try_from(tag) else {
            return Err(TranscodeError::protobuf("a field number is too high"));
        };
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            3 => WireType::Start,
            4 => WireType::End,
            5 => WireType::Fixed32,
            _ => return Err(TranscodeError::protobuf("there is no such wire type")),
        };
        match tag >> 3 {
            0 => Err(TranscodeError::protobuf("field number 0")),
            number => Ok((number, wire)),
        }
    }

    /// The value after a tag.
    #[inline]
    pub(super) fn value(&mut self, number: u32, wire: WireType) -> Result<Raw<'a>, TranscodeError> {
        Ok(match wire {
            WireType::Varint => Raw::Varint(self.varint()?),
            WireType::Fixed32 => Raw::Fixed32(u32::from_le_bytes(self.fixed()?)),
            WireType::Fixed64 => Raw::Fixed64(u64::from_le_bytes(self.fixed()?)),
            WireType::Len => {
                let length = self.varint()?;
                let piece = usize::try_from(length)
                    .ok()
                    .and_then(|length| self.rest.split_at_checked(length));
                let Some((piece, rest)) = piece else {
                    return Err(TranscodeError::protobuf("a length goes beyond the message"));
                };
                self.rest = rest;
                Raw::Piece(piece)
            }
            WireType::Start => Raw::Piece(self.group(number)?),
            WireType::End => return Err(TranscodeError::protobuf("the end of a group that has not begun")),
        })
    }

    /// A value of a known kind without a tag, as in a packed list.
    pub(super) fn packed(&mut self, kind: Kind) -> Result<Raw<'a>, TranscodeError> {
        self.value(0, kind.wire())
    }

    /// What lies between the start of a group, which is taken already, and its end.
    fn group(&mut self, number: u32) -> Result<&'a [u8], TranscodeError> {
        let whole = self.rest;
        let mut open = vec![number];
        loop {
            let before = self.rest.len();
            let (next, wire) = self.tag()?;
            match wire {
                WireType::Start if open.len() < RECURSION as usize => open.push(next),
                WireType::Start => return Err(TranscodeError::protobuf("groups lie too deep")),
                WireType::End if open.pop() != Some(next) => {
                    return Err(TranscodeError::protobuf("a group ends with another's number"));
                }
                WireType::End if open.is_empty() => return Ok(&whole[..whole.len() - before]),
                WireType::End => {}
                _ => {
                    self.value(next, wire)?;
                }
            }
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, TranscodeError> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, TranscodeError> {
        let mut value = 0u64;
        for (byte, at) in self.rest.iter().zip(0..10) {
            // Bits beyond the 64th are dropped, as protobuf's own readers do.
            value |= u64::from(byte & 0x7f) << (at * 7);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(TranscodeError::protobuf(if self.rest.len() < 10 {
            "the message is cut off"
        } else {
            "a varint of more than ten bytes"
        }))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], TranscodeError> {
        let Some((value, rest)) = self.rest.split_first_chunk() else {
            return Err(TranscodeError::protobuf("the message is cut off"));
        };
        self.rest = rest;
        Ok(*value)
    }
}

/// Appends a varint.
#[inline]
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the piece of that length.
pub(super) fn put_piece(piece: &[u8], out: &mut Vec<u8>) {
    put_varint(piece.len() as u64, out);
    out.extend_from_slice(piece);
}

/// Begins a length-delimited piece of unknown length; [`close`] gets what this returns.
pub(super) fn open(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Ends the piece that began at `start`. Longer lengths than one byte move the piece.
pub(super) fn close(start: usize, out: &mut Vec<u8>) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let mut prefix = [0u8; 10];
    let mut used = 0;
    let mut rest = length;
    while rest >= 0x80 {
        prefix[used] = rest as u8 | 0x80;
        rest >>= 7;
        used += 1;
    }
    prefix[used] = rest as u8;
    used += 1;
    out.resize(out.len() + used - 1, 0);
    out.copy_within(start..start + length, start - 1 + used);
    out[start - 1..start - 1 + used].copy_from_slice(&prefix[..used]);
}

/// The zigzag form of signed numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// What a zigzag form stands for.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_patched_whatever_they_are() {
        for length in [0, 1, 127, 128, 16383, 16384, 3_000_000] {
            let mut out = vec![b'<'];
            let start = open(&mut out);
            out.extend((0..length).map(|at| at as u8));
            close(start, &mut out);
            let mut wire = Wire::new(&out[1..]);
            let piece = wire.value(1, WireType::Len).unwrap().piece();
            assert!(piece.iter().copied().eq((0..length).map(|at| at as u8)), "{length}");
            assert!(wire.is_empty());
        }
    }

    #[test]
    fn varints_are_read_up_to_ten_bytes_and_no_further() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(Wire::new(&out).varint().unwrap(), value);
            assert!(Wire::new(&out[..out.len() - 1]).varint().is_err());
        }
        assert!(
            Wire::new(&[0x80; 10])
                .varint()
                .unwrap_err()
                .reason()
                .contains("more than ten")
        );
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn groups_are_skipped_and_bounded() {
        let mut nested = vec![0x0b; 100];
        nested.extend([0x0c; 100]);
        assert!(Wire::new(&nested).next().unwrap().is_some());
        let mut deep = vec![0x0b; 100_000];
        deep.extend([0x0c; 100_000]);
        assert!(Wire::new(&deep).next().unwrap_err().reason().contains("too deep"));
        assert!(Wire::new(&[0x0b, 0x14]).next().is_err(), "the end of another group");
        assert!(Wire::new(&[0x0c]).next().is_err(), "an end without a start");
        assert!(Wire::new(&[0x0b]).next().is_err(), "no end");
    }
}
