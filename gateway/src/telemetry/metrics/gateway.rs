//! The metrics of the gateway itself, by their published names.

use std::sync::OnceLock;
use std::time::Duration;

use causeway_protocols::{FailureKind, Protocol};

use super::{Counter, Family, Gauge, Histogram, Level, Registry, SECONDS};

/// How a call ended, as far as a counter tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, and the answer is no error.
    Ok,
    /// Answered by the backend with an error of the client: 4xx.
    ClientError,
    /// Answered by the backend with an error of its own: 5xx, or a gRPC status that means one.
    ServerError,
    /// The gateway gave the answer, because there was none or it broke off; `causeway_failures_total` says why.
    Failed,
    /// The client went away first.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Families that other modules take their series from, and the series that exist once.
#[derive(Clone, Debug)]
pub struct GatewayMetrics {
    /// `causeway_access_lines_dropped_total`
    pub access_lines_dropped: Counter,
    /// `causeway_spans_dropped_total{reason}`: `queue` (full), `export` (refused by the collector or never sent).
    pub spans_dropped: Family<Counter>,
    /// `causeway_spans_exported_total`
    pub spans_exported: Counter,
    /// `causeway_log_lines_dropped_total`
    pub log_lines_dropped: Counter,
    /// `causeway_tunnel_up{peer}`: tunnels that stand.
    pub tunnel_up: Family<Level>,
    /// `causeway_tunnel_rtt_seconds{peer}`
    pub tunnel_rtt: Family<Gauge>,
    /// `causeway_tunnel_calls{peer}`: calls under way through tunnels to or from a peer.
    pub tunnel_calls: Family<Level>,
    /// `causeway_tunnel_borrowed_total{peer}`
    pub tunnel_borrowed: Family<Counter>,
    /// `causeway_peer_refused_total{reason}`
    pub peer_refused: Family<Counter>,
    /// `causeway_certificate_expiry_timestamp_seconds{spiffe_id}`
    pub certificate_expiry: Family<Gauge>,
    /// `causeway_config_last_reload_success_timestamp_seconds`
    pub reload_success: Gauge,
    /// `causeway_config_reloads_total{result}`
    pub reloads: Family<Counter>,
    /// `causeway_config_hash`: changes when the configuration does.
    pub config_hash: Gauge,
    /// `causeway_connections{listener}`
    pub connections: Family<Level>,
    /// `causeway_connections_refused_total{listener,reason}`
    pub connections_refused: Family<Counter>,
    /// `causeway_discovery_lookups_total{name,result}`
    pub discovery_lookups: Family<Counter>,
    /// `causeway_discovery_endpoints{name}`
    pub discovery_endpoints: Family<Gauge>,
    /// `causeway_cache_lookups_total{route,result}`
    pub cache_lookups: Family<Counter>,
    /// `causeway_mirror_calls_total{route,result}`
    pub mirror_calls: Family<Counter>,
    /// `causeway_limit_hit_total{limit}`
    pub limit_hit: Family<Counter>,
    /// `causeway_policy_refusals_total{route,policy,mode}`: `enforce`, or `dry_run` for calls that went on.
    pub policy_refusals: Family<Counter>,
    /// `causeway_limiter_keys`: keys that rate limits count by now.
    pub limiter_keys: Gauge,
    /// `causeway_limiter_keys_crowded_total`: calls whose key found no room, and shared a bucket.
    pub limiter_keys_crowded: Counter,
    /// `causeway_shared_counters_total{result}`: `answered`, `failed` or `skipped`.
    pub shared_counters: Family<Counter>,
    /// `causeway_state_failures_total`: times that what must survive a restart could not be written down.
    pub state_failures: Counter,
    /// `causeway_authentications_total{source,result}`: `remembered`, `good`, or why a proof was refused.
    pub authentications: Family<Counter>,
    /// `causeway_jwks_fetches_total{host,result}`
    pub jwks_fetches: Family<Counter>,
    failures: [Counter; FAILURES],
    calls: Family<Counter>,
    durations: Family<Histogram>,
}

/// One more than the largest [`FailureKind::wire`] that has its own counter; the first is for all others.
const FAILURES: usize = 32;

