//! A service as one worker sees it: its endpoints, how one is picked, and the connections to them.

pub mod balance;
pub mod connect;
pub mod endpoint;
pub mod health;
pub mod http1;
pub mod keeper;
pub mod lease;
pub mod metrics;
pub mod outlier;
pub mod probe;
pub mod state;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use causeway_config as config;
use causeway_protocols::{Authority, FailureKind};

use self::balance::{Balancer, EndpointSet, Shape};
use self::endpoint::Endpoint;
use self::lease::Lease;
use self::state::ServiceState;
use crate::clock::Clock;
use crate::context::CallContext;
use crate::discovery::{Answer, Watched};
use crate::error::{CallError, Retry};

/// What a service is built from, shared by all workers; made when a snapshot is built.
#[derive(Debug)]
pub struct ServiceSpec {
    /// As configured.
    pub config: config::Service,
    /// Its addresses, kept fresh by the control runtime.
    pub watched: Watched,
    /// TLS to its endpoints, if it is on.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Sent as `host` or `:authority` in place of what the client sent.
    pub host: Option<Authority>,
    /// What all workers know of it, also over reloads.
    pub state: Arc<ServiceState>,
}

/// A service of one worker.
#[derive(Debug)]
pub struct Service {
    spec: Arc<ServiceSpec>,
    clock: Rc<Clock>,
    answer: RefCell<Arc<Answer>>,
    endpoints: RefCell<Rc<[Rc<Endpoint>]>>,
    balancer: Balancer,
    /// Counts the changes of `endpoints`.
    generation: Cell<u64>,
    /// The changes of health that are taken over.
    seen: Cell<u64>,
    /// Calls since the service was made, and retries among them: the retry budget.
    calls: Cell<u32>,
    retries: Cell<u32>,
}

impl Service {
    /// A service with no connections yet.
    pub fn new(spec: Arc<ServiceSpec>, clock: Rc<Clock>) -> Self {
        let answer = spec.watched.current();
        let balancer = Balancer::new(spec.config.balance);
        let service = Self {
            spec,
            clock,
            answer: RefCell::new(answer),
            endpoints: RefCell::new(Rc::from([])),
            balancer,
            generation: Cell::new(0),
            seen: Cell::new(0),
            calls: Cell::new(0),
            retries: Cell::new(0),
        };
        service.rebuild(&[]);
        service
    }

    /// The same service under a new snapshot: endpoints that stay keep their connections.
    pub fn renewed(spec: Arc<ServiceSpec>, clock: Rc<Clock>, before: &Self) -> Self {
        let service = Self::new(spec, clock);
        let same_wire = {
            let (now, then) = (&service.spec.config, &before.spec.config);
            now.version == then.version
                && now.tls == then.tls
                && now.timeouts == then.timeouts
                && now.max_connections == then.max_connections
                && now.max_pending == then.max_pending
        };
        if same_wire {
            service.rebuild(&before.endpoints.borrow().clone());
        }
        service
    }

    /// As configured.
    pub fn config(&self) -> &config::Service {
        &self.spec.config
    }

    /// What goes out as `host`, if the configuration says so.
    pub fn host(&self) -> Option<&Authority> {
        self.spec.host.as_ref()
    }

    /// Takes over what discovery has found since the last call.
    fn refresh(&self) {
        let latest = self.spec.watched.current();
        if !Arc::ptr_eq(&latest, &self.answer.borrow()) {
            *self.answer.borrow_mut() = latest;
            let before = self.endpoints.borrow().clone();
            self.rebuild(&before);
        } else if self.spec.state.changes() != self.seen.get() {
            self.look();
        }
    }

    /// Takes over who is well. Where too few are, all are used.
    fn look(&self) {
        self.seen.set(self.spec.state.changes());
        let endpoints = self.endpoints.borrow();
        let well = endpoints
            .iter()
            .map(|endpoint| (endpoint.priority.get(), endpoint.state().is_usable()));
        let panic = health::is_panic(well, self.spec.config.panic_threshold);
        for endpoint in endpoints.iter() {
            endpoint.usable.set(panic || endpoint.state().is_usable());
        }
    }

    /// Makes the endpoints of the current answer, keeping those of `before` that are still in it.
    fn rebuild(&self, before: &[Rc<Endpoint>]) {
        let answer = self.answer.borrow().clone();
        let endpoints: Vec<_> = answer
            .endpoints
            .iter()
            .map(|found| {
                let key = Endpoint::key_of(found);
                let kept = before.iter().find(|endpoint| endpoint.key == key);
                match kept {
                    Some(endpoint) => {
                        endpoint.weight.set(found.weight);
                        endpoint.priority.set(found.priority);
                        Rc::clone(endpoint)
                    }
                    None => Endpoint::new(found, Arc::clone(&self.spec), Rc::clone(&self.clock)),
                }
            })
            .collect();
        self.spec.state.has_endpoints(endpoints.len());
        *self.endpoints.borrow_mut() = endpoints.into();
        self.generation.set(self.generation.get() + 1);
        self.look();
    }

    /// Picks an endpoint for one attempt, avoiding those that were tried.
    ///
    /// # Errors
    /// [`FailureKind::NoEndpoint`] when there is none.
    pub fn pick(&self, tried: &[u64], cx: &Rc<CallContext>) -> Result<Lease, CallError> {
        self.refresh();
        let endpoints = self.endpoints.borrow().clone();
        let set = Set {
            endpoints: &endpoints,
            generation: self.generation.get(),
        };
        let picked = self
            .balancer
            .pick(&set, tried)
            .or_else(|| self.balancer.pick(&set, &[]));
        let picked = picked.and_then(|at| endpoints.get(at)).cloned();
        match picked {
            Some(endpoint) => Ok(Lease::new(endpoint, cx)),
            None => {
                let detail = format!(
                    "service `{}` has no endpoint: {:?}",
                    self.spec.config.name,
                    self.answer.borrow().state
                );
                Err(CallError::new(FailureKind::NoEndpoint, detail).retry(Retry::Never))
            }
        }
    }

    /// Counts a call towards the retry budget.
    pub fn count_call(&self) {
        if self.calls.get() >= 1_000 {
            // Halved rather than reset, so that the share stays.
            self.calls.set(self.calls.get() / 2);
            self.retries.set(self.retries.get() / 2);
        }
        self.calls.set(self.calls.get() + 1);
    }

    /// Whether the budget has room for one more retry; counts it. Ten are always allowed, so that a quiet service can
    /// retry at all.
    pub fn may_retry(&self, percent: u8) -> bool {
        let allowed = (u64::from(self.calls.get()) * u64::from(percent) / 100).max(10);
        let granted = u64::from(self.retries.get()) < allowed && percent > 0;
        if granted {
            self.retries.set(self.retries.get() + 1);
        }
        granted
    }

    /// Closes backend connections that have been idle for too long.
    pub fn sweep(&self) {
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.sweep();
        }
    }
}

/// The endpoints as the balancer sees them.
struct Set<'a> {
    endpoints: &'a [Rc<Endpoint>],
    generation: u64,
}

impl EndpointSet for Set<'_> {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn len(&self) -> usize {
        self.endpoints.len()
    }

    fn shape(&self, index: usize) -> Shape {
        let endpoint = &self.endpoints[index];
        Shape {
            key: endpoint.key,
            weight: endpoint.weight.get(),
            priority: endpoint.priority.get(),
        }
    }

    fn usable(&self, index: usize) -> bool {
        self.endpoints[index].usable.get()
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.endpoints[index].in_flight()
    }
}
