//! Spans of calls by the OpenTelemetry conventions for HTTP (stable) and RPC (1.42), from a [`CallRecord`].
//!
//! Names come from the conventions' crate, so that a rename there is seen here; `causeway.*` are ours.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::SystemTime;

use causeway_protocols::{Code, FailureKind, Protocol};
use opentelemetry_semantic_conventions::attribute as otel;

use super::{Kind, SpanRecord, Status, Value};
use crate::telemetry::metrics::Outcome;
use crate::telemetry::record::{CallRecord, is_server_error};
use crate::telemetry::trace::TraceContext;

/// Longest attribute value, in bytes.
pub const TEXT: usize = 1024;

/// Route of a call.
pub const ROUTE: &str = "causeway.route";
/// Service a call was sent to.
pub const SERVICE: &str = "causeway.service";
/// Endpoint of a service.
pub const ENDPOINT: &str = "causeway.endpoint";
/// Site at the other end of a tunnel.
pub const PEER: &str = "causeway.peer.site";
/// Why the gateway answered itself.
pub const REASON: &str = "causeway.reason";

/// Names of query parameters whose values are credentials by convention.
const SECRET_PARAMETERS: [&str; 7] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
];

/// The SERVER span of a call, at either site.
pub fn server(call: &CallRecord<'_>) -> SpanRecord {
    let mut span = SpanRecord::new(call.context.clone(), Kind::Server, "", call.started);
    span.parent = call.parent;
    span.parent_is_remote = call.parent.is_some();
    span.end = call.ended();
    span.attributes.reserve(20);
    if call.protocol == Protocol::Grpc {
        // A method counts as known once it was routed and not told UNIMPLEMENTED; anything else could be made up.
        let known = call.route.is_some() && !matches!(call.grpc, Some(Code::Unimplemented) | None);
        span.name = rpc_method(&mut span, call.path, known);
    } else {
        span.name = http_method(&mut span, call.method);
        if let Some(pattern) = call.pattern {
            span.name = Cow::Owned(format!("{} {pattern}", span.name));
            span.set(otel::HTTP_ROUTE, text(pattern));
        }
        span.set(otel::URL_SCHEME, call.scheme.label());
        span.set(otel::URL_PATH, text(call.path));
        if let Some(query) = call.query {
            span.set(otel::URL_QUERY, redact(query));
        }
        if call.status != 0 {
            span.set(otel::HTTP_RESPONSE_STATUS_CODE, i64::from(call.status));
        }
        if let Some(agent) = call.user_agent {
            span.set(otel::USER_AGENT_ORIGINAL, text(&String::from_utf8_lossy(agent)));
        }
        if let Some(client) = call.client {
            span.set(otel::CLIENT_ADDRESS, client.ip().to_string());
        }
    }
    server_address(&mut span, call.host);
    peer_address(&mut span, call.network_peer);
    span.set(otel::NETWORK_PROTOCOL_VERSION, text(call.version));
    for (name, value) in [
        (ROUTE, call.route),
        (SERVICE, call.service),
        (ENDPOINT, call.endpoint),
        (PEER, call.peer),
    ] {
        if let Some(value) = value {
            span.set(name, text(value));
        }
    }
    if let Some(failure) = call.failure {
        span.set(REASON, text(failure.reason));
    }
    let error = match (call.failure, call.grpc) {
        (Some(failure), _) => Some(Cow::Borrowed(failure.kind.label())),
        (None, Some(code)) if is_server_error(code) => Some(code_name(code)),
        (None, None) if call.status >= 500 => Some(Cow::Owned(call.status.to_string())),
        _ => None,
    };
    let is_error = match call.outcome() {
        Outcome::ServerError => true,
        // Refused, not found, too large: the client's fault, and no error of this server.
        Outcome::Failed => match call.protocol {
            Protocol::Grpc => call.grpc.is_some_and(is_server_error),
            Protocol::Http | Protocol::WebSocket => !(400..500).contains(&call.status),
        },
        Outcome::Ok | Outcome::ClientError | Outcome::Cancelled => false,
    };
    if let Some(code) = call.grpc {
        span.set(otel::RPC_RESPONSE_STATUS_CODE, Value::Text(code_name(code)));
    }
    if is_error {
        span.set(otel::ERROR_TYPE, Value::Text(error.unwrap_or(Cow::Borrowed("_OTHER"))));
        span.status = Status::Error(Cow::Owned(
            call.failure
                .map_or_else(String::new, |failure| cut(failure.reason).to_owned()),
        ));
    }
    span
}

/// One attempt to send a call on: to a backend, or through a tunnel. Each attempt is a span of its own.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The attempt's own span: what the next hop was told as its parent.
    pub context: &'a TraceContext,
    /// When it was sent.
    pub started: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
    /// What the next hop speaks.
    pub protocol: Protocol,
    /// `1.1`, `2`, `3`; `causeway/1` through a tunnel.
    pub version: &'a str,
    /// As sent.
    pub method: &'a str,
    /// Scheme, authority, path and query as sent.
    pub scheme: &'a str,
    /// Host and port that was dialled, or the host of the call.
    pub host: &'a str,
    /// Path as sent.
    pub path: &'a str,
    /// Without `?`.
    pub query: Option<&'a str>,
    /// Address of the endpoint.
    pub address: Option<SocketAddr>,
    /// Service and endpoint by name.
    pub service: Option<&'a str>,
    /// Site, when it went through a tunnel.
    pub peer: Option<&'a str>,
    /// 0 for the first attempt.
    pub resend: u32,
    /// Status of the answer; none when there was none.
    pub status: Option<u16>,
    /// Status of a gRPC answer.
    pub grpc: Option<Code>,
    /// Why there was no answer, or not a whole one.
    pub failure: Option<(FailureKind, &'a str)>,
}

