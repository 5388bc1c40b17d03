//! HTTP/1.1 with a client: requests in, replies out, one after the other.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use causeway_protocols::http1::{self, BodyFraming, Close, ReplyOptions, Request, RequestError, encode};
use causeway_protocols::{FailureKind, Protocol, Scheme};
use futures_util::FutureExt;
use http::Method;

use super::Origin;
use super::exchange::{Ended, Exchange, RequestLeft};
use crate::call::{Call, Reply};
use crate::context::{Arrival, CallContext, Caller, MAX_ATTEMPTS};
use crate::drain::{Guard, Stage};
use crate::edge;
use crate::error::CallError;
use crate::http1::{BodyKind, Http1Body, Http1Connection, Http1Outlet, OutletKind};
use crate::observe::Version;
use crate::payload::{Body, Broken, Chunk, Outlet};
use crate::policy;
use crate::refuse::refuse;
use crate::serve::serve_client;
use crate::worker::Worker;

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What of an unread request is read and dropped so that the connection can go on.
const DRAIN_LIMIT: u64 = 64 * 1024;
/// What a client may send ahead while its call is under way.
const AHEAD: usize = 16 * 1024;

/// Why a connection is not served any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is over.
    Closed,
    /// Its first bytes were those of HTTP/2; they are still buffered.
    Http2,
}

enum Head {
    Http2,
    Request(Box<Request>),
}

enum HeadError {
    Io(io::Error),
    Refused(RequestError),
}

impl From<io::Error> for HeadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Serves requests until the connection is to be closed.
pub async fn serve(connection: &Rc<Http1Connection>, origin: &Origin, worker: &Rc<Worker>, guard: &Guard) -> Done {
    let mut first = true;
    // One for the connection: it ends the loop when it is ready.
    let mut draining = pin!(guard.reached(Stage::Draining));
    loop {
        let request = {
            let mut head = pin!(read_head(connection, worker, first));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(done) = head.as_mut().poll(cx) {
                    return Poll::Ready(Some(done));
                }
                // Nothing of a request is here: the connection can go.
                if !connection.has_buffered() && !first && draining.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                Poll::Pending
            })
            .await
        };
        let request = match request {
            None | Some(Ok(None)) => break,
            Some(Ok(Some(Head::Http2))) if first => return Done::Http2,
            Some(Ok(Some(Head::Http2))) => break,
            Some(Ok(Some(Head::Request(request)))) => request,
            Some(Err(error)) => {
                refuse_head(connection, origin, worker, error).await;
                break;
            }
        };
        first = false;
        // Boxed, so that an idle connection does not hold the room of a call.
        let served = AssertUnwindSafe(Box::pin(serve_request(connection, *request, origin, worker, guard)));
        match served.catch_unwind().await {
            Ok(Next::Another) => {}
            Ok(Next::Close) => break,
            Err(_) => {
                tracing::error!(client = %origin.peer, "a call panicked; its connection is closed");
                break;
            }
        }
    }
    Done::Closed
}

async fn read_head(connection: &Http1Connection, worker: &Worker, first: bool) -> Result<Option<Head>, HeadError> {
    let world = worker.world();
    let (limits, timeouts) = (world.snapshot.http1_limits, world.snapshot.config.timeouts);
    drop(world);
    let scheme = if connection.socket().is_tls() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    // A fresh connection owes its first request as soon as a begun one its end.
    let begun = Cell::new(first || connection.has_buffered());
    connection
        .socket()
        .read_within(if begun.get() { timeouts.head } else { timeouts.idle });
    let head = std::future::poll_fn(|cx| {
        connection.poll_parse(cx, |bytes| {
            if first && bytes.starts_with(b"PRI") && PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) {
                return Ok((bytes.len() >= PREFACE.len()).then_some((Head::Http2, 0)));
            }
            match http1::request::parse(bytes, &limits, scheme) {
                Ok(http1::Parsed::Complete { head, consumed }) => Ok(Some((Head::Request(Box::new(head)), consumed))),
                Ok(http1::Parsed::Partial) => {
                    if !begun.replace(true) {
                        connection.socket().read_within(timeouts.head);
                    }
                    Ok(None)
                }
                Err(error) => Err(HeadError::Refused(error)),
            }
        })
    })
    .await;
    connection.socket().read_freely();
    head
}

