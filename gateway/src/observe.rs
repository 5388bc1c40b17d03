//! What is told of a call at its end: counted always, logged where it is wanted, traced where it is sampled.
//!
//! A call carries a [`Record`]. What only a log line or a span needs is kept in it only when one of them will be made, so
//! that a call that nobody looks at costs two counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use causeway_config as config;
use causeway_protocols::plan::Rung;
use causeway_protocols::tunnel::TraceParent;
use causeway_protocols::{CallHead, Code, FailureKind, Fields, Protocol, Scheme, name};
use http::{Method, StatusCode};

use crate::context::{CallContext, Caller};
use crate::error::CallError;
use crate::listen::Origin;
use crate::telemetry::access::AccessLog;
use crate::telemetry::export::Exporting;
use crate::telemetry::lines::Lines;
use crate::telemetry::metrics::{GatewayMetrics, Registry, RouteMetrics, Shard};
use crate::telemetry::record::{CallRecord, Failure};
use crate::telemetry::span::{Memory, Tracer, semconv};
use crate::telemetry::trace::{Ids, Sampler, TraceContext};

/// What the whole process tells with.
#[derive(Debug)]
pub struct Telemetry {
    /// All series.
    pub registry: Registry,
    /// The gateway's own.
    pub metrics: GatewayMetrics,
    /// Calls that found no route.
    pub unrouted: RouteMetrics,
    /// Records spans.
    pub tracer: Tracer,
    /// Where access log lines go, if anywhere.
    pub lines: Option<Lines>,
    /// The last spans, for the trace view.
    pub memory: Option<Arc<Memory>>,
    /// The exporter, until it is shut down.
    pub exporting: std::sync::Mutex<Option<Exporting>>,
}

/// What one worker tells with.
#[derive(Debug)]
pub struct Observer {
    shared: Arc<Telemetry>,
    ids: Ids,
    access: AccessLog,
    trust_clients: bool,
    _shard: Option<Shard>,
}

impl Observer {
    /// The observer of the worker whose thread this is called on.
    pub fn new(shared: Arc<Telemetry>, config: &config::Config) -> Self {
        Self {
            access: AccessLog::new(shared.lines.clone(), &config.site.name),
            ids: Ids::default(),
            trust_clients: config.telemetry.trace_context == config::TraceContext::Accept,
            _shard: shared.registry.claim_shard(),
            shared,
        }
    }

    /// What all workers share.
    pub fn shared(&self) -> &Telemetry {
        &self.shared
    }

    /// Hands over the lines that have been gathered.
    pub fn flush(&self) {
        self.access.flush();
    }

    /// Begins the record of a client's call. Its trace context is taken out of the fields: what goes out is ours.
    pub fn begin(&self, head: &mut CallHead, origin: &Origin, version: Version) -> Record {
        let parent = if self.trust_clients {
            self.extract(&head.fields)
        } else {
            None
        };
        let mut record = self.record(head, parent.as_ref(), version);
        if let Some(facts) = &mut record.facts {
            facts.network_peer = Some(origin.peer);
        }
        clean(
            &mut head.fields,
            self.trust_clients && self.shared.tracer.passes_baggage(),
        );
        record
    }

    /// Begins the record of a call from another site, whose span is the parent.
    pub fn begin_from_site(&self, head: &mut CallHead, trace: Option<TraceParent>) -> Record {
        let mut parent = trace.and_then(|trace| TraceContext::parse(trace.as_str().as_bytes()));
        if let Some(parent) = parent.as_mut().filter(|parent| parent.sampled) {
            parent.state = crate::telemetry::trace::tracestate(head.fields.all(name::TRACESTATE));
        }
        let record = self.record(head, parent.as_ref(), Version::Tunnel);
        head.fields.remove(name::TRACEPARENT);
        record
    }

    fn extract(&self, fields: &Fields) -> Option<TraceContext> {
        if !fields.has(name::TRACEPARENT) {
            return None;
        }
        self.shared
            .tracer
            .extract(fields.all(name::TRACEPARENT), fields.all(name::TRACESTATE))
    }

