//! HTTP/2 with a backend: few connections, many streams.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use causeway_protocols::{Authority, CallHead, FailureKind, Length, Protocol, ReplyHead};
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use tokio::sync::Notify;

use super::batch::BatchedSocket;
use super::{CONNECTION_WINDOW, Http2Body, Http2Outlet, SEND_BUFFER, STREAM_WINDOW, head};
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::{CallError, Retry};
use crate::http1::Side;
use crate::payload::{Body, Outlet, Pump, PumpError};
use crate::service::connect;
use crate::service::endpoint::Endpoint;

/// Streams on one connection before another is made, where the backend allows more.
const STREAMS: usize = 256;
/// Streams that a fresh connection is given before the backend's SETTINGS have come.
const FIRST_STREAMS: usize = 100;

/// The HTTP/2 connections of one endpoint.
#[derive(Debug, Default)]
pub struct Http2Pool {
    connections: RefCell<Vec<Rc<Connection>>>,
    connecting: Cell<bool>,
    waiting: Cell<u32>,
    changed: Notify,
}

struct Connection {
    sender: SendRequest<Bytes>,
    in_flight: Cell<usize>,
    closed: Cell<bool>,
    used: Cell<Instant>,
    /// Dropping it ends the task that drives the connection.
    _driver: tokio::sync::oneshot::Sender<()>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("in_flight", &self.in_flight)
            .field("closed", &self.closed)
            .finish()
    }
}

impl Http2Pool {
    /// Closes connections that nobody has used for a while.
    pub fn sweep(&self, limit: Duration) {
        self.connections.borrow_mut().retain(|connection| {
            !connection.closed.get() && (connection.in_flight.get() > 0 || connection.used.get().elapsed() < limit)
        });
    }

    /// A connection with room for one more stream.
    fn free(&self) -> Option<Rc<Connection>> {
        self.connections
            .borrow_mut()
            .retain(|connection| !connection.closed.get());
        let connections = self.connections.borrow();
        connections
            .iter()
            .find(|connection| connection.in_flight.get() < connection.room())
            .cloned()
    }
}

impl Connection {
    fn room(&self) -> usize {
        // Before SETTINGS have come this is "no limit".
        match self.sender.current_max_send_streams() {
            streams if streams > u32::MAX as usize / 2 => FIRST_STREAMS,
            streams => streams.min(STREAMS),
        }
    }
}

/// One stream of a connection, until it is dropped.
#[derive(Debug)]
pub struct Flight {
    connection: Rc<Connection>,
    endpoint: Rc<Endpoint>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.connection.in_flight.set(self.connection.in_flight.get() - 1);
        self.connection.used.set(Instant::now());
        let pool = self.endpoint.http2();
        if pool.waiting.get() > 0 {
            pool.changed.notify_one();
        }
    }
}

/// Sends the head and as much of the body as the backend takes, until its reply's head is there.
///
/// # Errors
/// Whether a further attempt may follow is in [`CallError::retry`].
pub async fn send(
    endpoint: &Rc<Endpoint>,
    call: &CallHead,
    host: Option<&Authority>,
    body: Body,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    let flight = take_off(endpoint).await?;
    let websocket = call.protocol == Protocol::WebSocket;
    let bodiless = !websocket && (call.length == Length::Empty || body.is_empty());
    let request = head::to_backend(call, host, endpoint.spec().tls.is_some(), cx.left())
        .map_err(|error| CallError::new(FailureKind::BadRequest, error.to_string()))?;
    let sender = flight.connection.sender.clone();
    let mut sender = sender.ready().await.map_err(|error| failed(&flight, &error))?;
    if websocket && !sender.is_extended_connect_protocol_enabled() {
        let detail = format!("{} takes no WebSocket over HTTP/2", endpoint.address);
        return Err(CallError::new(FailureKind::Untranslatable, detail));
    }
    let (response, stream) = sender
        .send_request(request, bodiless)
        .map_err(|error| failed(&flight, &error))?;
    let rest = if bodiless {
        Pump::done()
    } else {
        Pump::new(body, Outlet::Http2(Http2Outlet::new(stream, Side::Backend)))
    };
    let mut attempt = Attempt {
        response,
        rest,
        flight: &flight,
        held: websocket,
    };
    let response = std::future::poll_fn(|task| attempt.poll(task)).await?;
    let mut rest = attempt.rest;
    let (parts, stream) = response.into_parts();
    let ended = stream.is_end_stream();
    let head: ReplyHead = head::from_backend(&parts, ended, websocket)
        .map_err(|error| CallError::new(FailureKind::Protocol, format!("reply of {}: {error}", endpoint.address)))?;
    if websocket && head.status.as_u16() != 101 {
        rest = Pump::done();
    }
    let promised = match head.length {
        Length::Exactly(length) if call.method != http::Method::HEAD => Some(length),
        _ => None,
    };
    let body = if ended {
        Body::Empty
    } else {
        Body::Http2(Http2Body::new(stream, Side::Backend, u64::MAX, promised).with_flight(flight))
    };
    Ok(Reply {
        head,
        body,
        rest,
        lease: None,
    })
}

