//! A shared cache (RFC 9111): a step of the path behind the policies that admit and before the service.
//!
//! - [`Keeping`] is the step of one call: it finds a kept reply, waits for another call that fetches the same, or fetches.
//! - A fetch that others may wait for is a task of its own ([`fill`]), so that no client's departure stops it. Its client
//!   reads along while the body comes in.
//! - What tells replies apart is in [`key`], how long they are good in [`freshness`], and where they are in [`store`].
//!
//! Posture: a client must not be able to choose what others get (threats.md, C1), nor get what is another's (C2), nor fill
//! the memory or the service with work (C3). In doubt a reply is not kept.

mod body;
pub mod directives;
pub mod entry;
mod fill;
pub mod freshness;
pub mod key;
pub mod purge;
pub mod reply;
mod status;
pub mod store;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use causeway_config as config;
use causeway_protocols::{CallHead, FailureKind, Fields, Protocol, name};
use http::Method;
use tokio::sync::{oneshot, watch};

pub use self::body::Reader;
use self::directives::RequestDirectives;
use self::entry::{State, Stored};
use self::fill::{Fill, Given};
use self::key::{Key, Scope};
use self::status::{Missed, Told};
pub use self::store::Store;
use self::store::{Found, Gone, Joined, Landed, Purge, Ticket};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::dispatch::{self, Aim, dispatch};
use crate::error::CallError;
use crate::payload::{Body, collect};
use crate::telemetry::metrics::{Counter, GatewayMetrics, Registry};

/// The largest gRPC message that a reply is kept for, its prefix included.
const MESSAGE: usize = 64 * 1024;

/// What one route keeps, and what it counts.
#[derive(Debug)]
pub struct Caching {
    rules: config::Cache,
    route: config::Name,
    /// How this cache names itself in `cache-status`.
    name: Box<str>,
    /// Largest body in bytes.
    limit: usize,
    counters: [Counter; Told::LABELS.len()],
}

impl Caching {
    /// What a route has configured; none where it keeps nothing.
    pub fn build(route: &config::Route, config: &config::Config, metrics: &GatewayMetrics) -> Option<Self> {
        let rules = route.policies.cache.clone()?;
        let limit = rules.max_entry.unwrap_or(config.cache.max_entry);
        Some(Self {
            route: config::Name::clone(&route.name),
            name: format!("causeway-{}", config.site.name).into(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            counters: Told::LABELS.map(|label| metrics.cache_lookups.with(&[&*route.name, label])),
            rules,
        })
    }

    /// Counts what was done for a call, and says it to the client where it may know.
    fn tell(&self, told: Told, fields: &mut Fields) {
        if let Some(counter) = self.counters.get(told.label_index()) {
            counter.inc();
        }
        if self.rules.status_field {
            let said = told.field(&self.name);
            fields.push_known(name::CACHE_STATUS, said.as_bytes()).ok();
        }
    }
}

/// Shows what a store holds among the metrics.
pub fn show(store: &Arc<Store>, registry: &Registry) {
    let used = registry
        .gauge("causeway_cache_bytes", "Bytes that kept replies take.", &[])
        .with(&[]);
    let entries = registry
        .gauge("causeway_cache_entries", "Replies that are kept.", &[])
        .with(&[]);
    let waiting = "Calls that wait for another one's reply.";
    let waiting = registry.gauge("causeway_cache_waiting", waiting, &[]).with(&[]);
    let gone = registry.counter(
        "causeway_cache_removed_total",
        "Replies that are kept no more, by why.",
        &["reason"],
    );
    let gone = Gone::ALL.map(|why| (why, gone.with(&[why.label()])));
    let store = Arc::clone(store);
    registry.before_scrape(move || {
        used.set(store.used() as f64);
        entries.set(store.entries() as f64);
        waiting.set(store.waiting() as f64);
        for (why, counter) in &gone {
            counter.add(store.gone(*why).saturating_sub(counter.value()));
        }
    });
}

/// The step for one call.
#[derive(Debug)]
pub struct Keeping {
    /// None: the route keeps nothing, but what it changes is kept by others.
    caching: Option<Arc<Caching>>,
    /// What the client asked for, before any rewriting.
    uri: Vec<u8>,
}

impl Keeping {
    /// The step for a call of this route, before its target is rewritten; none where the cache has no part in it.
    pub fn begin(route: usize, head: &CallHead, cx: &CallContext) -> Option<Self> {
        let all = &cx.world.snapshot.caching;
        let caching = all.get(route)?.as_ref();
        if caching.is_none() && (is_safe(head) || all.iter().all(Option::is_none)) {
            return None;
        }
        let normal = caching.and_then(|caching| key::normalise(&head.target, &caching.rules.query).ok().flatten());
        Some(Self {
            caching: caching.cloned(),
            uri: key::uri(head.scheme, normal.as_ref().unwrap_or(&head.target)),
        })
    }