impl GatewayMetrics {
    /// Registers them all and sets `causeway_build_info`.
    pub fn new(registry: &Registry) -> Self {
        let failures = registry.counter(
            "causeway_failures_total",
            "Calls that the gateway had to answer itself or cut, by why.",
            &["kind"],
        );
        let other = failures.with(&["other"]);
        let mut by_kind = std::array::from_fn(|_| other.clone());
        for kind in FailureKind::ALL {
            if let Some(counter) = by_kind.get_mut(usize::from(kind.wire())) {
                *counter = failures.with(&[kind.label()]);
            }
        }
        registry
            .gauge("causeway_build_info", "Always 1.", &["version", "commit"])
            .with(&[
                env!("CARGO_PKG_VERSION"),
                option_env!("CAUSEWAY_COMMIT").unwrap_or("unknown"),
            ])
            .set(1.0);
        Self {
            access_lines_dropped: registry
                .counter(
                    "causeway_access_lines_dropped_total",
                    "Lines of the access log that were not written: its queue was full, or writing failed.",
                    &[],
                )
                .with(&[]),
            spans_dropped: registry.counter(
                "causeway_spans_dropped_total",
                "Spans that did not reach a collector.",
                &["reason"],
            ),
            spans_exported: registry
                .counter("causeway_spans_exported_total", "Spans that a collector took.", &[])
                .with(&[]),
            log_lines_dropped: registry
                .counter(
                    "causeway_log_lines_dropped_total",
                    "Log lines that were not written: the queue was full, or writing failed.",
                    &[],
                )
                .with(&[]),
            tunnel_up: registry.level("causeway_tunnel_up", "Tunnels to a peer that stand.", &["peer"]),
            tunnel_rtt: registry.gauge(
                "causeway_tunnel_rtt_seconds",
                "Round trip of the last ping to a peer.",
                &["peer"],
            ),
            tunnel_calls: registry.level("causeway_tunnel_calls", "Calls under way over tunnels.", &["peer"]),
            tunnel_borrowed: registry.counter(
                "causeway_tunnel_borrowed_total",
                "Calls that went over the tunnel of another worker, because their own had none.",
                &["peer"],
            ),
            peer_refused: registry.counter(
                "causeway_peer_refused_total",
                "Gateways that were refused as a peer, by why.",
                &["reason"],
            ),
            certificate_expiry: registry.gauge(
                "causeway_certificate_expiry_timestamp_seconds",
                "When a certificate in use expires, in Unix time.",
                &["spiffe_id"],
            ),
            reload_success: registry
                .gauge(
                    "causeway_config_last_reload_success_timestamp_seconds",
                    "When the configuration in use was loaded, in Unix time.",
                    &[],
                )
                .with(&[]),
            reloads: registry.counter(
                "causeway_config_reloads_total",
                "Attempts to load a configuration.",
                &["result"],
            ),
            config_hash: registry
                .gauge(
                    "causeway_config_hash",
                    "A number that changes with the configuration in use.",
                    &[],
                )
                .with(&[]),
            connections: registry.level("causeway_connections", "Open client connections.", &["listener"]),
            connections_refused: registry.counter(
                "causeway_connections_refused_total",
                "Client connections that were closed before they said anything, by why.",
                &["listener", "reason"],
            ),
            discovery_lookups: registry.counter(
                "causeway_discovery_lookups_total",
                "Look-ups of names, by how they ended.",
                &["name", "result"],
            ),
            discovery_endpoints: registry.gauge(
                "causeway_discovery_endpoints",
                "Endpoints that a name has now.",
                &["name"],
            ),
            mirror_calls: registry.counter(
                "causeway_mirror_calls_total",
                "Copies of calls to a second service, by what became of them.",
                &["route", "result"],
            ),
            cache_lookups: registry.counter(
                "causeway_cache_lookups_total",
                "Calls of routes that keep replies, by what the cache did.",
                &["route", "result"],
            ),
            limit_hit: registry.counter("causeway_limit_hit_total", "Times a limit was reached.", &["limit"]),
            policy_refusals: registry.counter(
                "causeway_policy_refusals_total",
                "Calls that a policy refused, or would have refused but for `dry_run`.",
                &["route", "policy", "mode"],
            ),
            limiter_keys: registry
                .gauge("causeway_limiter_keys", "Keys that rate limits count.", &[])
                .with(&[]),
            limiter_keys_crowded: registry
                .counter(
                    "causeway_limiter_keys_crowded_total",
                    "Calls whose key found no room among those that are counted, and shared a bucket.",
                    &[],
                )
                .with(&[]),
            shared_counters: registry.counter(
                "causeway_shared_counters_total",
                "Questions to the counters that gateways share, by how they ended.",
                &["result"],
            ),
            state_failures: registry
                .counter(
                    "causeway_state_failures_total",
                    "Times that what must survive a restart could not be written to `state_dir`.",
                    &[],
                )
                .with(&[]),
            authentications: registry.counter(
                "causeway_authentications_total",
                "Proofs of identity that were looked at, by what came of it.",
                &["source", "result"],
            ),
            jwks_fetches: registry.counter(
                "causeway_jwks_fetches_total",
                "Fetches of the key sets of issuers.",
                &["host", "result"],
            ),
            failures: by_kind,
            calls: registry.counter(
                "causeway_calls_total",
                "Calls that have ended.",
                &["route", "protocol", "outcome"],
            ),
            durations: registry.histogram(
                "http_server_request_duration_seconds",
                "From the head of a call to the end of its reply.",
                &["http_request_method", "http_route", "http_response_status_code"],
                SECONDS,
            ),
        }
    }

