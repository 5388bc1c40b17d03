//! HTTP/2 with a backend: few connections, many streams.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use causeway_protocols::{Authority, CallHead, FailureKind, Length, Protocol, ReplyHead};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use tokio::sync::Notify;

use super::batch::{BatchedSocket, Traffic};
use super::{CLIENT_SMALL_FRAMES, CONNECTION_WINDOW, Http2Body, Http2Outlet, SEND_BUFFER, STREAM_WINDOW, head};
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::{CallError, Retry};
use crate::http1::Side;
use crate::payload::{Body, Outlet, Pump, PumpError};
use crate::service::breaker::Permit;
use crate::service::connect;
use crate::service::endpoint::Endpoint;

/// Streams on one connection before another is made, where the backend allows more.
const STREAMS: usize = 256;
/// Streams that a fresh connection is given before the backend's SETTINGS have come.
const FIRST_STREAMS: usize = 100;
/// Connections that turn out to be closing when a stream is about to be opened; nothing has been sent on them yet.
const STALE_CONNECTIONS: u32 = 4;
/// A stream that was given up after so long, while its connection said nothing at all: the backend may have vanished
/// without a word, and no further stream is sent the same way.
const SILENCE: Duration = Duration::from_secs(3);
/// Largest head of a reply.
const MAX_HEAD: u32 = 64 * 1024;

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
    traffic: Traffic,
    /// For those who have to know the backend's SETTINGS.
    ping: tokio::sync::Mutex<Option<PingPong>>,
    /// Its place among the connections of the gateway to its service, where these are limited.
    _permit: Option<Permit>,
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
        self.sender.current_max_send_streams().min(STREAMS)
    }

    /// Waits for the backend's SETTINGS: they are its first frame, so they are known when it has answered a PING.
    async fn settle(&self) {
        let mut ping = self.ping.lock().await;
        if let Some(mut ping) = ping.take() {
            // If it fails the connection is closing, which opening a stream on it tells.
            let _ = ping.ping(Ping::opaque()).await;
        }
    }
}

/// One stream of a connection, until it is dropped.
#[derive(Debug)]
pub struct Flight {
    connection: Rc<Connection>,
    endpoint: Rc<Endpoint>,
    since: Instant,
}