    fn record(&self, head: &CallHead, parent: Option<&TraceContext>, version: Version) -> Record {
        let context = self.shared.tracer.begin(parent, &self.ids);
        let wanted = self.access.is_on() || self.shared.tracer.wants(&context);
        let facts = wanted.then(|| {
            Box::new(Facts {
                started: SystemTime::now(),
                scheme: head.scheme,
                version,
                host: head.target.authority.as_str().to_owned(),
                path: head.target.path().to_owned(),
                query: head.target.query().map(str::to_owned),
                user_agent: head.fields.get(name::USER_AGENT).map(<[u8]>::to_vec),
                request_id: head.fields.text(name::X_REQUEST_ID).map(str::to_owned),
                network_peer: None,
                tries: Vec::new(),
            })
        });
        Record {
            parent: parent
                .filter(|parent| parent.span_id != context.span_id)
                .map(|parent| parent.span_id),
            context,
            method: head.method.clone(),
            facts,
            route: None,
            service: None,
            endpoint: None,
            peer: None,
            rung: None,
            attempts: 0,
            going: None,
            status: None,
            grpc: None,
            failure: None,
            up: 0,
            down: 0,
        }
    }

    /// Tells of a request whose head was refused before it became a call. What it said is not repeated: it was malformed.
    pub fn refused_head(&self, kind: FailureKind, status: StatusCode, origin: &Origin, reason: &str) {
        self.shared.metrics.failure(kind);
        let context = TraceContext::root(&self.ids, &Sampler::off());
        let call = CallRecord {
            listener: &origin.listener,
            status: status.as_u16(),
            failure: Some(Failure { kind, reason }),
            client: Some(origin.peer),
            network_peer: Some(origin.peer),
            ..CallRecord::new(&context, SystemTime::now())
        };
        self.shared
            .unrouted
            .observe(Protocol::Http, call.outcome(), "", call.status, call.duration);
        self.access.write(&call);
    }

    /// Tells of a call that has ended.
    pub fn finish(&self, cx: &CallContext) {
        let mut record = cx.record.borrow_mut();
        let duration = cx.started.elapsed();
        if record.going.is_some() {
            record.attempted();
        }
        let record = &*record;
        let blank = Facts::blank();
        let facts = record.facts.as_deref().unwrap_or(&blank);
        let snapshot = &cx.world.snapshot;
        let route = record.route.and_then(|route| snapshot.config.routes.get(route));
        let endpoint = record
            .endpoint
            .filter(|_| record.facts.is_some())
            .map(|endpoint| endpoint.to_string());
        let listener = match &cx.caller {
            Caller::Client { listener, .. } => &**listener,
            Caller::Site { identity, .. } => identity.site().unwrap_or_default(),
        };
        let pattern = record
            .route
            .and_then(|route| snapshot.route_patterns.get(route))
            .map(|pattern| &**pattern);
        let name = match &cx.caller {
            Caller::Client { .. } => route.map(|route| &*route.name),
            Caller::Site { export, .. } => Some(&**export),
        };
        let client = cx.caller.address().map(|address| match facts.network_peer {
            Some(peer) if peer.ip() == address => peer,
            _ => SocketAddr::new(address, 0),
        });
        let call = CallRecord {
            duration,
            listener,
            protocol: cx.protocol,
            scheme: facts.scheme,
            version: facts.version.label(),
            method: record.method.as_str(),
            host: &facts.host,
            path: &facts.path,
            query: facts.query.as_deref(),
            route: name,
            pattern,
            service: record.service.as_deref(),
            endpoint: endpoint.as_deref(),
            peer: record.peer.as_deref(),
            status: record.status.map_or(0, |status| status.as_u16()),
            grpc: record.grpc,
            bytes_in: record.up,
            bytes_out: record.down,
            attempts: u32::from(record.attempts),
            failure: record
                .failure
                .as_ref()
                .map(|(kind, reason)| Failure { kind: *kind, reason }),
            parent: record.parent,
            request_id: facts.request_id.as_deref(),
            client,
            network_peer: facts.network_peer,
            user_agent: facts.user_agent.as_deref(),
            ..CallRecord::new(&record.context, facts.started)
        };
        let metrics = match (&cx.caller, record.route) {
            (Caller::Site { export, .. }, _) => snapshot.export_metrics.get(&**export),
            (_, Some(route)) => snapshot.route_metrics.get(route),
            (_, None) => None,
        };
        let metrics = metrics.unwrap_or(&self.shared.unrouted);
        metrics.observe(cx.protocol, call.outcome(), call.method, call.status, duration);
        if let Some((kind, _)) = &record.failure {
            self.shared.metrics.failure(*kind);
        }
        if record.facts.is_none() {
            return;
        }
        if self.shared.tracer.wants(&record.context) {
            for attempt in &facts.tries {
                self.shared.tracer.record(semconv::client(
                    &attempt.told(record, facts, cx.protocol),
                    &record.context,
                ));
            }
            let mut span = semconv::server(&call);
            if let Some(rung) = record.rung {
                span.set("causeway.plan", rung.label());
            }
            self.shared.tracer.record(span);
        }
        self.access.write(&call);
    }
}

