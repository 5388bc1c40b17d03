//! The HTTP backend.
//!
//! | Request | Answer |
//! |---|---|
//! | `/bytes/N` | N bytes of [`pattern`](super::pattern), with a length |
//! | `/echo` | the body as it comes, while it comes |
//! | `/events?n=&ms=` | server-sent events |
//! | `/early` | an answer before the body is read |
//! | `/hang` | never; counted when it is cancelled |
//! | `/slow?ms=` | JSON after that long |
//! | `/status/N` | that status |
//! | `/stream?n=&ms=` | lines, one each `ms`, without a length |
//! | `/trailers` | a body with trailers, where the client says `te: trailers` |
//! | `/upload` | JSON with the length and CRC-32 of the body, and its trailers |
//! | `/counters` | JSON of [`Counters`] |
//! | anything else | JSON of the request |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use serde_json::json;
use tokio::net::TcpListener;

use super::checksum::{PIECE, crc32, pattern};
use super::serve::{self, Scope};
use super::{Counters, Waiting};

type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Largest body that is echoed inside JSON.
const ECHO: usize = 8 << 20;
/// Longest pause and largest count a query may ask for.
const LONGEST: u64 = 600_000;
/// Largest `/bytes/N`.
const LARGEST: u64 = 16 << 30;

/// Serves `listener` until the scope ends.
pub(super) fn start(listener: TcpListener, name: Arc<str>, counters: Arc<Counters>, scope: &Scope) {
    serve::accept(listener, scope, move |stream, stop| {
        let (name, counters) = (Arc::clone(&name), Arc::clone(&counters));
        let service = service_fn(move |request| {
            let (name, counters) = (Arc::clone(&name), Arc::clone(&counters));
            async move {
                counters.calls.fetch_add(1, Ordering::Relaxed);
                let head_only = request.method() == Method::HEAD;
                let mut reply = answer(request, &name, &counters).await.unwrap_or_else(|error| {
                    plain(StatusCode::BAD_REQUEST, format!("reading the request body: {error}\n"))
                });
                // hyper leaves it to us over HTTP/2 to send no body with an answer to HEAD.
                if head_only {
                    *reply.body_mut() = empty();
                }
                if let Ok(name) = HeaderValue::from_str(&name) {
                    reply.headers_mut().insert("demo-backend", name);
                }
                Ok::<_, Infallible>(reply)
            }
        });
        serve::http(stream, service, stop)
    });
}

async fn answer(request: Request<Incoming>, name: &str, counters: &Arc<Counters>) -> Result<Reply, hyper::Error> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let number = |key: &str, default| parameter(&query, key).unwrap_or(default).min(LONGEST);
    let (first, second) = path
        .strip_prefix('/')
        .unwrap_or_default()
        .split_once('/')
        .unwrap_or((&path, ""));
    Ok(match (first, second) {
        ("bytes", length) => match length.parse::<u64>() {
            Ok(length) if length <= LARGEST => bytes(length),
            _ => plain(StatusCode::BAD_REQUEST, format!("not a length: {length}\n")),
        },
        ("/echo", _) => {
            let kind = request.headers().get(header::CONTENT_TYPE).cloned();
            let mut reply = Response::new(request.into_body().map_err(io::Error::other).boxed_unsync());
            reply
                .headers_mut()
                .extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
            reply
        }
        ("/events", _) => events(number("n", 5), number("ms", 200)),
        ("/early", _) => early(request.into_body()),
        ("/hang", _) => {
            let _waiting = Waiting::begin(counters);
            std::future::pending().await
        }
        ("/slow", _) => {
            let waiting = Waiting::begin(counters);
            let pause = number("ms", 1000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            waiting.finish();
            json(&json!({ "slept_ms": pause }))
        }
        ("status", code) => match code.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok()) {
            // A final answer cannot be a 1xx.
            Some(status) if status.as_u16() >= 200 => plain(status, bodiless(status)),
            _ => plain(StatusCode::BAD_REQUEST, format!("not a status: {code}\n")),
        },
        ("/stream", _) => ticking(number("n", 10), number("ms", 100), "text/plain", |tick| {
            format!("tick {tick}\n")
        }),
        ("/trailers", _) => trailers(),
        ("/upload", _) => upload(request).await?,
        ("/counters", _) => json(&json!({
            "calls": counters.calls.load(Ordering::Relaxed),
            "waiting": counters.waiting.load(Ordering::Relaxed),
            "cancelled": counters.cancelled.load(Ordering::Relaxed),
        })),
        _ => describe(request, name).await?,
    })
}

