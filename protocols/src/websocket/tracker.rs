//! How frames lie in a stream of bytes that is passed through (RFC 6455, section 5).
//!
//! A spliced WebSocket is not taken apart: the tracker reads frame headers where they pass, in place, and knows where a
//! frame of our own (a ping, a close) may be put in between. Payloads are neither unmasked nor looked at, so that text
//! that is not UTF-8 and reasons of close frames are for the ends to judge.

use super::violation::WsViolation;

/// The longest frame header: two bytes, a length of eight, a masking key of four.
const MAX_HEADER: usize = 14;

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

#[cfg(test)]
mod tests;