/// Takes the trace fields out of a head; baggage stays only where it may pass.
fn clean(fields: &mut Fields, baggage: bool) {
    fields.remove(name::TRACEPARENT);
    if !baggage {
        fields.remove(name::BAGGAGE);
    }
    let malformed = fields
        .get(name::TRACESTATE)
        .is_some_and(|state| !crate::telemetry::trace::is_tracestate(state));
    if malformed {
        fields.remove(name::TRACESTATE);
    }
}

/// What a call came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// A tunnel.
    Tunnel,
}

impl Version {
    fn label(self) -> &'static str {
        match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2",
            Self::Tunnel => "causeway/1",
        }
    }
}

/// What only log lines and spans need.
#[derive(Debug)]
struct Facts {
    started: SystemTime,
    scheme: Scheme,
    version: Version,
    host: String,
    path: String,
    query: Option<String>,
    user_agent: Option<Vec<u8>>,
    request_id: Option<String>,
    network_peer: Option<SocketAddr>,
    tries: Vec<Try>,
}

impl Facts {
    fn blank() -> Self {
        Self {
            started: SystemTime::UNIX_EPOCH,
            scheme: Scheme::Http,
            version: Version::Http1,
            host: String::new(),
            path: String::new(),
            query: None,
            user_agent: None,
            request_id: None,
            network_peer: None,
            tries: Vec::new(),
        }
    }
}

/// One attempt that is over.
#[derive(Debug)]
struct Try {
    context: TraceContext,
    started: SystemTime,
    ended: SystemTime,
    service: Option<config::Name>,
    peer: Option<config::Name>,
    address: Option<SocketAddr>,
    version: Version,
    resend: u32,
    failure: Option<(FailureKind, String)>,
}

impl Try {
    fn told<'a>(&'a self, record: &'a Record, facts: &'a Facts, protocol: Protocol) -> semconv::Attempt<'a> {
        semconv::Attempt {
            context: &self.context,
            started: self.started,
            ended: self.ended,
            protocol,
            version: self.version.label(),
            method: record.method.as_str(),
            scheme: facts.scheme.label(),
            host: &facts.host,
            path: &facts.path,
            query: facts.query.as_deref(),
            address: self.address,
            service: self.service.as_deref(),
            peer: self.peer.as_deref(),
            resend: self.resend,
            status: if self.failure.is_some() {
                None
            } else {
                record.status.map(|status| status.as_u16())
            },
            grpc: if self.failure.is_some() { None } else { record.grpc },
            failure: self.failure.as_ref().map(|(kind, reason)| (*kind, reason.as_str())),
        }
    }
}

/// An attempt under way.
#[derive(Debug)]
struct Going {
    context: TraceContext,
    since: Instant,
    version: Version,
}