impl Flight {
    fn new(connection: Rc<Connection>, endpoint: &Rc<Endpoint>) -> Self {
        connection.in_flight.set(connection.in_flight.get() + 1);
        Self {
            since: Instant::now(),
            connection,
            endpoint: Rc::clone(endpoint),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.in_flight.set(connection.in_flight.get() - 1);
        connection.used.set(Instant::now());
        if self.since.elapsed() >= SILENCE && connection.traffic.silent_for() >= SILENCE {
            connection.closed.set(true);
        }
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
    let websocket = call.protocol == Protocol::WebSocket;
    let bodiless = !websocket && (call.length == Length::Empty || body.is_empty());
    let request = head::to_backend(call, host, endpoint.spec().tls.is_some(), cx.left())
        .map_err(|error| CallError::new(FailureKind::BadRequest, error.to_string()))?;
    let (flight, mut sender) = ready(endpoint, websocket).await?;
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
    let (head, body) = reply_of(&parts, stream, &call.method, websocket, flight, endpoint.address)?;
    if websocket && head.status.as_u16() != 101 {
        rest = Pump::done();
    }
    Ok(Reply {
        head,
        body,
        rest,
        lease: None,
        link: None,
    })
}

/// The head of a backend's reply, and the body that follows.
fn reply_of(
    parts: &http::response::Parts,
    stream: RecvStream,
    method: &http::Method,
    websocket: bool,
    flight: Flight,
    address: std::net::SocketAddr,
) -> Result<(ReplyHead, Body), CallError> {
    let ended = stream.is_end_stream();
    let head = head::from_backend(parts, ended, method, websocket)
        .map_err(|error| CallError::new(FailureKind::Protocol, format!("reply of {address}: {error}")))?;
    let promised = match head.length {
        Length::Exactly(length) if *method != http::Method::HEAD => Some(length),
        _ => None,
    };
    let body = if ended {
        Body::Empty
    } else {
        Body::Http2(Box::new(
            Http2Body::new(stream, Side::Backend, u64::MAX, promised).with_flight(flight),
        ))
    };
    Ok((head, body))
}

/// Opens the stream of a call and does not wait for the reply: for a client that has to be answered before the backend
/// says anything. What comes later is the head and the body of the reply.
///
/// # Errors
/// As [`send`].
pub async fn open(
    endpoint: &Rc<Endpoint>,
    call: &CallHead,
    host: Option<&Authority>,
    body: Body,
    cx: &Rc<CallContext>,
) -> Result<(Pump, impl Future<Output = Result<(ReplyHead, Body), CallError>> + use<>), CallError> {
    let request = head::to_backend(call, host, endpoint.spec().tls.is_some(), cx.left())
        .map_err(|error| CallError::new(FailureKind::BadRequest, error.to_string()))?;
    let (flight, mut sender) = ready(endpoint, false).await?;
    let (response, stream) = sender
        .send_request(request, false)
        .map_err(|error| failed(&flight, &error))?;
    let rest = Pump::new(body, Outlet::Http2(Http2Outlet::new(stream, Side::Backend)));
    let (address, method) = (endpoint.address, call.method.clone());
    let later = async move {
        let response = response.await.map_err(|error| failed(&flight, &error))?;
        let (parts, stream) = response.into_parts();
        reply_of(&parts, stream, &method, false, flight, address)
    };
    Ok((rest, later))
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

/// A connection that takes a stream now. One that is going away is left before anything is sent on it: that costs the
/// call neither an attempt nor the service its budget.
async fn ready(endpoint: &Rc<Endpoint>, websocket: bool) -> Result<(Flight, SendRequest<Bytes>), CallError> {
    let mut stale = 0;
    loop {
        let flight = take_off(endpoint).await?;
        if websocket && !flight.connection.sender.is_extended_connect_protocol_enabled() {
            flight.connection.settle().await;
        }
        let sender = match flight.connection.sender.clone().ready().await {
            Ok(sender) => sender,
            Err(_) if stale < STALE_CONNECTIONS => {
                stale += 1;
                flight.connection.closed.set(true);
                continue;
            }
            Err(error) => return Err(failed(&flight, &error).retry(Retry::Unprocessed)),
        };
        if websocket && !sender.is_extended_connect_protocol_enabled() {
            let detail = format!("{} takes no WebSocket over HTTP/2", endpoint.address);
            return Err(CallError::new(FailureKind::Untranslatable, detail));
        }
        return Ok((flight, sender));
    }
}

/// What an error before the reply means.
fn failed(flight: &Flight, error: &h2::Error) -> CallError {
    if error.is_io() || error.is_go_away() {
        flight.connection.closed.set(true);
    }
    let detail = format!("{}: {error}", flight.endpoint.address);
    // Streams above the last that the backend's GOAWAY names, and those that it refused, were not worked on (RFC 9113,
    // section 8.7). A GOAWAY of our own, for a rule that the backend broke, says nothing of the kind.
    let unprocessed = error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
    CallError::new(FailureKind::Protocol, detail).retry(if unprocessed {
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
            return Ok(Flight::new(connection, endpoint));
        }
        let open = u32::try_from(pool.connections.borrow().len()).unwrap_or(u32::MAX);
        if !pool.connecting.get()
            && open < spec.max_connections
            && let Ok(permit) = endpoint.may_connect()
        {
            let connecting = Connecting::new(pool);
            // Boxed, so that calls on connections that are there do not carry the room of a handshake.
            let connection = Box::pin(connect_http2(endpoint, permit)).await?;
            pool.connections.borrow_mut().push(connection);
            drop(connecting);
            continue;
        }
        if pool.waiting.get() >= spec.max_pending {
            let detail = format!("{} calls wait for a stream to {}", pool.waiting.get(), endpoint.address);
            return Err(CallError::new(FailureKind::Breaker, detail).retry(Retry::Unprocessed));
        }
        let permit = endpoint.may_wait()?;
        let waiting = Waiting::new(pool);
        endpoint.until_freed(&pool.changed).await;
        drop(permit);
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

async fn connect_http2(endpoint: &Rc<Endpoint>, permit: Option<Permit>) -> Result<Rc<Connection>, CallError> {
    let socket = Rc::new(connect::connect(endpoint).await?);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(FIRST_STREAMS)
        .data_frame_budget(CLIENT_SMALL_FRAMES)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD)
        .enable_push(false);
    let io = BatchedSocket::new(socket, BytesMut::new());
    let traffic = io.traffic();
    let shaken = builder.handshake::<_, Bytes>(io).await;
    let (sender, mut driver) = shaken.map_err(|error| {
        let detail = format!("HTTP/2 with {}: {error}", endpoint.address);
        CallError::new(FailureKind::Connect, detail).retry(Retry::Unprocessed)
    })?;
    let ping = tokio::sync::Mutex::new(driver.ping_pong());
    let (keep, dropped) = tokio::sync::oneshot::channel();
    let connection = Rc::new(Connection {
        sender,
        in_flight: Cell::new(0),
        closed: Cell::new(false),
        used: Cell::new(Instant::now()),
        traffic,
        ping,
        _permit: permit,
        _driver: keep,
    });
    let (watched, home) = (Rc::downgrade(&connection), Rc::downgrade(endpoint));
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
            // Room for a new one.
            if let Some(endpoint) = home.upgrade() {
                endpoint.http2().changed.notify_waiters();
            }
        }
    });
    Ok(connection)
}