    /// Answers the call with what is kept, or asks the service and keeps what it may.
    ///
    /// # Errors
    /// Those of [`dispatch()`].
    pub async fn answer(mut self, mut call: Call, aim: Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
        let caching = match &self.caching {
            Some(caching) if is_safe(&call.head) => Arc::clone(caching),
            _ => return self.change(call, &aim, cx).await,
        };
        dispatch::arm(&aim, cx)?;
        let rules = &caching.rules;
        let Some(message) = message(&mut call, rules, cx).await? else {
            return alone(&caching, call, &aim, Missed::Bypass, cx).await;
        };
        if let Ok(Some(target)) = key::normalise(&call.head.target, &rules.query) {
            call.head.target = target;
        }
        if !message.is_empty() {
            self.uri.push(0);
            self.uri.extend_from_slice(&message);
        }
        let question = Question {
            key: self.key(&call, &aim, &caching, cx),
            asked: asked(rules, &call.head.fields),
            message,
            caching,
        };
        question.answer(call, aim, cx).await
    }

    fn key(&self, call: &Call, aim: &Aim, caching: &Caching, cx: &CallContext) -> Key {
        let identity = identity(&caching.rules, &call.head.fields, cx);
        let scope = Scope {
            route: &caching.route,
            aim,
            identity: identity.as_deref(),
            class: class(&caching.rules, &call.head.fields, cx),
            rules: &caching.rules,
        };
        Key {
            scope: scope.encode(&call.head, &self.uri).into(),
            uri: Arc::from(self.uri.as_slice()),
        }
    }

    /// A call that may change something: when it has, what was kept of the same resource is no longer true (RFC 9111,
    /// section 4.4).
    async fn change(self, call: Call, aim: &Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
        let http = call.head.protocol == Protocol::Http;
        let mut reply = dispatch(call, aim, cx).await?;
        let status = reply.head.status;
        if http && (status.is_success() || status.is_redirection()) {
            let store = &cx.worker.shared.policies.cache;
            store.purge(Purge::Uri(&self.uri), Gone::Invalidated);
            for id in [name::LOCATION, name::CONTENT_LOCATION] {
                if let Some(other) = reply.head.fields.text(id).and_then(|text| self.neighbour(text)) {
                    store.purge(Purge::Uri(&other), Gone::Invalidated);
                }
            }
        }
        if let Some(caching) = &self.caching {
            caching.tell(Told::Missed(Missed::Bypass), &mut reply.head.fields);
        }
        Ok(reply)
    }

