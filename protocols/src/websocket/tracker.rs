//! How frames lie in a stream of bytes that is passed through (RFC 6455, section 5).
//!
//! A spliced WebSocket is not taken apart: the tracker reads frame headers where they pass, in place, and knows where a
//! frame of our own (a ping, a close) may be put in between. Payloads are neither unmasked nor looked at, so that text
//! that is not UTF-8 and reasons of close frames are for the ends to judge.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest frame header: two bytes, a length of eight, a masking key of four.
const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// Who sends the bytes; clients mask their frames and servers must not (RFC 6455, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client.
    Client,
    /// From a server.
    Server,
}

/// What one direction of a WebSocket may carry.
#[derive(Clone, Copy, Debug)]
pub struct TrackerLimits {
    /// Bytes of payload in a frame.
    pub frame: u64,
    /// Frames of a message.
    pub fragments: u32,
    /// Bytes of payload in a message, over its frames.
    pub message: u64,
    /// RSV1 may be set on the first frame of a message, because an extension that uses it was negotiated (RFC 7692).
    pub rsv1: bool,
}

impl Default for TrackerLimits {
    /// 1 MiB in a frame and in a message, 1,024 frames in a message, no extension.
    fn default() -> Self {
        Self {
            frame: 1 << 20,
            fragments: 1024,
            message: 1 << 20,
            rsv1: false,
        }
    }
}

/// Which rule a stream broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WsViolation {
    /// A client's frame without a mask (RFC 6455, section 5.1).
    #[error("frame from a client is not masked")]
    Unmasked,
    /// A server's frame with a mask (RFC 6455, section 5.1).
    #[error("frame from a server is masked")]
    Masked,
    /// A reserved bit that no extension has given a meaning.
    #[error("reserved bit is set")]
    Reserved,
    /// An opcode of 3 to 7 or 11 to 15.
    #[error("unknown opcode")]
    Opcode,
    /// A length in more bytes than it needs (RFC 6455, section 5.2).
    #[error("frame length is not in its shortest form")]
    LengthForm,
    /// A length of 2^63 or more (RFC 6455, section 5.2).
    #[error("frame length has its highest bit set")]
    LengthRange,
    /// A control frame over 125 bytes (RFC 6455, section 5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlLength,
    /// A control frame without FIN (RFC 6455, section 5.5).
    #[error("control frame is fragmented")]
    ControlFragment,
    /// A close frame of one byte, which is no code (RFC 6455, section 5.5.1).
    #[error("close frame with half a code")]
    ClosePayload,
    /// A continuation with nothing to continue (RFC 6455, section 5.4).
    #[error("continuation without a message")]
    Continuation,
    /// A new message inside a fragmented one (RFC 6455, section 5.4).
    #[error("message inside a message")]
    Interleaved,
    /// Bytes after a close frame (RFC 6455, section 5.5.1).
    #[error("data after a close frame")]
    AfterClose,
    /// A frame over the limit.
    #[error("frame is too large")]
    FrameTooLarge,
    /// A message over the limit.
    #[error("message is too large")]
    MessageTooLarge,
    /// A message of too many frames.
    #[error("message has too many fragments")]
    Fragments,
}

impl WsViolation {
    /// The close code to send to the side that broke the rule (RFC 6455, section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::FrameTooLarge | Self::MessageTooLarge => 1009,
            // Too many fragments are a policy of ours, and what they exhaust is the size that a message may have.
            Self::Fragments => 1009,
            _ => 1002,
        }
    }

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::Reserved => "reserved_bit",
            Self::Opcode => "opcode",
            Self::LengthForm => "length_form",
            Self::LengthRange => "length_range",
            Self::ControlLength => "control_length",
            Self::ControlFragment => "control_fragment",
            Self::ClosePayload => "close_payload",
            Self::Continuation => "continuation",
            Self::Interleaved => "interleaved",
            Self::AfterClose => "after_close",
            Self::FrameTooLarge => "frame_too_large",
            Self::MessageTooLarge => "message_too_large",
            Self::Fragments => "fragments",
        }
    }
}

