//! What is told of a call at its end: counted always, logged where it is wanted, traced where it is sampled.

use std::net::SocketAddr;
use std::time::Instant;

use causeway_config as config;
use causeway_protocols::plan::Rung;
use causeway_protocols::tunnel::TraceParent;
use causeway_protocols::{CallHead, FailureKind};
use http::StatusCode;

use crate::error::CallError;
use crate::listen::Origin;
use crate::worker::World;

/// What became of a call. Filled in on the way; told when the context of the call is dropped.
#[derive(Debug, Default)]
pub struct Record {
    /// Index of its route in the snapshot.
    pub route: Option<usize>,
    /// The service that was asked.
    pub service: Option<config::Name>,
    /// The last endpoint that was tried.
    pub endpoint: Option<SocketAddr>,
    /// The site that was asked.
    pub peer: Option<config::Name>,
    /// How much of the payload was understood.
    pub rung: Option<Rung>,
    /// Attempts made.
    pub attempts: u8,
    /// When the last attempt began, and when its reply's head was there.
    pub attempted: Option<Instant>,
    /// See `attempted`.
    pub replied: Option<Instant>,
    /// The status that the client was sent.
    pub status: Option<StatusCode>,
    /// What went wrong.
    pub failure: Option<(FailureKind, String)>,
    /// Body bytes from the client.
    pub up: u64,
    /// Body bytes to the client.
    pub down: u64,
}

impl Record {
    /// A call has arrived.
    pub fn begin(_head: &CallHead, _origin: &Origin, _started: Instant) -> Self {
        Self::default()
    }

    /// A call has arrived from another site.
    pub fn begin_from_site(_head: &CallHead, _site: &str, _trace: Option<TraceParent>, _started: Instant) -> Self {
        Self::default()
    }

    /// An attempt at another site begins.
    pub fn attempting_site(&mut self, site: &config::Name, export: &config::Name, now: Instant) {
        self.peer = Some(config::Name::clone(site));
        self.service = Some(config::Name::clone(export));
        self.attempted = Some(now);
    }

    /// What the other site continues.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        None
    }

    /// The call has a route.
    pub fn routed(&mut self, _world: &World, route: usize) {
        self.route = Some(route);
    }

    /// An attempt at an endpoint begins.
    pub fn attempting(&mut self, service: &config::Service, endpoint: SocketAddr, rung: Rung, now: Instant) {
        self.service = Some(config::Name::clone(&service.name));
        self.endpoint = Some(endpoint);
        self.rung = Some(rung);
        self.attempted = Some(now);
    }

    /// The reply's head is there.
    pub fn replied(&mut self) {
        self.replied = Some(Instant::now());
    }

    /// The call failed; the first failure is the one that is told.
    pub fn failed(&mut self, error: &CallError) {
        if self.failure.is_none() {
            self.failure = Some((error.kind, error.detail.to_string()));
        }
    }

    /// The trace the call is part of.
    pub fn trace_id(&self) -> Option<String> {
        None
    }
}