    /// Another resource of the same origin that a reply names. Of other origins it has nothing to say.
    fn neighbour(&self, named: &str) -> Option<Vec<u8>> {
        let uri = std::str::from_utf8(&self.uri).ok()?;
        let path = uri
            .find("://")
            .and_then(|at| uri.get(at + 3..)?.find('/').map(|slash| at + 3 + slash))?;
        let origin = uri.get(..path)?;
        if named.starts_with('/') && !named.starts_with("//") {
            return Some(format!("{origin}{named}").into_bytes());
        }
        named
            .strip_prefix(origin)?
            .starts_with('/')
            .then(|| named.as_bytes().to_vec())
    }
}

/// A call that can be answered by a kept reply.
struct Question {
    caching: Arc<Caching>,
    key: Key,
    asked: RequestDirectives,
    /// The body of a gRPC call.
    message: Bytes,
}

impl Question {
    async fn answer(&self, call: Call, aim: Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
        let store = &cx.worker.shared.policies.cache;
        let mut missed = Missed::Uri;
        // Once more where what another call has fetched turns out not to fit this one.
        for _ in 0..2 {
            let stale = match store.find(&self.key, &call.head.fields, Instant::now()) {
                Found::Reply(stored) => match stored.state(Instant::now(), &self.asked) {
                    State::Fresh => return Ok(self.kept(&stored, &call.head, Told::Hit(0))),
                    State::Refresh => {
                        self.refresh(store, &stored, &call, &aim, cx);
                        return Ok(self.kept(&stored, &call.head, Told::Stale(0)));
                    }
                    State::Stale | State::StaleIfError => Some(stored),
                },
                Found::Pass => return alone(&self.caching, call, &aim, missed, cx).await,
                Found::OtherVariant => {
                    missed = Missed::Vary;
                    None
                }
                Found::Nothing => None,
            };
            if stale.is_some() {
                missed = Missed::Stale;
            }
            if self.asked.only_if_cached {
                return Err(CallError::new(
                    FailureKind::Deadline,
                    "the client wants what is kept, and nothing is",
                ));
            }
            if self.asked.no_store || call.head.method == Method::HEAD || call.head.fields.has(name::RANGE) {
                break;
            }
            match store.join(&self.key) {
                Joined::Leads(ticket) => return self.lead(ticket, stale, call, aim, missed, cx).await,
                Joined::Waits(flight) => match self.wait(flight, cx).await {
                    Landed::Reply(stored) if stored.vary.fits(&call.head.fields) => {
                        return Ok(self.kept(&stored, &call.head, Told::Collapsed(missed)));
                    }
                    Landed::Reply(_) => {}
                    Landed::Failed(error) => return Err(error),
                    Landed::Flying | Landed::Released => break,
                },
            }
        }
        alone(&self.caching, call, &aim, missed, cx).await
    }

    /// What another call brings, if it comes in time.
    async fn wait(&self, mut flight: watch::Receiver<Landed>, cx: &CallContext) -> Landed {
        let timer = cx.worker.clock.timer();
        timer.arm(self.caching.rules.wait);
        let landed = flight.wait_for(|landed| !matches!(landed, Landed::Flying));
        tokio::select! {
            landed = landed => landed.map_or(Landed::Released, |landed| landed.clone()),
            () = timer.wait() => Landed::Flying,
        }
    }

    /// Fetches for all who wait.
    async fn lead(
        &self,
        ticket: Ticket,
        stale: Option<Arc<Stored>>,
        call: Call,
        aim: Aim,
        missed: Missed,
        cx: &Rc<CallContext>,
    ) -> Result<Reply, CallError> {
        let (give, given) = oneshot::channel();
        let inner = cx.inner(&call.head);
        let fill = self.fill(ticket, stale, &call.head, aim, Rc::clone(&inner));
        fill.start(Some(give));
        let given = given.await;
        cx.record.borrow_mut().adopt(&inner.record.borrow());
        match given {
            Ok(Given::Streaming(mut reply)) => {
                if reply::is_unchanged(reply.head.status, &reply.head.fields, &call.head.fields) {
                    *reply = reply::unchanged(&reply.head.fields);
                }
                self.caching.tell(Told::Stored(missed), &mut reply.head.fields);
                Ok(*reply)
            }
            Ok(Given::Passing(mut reply)) => {
                self.caching.tell(Told::Missed(missed), &mut reply.head.fields);
                Ok(*reply)
            }
            Ok(Given::Kept(stored, told)) => Ok(self.kept(&stored, &call.head, told)),
            Ok(Given::Failed(error)) => Err(error),
            Err(_) => Err(CallError::new(
                FailureKind::Internal,
                "the fill of the cache was given up",
            )),
        }
    }

    /// Fetches anew while a stale reply answers, unless that is going on already.
    fn refresh(&self, store: &Arc<Store>, stored: &Arc<Stored>, call: &Call, aim: &Aim, cx: &Rc<CallContext>) {
        // A gateway that is going away begins nothing.
        if cx.worker.guard_for_work().is_none() {
            return;
        }
        if let Joined::Leads(ticket) = store.join(&self.key) {
            let inner = cx.inner(&call.head);
            let stale = Some(Arc::clone(stored));
            self.fill(ticket, stale, &call.head, aim.clone(), inner).start(None);
        }
    }

