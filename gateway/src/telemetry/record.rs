//! What is known of a call when it has ended: the one source of its span, its metrics and its line in the access log.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use causeway_protocols::{Code, FailureKind, Protocol, Scheme};

use super::metrics::Outcome;
use super::trace::TraceContext;

/// A call that has ended. Borrows everything: filling it in allocates nothing.
#[derive(Clone, Debug)]
pub struct CallRecord<'a> {
    /// When the head had arrived.
    pub started: SystemTime,
    /// Until the reply's payload ended.
    pub duration: Duration,
    /// Listener it came in by, or the name of the tunnel's peer.
    pub listener: &'a str,
    /// What the client speaks.
    pub protocol: Protocol,
    /// How the client reached the entry site.
    pub scheme: Scheme,
    /// `1.1`, `2` or `3`; `causeway/1` for a call out of a tunnel.
    pub version: &'a str,
    /// As sent.
    pub method: &'a str,
    /// Authority without user information.
    pub host: &'a str,
    /// Normalised.
    pub path: &'a str,
    /// Without `?`.
    pub query: Option<&'a str>,
    /// Name of the route, or of the export.
    pub route: Option<&'a str>,
    /// The route's path as written in the configuration, e.g. `/v1/orders/{rest*}`.
    pub pattern: Option<&'a str>,
    /// Where it was sent.
    pub service: Option<&'a str>,
    /// Endpoint of the last attempt.
    pub endpoint: Option<&'a str>,
    /// Site it came from or went to through a tunnel.
    pub peer: Option<&'a str>,
    /// What an HTTP client was told; 0 when it was told nothing.
    pub status: u16,
    /// What a gRPC client was told.
    pub grpc: Option<Code>,
    /// Payload bytes from the client.
    pub bytes_in: u64,
    /// Payload bytes to the client.
    pub bytes_out: u64,
    /// How often it was sent to a backend.
    pub attempts: u32,
    /// Why the gateway answered itself, or cut the call.
    pub failure: Option<Failure<'a>>,
    /// The policy that would have refused it, but for its dry run.
    pub would_be_refused: Option<&'a str>,
    /// The name of who made it, where that is proven.
    pub principal: Option<&'a str>,
    /// Span of this call.
    pub context: &'a TraceContext,
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    /// `x-request-id`.
    pub request_id: Option<&'a str>,
    /// The client, after trusted proxies.
    pub client: Option<SocketAddr>,
    /// The other end of the socket.
    pub network_peer: Option<SocketAddr>,
    /// As sent.
    pub user_agent: Option<&'a [u8]>,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The kind, which the client is told too.
    pub kind: FailureKind,
    /// For the operator: what, where, why.
    pub reason: &'a str,
}

impl<'a> CallRecord<'a> {
    /// A call of which only the head is known.
    pub fn new(context: &'a TraceContext, started: SystemTime) -> Self {
        Self {
            started,
            duration: Duration::ZERO,
            listener: "",
            protocol: Protocol::Http,
            scheme: Scheme::Http,
            version: "1.1",
            method: "",
            host: "",
            path: "",
            query: None,
            route: None,
            pattern: None,
            service: None,
            endpoint: None,
            peer: None,
            status: 0,
            grpc: None,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            failure: None,
            would_be_refused: None,
            principal: None,
            context,
            parent: None,
            request_id: None,
            client: None,
            network_peer: None,
            user_agent: None,
        }
    }

    /// How it ended, for the counter.
    pub fn outcome(&self) -> Outcome {
        match (&self.failure, self.grpc) {
            (Some(failure), _) if failure.kind == FailureKind::Cancelled => Outcome::Cancelled,
            (Some(_), _) => Outcome::Failed,
            (None, Some(Code::Ok)) => Outcome::Ok,
            (None, Some(Code::Cancelled)) => Outcome::Cancelled,
            (None, Some(code)) if is_server_error(code) => Outcome::ServerError,
            (None, Some(_)) => Outcome::ClientError,
            (None, None) => match self.status {
                400..=499 => Outcome::ClientError,
                500..=599 => Outcome::ServerError,
                _ => Outcome::Ok,
            },
        }
    }

    /// When it ended.
    pub fn ended(&self) -> SystemTime {
        self.started.checked_add(self.duration).unwrap_or(self.started)
    }
}

/// Statuses that a SERVER span shows as an error (OpenTelemetry RPC conventions).
pub(crate) fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}
