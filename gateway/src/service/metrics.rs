//! What is counted of services and their endpoints.

use std::sync::OnceLock;

use crate::telemetry::metrics::{Counter, Family, Gauge, Registry};

/// The families; series are taken from them when a service or an endpoint comes.
#[derive(Clone, Debug)]
pub struct ServiceMetrics {
    /// `causeway_endpoint_healthy{service,endpoint}`: 1 while it may be sent calls. Only of services with checks or
    /// ejection; as many as discovery admits (`dns.max_endpoints`).
    pub endpoint_healthy: Family<Gauge>,
    /// `causeway_service_panic{service}`: 1 while so few endpoints are usable that all are used.
    pub service_panic: Family<Gauge>,
    /// `causeway_health_checks_total{service,result}`: `success`, `failure`.
    pub health_checks: Family<Counter>,
    /// `causeway_endpoint_ejections_total{service,reason}`
    pub ejections: Family<Counter>,
    /// `causeway_service_refused_total{service,limit}`
    pub refused: Family<Counter>,
    /// `causeway_retries_total{service,result}`: `made`, or `no_budget`.
    pub retries: Family<Counter>,
    /// `causeway_hedges_total{service,result}`: attempts beside another: `made`, or `no_budget`.
    pub hedges: Family<Counter>,
    /// `causeway_service_limit{service}`: calls that may be under way, as found from times; 0 where that is not asked for.
    pub limit: Family<Gauge>,
    /// `causeway_failovers_total`: calls that went on to a later tier of their route because nobody took them.
    pub failovers: Counter,
}

impl ServiceMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        Self {
            endpoint_healthy: registry.gauge(
                "causeway_endpoint_healthy",
                "Whether an endpoint may be sent calls, by its checks and by how its calls went.",
                &["service", "endpoint"],
            ),
            service_panic: registry.gauge(
                "causeway_service_panic",
                "Whether so few endpoints of a service are usable that all are used.",
                &["service"],
            ),
            health_checks: registry.counter(
                "causeway_health_checks_total",
                "Health checks of endpoints, by how they ended.",
                &["service", "result"],
            ),
            ejections: registry.counter(
                "causeway_endpoint_ejections_total",
                "Endpoints that were left out for a while because their calls failed, by why.",
                &["service", "reason"],
            ),
            refused: registry.counter(
                "causeway_service_refused_total",
                "Calls that were refused because the gateway has enough under way at a service, by the limit.",
                &["service", "limit"],
            ),
            retries: registry.counter(
                "causeway_retries_total",
                "Further attempts of calls, by whether the retry budget allowed them.",
                &["service", "result"],
            ),
            hedges: registry.counter(
                "causeway_hedges_total",
                "Attempts beside one that takes long, by whether the retry budget allowed them.",
                &["service", "result"],
            ),
            limit: registry.gauge(
                "causeway_service_limit",
                "Calls that may be under way at a service, as found from how long they take.",
                &["service"],
            ),
            failovers: registry
                .counter(
                    "causeway_failovers_total",
                    "Calls that went on to a later tier of their route because nobody took them.",
                    &[],
                )
                .with(&[]),
        }
    }
}

/// The series of one service.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) check_succeeded: Counter,
    pub(super) check_failed: Counter,
    pub(super) panic: Gauge,
    retried: OnceLock<Counter>,
    unbudgeted: OnceLock<Counter>,
    hedged: OnceLock<Counter>,
    unhedged: OnceLock<Counter>,
    limit: OnceLock<Gauge>,
    /// By limit, in the order of `LIMITS`; made when first needed, because most never are.
    refused: [OnceLock<Counter>; LIMITS.len()],
}

/// The limits of a service.
const LIMITS: [&str; 4] = ["adaptive", "max_connections", "max_pending", "max_requests"];

impl Series {
    pub(super) fn of(service: &str, metrics: &ServiceMetrics) -> Self {
        Self {
            check_succeeded: metrics.health_checks.with(&[service, "success"]),
            check_failed: metrics.health_checks.with(&[service, "failure"]),
            panic: metrics.service_panic.with(&[service]),
            retried: OnceLock::new(),
            unbudgeted: OnceLock::new(),
            hedged: OnceLock::new(),
            unhedged: OnceLock::new(),
            limit: OnceLock::new(),
            refused: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Counts a further attempt that was wished for.
    pub(super) fn retry(&self, service: &str, granted: bool, metrics: &ServiceMetrics) {
        let (cell, result) = if granted {
            (&self.retried, "made")
        } else {
            (&self.unbudgeted, "no_budget")
        };
        cell.get_or_init(|| metrics.retries.with(&[service, result])).inc();
    }

    /// Counts an attempt beside another that was wished for.
    pub(super) fn hedge(&self, service: &str, granted: bool, metrics: &ServiceMetrics) {
        let (cell, result) = if granted {
            (&self.hedged, "made")
        } else {
            (&self.unhedged, "no_budget")
        };
        cell.get_or_init(|| metrics.hedges.with(&[service, result])).inc();
    }

    /// Shows the limit that was found.
    pub(super) fn limit(&self, service: &str, limit: u32, metrics: &ServiceMetrics) {
        let gauge = self.limit.get_or_init(|| metrics.limit.with(&[service]));
        gauge.set(f64::from(limit));
    }

    /// Counts a call that this limit refused. Takes a lock only for the first.
    pub(super) fn refused(&self, service: &str, limit: &str, metrics: &ServiceMetrics) {
        let cell = LIMITS
            .iter()
            .position(|known| *known == limit)
            .and_then(|at| self.refused.get(at));
        if let Some(cell) = cell {
            cell.get_or_init(|| metrics.refused.with(&[service, limit])).inc();
        }
    }
}
