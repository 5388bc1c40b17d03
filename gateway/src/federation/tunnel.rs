//! One tunnel at one worker: a task that reads, a task that writes, and a slot for each call.
//!
//! The reader puts what arrives into the slot of its call and wakes the call; the writer runs after everything that is
//! runnable has run, so that one write takes what all calls have to say.

mod life;
mod run;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use causeway_config as config;
use causeway_pki::tls::Peer;
use causeway_protocols::tunnel::{CallId, GoAwayReason, Role, Session};
use rustls_pki_types::UnixTime;

use super::carrier::Carrier;
use super::state::TunnelPlace;
use super::stream::Slot;
use crate::drain::{Guard, Lender};
use crate::telemetry::metrics::Level;
use crate::worker::{Worker, World};

use life::Life;
pub use run::start;

/// A tunnel that goes away waits at least this long for calls that the peer had sent before it knew.
const SHORTEST_GOODBYE: Duration = Duration::from_millis(60);

/// Call ids are small numbers that count up: hashing them is a waste.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Multiplied by an odd number close to 2^64 over the golden ratio, so that the table's high bits differ, too.
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Slots = HashMap<CallId, Weak<Slot>, BuildHasherDefault<IdHasher>>;

/// One tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// The other site.
    pub site: config::Name,
    /// Who is at the other end.
    pub peer: Peer,
    role: Role,
    carrier: Carrier,
    session: RefCell<Session>,
    slots: RefCell<Slots>,
    writer: RefCell<Option<Waker>>,
    closed: Cell<bool>,
    closer: RefCell<Option<Waker>>,
    place: RefCell<Option<TunnelPlace>>,
    /// Lets calls in also when the worker takes nothing new; none once the tunnel is closed.
    lender: RefCell<Option<Lender>>,
    started: Instant,
    life: Life,
    up: Level,
    calls: Level,
    is_up: Cell<bool>,
}

impl Tunnel {
    /// Whether a call can be opened.
    pub fn takes_calls(&self) -> bool {
        let session = self.session.borrow();
        !self.closed.get() && session.is_ready() && session.peer_away().is_none()
    }

    /// When it was started here.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// A guard for a call that came over it; none when it is closed.
    pub fn work(&self) -> Option<Guard> {
        self.lender.borrow().as_ref().map(Lender::guard)
    }

    /// Which side of it we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Works with the session; what it has to say is sent afterwards.
    pub fn with<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        let (done, turn, has_output) = {
            let mut session = self.session.borrow_mut();
            let done = work(&mut session);
            (done, session.has_turn(), session.has_output())
        };
        if has_output || turn {
            self.wake_writer();
        }
        done
    }

    fn wake_writer(&self) {
        // Taken in a statement of its own: the waker may run code that comes back here.
        let waker = self.writer.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes the slot of a call known to the reader.
    pub fn register(&self, id: CallId, slot: &Rc<Slot>) {
        if self.slots.borrow_mut().insert(id, Rc::downgrade(slot)).is_none() {
            self.calls.inc();
        }
    }

    /// The work on a call is over.
    pub fn finished(&self, id: CallId) {
        if self.slots.borrow_mut().remove(&id).is_some() {
            self.calls.dec();
        }
        if !self.closed.get() {
            self.with(|session| session.finished(id));
        }
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Ends it at once; every call on it is told.
    pub fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        if self.is_up.replace(false) {
            self.up.dec();
        }
        self.place.borrow_mut().take();
        self.lender.borrow_mut().take();
        let slots: Vec<_> = self.slots.borrow_mut().drain().collect();
        slots.iter().for_each(|_| self.calls.dec());
        for slot in slots.into_iter().filter_map(|(_, slot)| slot.upgrade()) {
            slot.lost();
        }
        self.carrier.close();
        self.wake_writer();
        let closer = self.closer.borrow_mut().take();
        if let Some(closer) = closer {
            closer.wake();
        }
    }

    async fn closed(&self) {
        std::future::poll_fn(|cx| {
            if self.closed.get() {
                return Poll::Ready(());
            }
            *self.closer.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Cuts the tunnel if its peer would not be let in any more.
    pub fn recheck(&self, worker: &Worker) {
        let Some(tls) = worker.shared.federation.tls.get() else {
            return;
        };
        let expected = (self.role == Role::Dialler).then_some(&*self.site);
        if let Err(error) = self.peer.verify_again(&tls.trust(), UnixTime::now(), expected) {
            tracing::warn!(peer = %self.peer.identity(), %error, "tunnel cut: the peer is trusted no more");
            self.with(|session| session.goaway(GoAwayReason::Revoked, Duration::ZERO));
            self.close();
        }
    }

    /// Resets the calls of the other site that this configuration would not let in any more.
    pub fn revoke(&self, world: &World) {
        let slots: Vec<_> = self.slots.borrow().values().filter_map(Weak::upgrade).collect();
        for slot in slots {
            if let Some(export) = slot.export()
                && !world.exports(export, &self.site, slot.principal())
            {
                tracing::warn!(peer = %self.peer.identity(), %export, "call reset: its export was removed");
                slot.revoke();
            }
        }
    }

    /// Asks the peer for no more calls. What it sent before it read that is served like any other.
    fn wind_down(&self, reason: GoAwayReason) {
        self.place.borrow_mut().take();
        self.with(|session| session.wind_down(reason));
    }

    /// Ready when the calls that are open have ended.
    async fn finish(&self, reason: GoAwayReason) {
        self.quiet().await;
        self.with(|session| session.goaway(reason, Duration::ZERO));
        self.quiet().await;
    }

    /// Waits until no call has been open for two round trips.
    async fn quiet(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let mut since = Instant::now();
        loop {
            look.tick().await;
            let session = self.session.borrow();
            if session.open_calls() > 0 {
                since = Instant::now();
            }
            let enough = session.rtt().map_or(SHORTEST_GOODBYE, |rtt| rtt * 2 + SHORTEST_GOODBYE);
            if since.elapsed() >= enough {
                return;
            }
        }
    }
}
