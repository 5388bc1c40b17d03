//! Where messages begin and end in what passes.

use causeway_protocols::Protocol;
use causeway_protocols::websocket::{Direction, Tracker, TrackerLimits, WsViolation};

use super::meter::Way;
use crate::limits::prefixes::Prefixes;

/// What messages are cut out of.
#[derive(Clone, Debug)]
pub(super) enum Follow {
    /// Bytes without messages.
    Bytes,
    /// Length-prefixed messages.
    Grpc(Prefixes),
    /// Frames.
    WebSocket(Box<Tracker>),
}

/// A message over the limit begins after so many bytes of what has come; at 0 also where it began before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) good: usize,
}

impl Follow {
    /// For one direction of a call.
    pub(super) fn of(protocol: Protocol, way: Way) -> Self {
        let direction = match way {
            Way::Up => Direction::Client,
            Way::Down => Direction::Server,
        };
        match protocol {
            Protocol::Grpc => Self::Grpc(Prefixes::default()),
            Protocol::Http => Self::Bytes,
            Protocol::WebSocket => Self::WebSocket(Box::new(Tracker::new(direction, limits(u64::MAX)))),
        }
    }

    /// Messages that have ended.
    pub(super) fn messages(&self) -> u64 {
        match self {
            Self::Bytes => 0,
            Self::Grpc(prefixes) => prefixes.messages(),
            Self::WebSocket(tracker) => tracker.counts().messages,
        }
    }

    /// Bytes at the end of what has come that are the beginning of a header. Held back, they let a direction always end
    /// between two frames.
    pub(super) fn header(&self) -> usize {
        match self {
            Self::Bytes => 0,
            Self::Grpc(prefixes) => prefixes.header(),
            Self::WebSocket(tracker) => tracker.state().header,
        }
    }

    /// Whether a message is under way.
    pub(super) fn is_inside(&self) -> bool {
        match self {
            Self::Bytes => false,
            Self::Grpc(prefixes) => prefixes.is_inside(),
            Self::WebSocket(tracker) => !tracker.state().message_boundary && tracker.state().header == 0,
        }
    }

    /// Follows the next bytes, with messages of at most this size.
    ///
    /// # Errors
    /// At a message that says it is larger.
    pub(super) fn pass(&mut self, bytes: &[u8], most: u64) -> Result<(), TooLarge> {
        match self {
            Self::Bytes => Ok(()),
            Self::Grpc(prefixes) => prefixes
                .pass(bytes, most)
                .map_err(|large| TooLarge { good: large.good }),
            Self::WebSocket(tracker) => {
                tracker.set_limits(limits(most));
                match tracker.pass(bytes) {
                    Ok(_) => Ok(()),
                    Err(violation) if violation.rule == WsViolation::MessageTooLarge => {
                        Err(TooLarge { good: violation.good })
                    }
                    // Other rules are the business of who passes the frames on, and nothing follows.
                    Err(_) => {
                        *self = Self::Bytes;
                        Ok(())
                    }
                }
            }
        }
    }

    /// After how many bytes so many messages have ended; all of them where they do not.
    pub(super) fn end_of(mut self, messages: u64, bytes: &[u8]) -> usize {
        let wanted = self.messages() + messages;
        for (at, byte) in bytes.iter().enumerate() {
            if self.messages() >= wanted {
                return at;
            }
            // It has passed once without complaint.
            self.pass(std::slice::from_ref(byte), u64::MAX).ok();
        }
        bytes.len()
    }
}

/// The tracker of the exchange holds frames to the rules; this one only counts.
fn limits(message: u64) -> TrackerLimits {
    TrackerLimits {
        frame: u64::MAX,
        fragments: u32::MAX,
        message,
        rsv1: true,
    }
}
