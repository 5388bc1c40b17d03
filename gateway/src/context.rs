//! What is known of a call beside its head: who makes it, since when, for how long, and what became of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use causeway_config as config;
use causeway_pki::Identity;
use causeway_protocols::{CallHead, FailureKind, Protocol};

use crate::calls::Asked;
use crate::clock::Timer;
use crate::limits::spent::AllSpent;
use crate::observe::{Record, Version};
use crate::payload::Broken;
use crate::policy::Held;
use crate::principal::Principal;
use crate::translate::Dialect;
use crate::worker::{Worker, World};

/// Who makes a call.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A client at one of our listeners.
    Client {
        /// Its address, as far as trusted proxies tell.
        address: Option<IpAddr>,
        /// The name of the listener.
        listener: Rc<str>,
        /// Who it is by the certificate that it has shown there.
        certificate: Option<Arc<Principal>>,
    },
    /// A gateway of another site, for a client of its.
    Site {
        /// The gateway, as its certificate says.
        identity: Identity,
        /// The service it wants.
        export: Rc<str>,
        /// The client's address, as the other site says.
        address: Option<IpAddr>,
    },
}

impl Caller {
    /// The client's address.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Client { address, .. } | Self::Site { address, .. } => *address,
        }
    }
}

/// One call on its way. Shared by the path and by what watches the call end.
#[derive(Debug)]
pub struct CallContext {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The configuration that admitted it.
    pub world: Rc<World>,
    /// Who makes it.
    pub caller: Caller,
    /// What its client speaks.
    pub protocol: Protocol,
    /// The same, where HTTP is told apart.
    pub dialect: Dialect,
    /// What it came in by.
    pub version: Version,
    /// The id that both sites, the backend and the client know it by; see `edge.request_id`.
    pub request_id: Option<Box<str>>,
    /// When its head was complete.
    pub started: Instant,
    /// When the client stops waiting, if it said so.
    pub deadline: Cell<Option<Instant>>,
    /// Attempts that may still be made, over all sites.
    pub attempts: Cell<u8>,
    /// Sites it has been at, ours not included.
    pub visited: Vec<String>,
    /// Wakes the call at its next deadline.
    pub timer: Timer,
    /// What is told of it at its end.
    pub record: RefCell<Record>,
    /// What it asked for.
    pub asked: Asked,
    /// Who makes it, once that is proven; set once, by the policy that authenticates or by what the other site says.
    pub principal: OnceCell<Arc<Principal>>,
    /// What counts it as open, until it ends.
    pub held: Held,
    /// What limits it has passed, for its reply.
    pub spent: AllSpent,
    /// Its WebSocket offered its token as a subprotocol, and no other: the answer must name one of what was offered.
    pub token_was_subprotocol: Cell<bool>,
    /// What a stream was authorised for, so that new rules can be held against it.
    pub authorized: OnceCell<Box<CallHead>>,
    /// Its reply has begun and goes on until somebody ends it: a WebSocket, gRPC, or server-sent events.
    pub streams: Cell<bool>,
    /// Why it is to end now, whatever it is doing.
    stopped: RefCell<Option<Broken>>,
    /// Whether it is among the first to be refused, or the last, as its route or the other site says.
    pub priority: Cell<config::Priority>,
    /// The route it has found, by index; none before that, and for a call from a site.
    pub route: Cell<Option<usize>>,
    /// What the client asked, where a policy of its route needs it: before anything of it was changed.
    pub request: OnceCell<Box<CallHead>>,
    /// What the parameters of the route's path stand for, where a policy needs it.
    pub captures: OnceCell<Vec<(Box<str>, Box<str>)>>,
    /// Its place among the open calls of the worker, see [`OpenCalls::enter`](crate::calls::OpenCalls::enter).
    pub place: Cell<Option<usize>>,
}

/// Attempts of one call over all sites and services, whatever the services allow.
pub const MAX_ATTEMPTS: u8 = 5;

impl Drop for CallContext {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.worker.calls.leave(place);
        }
        self.worker.observer.finish(self);
    }
}

/// What is known of a call when its head is there.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Its head, as it is served.
    pub head: &'a CallHead,
    /// Who makes it.
    pub caller: Caller,
    /// What it came in by.
    pub version: Version,
    /// The id that it is known by.
    pub request_id: Option<Box<str>>,
    /// When its head was complete.
    pub started: Instant,
    /// What its client gives it; none: as long as it takes.
    pub left: Option<Duration>,
    /// Attempts that may be made.
    pub attempts: u8,
    /// Sites it has been at.
    pub visited: Vec<String>,
    /// What will be told of it.
    pub record: Record,
}

