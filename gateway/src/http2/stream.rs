//! One stream of a client: its request's head in, its call along the path, its reply out.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use causeway_protocols::{FailureKind, Length, Protocol, Scheme};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, StatusCode};

use super::activity::OpenStream;
use super::head::{self, HeadError};
use super::{Http2Body, Http2Outlet};
use crate::call::{Call, Reply};
use crate::context::{Arrival, CallContext, Caller, MAX_ATTEMPTS};
use crate::edge;
use crate::error::CallError;
use crate::http1::Side;
use crate::listen::Origin;
use crate::listen::exchange::Exchange;
use crate::observe::Version;
use crate::payload::{Body, Outlet, Pump};
use crate::policy;
use crate::refuse::refuse;
use crate::serve::serve_client;
use crate::worker::Worker;

/// Serves one stream to its end.
pub(super) async fn serve(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    origin: Origin,
    worker: Rc<Worker>,
    scheme: Scheme,
    open: &OpenStream,
) {
    let started = Instant::now();
    let world = worker.world();
    let config = &world.snapshot.config;
    let (parts, stream) = request.into_parts();
    let ended = stream.is_end_stream();
    let limits = head::Limits {
        fields: config.limits.fields,
        target: config.limits.target,
        websocket: origin.takes_websockets(config),
    };
    let mut head = match head::request(&parts, scheme, ended, limits) {
        Ok(head) => head,
        Err(error) => {
            refuse_head(error, &parts.headers, respond, &origin, &worker).await;
            return;
        }
    };
    drop(parts);
    let arrived = edge::arrive(&mut head.call, &origin, &world);
    let record = worker.observer.begin(&mut head.call, &origin, Version::Http2);
    let timeouts = config.timeouts;
    let protocol = head.call.protocol;
    let arrival = Arrival {
        head: &head.call,
        caller: Caller::Client {
            address: Some(arrived.address),
            listener: Rc::clone(&origin.listener),
            certificate: origin.certificate.clone(),
        },
        version: Version::Http2,
        request_id: arrived.request_id,
        started,
        left: head.timeout,
        attempts: MAX_ATTEMPTS,
        visited: Vec::new(),
        record,
    };
    let context = CallContext::new(&worker, Rc::clone(&world), arrival);
    let body = if ended {
        Body::Empty
    } else {
        let promised = match head.call.length {
            Length::Exactly(length) => Some(length),
            _ => None,
        };
        let limit = policy::max_body(None, &config.limits);
        let body = Http2Body::new(stream, Side::Client, limit, promised);
        // A gRPC stream may be silent for as long as it likes; a request that says its length has no reason to.
        Body::Http2(Box::new(match (protocol, promised) {
            (Protocol::WebSocket, _) => body.with_pause(worker.clock.timer(), timeouts.websocket_idle),
            (Protocol::Http, Some(_)) => body.with_pause(worker.clock.timer(), timeouts.body),
            _ => body,
        }))
    };
    let is_head = head.call.method == http::Method::HEAD;
    // Boxed by itself, so that the room of the path is given back before the body flows: that may take hours.
    let served = until_reset(
        Box::pin(serve_client(Call { head: head.call, body }, &context)).as_mut(),
        &mut respond,
    )
    .await;
    let Some(mut reply) = served else {
        open.cancelled();
        context
            .record
            .borrow_mut()
            .failed(&CallError::new(FailureKind::Cancelled, "the client reset the stream"));
        return;
    };
    edge::leave(&mut reply.head, &context);
    context
        .record
        .borrow_mut()
        .answered(reply.head.status, &reply.head.fields);
    answer(reply, respond, &context, is_head).await;
}

/// Answers a head that is no call, and counts it.
async fn refuse_head(
    error: HeadError,
    headers: &http::HeaderMap,
    mut respond: SendResponse<Bytes>,
    origin: &Origin,
    worker: &Worker,
) {
    let (kind, status) = error.failure();
    let detail = error.to_string();
    tracing::debug!(client = %origin.peer, listener = %origin.listener, %detail, "request refused");
    worker.observer.refused_head(kind, status, origin, &detail);
    let protocol = if head::is_grpc_type(headers) {
        Protocol::Grpc
    } else {
        Protocol::Http
    };
    let mut reply = refuse(protocol, &CallError::new(kind, detail), None);
    if protocol == Protocol::Http {
        reply.head.status = status;
    }
    let bodiless = reply.body.is_empty();
    // If the client is gone, nobody is left to tell.
    let Ok(stream) = respond.send_response(head::to_client(&reply.head), bodiless) else {
        return;
    };
    if bodiless {
        return;
    }
    let stall = worker.world().snapshot.config.timeouts.write;
    let outlet = Http2Outlet::new(stream, Side::Client).with_stall(worker.clock.timer(), stall);
    let mut pump = Pump::new(reply.body, Outlet::Http2(outlet));
    let _ = std::future::poll_fn(|cx| pump.poll(cx)).await;
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

/// Whether a reply with this head has no body, whatever comes (RFC 9110, section 6.4.1).
fn is_bodiless(reply: &Reply, is_head: bool) -> bool {
    match reply.head.status {
        StatusCode::SWITCHING_PROTOCOLS => false,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => true,
        _ => is_head || reply.head.length == Length::Empty || reply.body.is_empty(),
    }
}

async fn answer(reply: Reply, mut respond: SendResponse<Bytes>, context: &Rc<CallContext>, is_head: bool) {
    let bodiless = is_bodiless(&reply, is_head);
    let stream = match respond.send_response(head::to_client(&reply.head), bodiless) {
        Ok(stream) => stream,
        Err(error) => {
            let error = CallError::new(FailureKind::Cancelled, format!("answering the client: {error}"));
            context.record.borrow_mut().failed(&error);
            return;
        }
    };
    let stall = context.world.snapshot.config.timeouts.write;
    // Dropping the stream of a finished reply tells the client by RST_STREAM(NO_ERROR) that the rest of its request is
    // not wanted (RFC 9113, section 8.1).
    let outlet = if bodiless {
        Outlet::Discard
    } else {
        let outlet = Http2Outlet::new(stream, Side::Client).with_stall(context.worker.clock.timer(), stall);
        Outlet::Http2(if context.protocol == Protocol::Grpc {
            outlet.with_status()
        } else {
            outlet
        })
    };
    let mut exchange = Exchange::new(reply, outlet, Rc::clone(context));
    // The outlet notices a client that goes away: once the head is sent, asking `respond` is a mistake to `h2`.
    std::future::poll_fn(|cx| exchange.poll(cx).map(drop)).await;
}