/// A violation, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Violation {
    /// The rule that was broken.
    pub rule: WsViolation,
    /// Bytes of this input that may be passed on: they end where the offending frame begins, or at 0 if it began in
    /// an earlier input. With those passed on, a close frame may follow, unless header bytes of the offending frame
    /// were let through before, see [`Passed::header`].
    pub good: usize,
}

/// Where the stream is after an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The last byte ended a frame, or nothing has come yet: a control frame may be put in here.
    pub frame_boundary: bool,
    /// The last byte ended a message or a control frame between messages: anything may be put in here.
    pub message_boundary: bool,
    /// Bytes at the end of the input, at most 13, that are the beginning of a frame header (with what earlier inputs
    /// held of it). Who holds them back until the next input can always answer a violation at a boundary.
    pub header: usize,
    /// A close frame has passed.
    pub closed: bool,
}

/// What has passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that have ended.
    pub messages: u64,
    /// Frames whose header has passed, control frames among them.
    pub frames: u64,
    /// Control frames whose header has passed.
    pub control: u64,
    /// Bytes of payload of data frames, as their headers announced them.
    pub payload: u64,
}

/// Follows the frames of one direction.
#[derive(Clone, Debug)]
pub struct Tracker {
    direction: Direction,
    limits: TrackerLimits,
    /// The header that is being gathered.
    header: [u8; MAX_HEADER],
    gathered: usize,
    /// Payload bytes of the present frame that are still to come.
    left: u64,
    /// What ends when the present frame does.
    frame: Ends,
    /// Frames of the message that is under way; 0 between messages.
    fragments: u32,
    /// Payload bytes of the message that is under way.
    message: u64,
    closed: bool,
    failed: Option<WsViolation>,
    counts: Counts,
}

/// What the end of a frame is the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Fragment,
    Message,
    Control,
    Close,
}

/// What a whole header says.
struct Header {
    length: u64,
    ends: Ends,
}

impl Tracker {
    /// A tracker at the start of a stream, right after the handshake.
    pub fn new(direction: Direction, limits: TrackerLimits) -> Self {
        Self {
            direction,
            limits,
            header: [0; MAX_HEADER],
            gathered: 0,
            left: 0,
            frame: Ends::Message,
            fragments: 0,
            message: 0,
            closed: false,
            failed: None,
            counts: Counts::default(),
        }
    }

    /// Replaces the limits, for frames that begin from now on.
    pub fn set_limits(&mut self, limits: TrackerLimits) {
        self.limits = limits;
    }

    /// What has passed so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the stream is now.
    pub fn state(&self) -> Passed {
        let frame_boundary = self.gathered == 0 && self.left == 0;
        Passed {
            frame_boundary,
            message_boundary: frame_boundary && self.fragments == 0,
            header: self.gathered,
            closed: self.closed,
        }
    }

