//! The admin port: health, metrics and status for the operator of this site.
//!
//! - Reading is on a loopback port. Changing (`POST /reload`, `POST /drain`) is on a Unix socket that only its owner may
//!   open, or takes a token.
//! - A `Host` that is not this machine is refused, so that no page in a browser reads it by DNS rebinding.
//! - `/metrics` may be served on a second address, and nothing else is there.
//!
//! Posture: everything is bounded (connections, heads, time), because any local program can connect.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_config::Secret;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::{Counter, Family, Registry};
use crate::telemetry::span::Memory;

mod answer;
mod change;
mod socket;
#[cfg(test)]
mod tests;

/// Connections of one listener; others wait in its backlog.
const CONNECTIONS: usize = 64;
/// For one head, and between two.
const HEAD: Duration = Duration::from_secs(10);
/// Of a connection in all, so that none that stopped reading stays.
const LIFETIME: Duration = Duration::from_secs(120);

/// Something that has to hold for the gateway to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Short, e.g. `listener public`.
    pub name: String,
    /// Why it does not hold; none when it does.
    pub problem: Option<String>,
}

/// The gateway, as the admin port sees it. Called on the control runtime: answers at once.
pub trait StatusSource: Send + Sync {
    /// What `/status` shows. Holds no secrets.
    fn status(&self) -> serde_json::Value;

    /// What came of mirrored calls, for `/mirrors`.
    fn mirrors(&self) -> serde_json::Value {
        serde_json::json!({ "routes": {} })
    }

    /// The configuration in use as TOML, for `/config`. Holds no secrets.
    fn config(&self) -> String;

    /// What `/readyz` asks for; while draining one of them has a problem.
    fn ready(&self) -> Vec<Check>;
}

/// What an answer to a change is made of.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<serde_json::Value, serde_json::Value>> + Send + 'a>>;

/// The changes that are taken.
pub trait Control: Send + Sync {
    /// Loads the configuration again: what is in use now, or every problem of the new one, which then changed nothing.
    fn reload(&self) -> Outcome<'_>;

    /// Begins to drain; the answer does not wait for the end.
    fn drain(&self) -> Outcome<'_>;

    /// Forgets kept replies: how many went. `what` is the query of the request.
    fn purge(&self, what: &str) -> Outcome<'_>;
}

/// Where the admin port listens.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Loopback only.
    pub bind: SocketAddr,
    /// `/metrics` alone.
    pub metrics_bind: Option<SocketAddr>,
    /// Path of the Unix socket for changes.
    pub socket: Option<PathBuf>,
    /// What lets one change something over TCP; none: nothing does.
    pub token: Option<Secret>,
    /// Names besides `localhost` and loopback addresses that `Host` may have.
    pub hosts: Vec<String>,
}

/// What it shows.
#[derive(Clone)]
pub struct AdminParts {
    /// For `/metrics`.
    pub registry: Registry,
    /// For `/status` and `/readyz`.
    pub source: Arc<dyn StatusSource>,
    /// For `/reload` and `/drain`.
    pub control: Option<Arc<dyn Control>>,
    /// For `/traces`.
    pub memory: Option<Arc<Memory>>,
}

impl std::fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminParts").finish_non_exhaustive()
    }
}

/// What one listener lets one do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    Metrics,
    Read,
    Write,
}

struct Shared {
    parts: AdminParts,
    hosts: Vec<String>,
    token: Option<Secret>,
    /// `causeway_admin_changes_total{change,result}`
    changes: Family<Counter>,
    /// Has been ready once: `/startupz` stays good from then on.
    started: AtomicBool,
}

impl Shared {
    fn checks(&self) -> Vec<Check> {
        let checks = self.parts.source.ready();
        if checks.iter().all(|check| check.problem.is_none()) {
            self.started.store(true, Ordering::Relaxed);
        }
        checks
    }
}

/// The running admin port. Stops when dropped.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens: the port that the system chose, for port 0.
    pub address: SocketAddr,
    /// Where `/metrics` is alone.
    pub metrics_address: Option<SocketAddr>,
    stop: CancellationToken,
    /// Takes its file away when it goes.
    _socket: Option<socket::SocketFile>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Binds all of it and serves on `runtime`, the control runtime.
///
/// # Errors
/// When an address or the socket cannot be bound, or the admin address is not a loopback one.
pub async fn start(settings: &AdminSettings, parts: AdminParts, runtime: &Handle) -> io::Result<Admin> {
    if !settings.bind.ip().is_loopback() {
        let problem = format!(
            "{} is no loopback address: the admin port is for this machine only",
            settings.bind
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let named = |what: &str, at: &dyn std::fmt::Display, error: io::Error| {
        io::Error::new(error.kind(), format!("binding {what} {at}: {error}"))
    };
    let listener = TcpListener::bind(settings.bind)
        .await
        .map_err(|error| named("the admin port", &settings.bind, error))?;
    let metrics = match settings.metrics_bind {
        Some(bind) => Some(
            TcpListener::bind(bind)
                .await
                .map_err(|error| named("the metrics port", &bind, error))?,
        ),
        None => None,
    };
    let unix = match &settings.socket {
        Some(path) => Some(socket::bind(path).map_err(|error| named("the admin socket", &path.display(), error))?),
        None => None,
    };
    let changes = parts.registry.counter(
        "causeway_admin_changes_total",
        "Reloads and drains that were asked for at the admin port.",
        &["change", "result"],
    );
    let shared = Arc::new(Shared {
        parts,
        token: settings.token.clone(),
        changes,
        hosts: settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        started: AtomicBool::new(false),
    });
    let stop = CancellationToken::new();
    let address = listener.local_addr()?;
    let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    runtime.spawn(accept(listener, Surface::Read, Arc::clone(&shared), stop.clone()));
    if let Some(metrics) = metrics {
        runtime.spawn(accept(metrics, Surface::Metrics, Arc::clone(&shared), stop.clone()));
    }
    let file = unix.map(|(listener, file)| {
        runtime.spawn(accept(listener, Surface::Write, Arc::clone(&shared), stop.clone()));
        file
    });
    Ok(Admin {
        address,
        metrics_address,
        stop,
        _socket: file,
    })
}

/// TCP and Unix listeners, to this module the same.
trait Accept: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

async fn accept<L: Accept>(listener: L, surface: Surface, shared: Arc<Shared>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.next().await)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely: it passes, and trying at once again would burn the core.
                tracing::warn!(%error, "the admin port cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        Handle::current().spawn(async move {
            let _place = place;
            tokio::select! {
                _ = tokio::time::timeout(LIFETIME, serve(stream, surface, shared)) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve<S>(stream: S, surface: Surface, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(answer::answer(request, surface, &shared).await) }
    });
    // A broken or slow client is its own trouble. Without the timer the timeout for heads would be off.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
