//! The configuration as the gateway uses it: every value here makes sense by itself and with the others.
//!
//! Only [`crate::load`] makes a [`Config`]; the file types that mirror what people write are in `file`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_pki::TrustDomain;

use crate::secret::Secret;

/// A name from the configuration: 1 to 63 characters of `a-z 0-9 - _ .`, starting with a letter or digit.
pub type Name = Arc<str>;

/// A whole, checked configuration of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub site: Site,
    /// Our certificate and whom we trust. Required when there are peers or a federation listener.
    pub identity: Option<IdentityFiles>,
    /// Where clients arrive.
    pub listeners: Vec<Listener>,
    /// Where peers' tunnels arrive.
    pub federation: Federation,
    /// Sites we are linked to.
    pub peers: Vec<Peer>,
    /// What calls can be sent to.
    pub services: Vec<Service>,
    /// Which call goes where; precedence is decided by the match, then by order.
    pub routes: Vec<Route>,
    /// The operator's port.
    pub admin: Admin,
    /// Traces, logs, metrics.
    pub telemetry: Telemetry,
    /// Bounds of everything.
    pub limits: Limits,
    /// The four clocks of client connections, and the deadline of a call.
    pub timeouts: Timeouts,
    /// How the gateway stops.
    pub drain: Drain,
    /// How names are resolved.
    pub dns: Dns,
    /// Traffic threads. Default: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Files this configuration was read from, to be watched for changes.
    pub sources: Vec<PathBuf>,
}

/// `[site]`.
#[derive(Clone, Debug)]
pub struct Site {
    /// The site's name, e.g. `aws`.
    pub name: Name,
    /// The trust domain our certificates are in, e.g. `aws.acme.example`.
    pub trust_domain: TrustDomain,
}

/// `[identity]`: reloaded when the files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
    /// Directory with one bundle file per trust domain.
    pub trust_bundles: PathBuf,
    /// Directory or file with CRLs (PEM), if revocation is used.
    pub revocations: Option<PathBuf>,
}

/// `[[listeners]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Name used in logs and metrics.
    pub name: Name,
    /// Address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// TLS to clients; none means clear text.
    pub tls: Option<ListenerTls>,
    /// Clients that may state addresses in `x-forwarded-for` and the like.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether RFC 8441 and RFC 6455 upgrades are accepted at all. Default: true.
    pub websocket: bool,
}

/// `tls = { certificates = [...] }` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Chosen by SNI; the first is the default.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate chain and its key as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
}

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Network address.
    pub address: std::net::IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// `[federation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// Where tunnels arrive; none for a site that only dials out.
    pub bind: Option<SocketAddr>,
    /// Calls a peer may have open on one tunnel. Default 1024.
    pub max_calls: u32,
    /// First receive window of a call in bytes. Default 65536.
    pub window: u32,
    /// Silence after which a ping is sent. Default 2 s; a tunnel is dead after three misses.
    pub ping_interval: Duration,
    /// Longest pause between attempts to connect. Default 30 s (first 100 ms, doubling, jittered).
    pub reconnect_max: Duration,
    /// Time to connect and shake hands. Default 5 s.
    pub handshake_timeout: Duration,
    /// Hops a call may take over sites. Default 4.
    pub max_hops: u8,
}

/// `[[peers]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's site name.
    pub site: Name,
    /// The trust domain its certificates are in.
    pub trust_domain: TrustDomain,
    /// Where to dial it; none when it dials us.
    pub discover: Option<Discover>,
}

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
    /// Who at other sites may use it. Default: nobody.
    pub export_to: Vec<Export>,
    /// `Host` / `:authority` sent to the backend. Default: what the client sent.
    pub host: Option<String>,
    /// Clocks of calls to it.
    pub timeouts: ServiceTimeouts,
    /// Tries after a failure that is safe to repeat. Default: 1 more than the first.
    pub retry: Retry,
    /// Connections per worker and endpoint. Default 256.
    pub max_connections: u32,
    /// Calls that may wait for a connection, per worker. Default 1024.
    pub max_pending: u32,
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

/// Attempts after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// All attempts, the first included. Default 2.
    pub attempts: u8,
    /// Retries allowed as a share of calls. Default 20 percent.
    pub budget_percent: u8,
}

/// `[[routes]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Used in logs, metrics and spans. Default: made from host and path.
    pub name: Name,
    /// Which calls.
    pub matches: Match,
    /// Where they go.
    pub to: Destination,
    /// Path rewriting before forwarding.
    pub rewrite: Option<Rewrite>,
    /// WebSocket only: origins that may connect (exact, or `*.example.com`); empty means any.
    pub origins: Vec<String>,
    /// Overrides the service's deadline.
    pub timeout: Option<Duration>,
    /// Overrides the service's `retry`.
    pub retry: Option<Retry>,
    /// Largest request body in bytes. Default: `limits.body`.
    pub max_body: Option<u64>,
}

/// `match = {...}`. An absent part matches everything.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Exact name, `*.suffix`, or absent. Lower case, without port.
    pub host: Option<String>,
    /// How the path must look.
    pub path: Option<PathMatch>,
    /// Methods, upper case; empty means any.
    pub methods: Vec<String>,
    /// Header conditions, all must hold; names in lower case.
    pub headers: Vec<(String, ValueMatch)>,
    /// Query parameter conditions, all must hold.
    pub query: Vec<(String, ValueMatch)>,
    /// `grpc = "package.Service"` or `"package.Service/Method"`.
    pub grpc: Option<GrpcMatch>,
    /// Only this client protocol.
    pub protocol: Option<Protocol>,
}

