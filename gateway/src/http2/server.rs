//! HTTP/2 with a client: each stream is a call, in a task of its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_protocols::{FailureKind, Length, Protocol, Scheme};
use futures_util::FutureExt;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;

use super::batch::BatchedSocket;
use super::{CONNECTION_WINDOW, Http2Body, Http2Outlet, SEND_BUFFER, STREAM_WINDOW, head};
use crate::call::{Call, Reply};
use crate::context::{CallContext, Caller, MAX_ATTEMPTS};
use crate::drain::{Guard, Stage};
use crate::edge;
use crate::error::CallError;
use crate::http1::{Http1Connection, Side};
use crate::listen::Origin;
use crate::listen::exchange::Exchange;
use crate::observe::Version;
use crate::payload::{Body, Broken, Outlet};
use crate::policy;
use crate::refuse::refuse;
use crate::serve::serve_client;
use crate::worker::Worker;

/// Streams that clients opened and reset before we looked at them (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that clients made us reset, over the life of a connection (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 1024;

/// Serves the streams of a connection until it ends.
pub async fn serve(connection: Rc<Http1Connection>, origin: Origin, worker: Rc<Worker>, guard: Guard) {
    let world = worker.world();
    let (limits, timeouts) = (&world.snapshot.config.limits, world.snapshot.config.timeouts);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_PENDING_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .enable_connect_protocol();
    let socket = Rc::clone(connection.socket());
    socket.read_within(timeouts.head);
    let io = BatchedSocket::new(Rc::clone(&socket), connection.take_buffered());
    let handshake = builder.handshake::<_, Bytes>(io).await;
    socket.read_freely();
    let mut http2 = match handshake {
        Ok(http2) => http2,
        Err(error) => {
            tracing::debug!(%error, client = %origin.peer, "HTTP/2 handshake failed");
            return;
        }
    };
    drop(world);
    let scheme = if socket.is_tls() { Scheme::Https } else { Scheme::Http };
    let streams = Rc::new(Cell::new(0usize));
    let idle = worker.clock.timer();
    let mut draining = pin!(guard.reached(Stage::Draining));
    let mut going = false;
    idle.arm(timeouts.idle);
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if !going && (draining.as_mut().poll(cx).is_ready() || (streams.get() == 0 && idle.poll(cx).is_ready())) {
                going = true;
                http2.graceful_shutdown();
            }
            if streams.get() > 0 {
                idle.arm(timeouts.idle);
                // Waiting registers the waker, so that the idle clock is looked at when it comes.
                let _ = idle.poll(cx);
            }
            http2.poll_accept(cx)
        })
        .await;
        let (request, respond) = match accepted {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                tracing::debug!(%error, client = %origin.peer, "HTTP/2 connection failed");
                break;
            }
            None => break,
        };
        let counted = Counted::new(&streams);
        let (origin, worker, guard) = (origin.clone(), Rc::clone(&worker), guard.clone());
        tokio::task::spawn_local(async move {
            let peer = origin.peer;
            let served = AssertUnwindSafe(serve_stream(request, respond, origin, worker, scheme));
            if served.catch_unwind().await.is_err() {
                tracing::error!(client = %peer, "a call panicked; its stream is reset");
            }
            drop((counted, guard));
        });
    }
}

struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn serve_stream(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    origin: Origin,
    worker: Rc<Worker>,
    scheme: Scheme,
) {
    let started = Instant::now();
    let world = worker.world();
    let (parts, stream) = request.into_parts();
    let ended = stream.is_end_stream();
    let limits = head::Limits {
        fields: world.snapshot.config.limits.fields,
        target: world.snapshot.config.limits.target,
    };
    let mut head = match head::request(&parts, scheme, ended, limits) {
        Ok(head) => head,
        Err(error) => {
            let kind = FailureKind::BadRequest;
            worker
                .observer
                .refused_head(kind, kind.status(), &origin, &error.to_string());
            let grpc = parts.headers.get(http::header::CONTENT_TYPE);
            let grpc = grpc.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
            let protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
            let reply = refuse(
                protocol,
                &CallError::new(FailureKind::BadRequest, error.to_string()),
                None,
            );
            send_whole(reply, &mut respond);
            return;
        }
    };
    drop(parts);
    let address = worker.client_address(&origin, &head.call.fields);
    edge::strip_request(&mut head.call.fields);
    let record = worker.observer.begin(&mut head.call, &origin, Version::Http2);
    let timeouts = world.snapshot.config.timeouts;
    let protocol = head.call.protocol;
    let context = Rc::new(CallContext {
        worker: Rc::clone(&worker),
        world: Rc::clone(&world),
        caller: Caller::Client {
            address,
            listener: Rc::clone(&origin.listener),
        },
        protocol,
        started,
        deadline: Cell::new(head.timeout.and_then(|left| started.checked_add(left))),
        attempts: Cell::new(MAX_ATTEMPTS),
        visited: Vec::new(),
        timer: worker.clock.timer(),
        record: RefCell::new(record),
    });
    let body = if ended {
        Body::Empty
    } else {
        let promised = match head.call.length {
            Length::Exactly(length) => Some(length),
            _ => None,
        };
        let limit = policy::max_body(None, &world.snapshot.config.limits);
        let body = Http2Body::new(stream, Side::Client, limit, promised);
        // A gRPC stream may be silent for as long as it likes; a request that says its length has no reason to.
        Body::Http2(match (protocol, promised) {
            (Protocol::WebSocket, _) => body.with_pause(worker.clock.timer(), timeouts.websocket_idle),
            (Protocol::Http, Some(_)) => body.with_pause(worker.clock.timer(), timeouts.body),
            _ => body,
        })
    };
    let is_head = head.call.method == http::Method::HEAD;
    let call = pin!(serve_client(Call { head: head.call, body }, &context));
    let served = until_reset(call, &mut respond).await;
    let Some(mut reply) = served else {
        context
            .record
            .borrow_mut()
            .failed(&CallError::new(FailureKind::Cancelled, "the client reset the stream"));
        return;
    };
    edge::strip_reply(&mut reply.head);
    context
        .record
        .borrow_mut()
        .answered(reply.head.status, &reply.head.fields);
    answer(reply, respond, &context, is_head, timeouts.write).await;
}

/// Runs the call unless the client resets its stream first; then dropping it cancels it everywhere.
async fn until_reset(
    mut call: Pin<&mut impl Future<Output = Reply>>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Reply> {
    std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(reply) => Poll::Ready(Some(reply)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    })
    .await
}

async fn answer(
    reply: Reply,
    mut respond: SendResponse<Bytes>,
    context: &Rc<CallContext>,
    is_head: bool,
    stall: Duration,
) {
    let bodiless = is_head || reply.head.length == Length::Empty || reply.body.is_empty();
    let head = head::to_client(&reply.head);
    let stream = match respond.send_response(head, bodiless) {
        Ok(stream) => stream,
        Err(error) => {
            let error = CallError::new(FailureKind::Cancelled, format!("answering the client: {error}"));
            context.record.borrow_mut().failed(&error);
            return;
        }
    };
    let outlet = if bodiless {
        // Held until the end: dropping the stream of a finished reply would reset what the client still sends.
        Outlet::Discard
    } else {
        Outlet::Http2(Http2Outlet::new(stream, Side::Client).with_stall(context.worker.clock.timer(), stall))
    };
    let mut exchange = Exchange::new(reply, outlet, Rc::clone(context));
    std::future::poll_fn(|cx| {
        if exchange.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // A client that goes away while the backend is silent.
        match respond.poll_reset(cx) {
            Poll::Ready(Ok(Reason::NO_ERROR)) | Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                exchange.cut(Broken::new(FailureKind::Cancelled, "the client reset the stream"));
                Poll::Ready(())
            }
        }
    })
    .await;
}

/// Sends a reply whose body is at hand.
fn send_whole(reply: Reply, respond: &mut SendResponse<Bytes>) {
    let body = match reply.body {
        Body::Bytes(bytes) => bytes,
        _ => Bytes::new(),
    };
    // If the client is gone, nobody is left to tell.
    if let Ok(mut stream) = respond.send_response(head::to_client(&reply.head), body.is_empty())
        && !body.is_empty()
    {
        stream.send_data(body, true).ok();
    }
}