/// Tells the client what arrived.
async fn describe(request: Request<Incoming>, name: &str) -> Result<Reply, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let mut collected = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data().map_err(Frame::into_trailers) {
            Ok(data) if collected.len() + data.len() > ECHO => {
                return Ok(plain(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("more than {ECHO} bytes; try /echo\n"),
                ));
            }
            Ok(data) => collected.extend_from_slice(&data),
            Err(Ok(fields)) => trailers.extend(fields),
            Err(Err(_)) => {}
        }
    }
    Ok(json(&json!({
        "backend": name,
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "version": format!("{:?}", head.version),
        "headers": listed(&head.headers),
        "trailers": listed(&trailers),
        "body": std::str::from_utf8(&collected).ok(),
        "body_bytes": collected.len(),
        "body_crc32": format!("{:08x}", crc32(0, &collected)),
    })))
}

async fn upload(request: Request<Incoming>) -> Result<Reply, hyper::Error> {
    let (mut length, mut crc, mut trailers) = (0_u64, 0, HeaderMap::new());
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        match frame?.into_data().map_err(Frame::into_trailers) {
            Ok(data) => {
                length += data.len() as u64;
                crc = crc32(crc, &data);
            }
            Err(Ok(fields)) => trailers.extend(fields),
            Err(Err(_)) => {}
        }
    }
    Ok(json(
        &json!({ "bytes": length, "crc32": format!("{crc:08x}"), "trailers": listed(&trailers) }),
    ))
}

/// Answers at once, and ends the answer when the request's body has ended: a server that closed instead would reset
/// the connection under a client that still sends.
fn early(body: Incoming) -> Reply {
    let text = Frame::data(Bytes::from_static(b"no need to read on\n"));
    let pieces = stream::unfold((Some(text), body), |(text, mut body)| async move {
        if let Some(text) = text {
            return Some((Ok(text), (None, body)));
        }
        while let Some(Ok(_)) = body.frame().await {}
        None
    });
    let mut reply = Response::new(StreamBody::new(pieces).boxed_unsync());
    *reply.status_mut() = StatusCode::FORBIDDEN;
    reply
}

fn bytes(length: u64) -> Reply {
    let piece = pattern(PIECE);
    let pieces = stream::unfold(length, move |left| {
        let next = piece.slice(..left.min(PIECE as u64) as usize);
        async move { (left > 0).then(|| (Ok(Frame::data(next.clone())), left - next.len() as u64)) }
    });
    let mut reply = Response::new(StreamBody::new(pieces).boxed_unsync());
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    reply
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

fn events(count: u64, pause: u64) -> Reply {
    ticking(count, pause, "text/event-stream", |tick| {
        format!("id: {tick}\nevent: tick\ndata: {{\"tick\":{tick}}}\n\n")
    })
}

/// `count` pieces, the first at once, the others each after `pause` milliseconds.
fn ticking(count: u64, pause: u64, kind: &'static str, text: impl Fn(u64) -> String + Send + Copy + 'static) -> Reply {
    let ticks = stream::unfold(0, move |tick| async move {
        if tick >= count {
            return None;
        }
        if tick > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Some((Ok(Frame::data(Bytes::from(text(tick)))), tick + 1))
    });
    let mut reply = Response::new(StreamBody::new(ticks).boxed_unsync());
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn trailers() -> Reply {
    let mut fields = HeaderMap::new();
    fields.insert("demo-checksum", HeaderValue::from_static("crc32:3610a686"));
    fields.insert("demo-note", HeaderValue::from_static("after the body"));
    let frames = [Frame::data(Bytes::from_static(b"hello")), Frame::trailers(fields)];
    let mut reply = Response::new(StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync());
    reply
        .headers_mut()
        .insert(header::TRAILER, HeaderValue::from_static("demo-checksum, demo-note"));
    reply
}

fn json(value: &serde_json::Value) -> Reply {
    let mut reply = Response::new(full(format!("{value}\n")));
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn plain(status: StatusCode, text: String) -> Reply {
    let mut reply = Response::new(if text.is_empty() { empty() } else { full(text) });
    *reply.status_mut() = status;
    reply
}

/// What a bare status says; 204 and 304 have no body (RFC 9110 section 6.4.1).
fn bodiless(status: StatusCode) -> String {
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT => String::new(),
        other => format!("{other}\n"),
    }
}

fn full(text: String) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> UnsyncBoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Fields by name, values in order, whatever bytes they have.
fn listed(fields: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut listed = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in fields {
        listed
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    listed
}

fn parameter(query: &str, key: &str) -> Option<u64> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)?
        .1
        .parse()
        .ok()
}
