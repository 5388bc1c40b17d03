//! What the admin port answers.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use serde_json::json;

use super::change::change;
use super::{Check, Shared, Surface};
use crate::telemetry::metrics::Format;
use crate::telemetry::span::json as spans;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const TOML: &str = "application/toml; charset=utf-8";

/// Reads a body only where something is to be changed.
pub(super) async fn answer<B>(request: Request<B>, surface: Surface, shared: &Shared) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    // A scraper on the network calls us by any name, and a program that may open the socket may say what it likes.
    if surface == Surface::Read
        && let Err(problem) = from_this_machine(&request, &shared.hosts)
    {
        return reply(StatusCode::FORBIDDEN, TEXT, format!("{problem}\n"));
    }
    let path = request.uri().path();
    if surface == Surface::Metrics && path != "/metrics" {
        return reply(StatusCode::NOT_FOUND, TEXT, "only /metrics is here\n");
    }
    match path {
        "/reload" | "/drain" | "/purge" => return change(request, surface, shared).await,
        "/" | "/config" | "/livez" | "/metrics" | "/mirrors" | "/readyz" | "/startupz" | "/status" | "/traces" => {}
        _ => return reply(StatusCode::NOT_FOUND, TEXT, "nothing here; see /\n"),
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD", "only GET and HEAD\n");
    }
    let verbose = request.uri().query().is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    match path {
        "/livez" => reply(StatusCode::OK, TEXT, "ok\n"),
        "/metrics" => {
            let format = accepted(request.headers());
            let text = shared.parts.registry.render(format, Instant::now());
            reply(StatusCode::OK, format.content_type(), text)
        }
        "/readyz" => readiness(&shared.checks(), verbose),
        "/startupz" => {
            let checks = shared.checks();
            if shared.started.load(Ordering::Relaxed) {
                reply(StatusCode::OK, TEXT, "ok\n")
            } else {
                readiness(&checks, verbose)
            }
        }
        "/config" => reply(StatusCode::OK, TOML, shared.parts.source.config()),
        "/mirrors" => reply(StatusCode::OK, JSON, format!("{:#}\n", shared.parts.source.mirrors())),
        "/status" => reply(StatusCode::OK, JSON, format!("{:#}\n", shared.parts.source.status())),
        "/traces" => match &shared.parts.memory {
            Some(memory) => {
                let all: Vec<_> = memory.spans().iter().map(|span| spans::span(span)).collect();
                reply(StatusCode::OK, JSON, format!("{}\n", json!({ "spans": all })))
            }
            None => reply(StatusCode::NOT_FOUND, TEXT, "spans are not kept in this process\n"),
        },
        _ => reply(
            StatusCode::OK,
            TEXT,
            "/livez\n/readyz?verbose\n/startupz\n/metrics\n/status\n/config\n/mirrors\n/traces\n",
        ),
    }
}

fn readiness(checks: &[Check], verbose: bool) -> Response<Full<Bytes>> {
    let ready = checks.iter().all(|check| check.problem.is_none());
    let mut text = String::new();
    for check in checks {
        match &check.problem {
            Some(problem) => text.push_str(&format!("[-] {}: {}\n", one_line(&check.name), one_line(problem))),
            None if verbose => text.push_str(&format!("[+] {}\n", one_line(&check.name))),
            None => {}
        }
    }
    text.push_str(if ready { "ok\n" } else { "not ready\n" });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply(status, TEXT, text)
}

/// A problem may quote what a peer said.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    Format::of_accept(&accept.join(","))
}

/// Exactly one `Host`, which names this machine; the same for the target and for `Origin` where they name one.
fn from_this_machine<B>(request: &Request<B>, hosts: &[String]) -> Result<(), &'static str> {
    let mut named = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return Err("one Host field is needed");
    };
    let refused = "Host does not name this machine: use localhost, or list the name in the configuration";
    let allowed = |authority: &str| is_allowed(authority, hosts);
    if !host.to_str().is_ok_and(allowed) {
        return Err(refused);
    }
    if request
        .uri()
        .authority()
        .is_some_and(|authority| !allowed(authority.as_str()))
    {
        return Err(refused);
    }
    for origin in request.headers().get_all(ORIGIN) {
        let of_this_machine = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, authority)| allowed(authority));
        if !of_this_machine {
            return Err("Origin is another site");
        }
    }
    Ok(())
}

fn is_allowed(authority: &str, hosts: &[String]) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let host = host.to_ascii_lowercase();
    let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port_is_fine && (host == "localhost" || loopback || hosts.contains(&host))
}

pub(super) fn not_allowed(methods: &'static str, text: &'static str) -> Response<Full<Bytes>> {
    let mut reply = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

pub(super) fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