impl CallContext {
    /// The context of a call that has arrived; it counts among the open calls of the worker from here on.
    pub fn new(worker: &Rc<Worker>, world: Rc<World>, arrival: Arrival<'_>) -> Rc<Self> {
        let Arrival {
            head,
            caller,
            version,
            request_id,
            started,
            left,
            attempts,
            visited,
            record,
        } = arrival;
        let dialect = Dialect::of(head);
        let left = match (left, dialect.timeout(&head.fields)) {
            (Some(left), Some(stated)) => Some(left.min(stated)),
            (left, stated) => left.or(stated),
        };
        let context = Rc::new(Self {
            worker: Rc::clone(worker),
            world,
            caller,
            protocol: head.protocol,
            dialect,
            version,
            request_id,
            started,
            deadline: Cell::new(left.and_then(|left| started.checked_add(left))),
            attempts: Cell::new(attempts.min(MAX_ATTEMPTS)),
            visited,
            timer: worker.clock.timer(),
            record: RefCell::new(record),
            asked: Asked::of(head),
            principal: OnceCell::new(),
            held: Held::default(),
            spent: AllSpent::default(),
            token_was_subprotocol: Cell::new(false),
            authorized: OnceCell::new(),
            streams: Cell::new(false),
            stopped: RefCell::default(),
            priority: Cell::default(),
            route: Cell::new(None),
            request: OnceCell::new(),
            captures: OnceCell::new(),
            place: Cell::default(),
        });
        worker.calls.enter(&context);
        context
    }

    /// The context of a call that the gateway makes by itself for this one: a fill of the cache, a leg, a mirror. It is for
    /// the same caller, has no deadline of its own, and is told in the trace only, below this call.
    pub fn inner(&self, head: &CallHead) -> Rc<Self> {
        let arrival = Arrival {
            head,
            caller: self.caller.clone(),
            version: self.version,
            request_id: self.request_id.clone(),
            started: Instant::now(),
            left: None,
            attempts: MAX_ATTEMPTS,
            visited: self.visited.clone(),
            record: self.record.borrow().inner(),
        };
        let context = Self::new(&self.worker, Rc::clone(&self.world), arrival);
        if let Some(principal) = self.principal.get() {
            context.principal.set(Arc::clone(principal)).ok();
        }
        context.route.set(self.route.get());
        context
    }

    /// Arms the clock of the call: to ring after this limit, or when the proof of who makes it ends.
    pub fn arm(&self, limit: Option<Duration>) {
        // What is to end is not given more time.
        if self.stopped.borrow().is_some() {
            return;
        }
        let proof = self.proof_left();
        match limit.into_iter().chain(proof).min() {
            Some(limit) => self.timer.arm(limit),
            None => self.timer.disarm(),
        }
    }

    fn proof_left(&self) -> Option<Duration> {
        self.principal
            .get()
            .and_then(|principal| principal.left(SystemTime::now()))
    }

    /// Why the clock of the call has rung.
    pub fn rang(&self) -> Broken {
        if let Some(stopped) = &*self.stopped.borrow() {
            return stopped.clone();
        }
        // The clock of the call and that of the world may differ a little.
        if self.left() != Some(Duration::ZERO) && self.proof_left().is_some_and(|left| left < Duration::from_secs(1)) {
            return Broken::new(
                FailureKind::Unauthenticated,
                "the proof of who makes the call has expired",
            );
        }
        Broken::new(FailureKind::Deadline, "the deadline of the call has passed")
    }

    /// Ends the call, wherever it is: whoever polls it is woken.
    pub fn stop(&self, why: Broken) {
        self.stopped.borrow_mut().get_or_insert(why);
        self.timer.arm(Duration::ZERO);
    }

    /// The context of a call that this one carries: one of many on a socket. It is for the same caller, which has to prove
    /// itself again, and told as a call of its own. The head is given back as it is to be served.
    pub fn carried(&self, mut head: CallHead, left: Option<Duration>, trace: Option<&str>) -> (CallHead, Rc<Self>) {
        let record = self.worker.observer.begin_within(&mut head, trace, self.version);
        let arrival = Arrival {
            head: &head,
            caller: self.caller.clone(),
            version: self.version,
            request_id: self.request_id.clone(),
            started: Instant::now(),
            left,
            attempts: MAX_ATTEMPTS,
            visited: self.visited.clone(),
            record,
        };
        let context = Self::new(&self.worker, self.worker.world(), arrival);
        (head, context)
    }

    /// Time left until the client's deadline, if it has one; zero when it has passed.
    pub fn left(&self) -> Option<Duration> {
        self.deadline
            .get()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
