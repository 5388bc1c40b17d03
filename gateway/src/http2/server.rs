//! HTTP/2 with a client: one task drives the connection, each stream is a call in a task of its own.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use causeway_protocols::Scheme;
use futures_util::FutureExt;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use super::activity::Activity;
use super::batch::{BatchedSocket, Traffic};
use super::{CONNECTION_WINDOW, SEND_BUFFER, SERVER_SMALL_FRAMES, STREAM_WINDOW, stream};
use crate::clock::Timer;
use crate::drain::{Guard, Stage};
use crate::http1::Http1Connection;
use crate::listen::Origin;
use crate::scratch;
use crate::socket::Socket;
use crate::worker::Worker;

/// Streams that clients opened and reset before we looked at them (CVE-2023-44487), and streams that were reset here
/// and still get frames.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that a client made us reset or refuse by breaking rules, over the life of a connection (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 100;
/// A connection that lives longer is asked to go, so that clients spread over workers and gateways anew. Up to a tenth
/// is added, so that those that came together do not go together.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// After the last frame the client has this long to close, too; closing first could overtake what it has not read.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read and dropped meanwhile.
const LINGER_BYTES: usize = 256 * 1024;

/// Serves the streams of a connection until it ends.
pub async fn serve(connection: Rc<Http1Connection>, origin: Origin, worker: Rc<Worker>, guard: Guard) {
    let timeouts = worker.world().snapshot.config.timeouts;
    let socket = Rc::clone(connection.socket());
    socket.read_within(timeouts.head);
    let io = BatchedSocket::new(Rc::clone(&socket), connection.take_buffered());
    drop(connection);
    let traffic = io.traffic();
    let handshake = builder(&worker, &origin).handshake::<_, Bytes>(io).await;
    socket.read_freely();
    let http2 = match handshake {
        Ok(http2) => http2,
        Err(error) => {
            tracing::debug!(%error, client = %origin.peer, "HTTP/2 handshake failed");
            return;
        }
    };
    let age = worker.clock.timer();
    age.arm(MAX_AGE.mul_f64(rand::random_range(1.0..1.1)));
    let driver = Driver {
        http2,
        traffic,
        activity: Activity::new(worker.clock.timer(), timeouts.idle),
        age,
        last_words: timeouts.write,
        going: Going::No,
        said: 0,
        scheme: if socket.is_tls() { Scheme::Https } else { Scheme::Http },
    };
    drive(driver, &origin, &worker, &guard).await;
    // Nothing is owed to this client any more: a drain need not wait for it.
    drop(guard);
    linger(&socket).await;
}

fn builder(worker: &Worker, origin: &Origin) -> h2::server::Builder {
    let world = worker.world();
    let config = &world.snapshot.config;
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SERVER_SMALL_FRAMES)
        .max_concurrent_streams(config.limits.http2_streams)
        .max_header_list_size(u32::try_from(config.limits.head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_PENDING_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS));
    if origin.takes_websockets(config) {
        builder.enable_connect_protocol();
    }
    builder
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    No,
    /// The client has been asked to open no more streams; those that are open are finished.
    Gracefully,
    /// It has been told that it is cut off.
    AtOnce,
}

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

struct Driver {
    http2: Connection<BatchedSocket, Bytes>,
    traffic: Traffic,
    activity: Rc<Activity>,
    age: Timer,
    /// After the last stream, a client that takes nothing of what is left for it is given up after this time.
    last_words: Duration,
    going: Going,
    /// Bytes that had been written when the last words were looked at last.
    said: u64,
    scheme: Scheme,
}

async fn drive(mut driver: Driver, origin: &Origin, worker: &Rc<Worker>, guard: &Guard) {
    let scheme = driver.scheme;
    let mut draining = pin!(guard.reached(Stage::Draining));
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if driver.going == Going::No && draining.as_mut().poll(cx).is_ready() {
                driver.go();
            }
            driver.poll(cx, origin)
        })
        .await;
        let Some((request, respond)) = accepted else { break };
        let open = driver.activity.begin();
        let (origin, worker, guard) = (origin.clone(), Rc::clone(worker), guard.clone());
        tokio::task::spawn_local(async move {
            let peer = origin.peer;
            let served = AssertUnwindSafe(stream::serve(request, respond, origin, worker, scheme, &open));
            if served.catch_unwind().await.is_err() {
                tracing::error!(client = %peer, "a call panicked; its stream is reset");
            }
            drop((open, guard));
        });
    }
}

impl Driver {
    /// Asks the client to open no more streams. Those that it opened before it knows are served.
    fn go(&mut self) {
        self.going = Going::Gracefully;
        self.http2.graceful_shutdown();
        self.said = self.traffic.said();
        self.activity.idle_after(self.last_words);
    }

    /// The next stream; none at the end of the connection.
    fn poll(&mut self, cx: &mut Context<'_>, origin: &Origin) -> Poll<Option<Accepted>> {
        if self.going != Going::AtOnce && self.activity.is_abuse() {
            tracing::warn!(client = %origin.peer, listener = %origin.listener, "client cut off: it opens streams to cancel them");
            self.going = Going::AtOnce;
            self.http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.activity.idle_after(self.last_words);
        }
        if self.going == Going::No && self.age.poll(cx).is_ready() {
            self.go();
        }
        while self.activity.poll_idle(cx).is_ready() {
            if self.going == Going::No {
                self.go();
            } else if self.said != self.traffic.said() {
                self.said = self.traffic.said();
                self.activity.idle_after(self.last_words);
            } else {
                // All calls have ended, and the client neither reads what is left nor answers.
                return Poll::Ready(None);
            }
        }
        match ready!(self.http2.poll_accept(cx)) {
            Some(Ok(accepted)) => Poll::Ready(Some(accepted)),
            Some(Err(error)) => {
                if error.is_go_away() && error.is_library() {
                    tracing::warn!(client = %origin.peer, listener = %origin.listener, %error, "client cut off: it broke HTTP/2");
                } else {
                    tracing::debug!(client = %origin.peer, %error, "HTTP/2 connection failed");
                }
                Poll::Ready(None)
            }
            None => Poll::Ready(None),
        }
    }
}

/// Reads and drops what the client still sends before the socket is closed: closing with unread bytes makes the kernel
/// send RST, which can overtake our last frames.
async fn linger(socket: &Socket) {
    socket.read_within(LINGER);
    let mut left = LINGER_BYTES;
    std::future::poll_fn(|cx| {
        while left > 0 {
            let read = scratch::lend(|scratch| socket.poll_read(cx, scratch));
            match ready!(read) {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}
