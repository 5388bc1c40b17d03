//! One tunnel: its settings, its state, and its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::calls::{CallId, Calls, Exchange, Place};
use super::control::{GoAway, GoAwayReason, Hello};
use super::event::Origin;
use super::frame::{self, HEADER, Kind, TooLarge};
use super::ledger::GrowthLedger;
use super::liveness::Liveness;
use super::turns::Turns;

/// DATA is not written while so many bytes wait for the socket.
pub(super) const OUT_LIMIT: usize = 4 * (HEADER + frame::MAX_DATA);
/// New calls are not let in, and not opened, while so many bytes wait for the socket: heads are not DATA and always go
/// in, so the number of calls must bound them.
pub(super) const HEADS_LIMIT: usize = 4 * OUT_LIMIT;
/// Memory kept for the next burst when everything was written.
const OUT_KEPT: usize = 2 * OUT_LIMIT;
/// Most credit that a call may have.
pub(super) const MAX_CREDIT: u32 = u32::MAX / 2;

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It dialled: its calls are odd.
    Dialler,
    /// It accepted: its calls are even.
    Acceptor,
}

/// Limits of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First window of each call, in bytes; what HELLO says.
    pub window: u32,
    /// Largest window, in bytes.
    pub max_window: u32,
    /// Calls that may be open at once each way; what HELLO says.
    pub max_calls: u32,
    /// Silence after which a PING is sent.
    pub ping_every: Duration,
    /// How far windows may grow, over all sessions.
    pub ledger: Arc<GrowthLedger>,
}

impl Settings {
    /// The defaults: 64 KiB growing to 1 MiB, 1,024 calls, 2 s.
    pub fn new(ledger: Arc<GrowthLedger>) -> Self {
        Self {
            window: 64 * 1024,
            max_window: 1024 * 1024,
            max_calls: 1024,
            ping_every: Duration::from_secs(2),
            ledger,
        }
    }
}

/// What happened so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the other side beyond the limit, or after our GOAWAY.
    pub refused: u64,
    /// Heads of the other side that were malformed.
    pub malformed: u64,
    /// Calls reset here because the other side sent more than it had credit for, or gave more than there can be.
    pub flow: u64,
    /// Calls reset here because the other side broke the protocol of the call.
    pub protocol: u64,
    /// Frames of kinds that this version does not know.
    pub ignored: u64,
}

/// One tunnel, without its socket. See the [module](super).
///
/// The driver feeds [`receive`](Self::receive) from the socket and writes [`output`](Self::output) to it, and calls
/// [`tick`](Self::tick). Every call it is told of or opens is ended by [`finished`](Self::finished), exactly once.
#[derive(Debug)]
pub struct Session {
    pub(super) role: Role,
    pub(super) settings: Settings,
    pub(super) calls: Calls,
    pub(super) turns: Turns,
    pub(super) liveness: Liveness,
    pub(super) out: BytesMut,
    /// Bytes in `out` that only answer what the other side sent.
    pub(super) answered: usize,
    pub(super) peer: Option<Hello>,
    /// The next call opened here.
    pub(super) next: u32,
    /// The last call opened by the other side.
    pub(super) last: u32,
    pub(super) open_here: u32,
    pub(super) open_there: u32,
    pub(super) counts: Counts,
    pub(super) told_away: Option<GoAway>,
    pub(super) peer_away: Option<GoAway>,
    /// Calls that the other side's GOAWAY leaves unprocessed, not yet reported.
    pub(super) unprocessed: Vec<u32>,
}

impl Session {
    /// A new tunnel; HELLO waits in [`output`](Self::output). The window and the calls in `hello` are taken from the
    /// settings.
    ///
    /// # Errors
    /// [`TooLarge`] when a name in `hello` is not 1 to 255 letters, digits, `-`, `.`, `_`.
    pub fn new(role: Role, settings: Settings, hello: Hello, now: Instant) -> Result<Self, TooLarge> {
        let mut settings = settings;
        settings.window = settings.window.clamp(1, MAX_CREDIT);
        settings.max_window = settings.max_window.clamp(settings.window, MAX_CREDIT);
        let hello = Hello {
            window: settings.window,
            max_calls: settings.max_calls,
            ..hello
        };
        let mut out = BytesMut::new();
        frame::put_with(&mut out, 0, Kind::Hello, 0, |out| hello.encode(out))?;
        Ok(Self {
            role,
            settings,
            calls: Calls::default(),
            turns: Turns::default(),
            liveness: Liveness::new(now),
            out,
            answered: 0,
            peer: None,
            next: match role {
                Role::Dialler => 1,
                Role::Acceptor => 2,
            },
            last: 0,
            open_here: 0,
            open_there: 0,
            counts: Counts::default(),
            told_away: None,
            peer_away: None,
            unprocessed: Vec::new(),
        })
    }

