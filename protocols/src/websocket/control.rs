//! Control frames of our own, to be put in between the frames of others.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// A close frame. `mask` is set towards a server. The reason is cut at a character boundary to fit (RFC 6455,
/// section 5.5); codes that never go on the wire (1005, 1006, 1015 and those below 1000) become an empty frame.
pub fn encode_close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Bytes {
    if code < 1000 || matches!(code, 1005 | 1006 | 1015) {
        return control(8, &[], &[], mask);
    }
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    control(8, &code.to_be_bytes(), &reason.as_bytes()[..end], mask)
}

/// A ping of at most 125 bytes; more are left out.
pub fn encode_ping(payload: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    control(9, &[], &payload[..payload.len().min(MAX_CONTROL)], mask)
}

/// A pong of at most 125 bytes; more are left out.
pub fn encode_pong(payload: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    control(10, &[], &payload[..payload.len().min(MAX_CONTROL)], mask)
}

fn control(opcode: u8, first: &[u8], second: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    // Callers have cut the payload to what seven bits hold.
    let length = (first.len() + second.len()) as u8;
    let mut frame = BytesMut::with_capacity(6 + usize::from(length));
    frame.put_u8(0x80 | opcode);
    frame.put_u8(if mask.is_some() { 0x80 | length } else { length });
    frame.put_slice(mask.as_ref().map_or(&[][..], |mask| mask));
    let key = mask.unwrap_or_default();
    for (at, byte) in first.iter().chain(second).enumerate() {
        frame.put_u8(byte ^ key[at & 3]);
    }
    frame.freeze()
}
