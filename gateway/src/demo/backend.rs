//! Real little backends: HTTP, WebSocket and gRPC, for the demo, the compose set-up and the tests.
//!
//! They share nothing with the data path: hyper, tokio-tungstenite and tonic on an ordinary tokio runtime, so that
//! what passes through the gateway is answered by other people's implementations.

mod checksum;
mod grpc;
mod http;
mod reflection;
mod run;
mod serve;
mod websocket;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use checksum::{crc32, pattern};
pub use grpc::{DESCRIPTORS, proto};
pub use run::{BackendArgs, run};

/// The ports of the three backends; 0 takes a free one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// HTTP/1.1 and HTTP/2 by prior knowledge.
    pub http: u16,
    /// WebSocket.
    pub websocket: u16,
    /// gRPC.
    pub grpc: u16,
}

/// Where the three backends listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP/1.1 and HTTP/2 by prior knowledge.
    pub http: SocketAddr,
    /// WebSocket.
    pub websocket: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// What the backends have seen, for the tests of cancellation.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls and WebSockets begun.
    pub calls: AtomicU64,
    /// Calls that wait right now: `/hang`, `/slow` and `Sleep`.
    pub waiting: AtomicU64,
    /// Calls that were dropped while they waited.
    pub cancelled: AtomicU64,
}

/// Counts a call that waits, and counts it as cancelled when it is dropped before [`Waiting::finish`].
struct Waiting {
    counters: Arc<Counters>,
    finished: bool,
}

impl Waiting {
    fn begin(counters: &Arc<Counters>) -> Self {
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        Self {
            counters: Arc::clone(counters),
            finished: false,
        }
    }

    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.finished {
            self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why the backends could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A port could not be had.
    #[error("binding the demo's {backend} backend to {address}")]
    Bind {
        /// Which backend.
        backend: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The description of the gRPC service could not be read.
    #[error("reading the compiled schema of the demo's gRPC backend")]
    Schema(#[from] prost::DecodeError),
    /// Something the operating system refused: a signal handler, or standard output.
    #[error("running the demo's backends")]
    System(#[from] std::io::Error),
}

/// How [`Backends::stop`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every connection ended by itself.
    Clean,
    /// Some were cut.
    Cut,
}

/// The three backends, running. Dropping it stops them without waiting.
#[derive(Debug)]
pub struct Backends {
    addresses: Addresses,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    /// Asks connections to finish.
    stop: DropGuard,
    /// Ends them at once.
    cut: DropGuard,
}

impl Backends {
    /// Starts all three on `ip`, on the current tokio runtime. `name` is told to clients as the backend that answered.
    ///
    /// # Errors
    /// [`BackendError::Bind`] names the backend whose port could not be had.
    pub async fn start(name: &str, ip: IpAddr, ports: Ports) -> Result<Self, BackendError> {
        let http = bind("HTTP", ip, ports.http).await?;
        let websocket = bind("WebSocket", ip, ports.websocket).await?;
        let grpc = bind("gRPC", ip, ports.grpc).await?;
        let address = |listener: &TcpListener| listener.local_addr();
        let addresses = Addresses {
            http: address(&http)?,
            websocket: address(&websocket)?,
            grpc: address(&grpc)?,
        };

        let counters = Arc::new(Counters::default());
        let scope = serve::Scope {
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let name: Arc<str> = name.into();
        http::start(http, Arc::clone(&name), Arc::clone(&counters), &scope);
        websocket::start(websocket, Arc::clone(&name), Arc::clone(&counters), &scope);
        grpc::start(grpc, name, Arc::clone(&counters), &scope).await?;
        scope.tasks.close();
        Ok(Self {
            addresses,
            counters,
            tasks: scope.tasks,
            stop: scope.stop.drop_guard(),
            cut: scope.cut.drop_guard(),
        })
    }

    /// Where they listen.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What they have seen.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Stops accepting, lets calls finish for at most `within`, then cuts.
    pub async fn stop(self, within: Duration) -> Stopped {
        self.stop.disarm().cancel();
        let clean = tokio::time::timeout(within, self.tasks.wait()).await.is_ok();
        self.cut.disarm().cancel();
        self.tasks.wait().await;
        if clean { Stopped::Clean } else { Stopped::Cut }
    }
}

async fn bind(backend: &'static str, ip: IpAddr, port: u16) -> Result<TcpListener, BackendError> {
    let address = SocketAddr::new(ip, port);
    TcpListener::bind(address).await.map_err(|source| BackendError::Bind {
        backend,
        address,
        source,
    })
}