/// Answers a head that is no request, if there is anybody to answer, and counts it.
async fn refuse_head(connection: &Rc<Http1Connection>, origin: &Origin, worker: &Worker, error: HeadError) {
    let (kind, detail, status) = match error {
        HeadError::Refused(error) => (FailureKind::BadRequest, error.to_string(), error.status()),
        HeadError::Io(error) if error.kind() == io::ErrorKind::TimedOut && connection.has_buffered() => {
            let kind = FailureKind::ClientTimeout;
            (kind, "the request's head took too long".to_owned(), kind.status())
        }
        HeadError::Io(_) => return,
    };
    tracing::debug!(client = %origin.peer, listener = %origin.listener, %detail, "request refused");
    worker.observer.refused_head(kind, status, origin, &detail);
    let error = CallError::new(kind, detail);
    let mut reply = refuse(Protocol::Http, &error, None);
    reply.head.status = status;
    connection.close_after();
    let mut out = BytesMut::new();
    let options = ReplyOptions {
        close: Close::Close,
        ..ReplyOptions::default()
    };
    let sent = encode::response(&reply.head, &options, &mut out);
    let mut outlet = Outlet::Http1(Http1Outlet::new(Rc::clone(connection), out, outlet_kind(sent)));
    let mut pump = crate::payload::Pump::new(reply.body, std::mem::replace(&mut outlet, Outlet::Discard));
    // The client may be gone or not read; the write clock ends this.
    let _ = std::future::poll_fn(|cx| pump.poll(cx)).await;
    linger(connection).await;
}

/// What follows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Another,
    Close,
}

async fn serve_request(
    connection: &Rc<Http1Connection>,
    request: Request,
    origin: &Origin,
    worker: &Rc<Worker>,
    guard: &Guard,
) -> Next {
    let Request {
        mut head,
        framing,
        keep_alive,
        http10,
        upgrade,
        trailers: _,
        timeout,
    } = request;
    let world = worker.world();
    let timeouts = world.snapshot.config.timeouts;
    let started = Instant::now();
    let method = head.method.clone();
    let arrived = edge::arrive(&mut head, origin, &world);
    let record = worker.observer.begin(&mut head, origin, Version::Http1);
    let arrival = Arrival {
        head: &head,
        caller: Caller::Client {
            address: Some(arrived.address),
            listener: Rc::clone(&origin.listener),
            certificate: origin.certificate.clone(),
        },
        version: Version::Http1,
        request_id: arrived.request_id,
        started,
        left: timeout,
        attempts: MAX_ATTEMPTS,
        visited: Vec::new(),
        record,
    };
    let context = CallContext::new(worker, Rc::clone(&world), arrival);
    // The route may allow less; its policy looks at what the head says.
    let limit = policy::max_body(None, &world.snapshot.config.limits);
    let body = match framing {
        _ if upgrade.is_some() => {
            connection.socket().read_pause(timeouts.websocket_idle);
            Some(BodyKind::UntilClose)
        }
        BodyFraming::Empty => None,
        BodyFraming::Length(length) => Some(BodyKind::Length(length)),
        BodyFraming::Chunked => Some(BodyKind::Chunked(Box::default())),
    };
    let body = body.map_or(Body::Empty, |kind| {
        if upgrade.is_none() {
            connection.socket().read_pause(timeouts.body);
        }
        let body = Http1Body::new(Rc::clone(connection), kind, limit);
        Body::Http1(if head.hold { body.on_permit() } else { body })
    });

    let taken = upgrade.is_none() || origin.takes_websockets(&world.snapshot.config);
    let call = async {
        if taken {
            return serve_client(Call { head, body }, &context).await;
        }
        let error = CallError::new(FailureKind::Refused, "this listener takes no WebSockets");
        context.record.borrow_mut().failed(&error);
        refuse(Protocol::Http, &error, None)
    };
    // Boxed by itself, so that the room of the path is given back before the body flows: that may take hours.
    let Some(mut reply) = until_gone(Box::pin(call).as_mut(), connection).await else {
        context.record.borrow_mut().failed(&CallError::new(
            FailureKind::Cancelled,
            "the client went away before its reply",
        ));
        return Next::Close;
    };
    edge::leave(&mut reply.head, &context);
    if reply.head.status.as_u16() == 101 {
        connection.socket().read_pause(timeouts.websocket_idle);
    }
    let ended = answer(
        connection,
        reply,
        &context,
        Asked {
            method: &method,
            http10,
            keep_alive,
            upgrade: upgrade.as_ref(),
        },
        guard,
    )
    .await;
    finish(connection, ended).await
}