/// What became of a call. Filled in on the way; told when the context of the call is dropped.
#[derive(Debug)]
pub struct Record {
    context: TraceContext,
    parent: Option<[u8; 8]>,
    method: Method,
    facts: Option<Box<Facts>>,
    route: Option<usize>,
    service: Option<config::Name>,
    endpoint: Option<SocketAddr>,
    peer: Option<config::Name>,
    rung: Option<Rung>,
    attempts: u8,
    going: Option<Going>,
    status: Option<StatusCode>,
    grpc: Option<Code>,
    failure: Option<(FailureKind, String)>,
    up: u64,
    down: u64,
}

impl Record {
    /// The route of the call, by its index in the snapshot.
    pub fn route(&self) -> Option<usize> {
        self.route
    }

    /// The call has a route, by its index in the snapshot.
    pub fn routed(&mut self, route: usize) {
        self.route = Some(route);
    }

    /// An attempt begins; what goes out is told this parent. None where nobody propagates.
    pub fn attempt(&mut self, observer: &Observer, version: Version) -> Option<[u8; 55]> {
        self.attempts = self.attempts.saturating_add(1);
        let tracer = &observer.shared.tracer;
        let context = if tracer.wants(&self.context) {
            self.context.child(&observer.ids)
        } else {
            self.context.clone()
        };
        let told = tracer.injects().then(|| context.traceparent());
        self.going = Some(Going {
            context,
            since: Instant::now(),
            version,
        });
        told
    }

    /// The attempt is at this endpoint.
    pub fn at_endpoint(&mut self, service: &config::Service, endpoint: SocketAddr, rung: Rung) {
        self.service = Some(config::Name::clone(&service.name));
        self.endpoint = Some(endpoint);
        self.rung = Some(rung);
    }

    /// The attempt is at another site.
    pub fn at_site(&mut self, site: &config::Name, export: &config::Name) {
        self.peer = Some(config::Name::clone(site));
        self.service = Some(config::Name::clone(export));
    }

    /// The attempt failed, and perhaps another follows.
    pub fn attempt_failed(&mut self, error: &CallError) {
        let failure = Some((error.kind, error.detail.to_string()));
        self.end_attempt(failure);
    }

    /// The attempt is over with the call.
    fn attempted(&mut self) {
        let failure = self.failure.clone();
        self.end_attempt(failure);
    }

    fn end_attempt(&mut self, failure: Option<(FailureKind, String)>) {
        /// Attempts that become spans; more are not made by one call.
        const KEPT: usize = 16;
        let Some(going) = self.going.take() else { return };
        let resend = u32::from(self.attempts.saturating_sub(1));
        let (service, peer, address) = (self.service.clone(), self.peer.clone(), self.endpoint);
        if let Some(facts) = &mut self.facts
            && facts.tries.len() < KEPT
        {
            let ended = SystemTime::now();
            let started = ended.checked_sub(going.since.elapsed()).unwrap_or(ended);
            let Going { context, version, .. } = going;
            facts.tries.push(Try {
                context,
                started,
                ended,
                service,
                peer,
                address,
                version,
                resend,
                failure,
            });
        }
    }

    /// The call failed; the first failure is the one that is told.
    pub fn failed(&mut self, error: &CallError) {
        if self.failure.is_none() {
            self.failure = Some((error.kind, error.detail.to_string()));
        }
    }

    /// The head of the reply that the client is sent.
    pub fn answered(&mut self, status: StatusCode, fields: &Fields) {
        self.status = Some(status);
        if let Some(status) = fields.get(name::GRPC_STATUS) {
            self.grpc = Some(Code::of_text(status));
        }
    }

    /// The trailers that the client is sent, and how much was moved.
    pub fn ended(&mut self, grpc: Option<Code>, up: u64, down: u64) {
        self.grpc = grpc.or(self.grpc);
        (self.up, self.down) = (up, down);
    }

    /// The trace the call is part of, in hexadecimal.
    pub fn trace_id(&self) -> String {
        // Hexadecimal digits are ASCII.
        String::from_utf8_lossy(&self.context.trace_id_hex()).into_owned()
    }
}