    /// Follows the next bytes of the stream. Costs a few operations per frame, and nothing per byte of payload.
    ///
    /// # Errors
    /// At the first rule that is broken, as early as the bytes show it; the same from then on.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<Passed, Violation> {
        if let Some(rule) = self.failed {
            return Err(Violation { rule, good: 0 });
        }
        let mut good = 0;
        match self.follow(bytes, &mut good) {
            Ok(()) => Ok(self.state()),
            Err(rule) => {
                self.failed = Some(rule);
                Err(Violation { rule, good })
            }
        }
    }

    fn follow(&mut self, bytes: &[u8], good: &mut usize) -> Result<(), WsViolation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.left > 0 {
                let take = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                self.left -= take as u64;
                rest = &rest[take..];
                if self.left == 0 {
                    self.end_frame();
                }
            } else {
                if self.gathered == 0 {
                    *good = bytes.len() - rest.len();
                    if self.closed {
                        return Err(WsViolation::AfterClose);
                    }
                }
                rest = self.gather(rest)?;
            }
        }
        Ok(())
    }

    /// Takes header bytes, judging each as soon as it is there.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], WsViolation> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            self.header[self.gathered] = byte;
            self.gathered += 1;
            match self.gathered {
                1 => self.check_first(byte)?,
                2 => self.check_second(byte)?,
                // The highest byte of a length of eight: the rest need not be waited for.
                3 if self.header[1] & 0x7f == 127 && byte & 0x80 != 0 => return Err(WsViolation::LengthRange),
                _ => {}
            }
            if self.gathered >= 2 && self.gathered == self.header_length() {
                let header = self.read_header()?;
                self.begin_frame(&header)?;
                break;
            }
        }
        Ok(rest)
    }

    /// FIN, the reserved bits and the opcode.
    fn check_first(&self, byte: u8) -> Result<(), WsViolation> {
        let opcode = byte & 0x0f;
        let fin = byte & 0x80 != 0;
        let rsv1 = byte & 0x40 != 0;
        if byte & 0x30 != 0 || (rsv1 && !(self.limits.rsv1 && matches!(opcode, 1 | 2))) {
            return Err(WsViolation::Reserved);
        }
        match opcode {
            0 if self.fragments == 0 => Err(WsViolation::Continuation),
            1 | 2 if self.fragments > 0 => Err(WsViolation::Interleaved),
            0..=2 if self.fragments >= self.limits.fragments => Err(WsViolation::Fragments),
            0..=2 => Ok(()),
            8..=10 if !fin => Err(WsViolation::ControlFragment),
            8..=10 => Ok(()),
            _ => Err(WsViolation::Opcode),
        }
    }

    /// The mask bit and the short length.
    fn check_second(&self, byte: u8) -> Result<(), WsViolation> {
        match (self.direction, byte & 0x80 != 0) {
            (Direction::Client, false) => return Err(WsViolation::Unmasked),
            (Direction::Server, true) => return Err(WsViolation::Masked),
            _ => {}
        }
        let opcode = self.header[0] & 0x0f;
        match byte & 0x7f {
            126 | 127 if opcode >= 8 => Err(WsViolation::ControlLength),
            1 if opcode == 8 => Err(WsViolation::ClosePayload),
            _ => Ok(()),
        }
    }

    /// Length of the present header, once two bytes of it are there.
    fn header_length(&self) -> usize {
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + mask
    }

    fn read_header(&self) -> Result<Header, WsViolation> {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        let length = match second & 0x7f {
            126 => match u16::from_be_bytes([a, b]) {
                0..126 => return Err(WsViolation::LengthForm),
                length => u64::from(length),
            },
            127 => match u64::from_be_bytes([a, b, c, d, e, f, g, h]) {
                0..0x1_0000 => return Err(WsViolation::LengthForm),
                length => length,
            },
            length => u64::from(length),
        };
        let ends = match first & 0x0f {
            8 => Ends::Close,
            9 | 10 => Ends::Control,
            _ if first & 0x80 != 0 => Ends::Message,
            _ => Ends::Fragment,
        };
        Ok(Header { length, ends })
    }

    fn begin_frame(&mut self, header: &Header) -> Result<(), WsViolation> {
        if matches!(header.ends, Ends::Fragment | Ends::Message) {
            if header.length > self.limits.frame {
                return Err(WsViolation::FrameTooLarge);
            }
            let message = self.message.saturating_add(header.length);
            if message > self.limits.message {
                return Err(WsViolation::MessageTooLarge);
            }
            self.message = message;
            self.fragments += 1;
            self.counts.payload = self.counts.payload.saturating_add(header.length);
        } else {
            self.counts.control += 1;
        }
        self.counts.frames += 1;
        self.gathered = 0;
        self.left = header.length;
        self.frame = header.ends;
        if self.left == 0 {
            self.end_frame();
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        match self.frame {
            Ends::Message => {
                self.fragments = 0;
                self.message = 0;
                self.counts.messages += 1;
            }
            Ends::Close => self.closed = true,
            Ends::Fragment | Ends::Control => {}
        }
    }
}

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

#[cfg(test)]
mod tests;
