//! What is known of a call so far: its route, its attempts, its reply, and why it failed.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use causeway_config as config;
use causeway_protocols::plan::Rung;
use causeway_protocols::{Code, FailureKind, Fields, Protocol, Scheme, name};
use http::{Method, StatusCode};

use super::Observer;
use crate::error::CallError;
use crate::telemetry::span::semconv;
use crate::telemetry::trace::TraceContext;

/// What became of a call. Filled in on the way; told when the context of the call is dropped.
#[derive(Debug)]
pub struct Record {
    pub(super) context: TraceContext,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) method: Method,
    pub(super) facts: Option<Box<Facts>>,
    pub(super) route: Option<usize>,
    pub(super) service: Option<config::Name>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) peer: Option<config::Name>,
    pub(super) rung: Option<Rung>,
    pub(super) attempts: u8,
    pub(super) going: Option<Going>,
    pub(super) status: Option<StatusCode>,
    pub(super) grpc: Option<Code>,
    pub(super) failure: Option<(FailureKind, String)>,
    pub(super) would_be_refused: Option<&'static str>,
    pub(super) up: u64,
    pub(super) down: u64,
    /// It is of a call that the gateway made by itself: neither counted nor logged.
    pub(super) inner: bool,
}

impl Record {
    /// The route of the call, by its index in the snapshot.
    pub fn route(&self) -> Option<usize> {
        self.route
    }

    /// The record of a call that the gateway makes by itself for this one: its attempts are spans below this one's.
    pub fn inner(&self) -> Self {
        let facts = self.facts.as_deref().map(|facts| {
            Box::new(Facts {
                host: facts.host.clone(),
                path: facts.path.clone(),
                ..Facts::blank()
            })
        });
        Self {
            context: self.context.clone(),
            parent: self.parent,
            method: self.method.clone(),
            facts,
            route: self.route,
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
            inner: true,
        }
    }

    /// Takes over where a call that was made for this one went.
    pub fn adopt(&mut self, inner: &Self) {
        self.service.clone_from(&inner.service);
        self.peer.clone_from(&inner.peer);
        self.endpoint = inner.endpoint;
        self.rung = inner.rung;
        self.attempts = self.attempts.saturating_add(inner.attempts);
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
        self.peer = None;
        self.rung = Some(rung);
    }

    /// A further attempt is made beside the one under way.
    pub fn hedged(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Of several attempts, the one at this endpoint has the reply.
    pub fn won_at(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// The attempt is at another site.
    pub fn at_site(&mut self, site: &config::Name, export: &config::Name) {
        self.peer = Some(config::Name::clone(site));
        self.service = Some(config::Name::clone(export));
        self.endpoint = None;
    }

    /// The attempt failed, and perhaps another follows.
    pub fn attempt_failed(&mut self, error: &CallError) {
        let failure = Some((error.kind, error.detail.to_string()));
        self.end_attempt(failure);
    }

    /// The attempt is over with the call.
    pub(super) fn attempted(&mut self) {
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

    /// A policy in its dry run would have refused it; the first one is told.
    pub fn would_be_refused(&mut self, policy: &'static str) {
        self.would_be_refused.get_or_insert(policy);
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

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Going {
    context: TraceContext,
    since: Instant,
    version: Version,
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
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2",
            Self::Tunnel => "causeway/1",
        }
    }
}

/// What only log lines and spans need.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) started: SystemTime,
    pub(super) scheme: Scheme,
    pub(super) version: Version,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) user_agent: Option<Vec<u8>>,
    pub(super) request_id: Option<String>,
    pub(super) network_peer: Option<SocketAddr>,
    pub(super) tries: Vec<Try>,
}

impl Facts {
    pub(super) fn blank() -> Self {
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
pub(super) struct Try {
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
    pub(super) fn told<'a>(&'a self, record: &'a Record, facts: &'a Facts, protocol: Protocol) -> semconv::Attempt<'a> {
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
