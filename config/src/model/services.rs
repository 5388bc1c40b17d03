//! What calls are sent to: services, their endpoints and how they are called.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Adaptive, Breaker, CertificateFiles, GrpcMatch, HashOn, Health, Hedge, Name, Outlier, Retry};
use crate::policies::Authorize;

/// Where addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discover {
    /// `dns:name:port`: A and AAAA records.
    Dns {
        /// Name to look up.
        host: String,
        /// Port of every address.
        port: u16,
    },
    /// `srv:_service._proto.name`: SRV records, each with port, weight and priority.
    Srv {
        /// Name to look up.
        name: String,
    },
    /// `["10.1.2.3:7443"]` or a single `"10.1.2.3:7443"`.
    Static(Vec<StaticEndpoint>),
}

/// One written-down address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEndpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// Share of the calls relative to the others. Default 1.
    pub weight: u32,
    /// Failover tier: 0 is tried first. Default 0.
    pub priority: u16,
}

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP requests and replies.
    Http,
    /// WebSocket.
    WebSocket,
}

/// The HTTP version spoken to the backends of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1: the default of `http` and `websocket`.
    Http1,
    /// HTTP/2 by prior knowledge, or ALPN `h2` over TLS: the default, and the only one, of `grpc`.
    Http2,
}

/// `[[services]]`.
#[derive(Clone, Debug)]
pub struct Service {
    /// What routes and peers call it.
    pub name: Name,
    /// What its endpoints speak.
    pub protocol: Protocol,
    /// HTTP version to the endpoints.
    pub version: HttpVersion,
    /// Where its endpoints are.
    pub endpoints: Discover,
    /// Where its messages are described. Default: nowhere, content passes as it is.
    pub schema: Option<Schema>,
    /// TLS to the endpoints; none means clear text.
    pub tls: Option<BackendTls>,
    /// How an endpoint is chosen. Default: round robin.
    pub balance: Balance,
    /// What makes calls alike for [`Balance::RingHash`]. Default: the client's address.
    pub hash_on: HashOn,
    /// How long the share of an endpoint grows after it is new or was not usable. Default: not at all. [`Balance::RingHash`]
    /// does not do that.
    pub slow_start: Option<Duration>,
    /// Usable share of a tier, in percent, below which it hands on to the next what it lacks. Default: a tier keeps all
    /// calls while it has one usable endpoint.
    pub spill_over: Option<u8>,
    /// Who at other sites may use it. Default: nobody.
    pub export_to: Vec<Export>,
    /// What calls from other sites may do.
    pub authorize: Option<Authorize>,
    /// `Host` / `:authority` sent to the backend. Default: what the client sent.
    pub host: Option<String>,
    /// Clocks of calls to it.
    pub timeouts: ServiceTimeouts,
    /// Tries after a failure that is safe to repeat. Default: 1 more than the first.
    pub retry: Retry,
    /// When a second attempt is made beside one that takes long. Default: never.
    pub hedge: Option<Hedge>,
    /// How many calls may be under way, by how long they take. Default: not limited that way.
    pub adaptive: Option<Adaptive>,
    /// gRPC methods that may be called twice. HTTP methods say so themselves (RFC 9110, section 9.2.2).
    pub idempotent_methods: Vec<GrpcMatch>,
    /// Checks of every endpoint. Default: none.
    pub health: Option<Health>,
    /// When an endpoint whose calls fail is left out. Default: never.
    pub outlier: Option<Outlier>,
    /// What the gateway has under way at the service at most. Default: no such limits.
    pub breaker: Breaker,
    /// Below this share of usable endpoints, in percent, all are used, well or not. Default 30.
    pub panic_threshold: u8,
    /// Connections per worker and endpoint. Default 256.
    pub max_connections: u32,
    /// Calls that may wait for a connection, per worker. Default 1024.
    pub max_pending: u32,
    /// Largest message in bytes where messages are read, in either direction. Default 4 MiB.
    pub max_message: usize,
}

/// Where the schema of a service comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// `schema = "reflection"`: the backend is asked.
    Reflection,
    /// A directory of `.proto` files.
    Directory(PathBuf),
    /// A file with a descriptor set.
    Descriptors(PathBuf),
}

/// TLS to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// PEM file of the roots to trust. Default: the system's (`/etc/ssl/certs/ca-certificates.crt`).
    pub roots: Option<PathBuf>,
    /// Name to verify and send as SNI. Default: the host of `endpoints`.
    pub server_name: Option<String>,
    /// Our certificate, for backends that ask for one.
    pub client: Option<CertificateFiles>,
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight (`round-robin`).
    RoundRobin,
    /// The less busy of two picked at random (`least-request`, also understood as `least-connections`).
    LeastRequest,
    /// Of two picked at random the one that answers sooner, by the peaks of its recent times and what it has under way
    /// (`peak-ewma`).
    PeakEwma,
    /// Calls that are alike go to the same endpoint, unless it has far more to do than the others (`ring-hash`, also
    /// understood as `ip-hash`).
    RingHash,
}

/// One entry of `export_to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The site that may call.
    pub site: Name,
    /// Original callers that may, as SPIFFE ids or `sub:NAME`; empty means all of the site's.
    pub callers: Vec<String>,
}

/// Clocks of a call to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// To connect. Default 5 s.
    pub connect: Duration,
    /// For one attempt up to the reply's head. None: bounded by `total` only.
    pub per_try: Option<Duration>,
    /// For the whole call up to the reply's head, and for a unary gRPC or HTTP call up to its end. Default 30 s;
    /// streams and WebSockets are bounded up to the head only. `0s` in the file: none.
    pub total: Option<Duration>,
    /// Idle backend connections are closed after this. Default 60 s.
    pub idle: Duration,
}