/// Runs the call, unless the client goes away first; then dropping it cancels it everywhere.
async fn until_gone(mut call: Pin<&mut impl Future<Output = Reply>>, connection: &Http1Connection) -> Option<Reply> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(reply) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(reply));
        }
        if connection.is_read_done() && connection.poll_gone(cx, AHEAD).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// What of the request matters to how its reply is written.
struct Asked<'a> {
    method: &'a Method,
    http10: bool,
    keep_alive: bool,
    upgrade: Option<&'a causeway_protocols::websocket::ClientKey>,
}

async fn answer(
    connection: &Rc<Http1Connection>,
    reply: Reply,
    context: &Rc<CallContext>,
    asked: Asked<'_>,
    guard: &Guard,
) -> Ended {
    context
        .record
        .borrow_mut()
        .answered(reply.head.status, &reply.head.fields);
    let upgraded = reply.head.status.as_u16() == 101;
    let keep = asked.keep_alive && !guard.is_draining() && (upgraded || asked.upgrade.is_none());
    if !keep {
        connection.close_after();
    }
    let accept = asked.upgrade.map(causeway_protocols::websocket::ClientKey::accept);
    let options = ReplyOptions {
        method: Some(asked.method),
        http10: asked.http10,
        close: if keep { Close::Keep } else { Close::Close },
        accept: accept.as_ref(),
        ..ReplyOptions::default()
    };
    let mut out = BytesMut::with_capacity(256 + reply.head.fields.as_wire().len());
    let sent = encode::response(&reply.head, &options, &mut out);
    let kind = if upgraded { OutletKind::Raw } else { outlet_kind(sent) };
    let outlet = Outlet::Http1(Http1Outlet::new(Rc::clone(connection), out, kind));
    let mut exchange = Exchange::new(reply, outlet, Rc::clone(context));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = exchange.poll(cx) {
            return Poll::Ready(ended);
        }
        if !upgraded && connection.is_read_done() && connection.poll_gone(cx, AHEAD).is_ready() {
            return Poll::Ready(exchange.cut(Broken::new(FailureKind::Cancelled, "the client went away")));
        }
        Poll::Pending
    })
    .await
}

fn outlet_kind(sent: http1::Sent) -> OutletKind {
    match sent {
        http1::Sent::None => OutletKind::Nothing,
        http1::Sent::Length(length) => OutletKind::Length(length),
        http1::Sent::Chunked => OutletKind::Chunked,
        http1::Sent::UntilClose => OutletKind::Close,
    }
}

/// Makes the connection ready for the next request, or lets it go.
async fn finish(connection: &Rc<Http1Connection>, ended: Ended) -> Next {
    match ended {
        Ended::Cut(_) => return Next::Close,
        Ended::Whole {
            request: RequestLeft::Nothing,
        } => {}
        Ended::Whole {
            request: RequestLeft::Some,
        } => {
            connection.close_after();
            linger(connection).await;
        }
    }
    if connection.is_reusable() {
        Next::Another
    } else {
        Next::Close
    }
}

/// Reads and drops a little of what the client is still sending before the connection is closed: closing with unread
/// bytes makes the kernel send RST, which can overtake the reply (RFC 9112, section 9.6).
async fn linger(connection: &Rc<Http1Connection>) {
    let shut = std::future::poll_fn(|cx| connection.socket().poll_shutdown(cx)).await;
    if shut.is_err() {
        return;
    }
    connection.socket().read_within(std::time::Duration::from_secs(1));
    let mut unread = Http1Body::new(Rc::clone(connection), BodyKind::UntilClose, DRAIN_LIMIT);
    std::future::poll_fn(|cx: &mut Context<'_>| {
        loop {
            match ready!(unread.poll_chunk(cx)) {
                Ok(Chunk::Data(_)) => {}
                Ok(Chunk::End(_)) | Err(_) => return Poll::Ready(()),
            }
        }
    })
    .await;
}