struct Attempt<'a> {
    response: ResponseFuture,
    rest: Pump,
    flight: &'a Flight,
    /// The body waits until a WebSocket has been let in.
    held: bool,
}

impl Attempt<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::Response<RecvStream>, CallError>> {
        if !self.held && !self.rest.is_done() {
            match self.rest.poll(cx) {
                Poll::Ready(Err(PumpError::Source(broken))) => return Poll::Ready(Err(broken.into())),
                // The reply, or the error of the stream, says why.
                Poll::Ready(Err(PumpError::Sink(_))) => self.rest = Pump::stuck(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Pin::new(&mut self.response)
            .poll(cx)
            .map_err(|error| failed(self.flight, &error))
    }
}

/// What an error before the reply means.
fn failed(flight: &Flight, error: &h2::Error) -> CallError {
    if error.is_io() || error.is_go_away() {
        flight.connection.closed.set(true);
    }
    let detail = format!("{}: {error}", flight.endpoint.address);
    let error_kind = CallError::new(FailureKind::Protocol, detail);
    // Streams above the last that GOAWAY names, and refused ones, were not worked on (RFC 9113, section 8.7).
    let unprocessed = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error_kind.retry(if unprocessed {
        Retry::Unprocessed
    } else {
        Retry::Idempotent
    })
}

/// Room for a stream, on a connection that is there or on a new one. One connection is made at a time.
async fn take_off(endpoint: &Rc<Endpoint>) -> Result<Flight, CallError> {
    let pool = endpoint.http2();
    let spec = &endpoint.spec().config;
    loop {
        if let Some(connection) = pool.free() {
            connection.in_flight.set(connection.in_flight.get() + 1);
            return Ok(Flight {
                connection,
                endpoint: Rc::clone(endpoint),
            });
        }
        let open = u32::try_from(pool.connections.borrow().len()).unwrap_or(u32::MAX);
        if !pool.connecting.get() && open < spec.max_connections {
            let connecting = Connecting::new(pool);
            let connection = Box::pin(connect_http2(endpoint)).await?;
            pool.connections.borrow_mut().push(connection);
            drop(connecting);
            continue;
        }
        if pool.waiting.get() >= spec.max_pending {
            let detail = format!("{} calls wait for a stream to {}", pool.waiting.get(), endpoint.address);
            return Err(CallError::new(FailureKind::Breaker, detail).retry(Retry::Unprocessed));
        }
        let waiting = Waiting::new(pool);
        pool.changed.notified().await;
        drop(waiting);
    }
}

struct Connecting<'a>(&'a Http2Pool);

impl<'a> Connecting<'a> {
    fn new(pool: &'a Http2Pool) -> Self {
        pool.connecting.set(true);
        Self(pool)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.changed.notify_waiters();
    }
}

struct Waiting<'a>(&'a Http2Pool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Http2Pool) -> Self {
        pool.waiting.set(pool.waiting.get() + 1);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

async fn connect_http2(endpoint: &Rc<Endpoint>) -> Result<Rc<Connection>, CallError> {
    let socket = Rc::new(connect::connect(endpoint).await?);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(64 * 1024)
        .enable_push(false);
    let shaken = builder
        .handshake::<_, Bytes>(BatchedSocket::new(socket, BytesMut::new()))
        .await;
    let (sender, driver) = shaken.map_err(|error| {
        let detail = format!("HTTP/2 with {}: {error}", endpoint.address);
        CallError::new(FailureKind::Connect, detail).retry(Retry::Unprocessed)
    })?;
    let (keep, dropped) = tokio::sync::oneshot::channel();
    let connection = Rc::new(Connection {
        sender,
        in_flight: Cell::new(0),
        closed: Cell::new(false),
        used: Cell::new(Instant::now()),
        _driver: keep,
    });
    let watched = Rc::downgrade(&connection);
    tokio::task::spawn_local(async move {
        tokio::select! {
            ended = driver => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection to a backend ended");
                }
            }
            // Sweeping drops the connection when nothing is in flight on it.
            _ = dropped => {}
        }
        if let Some(connection) = watched.upgrade() {
            connection.closed.set(true);
        }
    });
    Ok(connection)
}