    /// Counts one failure.
    pub fn failure(&self, kind: FailureKind) {
        if let Some(counter) = self.failures.get(usize::from(kind.wire())) {
            counter.inc();
        }
    }

    /// The metrics of one route. `pattern` is what `http.route` shows: the route's path as written, never a raw path.
    pub fn route(&self, name: &str, pattern: &str) -> RouteMetrics {
        RouteMetrics {
            calls: std::array::from_fn(|protocol| {
                std::array::from_fn(|outcome| {
                    self.calls
                        .with(&[name, Protocol::ALL[protocol].label(), Outcome::ALL[outcome].label()])
                })
            }),
            pattern: pattern.into(),
            family: self.durations.clone(),
            durations: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

/// What is counted for every call of one route. Belongs into a snapshot.
#[derive(Debug)]
pub struct RouteMetrics {
    calls: [[Counter; Outcome::ALL.len()]; Protocol::ALL.len()],
    pattern: Box<str>,
    family: Family<Histogram>,
    /// By method, then by status; made when first needed, because most of them never are.
    durations: [OnceLock<ByStatus>; METHODS.len() + 1],
}

type ByStatus = Box<[OnceLock<Histogram>; STATUSES.len() + CLASSES.len()]>;

impl RouteMetrics {
    /// Counts a call that has ended, whose trace is kept if there is one. Waits for a lock only for the first call with a
    /// method and a status.
    pub fn observe(
        &self,
        protocol: Protocol,
        outcome: Outcome,
        method: &str,
        status: u16,
        duration: Duration,
        trace: Option<[u8; 32]>,
    ) {
        let row = match protocol {
            Protocol::Grpc => 0,
            Protocol::Http => 1,
            Protocol::WebSocket => 2,
        };
        self.calls[row][outcome as usize].inc();
        let column = METHODS.iter().position(|known| *known == method);
        let by_status = self.durations[column.unwrap_or(METHODS.len())]
            .get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        let place = match STATUSES.binary_search_by_key(&status, |(code, _)| *code) {
            Ok(place) => place,
            Err(_) => STATUSES.len() + usize::from(status / 100).min(CLASSES.len() - 1),
        };
        let durations = by_status[place].get_or_init(|| {
            let method = column.map_or("_OTHER", |column| METHODS[column]);
            let status = STATUSES
                .get(place)
                .map_or_else(|| CLASSES[place - STATUSES.len()], |(_, text)| text);
            self.family.with(&[method, &self.pattern, status])
        });
        match trace {
            Some(trace) => durations.observe_traced(duration, trace),
            None => durations.observe(duration),
        }
    }
}

/// Methods that have their own label (RFC 9110 and PATCH), the most frequent first; others are `_OTHER`.
pub(crate) const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE",
];

/// Label of a status that has none of its own, by its class.
const CLASSES: [&str; 7] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Statuses that have their own label, ascending. A backend cannot make more series than these.
const STATUSES: [(u16, &str); 45] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (203, "203"),
    (204, "204"),
    (205, "205"),
    (206, "206"),
    (207, "207"),
    (300, "300"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (407, "407"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (411, "411"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (416, "416"),
    (421, "421"),
    (422, "422"),
    (426, "426"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (508, "508"),
];

#[cfg(test)]
pub(super) fn statuses() -> &'static [(u16, &'static str)] {
    &STATUSES
}
