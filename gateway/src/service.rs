//! A service as one worker sees it: its endpoints, how one is picked, and the connections to them.

pub mod adaptive;
pub mod balance;
pub mod breaker;
pub mod connect;
pub mod endpoint;
pub mod hash;
pub mod health;
pub mod http1;
pub mod keeper;
pub mod latency;
pub mod lease;
pub mod metrics;
pub mod outlier;
pub mod probe;
pub mod state;
pub mod times;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use causeway_config as config;
use causeway_protocols::{Authority, CallHead, FailureKind};

use self::balance::{Ask, Balancer, EndpointSet, Shape};
use self::breaker::{Counted, Permit};
use self::endpoint::Endpoint;
use self::lease::Lease;
use self::state::ServiceState;
use crate::call::Reply;
use crate::clock::Clock;
use crate::context::CallContext;
use crate::discovery::{Answer, Watched};
use crate::error::{CallError, Retry};
use crate::payload::Body;
use crate::retry::budget::Budget;
use crate::schema;

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
    /// Where its messages are described, if they are.
    pub schema: Option<schema::Source>,
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
    /// When shares that grow are looked at next, in milliseconds of the gateway; none grow: never.
    growing: Cell<Option<u64>>,
    /// Shares of the tiers, where one hands on what it lacks and some tier does.
    spread: RefCell<Vec<(u16, u32)>>,
    /// Whether some endpoint is well.
    able: Cell<bool>,
    budget: Budget,
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
            growing: Cell::new(None),
            spread: RefCell::default(),
            able: Cell::new(false),
            budget: Budget::default(),
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
                && now.breaker == then.breaker
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

    /// Where its messages are described, if they are.
    pub fn schema(&self) -> Option<&schema::Source> {
        self.spec.schema.as_ref()
    }

    /// Takes over what discovery has found since the last call.
    fn refresh(&self) {
        let latest = self.spec.watched.current();
        if !Arc::ptr_eq(&latest, &self.answer.borrow()) {
            *self.answer.borrow_mut() = latest;
            let before = self.endpoints.borrow().clone();
            self.rebuild(&before);
        } else if self.spec.state.changes() != self.seen.get()
            || self.growing.get().is_some_and(|next| self.spec.state.now() >= next)
        {
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
        self.able
            .set(endpoints.iter().any(|endpoint| endpoint.state().is_usable()));
        for endpoint in endpoints.iter() {
            endpoint.usable.set(panic || endpoint.state().is_usable());
        }
        if let Some(full) = self.spec.config.spill_over {
            let usable = endpoints
                .iter()
                .map(|endpoint| (endpoint.priority.get(), endpoint.weight.get(), endpoint.usable.get()));
            let spread = health::spread(usable, full);
            let spills = spread.first().is_some_and(|(_, share)| *share < health::WHOLE);
            *self.spread.borrow_mut() = if spills { spread } else { Vec::new() };
        }
        if let Some(slow_start) = self.spec.config.slow_start {
            self.grow(&endpoints, slow_start);
        }
    }

    /// Gives endpoints that became usable not long ago the share that they have by now.
    fn grow(&self, endpoints: &[Rc<Endpoint>], slow_start: Duration) {
        /// Steps of a share on its way.
        const STEPS: u32 = 20;
        let now = self.spec.state.now();
        let (mut changed, mut growing) = (false, false);
        for endpoint in endpoints {
            let since = Duration::from_millis(now.saturating_sub(endpoint.state().usable_since()));
            let percent = health::ramp(since, slow_start);
            changed |= endpoint.percent.replace(percent) != percent;
            growing |= percent < 100;
        }
        if changed {
            self.generation.set(self.generation.get() + 1);
        }
        let step = u64::try_from((slow_start / STEPS).as_millis()).unwrap_or(u64::MAX / 2);
        self.growing.set(growing.then_some(now + step.max(50)));
    }

    /// The tier that the next call asks first, where it is not the lowest.
    fn tier(&self) -> Option<u16> {
        let spread = self.spread.borrow();
        if spread.is_empty() {
            return None;
        }
        let mut point = rand::random_range(0..health::WHOLE);
        for (priority, share) in spread.iter() {
            if point < *share {
                return Some(*priority);
            }
            point -= share;
        }
        None
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
    /// [`FailureKind::NoEndpoint`] when there is none; [`FailureKind::Breaker`] when the gateway has enough under way.
    pub fn pick(self: &Rc<Self>, tried: &[u64], head: &CallHead, cx: &Rc<CallContext>) -> Result<Lease, CallError> {
        self.refresh();
        let permit = self.permit(cx)?;
        let endpoints = self.endpoints.borrow().clone();
        let balance = self.spec.config.balance;
        let set = Set {
            endpoints: &endpoints,
            generation: self.generation.get(),
            grows: self.spec.config.slow_start.is_some(),
            now: if balance == config::Balance::PeakEwma {
                self.spec.state.now()
            } else {
                0
            },
        };
        let ask = Ask {
            tried,
            hash: if balance == config::Balance::RingHash {
                hash::of(&self.spec.config.hash_on, head, cx)
            } else {
                0
            },
            tier: self.tier(),
        };
        let picked = self
            .balancer
            .pick(&set, &ask)
            .or_else(|| self.balancer.pick(&set, &Ask { tried: &[], ..ask }));
        let picked = picked.and_then(|at| endpoints.get(at)).cloned();
        match picked {
            Some(endpoint) => Ok(Lease::new(endpoint, self, permit, cx)),
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

    /// How many retries there may be.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// How long an attempt is waited for before another is made beside it, and how many; none where that is not wanted, or
    /// not known yet.
    pub fn hedge(&self) -> Option<(Duration, u8)> {
        let hedge = self.spec.config.hedge?;
        let after = match hedge.after {
            config::HedgeAfter::Time(time) => time,
            config::HedgeAfter::Percentile(_) => self.spec.state.times.percentile()?,
        };
        Some((after, hedge.max))
    }

    /// A place among the calls under way, where these are limited.
    fn permit(&self, cx: &CallContext) -> Result<Option<Permit>, CallError> {
        let (state, priority) = (&self.spec.state, cx.priority.get());
        let written = self.spec.config.breaker.max_requests;
        let written = written.map(|limit| adaptive::share(limit, priority, adaptive::Above::Never));
        let found = self.spec.config.adaptive.as_ref();
        let found = found.map(|rule| state.seen.limit(rule, priority));
        let limit = match (written, found) {
            (None, None) => return Ok(None),
            (written, found) => written.unwrap_or(u32::MAX).min(found.unwrap_or(u32::MAX)),
        };
        if let Some(permit) = Permit::take(state, Counted::Requests, limit) {
            return Ok(Some(permit));
        }
        state.seen.refused();
        Err(if written == Some(limit) {
            breaker::refusal(state, Counted::Requests, limit)
        } else {
            breaker::overload(state, limit)
        })
    }

    /// Whether some endpoint is well.
    pub fn is_able(&self) -> bool {
        self.refresh();
        self.able.get()
    }

    /// As configured now, and what all workers know of it.
    pub fn spec(&self) -> &Arc<ServiceSpec> {
        &self.spec
    }

    /// Closes backend connections that have been idle for too long, or that others need more.
    pub fn sweep(&self) {
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.sweep();
        }
    }
}

/// Sends a call to an endpoint, in whichever version of HTTP the service has.
///
/// # Errors
/// As for any attempt.
pub async fn forward(
    head: &CallHead,
    body: Body,
    endpoint: &Rc<Endpoint>,
    service: &Service,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    match service.config().version {
        config::HttpVersion::Http1 => {
            let (connection, used) = endpoint.connection().await?;
            let limits = &cx.world.snapshot.http1_limits;
            http1::send(connection, used, head, service.host(), body, &cx.worker.clock, limits).await
        }
        config::HttpVersion::Http2 => crate::http2::client::send(endpoint, head, service.host(), body, cx).await,
    }
}

/// The endpoints as the balancer sees them.
struct Set<'a> {
    endpoints: &'a [Rc<Endpoint>],
    generation: u64,
    /// Weights are in hundredths, because shares grow.
    grows: bool,
    /// Milliseconds of the gateway, where costs are asked for.
    now: u64,
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
            weight: if self.grows {
                endpoint.weight.get().saturating_mul(endpoint.percent.get())
            } else {
                endpoint.weight.get()
            },
            priority: endpoint.priority.get(),
        }
    }

    fn usable(&self, index: usize) -> bool {
        self.endpoints[index].usable.get()
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.endpoints[index].in_flight()
    }

    fn cost(&self, index: usize) -> f32 {
        let endpoint = &self.endpoints[index];
        endpoint.state().latency.cost(endpoint.in_flight(), self.now)
    }
}
