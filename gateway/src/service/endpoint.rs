//! One address of a service and one worker's connections to it.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_protocols::FailureKind;
use tokio::sync::Notify;

use super::breaker::{self, Counted, Permit, Starving};
use super::state::EndpointState;
use super::{ServiceSpec, connect};
use crate::clock::Clock;
use crate::discovery;
use crate::error::{CallError, Retry};
use crate::http1::Http1Connection;
use crate::http2::client::Http2Pool;
use crate::socket::Socket;

/// One place to send a call.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// Names it over changes of the list.
    pub key: u64,
    /// The name it was found under, for TLS.
    pub host: Arc<str>,
    /// Share of the calls relative to the others.
    pub weight: Cell<u32>,
    /// How much of its weight it has, in percent, while its share grows.
    pub percent: Cell<u32>,
    /// Failover tier: lower ones first.
    pub priority: Cell<u16>,
    /// Whether it is picked: it is well, or too few are.
    pub usable: Cell<bool>,
    /// What all workers know of it.
    state: Arc<EndpointState>,
    spec: Arc<ServiceSpec>,
    clock: Rc<Clock>,
    in_flight: Cell<u32>,
    /// Connections to it, idle ones included.
    open: Cell<u32>,
    idle: RefCell<Vec<Idle>>,
    waiting: Cell<u32>,
    freed: Notify,
    http2: Http2Pool,
}

impl Endpoint {
    /// An endpoint with no connections.
    pub fn new(found: &discovery::Endpoint, spec: Arc<ServiceSpec>, clock: Rc<Clock>) -> Rc<Self> {
        Rc::new(Self {
            address: found.address,
            key: Self::key_of(found),
            host: Arc::clone(&found.host),
            weight: Cell::new(found.weight),
            percent: Cell::new(100),
            priority: Cell::new(found.priority),
            usable: Cell::new(true),
            state: spec.state.endpoint(found, &spec.config),
            spec,
            clock,
            in_flight: Cell::new(0),
            open: Cell::new(0),
            idle: RefCell::new(Vec::new()),
            waiting: Cell::new(0),
            freed: Notify::new(),
            http2: Http2Pool::default(),
        })
    }

