//! One address of a service and one worker's connections to it.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use causeway_protocols::FailureKind;
use tokio::sync::Notify;

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
    idle: RefCell<Vec<(Rc<Socket>, Instant)>>,
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
            while let Some((socket, _)) = self.idle.borrow_mut().pop() {
                // Readable while idle: closed by the backend, or speaking out of turn. Neither can be used.
                if !socket.has_input() {
                    return Ok((Http1Connection::of_backend(socket, self), Used::Before));
                }
                self.open.set(self.open.get() - 1);
            }
            if self.open.get() < self.spec.config.max_connections {
                self.open.set(self.open.get() + 1);
                let slot = Slot(self);
                // Boxed, so that calls on idle connections do not carry the room of a handshake.
                let socket = Box::pin(connect::connect(self)).await?;
                std::mem::forget(slot);
                return Ok((Http1Connection::of_backend(Rc::new(socket), self), Used::Fresh));
            }
            if self.waiting.get() >= self.spec.config.max_pending {
                let detail = format!("{} calls wait for a connection to {}", self.waiting.get(), self.address);
                return Err(CallError::new(FailureKind::Breaker, detail).retry(Retry::Unprocessed));
            }
            let waiting = Waiting::new(self);
            self.freed.notified().await;
            drop(waiting);
        }
    }

    /// Takes a connection back after an exchange: the socket if it can be used again, none if it is closed.
    pub fn give_back(&self, socket: Option<Rc<Socket>>) {
        match socket {
            Some(socket) => {
                socket.read_freely();
                self.idle.borrow_mut().push((socket, Instant::now()));
            }
            None => self.open.set(self.open.get().saturating_sub(1)),
        }
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let limit = self.spec.config.timeouts.idle;
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|(socket, since)| since.elapsed() < limit && !socket.has_input());
        self.open
            .set(self.open.get().saturating_sub((before - idle.len()) as u32));
        drop(idle);
        self.http2.sweep(limit);
    }
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
        self.0.give_back(None);
    }
}

struct Waiting<'a>(&'a Endpoint);

impl<'a> Waiting<'a> {
    fn new(endpoint: &'a Endpoint) -> Self {
        endpoint.waiting.set(endpoint.waiting.get() + 1);
        Self(endpoint)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}
