//! One tunnel at one worker: a task that reads, a task that writes, and a slot for each call.
//!
//! The reader puts what arrives into the slot of its call and wakes the call; the writer runs after everything that is
//! runnable has run, so that one write takes what all calls have to say.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use causeway_config as config;
use causeway_pki::tls::{Peer, TunnelTls};
use causeway_pki::{Credentials, certificate};
use causeway_protocols::tunnel::{CallId, GoAwayReason, Hello, Incoming, Role, Session, Settings, Tick};
use rustls_pki_types::UnixTime;

use super::carrier::Carrier;
use super::state::TunnelPlace;
use super::stream::Slot;
use super::{Established, accept};
use crate::drain::{Guard, Lender, Stage};
use crate::telemetry::metrics::Level;
use crate::worker::{Worker, World};

/// How often liveness is looked at, as a part of the ping interval.
const LOOKS: u32 = 4;
/// A tunnel whose peer has not said HELLO after this long is given up.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// A tunnel is not replaced sooner than this, whatever its certificates say.
const SHORTEST_LIFE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// Where no certificate ends.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
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
    is_up: Cell<bool>,
}

/// How long a tunnel may live: to the end of the first certificate of either side.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// When a new one should take over.
    replace: Instant,
    /// When the peer's certificates end.
    ends: Option<SystemTime>,
}

impl Life {
    fn of(peer: &Peer, ours: Option<&Credentials>, now: Instant) -> Self {
        let end = |der: &[u8]| {
            let parsed = certificate::parse(der).ok()?;
            let seconds = parsed.validity().not_after.timestamp();
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
        };
        let theirs = peer.chain().iter().filter_map(|der| end(der)).min();
        let ours = ours.and_then(|ours| ours.chain().iter().filter_map(|der| end(der)).min());
        let left = theirs
            .into_iter()
            .chain(ours)
            .min()
            .map_or(FOREVER, |end| end.duration_since(SystemTime::now()).unwrap_or_default());
        // Not all tunnels of a gateway in one moment.
        let replace = (left * 2 / 3).mul_f64(rand::random_range(0.9..1.0));
        Self {
            replace: now + replace.clamp(SHORTEST_LIFE, FOREVER),
            ends: theirs,
        }
    }

    /// Whether the peer's certificates have ended.
    fn is_over(self) -> bool {
        self.ends.is_some_and(|end| SystemTime::now() > end)
    }
}

/// Runs a tunnel that was dealt to this worker.
pub fn start(established: Established, worker: &Rc<Worker>) {
    let world = worker.world();
    let settings = &world.snapshot.config.federation;
    let shared = &worker.shared.federation;
    let hello = Hello {
        features: 0,
        workers: u16::try_from(shared.workers).unwrap_or(u16::MAX),
        window: settings.window,
        max_calls: settings.max_calls,
        site: world.snapshot.config.site.name.to_string(),
        gateway: shared.gateway(),
    };
    let session_settings = Settings {
        window: settings.window,
        max_calls: settings.max_calls,
        ping_every: settings.ping_interval,
        ..Settings::new(std::sync::Arc::clone(&shared.ledger))
    };
    let Established {
        stream,
        tls,
        role,
        peer,
        site,
        place,
    } = established;
    let Some(guard) = worker.guard().map(|guard| guard.of_tunnel()) else {
        return;
    };
    let started = Instant::now();
    let session = Session::new(role, session_settings, hello, started);
    let ours = shared.tls.get().map(TunnelTls::credentials);
    let life = Life::of(&peer, ours.as_ref(), started);
    let (carrier, session) = match (Carrier::new(stream, tls), session) {
        (Ok(carrier), Ok(session)) => (carrier, session),
        (carrier, session) => {
            tracing::error!(%site, carrier = ?carrier.err(), session = ?session.err(), "a tunnel could not be started");
            return;
        }
    };
    let up = worker.observer.shared().metrics.tunnel_up.with(&[&site]);
    let tunnel = Rc::new(Tunnel {
        site,
        peer,
        role,
        carrier,
        session: RefCell::new(session),
        slots: RefCell::default(),
        writer: RefCell::default(),
        closed: Cell::new(false),
        closer: RefCell::default(),
        place: RefCell::new(Some(place)),
        lender: RefCell::new(Some(guard.lender())),
        started,
        life,
        up,
        is_up: Cell::new(false),
    });
    worker.has_tunnel(&tunnel);
    tokio::task::spawn_local(run(
        Rc::clone(&tunnel),
        Rc::clone(worker),
        settings.ping_interval,
        guard,
    ));
}

