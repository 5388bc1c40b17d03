//! A backend that does as it is told, over HTTP/1.1 and HTTP/2, gRPC included.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use crate::support::runtime;

/// What it does with calls, and what it has seen. Paths under `/health`, and `grpc.health.v1`, are checks.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// Answers calls with this status; 0 is 200.
    pub(crate) status: AtomicU16,
    /// Answers gRPC calls with this code.
    pub(crate) code: AtomicI32,
    /// Whether the code comes after a message, in trailers, and not at once.
    pub(crate) late: AtomicBool,
    /// Fails so many more calls with `status`, then no more; -1 for all.
    pub(crate) failing: AtomicI32,
    /// Milliseconds before it answers a call.
    pub(crate) pause: AtomicU64,
    /// Checks fail.
    pub(crate) unwell: AtomicBool,
    /// Connections are closed at once.
    pub(crate) shut: AtomicBool,
    /// A field of failing replies.
    pub(crate) field: Mutex<Option<(&'static str, String)>>,
    /// Calls seen, checks not counted.
    pub(crate) calls: AtomicU32,
    /// Calls under way.
    pub(crate) under_way: AtomicU32,
    /// The most calls that were under way at a time.
    pub(crate) most: AtomicU32,
    /// Checks seen.
    pub(crate) checks: AtomicU32,
    /// Connections that stand.
    pub(crate) connections: AtomicU32,
    /// The most connections that stood at a time.
    pub(crate) most_connections: AtomicU32,
    /// Connections that were made.
    pub(crate) connected: AtomicU32,
}

/// A running backend.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) does: Arc<Behaviour>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let does = Arc::new(Behaviour::default());
        does.failing.store(-1, Ordering::Relaxed);
        let told = Arc::clone(&does);
        runtime().spawn(accept(listener, told));
        Self { address, does }
    }

    /// Calls seen.
    pub(crate) fn calls(&self) -> u32 {
        self.does.calls.load(Ordering::Relaxed)
    }

    /// Answers with this status from now on.
    pub(crate) fn answers(&self, status: u16) {
        self.does.status.store(status, Ordering::Relaxed);
    }
}

/// Counts something up to its end, and the most of it.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32, most: &AtomicU32) -> Self {
        let now = count.fetch_add(1, Ordering::Relaxed) + 1;
        most.fetch_max(now, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, does: Arc<Behaviour>) {
    while let Ok((stream, _)) = listener.accept().await {
        if does.shut.load(Ordering::Relaxed) {
            continue;
        }
        does.connected.fetch_add(1, Ordering::Relaxed);
        let does = Arc::clone(&does);
        runtime().spawn(async move {
            let _counted = Counted::new(&does.connections, &does.most_connections);
            let told = Arc::clone(&does);
            let service = service_fn(move |request| answer(request, Arc::clone(&told)));
            let server = auto::Builder::new(TokioExecutor::new());
            // A connection may end at any point.
            let _ended = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn body(frames: Vec<Frame<Bytes>>) -> Body {
    let frames = frames.into_iter().map(Ok::<_, Infallible>);
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

async fn answer(request: Request<Incoming>, does: Arc<Behaviour>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/grpc");
    if path.starts_with("/health") || path == "/grpc.health.v1.Health/Check" {
        does.checks.fetch_add(1, Ordering::Relaxed);
        let unwell = does.unwell.load(Ordering::Relaxed);
        if grpc {
            let status = if unwell { 2 } else { 1 };
            return Ok(reply_grpc(vec![0, 0, 0, 0, 2, 8, status], 0));
        }
        let status = if unwell { 503 } else { 204 };
        return Ok(Response::builder().status(status).body(body(Vec::new())).unwrap());
    }
    does.calls.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted::new(&does.under_way, &does.most);
    let sent = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let pause = does.pause.load(Ordering::Relaxed);
    if pause > 0 {
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let fails = does
        .failing
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
            -1 => Some(-1),
            0 => None,
            left => Some(left - 1),
        })
        .is_ok();
    if grpc {
        let code = if fails { does.code.load(Ordering::Relaxed) } else { 0 };
        let message = if code != 0 && !does.late.load(Ordering::Relaxed) {
            Vec::new()
        } else {
            vec![0, 0, 0, 0, 0]
        };
        return Ok(reply_grpc(message, code));
    }
    let status = match does.status.load(Ordering::Relaxed) {
        0 => 200,
        _ if !fails => 200,
        status => status,
    };
    let mut reply = Response::builder().status(status);
    if status != 200
        && let Some((name, value)) = &*does.field.lock().unwrap()
    {
        reply = reply.header(*name, value);
    }
    // Whoever sends something gets it back.
    let sent = sent.unwrap_or_default();
    let text = if sent.is_empty() {
        Bytes::from_static(b"ok")
    } else {
        sent
    };
    Ok(reply.body(body(vec![Frame::data(text)])).unwrap())
}

/// A gRPC reply; without a message the code comes in the head.
fn reply_grpc(message: Vec<u8>, code: i32) -> Response<Body> {
    let head = Response::builder().header("content-type", "application/grpc");
    if message.is_empty() {
        return head.header("grpc-status", code).body(body(Vec::new())).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    let frames = vec![Frame::data(message.into()), Frame::trailers(trailers)];
    head.body(body(frames)).unwrap()
}
