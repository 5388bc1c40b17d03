//! What is told of a call at its end: counted always, logged where it is wanted, traced where it is sampled.
//!
//! A call carries a [`Record`]. What only a log line or a span needs is kept in it only when one of them will be made, so
//! that a call that nobody looks at costs two counters.

mod record;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use causeway_config as config;
use causeway_protocols::tunnel::TraceParent;
use causeway_protocols::{CallHead, FailureKind, Fields, Protocol, name};
use http::StatusCode;

use crate::context::{CallContext, Caller};
use crate::listen::Origin;
use crate::telemetry::access::AccessLog;
use crate::telemetry::export::Exporting;
use crate::telemetry::lines::Lines;
use crate::telemetry::metrics::{GatewayMetrics, Registry, RouteMetrics, Shard};
use crate::telemetry::record::{CallRecord, Failure};
use crate::telemetry::span::{Memory, Tracer, semconv};
use crate::telemetry::trace::{Ids, Sampler, TraceContext};

use record::Facts;
pub use record::{Record, Version};

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

    /// Begins the record of one of the calls that another call carries. `trace` is the `traceparent` that its client gave it.
    pub fn begin_within(&self, head: &mut CallHead, trace: Option<&str>, version: Version) -> Record {
        let parent = trace
            .filter(|_| self.trust_clients)
            .and_then(|trace| TraceContext::parse(trace.as_bytes()));
        let record = self.record(head, parent.as_ref(), version);
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
            would_be_refused: None,
            up: 0,
            down: 0,
            inner: false,
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
            .observe(Protocol::Http, call.outcome(), "", call.status, call.duration, None);
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
        if record.inner {
            if let Some(facts) = record.facts.as_deref()
                && self.shared.tracer.wants(&record.context)
            {
                self.tell_attempts(record, facts, cx.protocol);
            }
            return;
        }
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
            would_be_refused: record.would_be_refused,
            principal: cx.principal.get().map(|principal| &*principal.subject),
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
        let wanted = self.shared.tracer.wants(&record.context);
        let trace = wanted.then(|| record.context.trace_id_hex());
        metrics.observe(cx.protocol, call.outcome(), call.method, call.status, duration, trace);
        if let Some((kind, _)) = &record.failure {
            self.shared.metrics.failure(*kind);
        }
        if record.facts.is_none() {
            return;
        }
        if self.shared.tracer.wants(&record.context) {
            self.tell_attempts(record, facts, cx.protocol);
            let mut span = semconv::server(&call);
            if let Some(rung) = record.rung {
                span.set("causeway.plan", rung.label());
            }
            self.shared.tracer.record(span);
        }
        self.access.write(&call);
    }

    fn tell_attempts(&self, record: &Record, facts: &Facts, protocol: Protocol) {
        for attempt in &facts.tries {
            let span = semconv::client(&attempt.told(record, facts, protocol), &record.context);
            self.shared.tracer.record(span);
        }
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