/// A pattern over the normalised path.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Segments, some captured: `/v1/orders/{id}`, `/v1/{rest*}`; an exact path has no captures.
    Pattern(Vec<Segment>),
    /// `path_prefix = "/v1"`: that path and everything below it.
    Prefix(String),
    /// `path_regex = "..."`: must match the whole path; linear time.
    Regex(regex::Regex),
}

/// One part of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `{name}`: one segment.
    Parameter(String),
    /// `{name*}`: all that is left, also nothing; last only.
    Rest(String),
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// Equal.
    Exact(String),
    /// Present with any value.
    Present,
    /// Matches as a whole.
    Regex(regex::Regex),
}

/// A gRPC service, or one of its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcMatch {
    /// Fully qualified service name.
    pub service: String,
    /// Method name, or all.
    pub method: Option<String>,
}

/// What a route points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One or several services by weight.
    Split(Vec<WeightedTarget>),
    /// A redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308. Default 308.
        status: u16,
        /// Absolute URL or path; `{param}` and `{rest*}` captures, and `{path}`, `{query}`, `{host}` are filled in.
        location: String,
    },
    /// A fixed answer.
    Fixed {
        /// Default 200.
        status: u16,
        /// Header fields.
        headers: BTreeMap<String, String>,
        /// Body text.
        body: String,
    },
}

/// A service with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedTarget {
    /// Which one.
    pub service: ServiceRef,
    /// Share relative to the others of the route; 0 means none.
    pub weight: u32,
}

/// `"orders"` or `"orders@azure"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    /// Service name, here or at the peer.
    pub service: Name,
    /// The peer that exports it; none: a service of this site.
    pub site: Option<Name>,
}

/// Path rewriting. What was matched is what is replaced; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// `rewrite = "/new/{rest*}"`: a template over the captures.
    Template(String),
    /// `strip_prefix = "/api"`.
    StripPrefix(String),
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Loopback only. Default `127.0.0.1:9000`.
    pub bind: SocketAddr,
    /// Serve `/metrics` alone here too, e.g. for a scraper on the network.
    pub metrics_bind: Option<SocketAddr>,
}

/// `[telemetry]`. The usual `OTEL_*` variables are read by the gateway and lie under these.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Where OTLP traces go; none: no traces (unless `OTEL_EXPORTER_OTLP_ENDPOINT` says so).
    pub otlp_endpoint: Option<String>,
    /// Header fields sent to it, names in lower case.
    pub otlp_headers: Vec<(String, Secret)>,
    /// `grpc` or `http`.
    pub otlp_protocol: OtlpProtocol,
    /// Share of new traces that are sampled, 0.0 to 1.0. Default 1.0; a parent's decision is followed.
    pub sample_ratio: f64,
    /// Whether clients' `traceparent` is continued. Default: `Accept`.
    pub trace_context: TraceContext,
    /// One JSON line per call.
    pub access_log: AccessLog,
    /// Spans kept in the process for `/traces`; none: no trace view.
    pub keep_spans: Option<NonZeroUsize>,
    /// Spans waiting for export. Default 2048; more are dropped and counted.
    pub queue: usize,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Port 4317 by convention.
    Grpc,
    /// Port 4318 by convention, protobuf.
    Http,
}

/// What to do with a client's `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceContext {
    /// Continue it.
    Accept,
    /// Start a new trace.
    Restart,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output. The default.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// `[limits]`: sizes in bytes unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections of the gateway. Default 20000.
    pub connections: usize,
    /// Request line and fields together. Default 32 KiB.
    pub head: usize,
    /// Number of fields. Default 100.
    pub fields: usize,
    /// Request target. Default 8 KiB.
    pub target: usize,
    /// Largest request body. Default none (streams are bounded by their windows).
    pub body: Option<u64>,
    /// Streams of one HTTP/2 connection. Default 128.
    pub http2_streams: u32,
    /// Largest frame of a WebSocket that is passed through. Default 16 MiB.
    pub websocket_frame: u64,
    /// Frames of one WebSocket message. Default 1024.
    pub websocket_fragments: u32,
    /// TLS handshakes under way. Default 1024.
    pub handshakes: usize,
    /// Memory the process should stay below; new calls are refused at 80 percent of it. Default 1 GiB.
    pub memory: u64,
}

/// `[timeouts]`: of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its end. Default 10 s.
    pub head: Duration,
    /// Longest pause of a request body. Default 30 s.
    pub body: Duration,
    /// Longest time a write makes no progress. Default 30 s.
    pub write: Duration,
    /// A connection without calls. Default 60 s.
    pub idle: Duration,
    /// A WebSocket without bytes either way. Default 10 min.
    pub websocket_idle: Duration,
    /// TLS handshake. Default 5 s.
    pub handshake: Duration,
}

/// `[drain]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Between failing readiness and closing listeners. Default 0 s.
    pub delay: Duration,
    /// What is left after this is cut and named in the log. Default 30 s.
    pub deadline: Duration,
}

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Servers to ask; empty: the system's (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// For one look-up. Default 2 s.
    pub timeout: Duration,
    /// Shortest time between look-ups of a name. Default 1 s.
    pub min_ttl: Duration,
    /// Longest time. Default 5 min.
    pub max_ttl: Duration,
    /// How long the last good answer is used when no new one can be had. Default 1 h.
    pub max_stale: Duration,
    /// Addresses taken from one answer. Default 256.
    pub max_endpoints: usize,
}