/// The CLIENT span of one attempt, whose parent is the span of the call.
pub fn client(attempt: &Attempt<'_>, parent: &TraceContext) -> SpanRecord {
    let mut span = SpanRecord::new(attempt.context.clone(), Kind::Client, "", attempt.started);
    span.parent = Some(parent.span_id);
    span.end = attempt.ended;
    span.attributes.reserve(16);
    if attempt.protocol == Protocol::Grpc {
        let known = !matches!(attempt.grpc, Some(Code::Unimplemented) | None);
        span.name = rpc_method(&mut span, attempt.path, known);
    } else {
        span.name = http_method(&mut span, attempt.method);
        let mut url = format!("{}://{}{}", attempt.scheme, host_only(attempt.host), attempt.path);
        if let Some(query) = attempt.query {
            url.push('?');
            url.push_str(&redact(query));
        }
        span.set(otel::URL_FULL, text(&url));
        if let Some(status) = attempt.status {
            span.set(otel::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
        }
        if attempt.resend > 0 {
            span.set(otel::HTTP_REQUEST_RESEND_COUNT, i64::from(attempt.resend));
        }
    }
    server_address(&mut span, attempt.host);
    peer_address(&mut span, attempt.address);
    span.set(otel::NETWORK_PROTOCOL_VERSION, text(attempt.version));
    if let Some(service) = attempt.service {
        span.set(otel::SERVICE_PEER_NAME, text(service));
    }
    if let Some(peer) = attempt.peer {
        span.set(PEER, text(peer));
    }
    if let Some(code) = attempt.grpc {
        span.set(otel::RPC_RESPONSE_STATUS_CODE, Value::Text(code_name(code)));
    }
    let error = match (attempt.failure, attempt.grpc, attempt.status) {
        (Some((FailureKind::Cancelled, _)), _, _) => None,
        (Some((kind, _)), _, _) => Some(Cow::Borrowed(kind.label())),
        (None, Some(Code::Ok), _) => None,
        (None, Some(code), _) => Some(code_name(code)),
        (None, None, Some(status)) if status >= 400 => Some(Cow::Owned(status.to_string())),
        (None, None, _) => None,
    };
    if let Some(error) = error {
        span.set(otel::ERROR_TYPE, Value::Text(error));
        let reason = attempt.failure.map_or("", |(_, reason)| cut(reason));
        span.status = Status::Error(Cow::Owned(reason.to_owned()));
    }
    span
}

/// Sets the method and gives the name of the span: `HTTP` for one that nobody knows.
fn http_method(span: &mut SpanRecord, method: &str) -> Cow<'static, str> {
    let known = crate::telemetry::metrics::METHODS
        .iter()
        .find(|known| **known == method);
    if let Some(known) = known {
        span.set(otel::HTTP_REQUEST_METHOD, *known);
        Cow::Borrowed(known)
    } else {
        span.set(otel::HTTP_REQUEST_METHOD, "_OTHER");
        span.set(otel::HTTP_REQUEST_METHOD_ORIGINAL, text(method));
        Cow::Borrowed("HTTP")
    }
}

/// Sets system and method and gives the name of the span.
fn rpc_method(span: &mut SpanRecord, path: &str, known: bool) -> Cow<'static, str> {
    let method = path.strip_prefix('/').unwrap_or(path);
    span.set(otel::RPC_SYSTEM_NAME, "grpc");
    if known {
        span.set(otel::RPC_METHOD, text(method));
        Cow::Owned(cut(method).to_owned())
    } else {
        span.set(otel::RPC_METHOD, "_OTHER");
        span.set(otel::RPC_METHOD_ORIGINAL, text(method));
        Cow::Borrowed("grpc")
    }
}

fn server_address(span: &mut SpanRecord, authority: &str) {
    let authority = host_only(authority);
    let (host, port) = match authority.rsplit_once(':') {
        // `[::1]:80`, but not `[::1]`.
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse::<u16>().ok())
        }
        _ => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if !host.is_empty() {
        span.set(otel::SERVER_ADDRESS, text(host));
    }
    if let Some(port) = port {
        span.set(otel::SERVER_PORT, i64::from(port));
    }
}

fn peer_address(span: &mut SpanRecord, address: Option<SocketAddr>) {
    if let Some(address) = address {
        span.set(otel::NETWORK_PEER_ADDRESS, address.ip().to_string());
        span.set(otel::NETWORK_PEER_PORT, i64::from(address.port()));
    }
}

/// Without `user:password@`.
fn host_only(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// A query with the values of credentials blotted out.
pub(crate) fn redact(query: &str) -> String {
    let query = cut(query);
    let mut text = String::with_capacity(query.len());
    for (place, parameter) in query.split('&').enumerate() {
        if place > 0 {
            text.push('&');
        }
        match parameter.split_once('=') {
            Some((name, _)) if SECRET_PARAMETERS.iter().any(|secret| secret.eq_ignore_ascii_case(name)) => {
                text.push_str(name);
                text.push_str("=REDACTED");
            }
            _ => text.push_str(parameter),
        }
    }
    text
}

/// The status as the conventions write it: `DEADLINE_EXCEEDED`.
fn code_name(code: Code) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    })
}

fn text(value: &str) -> Value {
    Value::Text(Cow::Owned(cut(value).to_owned()))
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(TEXT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}