    fn fill(&self, ticket: Ticket, stale: Option<Arc<Stored>>, head: &CallHead, aim: Aim, cx: Rc<CallContext>) -> Fill {
        let mut head = head.clone();
        head.method = if head.method == Method::HEAD {
            Method::GET
        } else {
            head.method
        };
        let credentials = !self.caching.rules.per_identity && has_credentials(&head.fields, &cx);
        let body = if self.message.is_empty() {
            Body::Empty
        } else {
            Body::Bytes(self.message.clone())
        };
        Fill::new(
            Arc::clone(&self.caching),
            ticket,
            stale,
            Call { head, body },
            aim,
            credentials,
            cx,
        )
    }

    /// The reply that a kept one makes.
    fn kept(&self, stored: &Stored, head: &CallHead, told: Told) -> Reply {
        let now = Instant::now();
        let mut reply = reply::reply(stored, head, now);
        let (age, lifetime) = (stored.age(now).as_secs() as i64, stored.terms.lifetime.as_secs() as i64);
        self.caching.tell(told.with_ttl(lifetime - age), &mut reply.head.fields);
        reply
    }
}

/// Asks the service for one call, and keeps nothing.
async fn alone(
    caching: &Caching,
    call: Call,
    aim: &Aim,
    missed: Missed,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    let mut reply = dispatch(call, aim, cx).await?;
    caching.tell(Told::Missed(missed), &mut reply.head.fields);
    Ok(reply)
}

/// Whether a call changes nothing, by its method; of gRPC that is not said.
fn is_safe(head: &CallHead) -> bool {
    head.protocol != Protocol::Http || head.method.is_safe()
}

/// What of the body is part of the key: nothing for GET and HEAD, the message for gRPC. None where the call is not one
/// that replies are kept for: a GET with a body is none, nor is one with conditions that only the service can judge.
async fn message(call: &mut Call, rules: &config::Cache, cx: &Rc<CallContext>) -> Result<Option<Bytes>, CallError> {
    match call.head.protocol {
        Protocol::WebSocket => Ok(None),
        Protocol::Http => {
            let method = call.head.method == Method::GET || call.head.method == Method::HEAD;
            let fields = &call.head.fields;
            let conditions = fields.has(name::IF_MATCH) || fields.has(name::IF_UNMODIFIED_SINCE);
            Ok((method && call.body.is_empty() && !conditions).then(Bytes::new))
        }
        Protocol::Grpc => {
            let path = call.head.target.path().trim_start_matches('/');
            if !rules.grpc_methods.iter().any(|method| method == path) {
                return Ok(None);
            }
            let message = collect::small_request(call, MESSAGE, cx).await?;
            Ok(message.filter(|message| !message.is_empty()))
        }
    }
}

/// What the client says of kept replies, as far as the route obeys it.
fn asked(rules: &config::Cache, fields: &Fields) -> RequestDirectives {
    let said = RequestDirectives::of(fields);
    if rules.obey_clients {
        return said;
    }
    RequestDirectives {
        no_store: said.no_store,
        ..RequestDirectives::default()
    }
}

fn has_credentials(fields: &Fields, cx: &CallContext) -> bool {
    fields.has(name::AUTHORIZATION) || cx.principal.get().is_some()
}

/// Who calls, where each caller has replies of its own: who it is proven to be, else what it says.
fn identity(rules: &config::Cache, fields: &Fields, cx: &CallContext) -> Option<Vec<u8>> {
    if !rules.per_identity {
        return None;
    }
    match cx.principal.get() {
        Some(principal) => Some(principal.key().into_bytes()),
        None => fields.get(name::AUTHORIZATION).map(<[u8]>::to_vec),
    }
}

/// Callers with credentials, and with cookies where that makes a difference, have replies apart from the others': what
/// the answer to one of them does to an entry must not touch those.
fn class(rules: &config::Cache, fields: &Fields, cx: &CallContext) -> u8 {
    let credentials = !rules.per_identity && has_credentials(fields, cx);
    let implied = rules.ttl.is_some() || !rules.negative.is_empty();
    u8::from(credentials) | (u8::from(implied && fields.has(name::COOKIE)) << 1)
}

#[cfg(test)]
mod tests;