    /// Names an endpoint by its address and the name it was found under.
    pub fn key_of(found: &discovery::Endpoint) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (found.address, &found.host).hash(&mut hasher);
        hasher.finish()
    }

    /// The service it belongs to.
    pub fn spec(&self) -> &Arc<ServiceSpec> {
        &self.spec
    }

    /// The worker's clock.
    pub fn clock(&self) -> &Rc<Clock> {
        &self.clock
    }

    /// What all workers know of it.
    pub fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// An attempt begins.
    pub(super) fn began(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// An attempt is over.
    pub(super) fn ended(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Its HTTP/2 connections.
    pub fn http2(&self) -> &Http2Pool {
        &self.http2
    }

    /// A fresh or idle HTTP/1.1 connection, and whether it has been used before.
    ///
    /// # Errors
    /// [`FailureKind::Connect`] when none can be made, [`FailureKind::Breaker`] when too many calls wait for one.
    pub async fn connection(self: &Rc<Self>) -> Result<(Rc<Http1Connection>, Used), CallError> {
        loop {
            while let Some(Idle { socket, permit, .. }) = self.idle.borrow_mut().pop() {
                // Readable while idle: closed by the backend, or speaking out of turn. Neither can be used.
                if !socket.has_input() {
                    return Ok((Http1Connection::of_backend(socket, permit, self), Used::Before));
                }
                self.open.set(self.open.get() - 1);
            }
            if self.open.get() < self.spec.config.max_connections
                && let Ok(permit) = self.may_connect()
            {
                self.open.set(self.open.get() + 1);
                let slot = Slot(self);
                // Boxed, so that calls on idle connections do not carry the room of a handshake.
                let socket = Box::pin(connect::connect(self)).await?;
                std::mem::forget(slot);
                return Ok((Http1Connection::of_backend(Rc::new(socket), permit, self), Used::Fresh));
            }
            if self.waiting.get() >= self.spec.config.max_pending {
                let detail = format!("{} calls wait for a connection to {}", self.waiting.get(), self.address);
                return Err(CallError::new(FailureKind::Breaker, detail).retry(Retry::Unprocessed));
            }
            let waiting = Waiting::new(self)?;
            self.until_freed(&self.freed).await;
            drop(waiting);
        }
    }

    /// A place for one more connection, where the gateway's are limited.
    ///
    /// # Errors
    /// When they are all in use.
    pub fn may_connect(&self) -> Result<Option<Permit>, Taken> {
        let Some(limit) = self.spec.config.breaker.max_connections else {
            return Ok(None);
        };
        let permit = Permit::take(&self.spec.state, Counted::Connections, limit);
        permit.map(Some).ok_or(Taken)
    }

    /// A place among the calls that wait, where the gateway's are limited.
    ///
    /// # Errors
    /// [`FailureKind::Breaker`].
    pub fn may_wait(&self) -> Result<Option<Permit>, CallError> {
        let Some(limit) = self.spec.config.breaker.max_pending else {
            return Ok(None);
        };
        let state = &self.spec.state;
        match Permit::take(state, Counted::Pending, limit) {
            Some(permit) => Ok(Some(permit)),
            None => Err(breaker::refusal(state, Counted::Pending, limit)),
        }
    }

    /// Waits until a connection may be free. Where the gateway's are limited, another worker may have it: nobody tells
    /// that, so it is looked for.
    pub async fn until_freed(&self, freed: &Notify) {
        /// How often.
        const LOOK: Duration = Duration::from_millis(50);
        if self.spec.config.breaker.max_connections.is_none() {
            return freed.notified().await;
        }
        let _starving = Starving::new(&self.spec.state);
        let timer = self.clock.timer();
        timer.arm(LOOK);
        tokio::select! {
            () = freed.notified() => {}
            () = timer.wait() => {}
        }
    }

    /// Whether some call of the gateway wants a connection that only the end of another allows.
    fn is_starving(&self) -> bool {
        self.spec.config.breaker.max_connections.is_some() && self.spec.state.counts.is_starving()
    }

    /// Takes a connection back after an exchange: the socket if it can be used again, none if it is closed.
    pub fn give_back(&self, socket: Option<Rc<Socket>>, permit: Option<Permit>) {
        match socket {
            // Nobody here needs it, and somebody elsewhere does.
            Some(_) if self.waiting.get() == 0 && self.is_starving() => {
                self.open.set(self.open.get().saturating_sub(1));
            }
            Some(socket) => {
                socket.read_freely();
                let since = Instant::now();
                self.idle.borrow_mut().push(Idle { socket, permit, since });
            }
            None => self.open.set(self.open.get().saturating_sub(1)),
        }
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let limit = if self.is_starving() {
            Duration::ZERO
        } else {
            self.spec.config.timeouts.idle
        };
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| idle.since.elapsed() < limit && !idle.socket.has_input());
        self.open
            .set(self.open.get().saturating_sub((before - idle.len()) as u32));
        drop(idle);
        self.http2.sweep(limit);
    }
}

/// All connections that the gateway may have to the service are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

/// A connection that waits for its next exchange.
#[derive(Debug)]
struct Idle {
    socket: Rc<Socket>,
    permit: Option<Permit>,
    since: Instant,
}

/// Whether a connection has carried an exchange before: if it fails at once, it may just have been closed for idleness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It has.
    Before,
    /// It has not.
    Fresh,
}

/// The place of a connection that is being made; given up when connecting fails or is cancelled.
struct Slot<'a>(&'a Endpoint);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.give_back(None, None);
    }
}

struct Waiting<'a> {
    endpoint: &'a Endpoint,
    _permit: Option<Permit>,
}

impl<'a> Waiting<'a> {
    fn new(endpoint: &'a Endpoint) -> Result<Self, CallError> {
        let permit = endpoint.may_wait()?;
        endpoint.waiting.set(endpoint.waiting.get() + 1);
        Ok(Self {
            endpoint,
            _permit: permit,
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.endpoint.waiting.set(self.endpoint.waiting.get() - 1);
    }
}
