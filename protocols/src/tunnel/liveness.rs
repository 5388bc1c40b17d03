//! Signs of life and the round trip time.

use std::time::{Duration, Instant};

use super::frame::{self, Kind};
use super::session::Session;

/// Pings without any answer after which a tunnel is dead.
const MISSES: u8 = 3;
/// A round trip older than this is measured again before a window grows by it.
const STALE: Duration = Duration::from_secs(5);

/// What [`Session::tick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// All is well.
    Nothing,
    /// A PING was written, because nothing came for a while.
    Pinged,
    /// Nothing came for three pings: close the connection.
    Dead,
}

/// When the other side was last heard.
#[derive(Debug)]
pub(super) struct Liveness {
    heard: Instant,
    misses: u8,
    /// The PING that no PONG has answered yet.
    pending: Option<(u64, Instant)>,
    pinged: Instant,
    number: u64,
    rtt: Option<Duration>,
    measured: Instant,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            misses: 0,
            pending: None,
            pinged: now,
            number: 0,
            rtt: None,
            measured: now,
        }
    }

    /// A frame has come.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.misses = 0;
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Takes a PONG; the smoothed round trip time if it answers the last PING.
    pub(super) fn pong(&mut self, payload: &[u8], now: Instant) -> Option<Duration> {
        let (number, sent) = self.pending?;
        if payload != number.to_be_bytes() {
            return None;
        }
        self.pending = None;
        self.measured = now;
        let sample = now.saturating_duration_since(sent);
        // Queues make samples longer, never shorter: a shorter one is believed at once.
        let rtt = match self.rtt {
            Some(rtt) if sample > rtt => (rtt * 7 + sample) / 8,
            _ => sample,
        };
        self.rtt = Some(rtt);
        self.rtt
    }
}

impl Session {
    /// Writes a PING unless one is under way.
    pub fn ping(&mut self, now: Instant) {
        let live = &mut self.liveness;
        if live.pending.is_none() {
            live.number += 1;
            live.pending = Some((live.number, now));
            live.pinged = now;
            frame::put(&mut self.out, 0, Kind::Ping, 0, &live.number.to_be_bytes());
        }
    }

    /// Looks at the clock; call it several times per [`Settings::ping_every`](super::Settings::ping_every).
    ///
    /// Silence for one interval is answered by a PING, then another each interval; half an interval after the third
    /// the tunnel is dead: with 2 s after 7 s. A process that was stopped still pings three times before it gives up.
    pub fn tick(&mut self, now: Instant) -> Tick {
        let every = self.settings.ping_every;
        let live = &mut self.liveness;
        if now.saturating_duration_since(live.heard) < every {
            return Tick::Nothing;
        }
        let since = now.saturating_duration_since(live.pinged);
        if live.misses >= MISSES {
            return if since >= every / 2 { Tick::Dead } else { Tick::Nothing };
        }
        if live.misses > 0 && since < every {
            return Tick::Nothing;
        }
        live.misses += 1;
        live.pending = None;
        self.ping(now);
        Tick::Pinged
    }

    /// Measures the round trip again where the last measure is old: a busy tunnel never pings by itself.
    pub(super) fn refresh_rtt(&mut self, now: Instant) {
        if now.saturating_duration_since(self.liveness.measured) >= STALE {
            self.ping(now);
        }
    }
}
