//! The calls of a tunnel: what is known of each, found by id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::event::Origin;

/// A call on one tunnel. Odd where the dialler opened it, even where the acceptor did; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) u32);

impl CallId {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a call stands in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: it has nothing to send.
    Idle,
    /// In a queue, with data in hand.
    Queued,
    /// Told that it is its turn.
    Turn,
}

/// One call, from the moment it is opened until the local side has finished with it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) opener: Origin,
    /// Neither END nor RESET has crossed.
    pub(super) live: bool,
    /// REPLY has crossed.
    pub(super) replied: bool,
    /// This side may still send DATA.
    pub(super) sending: bool,
    /// The other side may still send DATA.
    pub(super) receiving: bool,
    /// Opened with HOLD, and no credit given yet.
    pub(super) held: bool,
    pub(super) interims: u8,
    pub(super) place: Place,
    /// Bytes of DATA that may be sent.
    pub(super) credit: u32,
    /// Bytes of DATA sent; stops counting where it no longer matters.
    pub(super) sent: u32,
    /// Bytes that may be sent although others wait; below 0 what the last frame of a turn was too long by.
    pub(super) allowance: i32,
    /// Bytes of DATA that the other side may still send.
    pub(super) granted: u32,
    /// Size of the window; `granted`, what is queued here, and `returned` add up to it.
    pub(super) window: u32,
    /// Bytes by which the window has grown, owed to the ledger.
    pub(super) grown: u32,
    /// Bytes consumed and not yet granted anew.
    pub(super) returned: u32,
    /// Bytes consumed since `since`.
    pub(super) measured: u32,
    pub(super) since: Instant,
}

/// Calls by number.
pub(super) type Calls = HashMap<u32, Exchange, BuildHasherDefault<NumberHasher>>;

/// Spreads ids, which are small numbers in sequence, by one multiplication. The other side chooses its ids, but holds
/// at most `max calls` of them, and is authenticated: collisions cost it a bounded scan.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        // 2^64 divided by the golden ratio; the map takes its tag from the high bits and its slot from the low ones.
        self.0 = (self.0 ^ u64::from(number))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}
