//! What drives a tunnel from its HELLO to its end.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use causeway_pki::tls::TunnelTls;
use causeway_protocols::tunnel::{CallId, GoAwayReason, Hello, Incoming, Role, Session, Settings, Tick};

use super::Tunnel;
use super::life::Life;
use crate::drain::{Guard, Stage};
use crate::federation::carrier::Carrier;
use crate::federation::state::{PeerState, TunnelPlace};
use crate::federation::stream::Slot;
use crate::federation::{Established, accept};
use crate::worker::Worker;

/// How often liveness is looked at, as a part of the ping interval.
const LOOKS: u32 = 4;
/// A tunnel whose peer has not said HELLO after this long is given up.
const HELLO_WAIT: Duration = Duration::from_secs(5);

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
        ..Settings::new(Arc::clone(&shared.ledger))
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
    let metrics = &worker.observer.shared().metrics;
    let (up, calls) = (metrics.tunnel_up.with(&[&site]), metrics.tunnel_calls.with(&[&site]));
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
        calls,
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
    /// Gives the tunnel up when another has taken its place: before a certificate ends, or because the peer has made
    /// enough of its own. Only the side that dialled decides that.
    async fn outlived(self: &Rc<Self>, worker: &Worker, look: Duration) -> GoAwayReason {
        if self.role != Role::Dialler {
            return std::future::pending().await;
        }
        let timer = worker.clock.timer();
        let mut left: Option<Arc<PeerState>> = None;
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
                let place = self.place.borrow_mut().take();
                left = place.map(TunnelPlace::leave).or(left);
                if link.is_some_and(|link| link.has_newer_than(self)) {
                    break GoAwayReason::Replaced;
                }
                // There may be fewer than there were: nobody makes another, and the workers of those that are left lend them.
                if left.as_ref().is_some_and(|state| state.has_enough()) {
                    break GoAwayReason::Surplus;
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