    /// Bytes for the socket. Take them off the front by `advance`, which keeps the memory for what comes next (`split`
    /// gives it away), then call [`flushed`](Self::flushed).
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Whether bytes wait for the socket.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Bytes that wait for the socket.
    pub fn buffered(&self) -> usize {
        self.out.len()
    }

    /// Some bytes were taken from [`output`](Self::output): ask for [`next_turn`](Self::next_turn).
    pub fn flushed(&mut self) {
        self.answered = self.answered.min(self.out.len());
        if self.out.is_empty() && self.out.capacity() > OUT_KEPT {
            self.out = BytesMut::new();
        }
    }

    /// Asks the other side to open no more calls. Those that it opened before it read this are still let in, so that
    /// nothing is refused only because the two messages crossed; [`goaway`](Self::goaway) ends that.
    pub fn wind_down(&mut self, reason: GoAwayReason) {
        let away = GoAway {
            last_call: u32::MAX,
            reason,
            reconnect: Duration::ZERO,
        };
        frame::put(&mut self.out, 0, Kind::GoAway, 0, &away.to_bytes());
    }

    /// Says that no new calls are wanted. Calls that the other side opens from now on are refused; those that are
    /// open go on.
    pub fn goaway(&mut self, reason: GoAwayReason, reconnect: Duration) {
        let last_call = self.told_away.map_or(self.last, |before| before.last_call);
        let away = GoAway {
            last_call,
            reason,
            reconnect,
        };
        self.told_away = Some(away);
        frame::put(&mut self.out, 0, Kind::GoAway, 0, &away.to_bytes());
    }

    /// The local side's work for this call is over, and what it held is free. What has not ended yet is reset with
    /// CANCEL. Until then a call counts against the limit, also one that the other side has reset. Call it right after
    /// [`end`](Self::end), before the output is flushed: to a caller at its limit the END means that it may open another.
    pub fn finished(&mut self, call: CallId) {
        self.reset(call, crate::failure::Reset::Cancel);
        let Some(exchange) = self.calls.remove(&call.0) else {
            return;
        };
        match exchange.opener {
            Origin::Here => self.open_here -= 1,
            Origin::Peer => self.open_there -= 1,
        }
        if exchange.grown > 0 {
            self.settings.ledger.give_back(exchange.grown);
        }
    }

    /// Whether the other side's HELLO has come: before, no call can be opened.
    pub fn is_ready(&self) -> bool {
        self.peer.is_some()
    }

    /// The other side's HELLO.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Calls opened here and not finished.
    pub fn open_here(&self) -> u32 {
        self.open_here
    }

    /// Calls opened by the other side and not finished here.
    pub fn open_there(&self) -> u32 {
        self.open_there
    }

    /// Calls not finished, either way.
    pub fn open_calls(&self) -> u32 {
        self.open_here + self.open_there
    }

    /// The round trip time, smoothed; none before the first PONG.
    pub fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// The other side's GOAWAY.
    pub fn peer_away(&self) -> Option<GoAway> {
        self.peer_away
    }

    /// Whether either side has said GOAWAY. Calls may still be opened where only this side has.
    pub fn is_going_away(&self) -> bool {
        self.told_away.is_some() || self.peer_away.is_some()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of DATA that may be sent on a call now.
    pub fn credit(&self, call: CallId) -> u32 {
        self.calls.get(&call.0).map_or(0, |exchange| exchange.credit)
    }

    /// Size of the window that the other side has on a call.
    pub fn window(&self, call: CallId) -> u32 {
        self.calls.get(&call.0).map_or(0, |exchange| exchange.window)
    }

    /// Whether the other side opens calls of this number.
    pub(super) fn is_theirs(&self, number: u32) -> bool {
        match self.role {
            Role::Dialler => number.is_multiple_of(2),
            Role::Acceptor => !number.is_multiple_of(2),
        }
    }

    pub(super) fn exchange(&self, opener: Origin, held: bool, now: Instant) -> Exchange {
        let credit = self.peer.as_ref().map_or(0, |hello| hello.window.min(MAX_CREDIT));
        Exchange {
            opener,
            live: true,
            replied: false,
            sending: true,
            receiving: true,
            held: held && opener == Origin::Peer,
            interims: 0,
            place: Place::Idle,
            credit: if held && opener == Origin::Here { 0 } else { credit },
            sent: 0,
            allowance: 0,
            granted: if held && opener == Origin::Peer {
                0
            } else {
                self.settings.window
            },
            window: self.settings.window,
            grown: 0,
            returned: 0,
            measured: 0,
            since: now,
        }
    }

    /// Nothing more crosses for this call; its entry stays until it is finished.
    pub(super) fn close(&mut self, number: u32) {
        if let Some(exchange) = self.calls.get_mut(&number) {
            exchange.live = false;
            exchange.sending = false;
            exchange.receiving = false;
            exchange.held = false;
            self.turns.remove(number, exchange);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for exchange in self.calls.values() {
            if exchange.grown > 0 {
                self.settings.ledger.give_back(exchange.grown);
            }
        }
    }
}