async fn run(tunnel: Rc<Tunnel>, worker: Rc<Worker>, ping: Duration, guard: Guard) {
    let writer = tokio::task::spawn_local(Rc::clone(&tunnel).write());
    let why = tokio::select! {
        why = tunnel.read(&worker) => why,
        why = tunnel.watch(&worker, ping) => why,
        () = tunnel.closed() => "closed here".to_owned(),
        () = async {
            guard.reached(Stage::Draining).await;
            tunnel.wind_down(GoAwayReason::Drain);
            // Clients that are late with their requests still need it.
            guard.reached(Stage::Finished).await;
            tunnel.finish(GoAwayReason::Drain).await;
        } => "drained".to_owned(),
        why = tunnel.outlived(&worker, ping) => why.label().to_owned(),
    };
    if let Some(link) = worker.world().link(&tunnel.site) {
        link.remove(&tunnel);
    }
    tunnel.close();
    // Its last words: GOAWAY, or close_notify.
    let _ = tokio::time::timeout(Duration::from_secs(1), writer).await;
    tracing::info!(peer = %tunnel.peer.identity(), %why, "tunnel ended");
    drop(guard);
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
        self.slots.borrow_mut().insert(id, Rc::downgrade(slot));
    }

    /// The work on a call is over.
    pub fn finished(&self, id: CallId) {
        self.slots.borrow_mut().remove(&id);
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
                && !world.exports(export, &self.site)
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

    /// Gives the tunnel up when another has taken its place: before a certificate ends, or because the peer has made
    /// enough of its own. Only the side that dialled decides that.
    async fn outlived(self: &Rc<Self>, worker: &Worker, look: Duration) -> GoAwayReason {
        if self.role != Role::Dialler {
            return std::future::pending().await;
        }
        let timer = worker.clock.timer();
        let reason = loop {
            timer.arm(look / LOOKS);
            timer.wait().await;
            let link = worker.world().link(&self.site).cloned();
            let surplus = self.place.borrow().as_ref().is_some_and(TunnelPlace::is_surplus);
            if surplus && link.as_ref().is_some_and(|link| link.has_other_than(self)) {
                break GoAwayReason::Surplus;
            }
            if Instant::now() >= self.life.replace {
                // Its place is free, so that the dialler makes the next one; this one serves until that is ready.
                self.place.borrow_mut().take();
                if link.is_some_and(|link| link.has_newer_than(self)) {
                    break GoAwayReason::Replaced;
                }
            }
        };
        if let Some(link) = worker.world().link(&self.site) {
            link.remove(self);
        }
        self.wind_down(reason);
        self.finish(reason).await;
        reason
    }

    async fn watch(&self, worker: &Rc<Worker>, ping: Duration) -> String {
        let timer = worker.clock.timer();
        let started = Instant::now();
        loop {
            timer.arm(ping / LOOKS);
            timer.wait().await;
            let now = Instant::now();
            if self.with(|session| session.tick(now)) == Tick::Dead {
                return "the peer went silent".to_owned();
            }
            if now - started > HELLO_WAIT && !self.session.borrow().is_ready() {
                return "the peer never said HELLO".to_owned();
            }
            // Past the leeway for clocks, too, the peer is refused.
            if self.life.is_over() {
                self.recheck(worker);
            }
        }
    }

    async fn read(self: &Rc<Self>, worker: &Rc<Worker>) -> String {
        let mut input = BytesMut::new();
        loop {
            match std::future::poll_fn(|cx| self.carrier.poll_read(cx, &mut input)).await {
                Ok(0) => return "closed by the peer".to_owned(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
            let now = Instant::now();
            loop {
                let event = self.session.borrow_mut().receive(&mut input, now);
                match event {
                    Ok(Some(event)) => self.on(event, worker),
                    Ok(None) => break,
                    Err(violation) => {
                        tracing::warn!(peer = %self.peer.identity(), %violation, "tunnel broken off");
                        self.with(|session| session.goaway(GoAwayReason::Violation, Duration::ZERO));
                        return violation.to_string();
                    }
                }
            }
            // Kept: its room is used again. What was cut out of it for a slow reader holds on to its own part.
            self.with(|_| ());
        }
    }

    fn on(self: &Rc<Self>, event: Incoming, worker: &Rc<Worker>) {
        match event {
            Incoming::Hello(hello) => {
                if !self.is_up.replace(true) {
                    self.up.inc();
                }
                let peer_workers = usize::from(hello.workers);
                if let Some(place) = self.place.borrow_mut().as_mut() {
                    place.is_ready(peer_workers);
                }
                tracing::info!(peer = %self.peer.identity(), role = ?self.role, worker = worker.index, "tunnel ready");
                if let Some(link) = worker.world().link(&self.site) {
                    link.add(Rc::clone(self));
                }
            }
            Incoming::Open { call, head, end } => accept::start(self, call, *head, end, worker),
            Incoming::Malformed { error, .. } => {
                tracing::warn!(peer = %self.peer.identity(), %error, "a call was refused: its head is malformed");
            }
            Incoming::Pong { rtt } => {
                worker
                    .observer
                    .shared()
                    .metrics
                    .tunnel_rtt
                    .with(&[&self.site])
                    .set(rtt.as_secs_f64());
            }
            Incoming::Info { .. } => {}
            Incoming::Reply { call, head } => self.to_slot(call, |slot| slot.replied(head)),
            Incoming::Data { call, data, end } => self.to_slot(call, |slot| slot.received(data, end)),
            Incoming::End { call, outcome } => self.to_slot(call, |slot| slot.ended(outcome)),
            Incoming::Reset { call, reset, .. } => self.to_slot(call, |slot| slot.reset(reset)),
            Incoming::Window { call } => self.to_slot(call, Slot::may_send),
            Incoming::GoAway(away) => {
                tracing::info!(peer = %self.peer.identity(), reason = away.reason.label(), "the peer takes no more calls");
                // Its place goes to a new tunnel at once: make before break.
                self.place.borrow_mut().take();
                if let Some(link) = worker.world().link(&self.site) {
                    link.remove(self);
                }
            }
        }
    }

    fn to_slot(&self, call: CallId, with: impl FnOnce(&Slot)) {
        let slot = self.slots.borrow().get(&call).and_then(Weak::upgrade);
        if let Some(slot) = slot {
            with(&slot);
        }
    }

    async fn write(self: Rc<Self>) {
        loop {
            std::future::poll_fn(|cx| {
                if self.session.borrow().has_output() || self.closed.get() {
                    return Poll::Ready(());
                }
                let waker = &mut *self.writer.borrow_mut();
                match waker {
                    Some(waker) if waker.will_wake(cx.waker()) => {}
                    _ => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            })
            .await;
            // Everything that is runnable now runs first, and adds what it has to say.
            tokio::task::yield_now().await;
            let wrote = std::future::poll_fn(|cx| {
                let mut session = self.session.borrow_mut();
                let wrote = self.carrier.poll_write(cx, session.output());
                session.flushed();
                drop(session);
                self.give_turns();
                wrote
            })
            .await;
            if let Err(error) = wrote {
                tracing::debug!(peer = %self.peer.identity(), %error, "writing to a tunnel failed");
                self.close();
                return;
            }
            if self.closed.get() {
                return;
            }
        }
    }

    /// Wakes the calls whose turn it is to write.
    fn give_turns(&self) {
        loop {
            let next = self.session.borrow_mut().next_turn();
            match next {
                Some(call) => self.to_slot(call, Slot::may_send),
                None => return,
            }
        }
    }
}
