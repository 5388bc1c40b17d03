//! The header before every payload, the kinds of frames, and how long each may be.
//!
//! ```text
//! call u32 | length u16 | kind u8 | flags u8      big endian; `length` counts the payload alone
//! ```

use bytes::BytesMut;

/// Bytes of a header.
pub const HEADER: usize = 8;
/// Most payload bytes of a DATA frame: with its header one TLS record of 16 KiB.
pub const MAX_DATA: usize = 16_376;
/// Most payload bytes of HEAD, INFO, REPLY and END.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most header fields or trailers in one frame.
pub const MAX_FIELDS: usize = 100;

/// On HEAD and DATA of the calling side: nothing follows in this direction.
pub const END: u8 = 1;
/// On HEAD: the calling side has no credit until the first WINDOW (`Expect: 100-continue`).
pub const HOLD: u8 = 2;

/// Unknown kinds and keys from here up are ignored.
pub(super) const IGNORABLE: u8 = 0x40;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of each side.
    Hello = 1,
    /// Opens a call.
    Head = 2,
    /// Interim head of a reply.
    Info = 3,
    /// Head of a reply.
    Reply = 4,
    /// Bytes of a body.
    Data = 5,
    /// End of a call, from the called side.
    End = 6,
    /// End of a call before its end, from either side.
    Reset = 7,
    /// Credit for DATA.
    Window = 8,
    /// Asks for a sign of life.
    Ping = 9,
    /// The sign.
    Pong = 10,
    /// No new calls, please.
    GoAway = 11,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Hello,
        Self::Head,
        Self::Info,
        Self::Reply,
        Self::Data,
        Self::End,
        Self::Reset,
        Self::Window,
        Self::Ping,
        Self::Pong,
        Self::GoAway,
    ];

    /// The kind of a byte from the wire.
    pub fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }

    /// The byte that stands for it on the wire.
    pub fn wire(self) -> u8 {
        self as u8
    }

    /// Fewest and most payload bytes.
    pub fn limits(self) -> (usize, usize) {
        match self {
            Self::Hello => (16, 1024),
            Self::Head | Self::Info | Self::Reply | Self::End => (0, MAX_HEAD),
            Self::Data => (0, MAX_DATA),
            Self::Reset => (1, 1),
            Self::Window => (4, 4),
            Self::Ping | Self::Pong => (8, 8),
            Self::GoAway => (9, 9),
        }
    }

    /// Whether frames of this kind speak of the tunnel (call 0) and not of a call.
    pub fn is_of_tunnel(self) -> bool {
        matches!(self, Self::Hello | Self::Ping | Self::Pong | Self::GoAway)
    }
}

/// A header as it stands on the wire; `kind` may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The call, or 0 for the tunnel.
    pub call: u32,
    /// Payload bytes.
    pub length: u16,
    /// See [`Kind`].
    pub kind: u8,
    /// See [`END`] and [`HOLD`]; other bits are sent as 0 and ignored.
    pub flags: u8,
}

impl Header {
    /// Reads a header off the front of `input`; none while it is not all there.
    pub fn peek(input: &[u8]) -> Option<Self> {
        let [a, b, c, d, high, low, kind, flags] = *input.first_chunk::<HEADER>()?;
        Some(Self {
            call: u32::from_be_bytes([a, b, c, d]),
            length: u16::from_be_bytes([high, low]),
            kind,
            flags,
        })
    }

    /// The header as bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.call.to_be_bytes();
        let [high, low] = self.length.to_be_bytes();
        [a, b, c, d, high, low, self.kind, self.flags]
    }
}

/// A head or a list of trailers does not fit into one frame, or a name in it is too long or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_FIELDS} fields or {MAX_HEAD} bytes, or a name that is none")]
pub struct TooLarge;

/// Appends a frame with a short payload; `payload` fits its kind.
pub(super) fn put(out: &mut BytesMut, call: u32, kind: Kind, flags: u8, payload: &[u8]) {
    debug_assert!(payload.len() <= kind.limits().1, "{kind:?} payload over its limit");
    let header = Header {
        call,
        length: payload.len() as u16,
        kind: kind.wire(),
        flags,
    };
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(payload);
}

/// Appends a frame whose payload `write` appends; on an error `out` is as before.
pub(super) fn put_with(
    out: &mut BytesMut,
    call: u32,
    kind: Kind,
    flags: u8,
    write: impl FnOnce(&mut BytesMut) -> Result<(), TooLarge>,
) -> Result<(), TooLarge> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let written = write(out);
    let length = out.len() - start - HEADER;
    match u16::try_from(length) {
        Ok(short) if written.is_ok() && length <= kind.limits().1 => {
            let header = Header {
                call,
                length: short,
                kind: kind.wire(),
                flags,
            };
            out[start..start + HEADER].copy_from_slice(&header.to_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(TooLarge)
        }
    }
}
