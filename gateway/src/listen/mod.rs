//! Where clients arrive: sockets, limits, and the protocols of one port.

pub mod address;
pub mod bind;
pub mod connection;
pub mod exchange;
pub mod http1;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use causeway_config as config;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::drain::Stage;
use crate::worker::{Permit, Worker};

/// What a connection's calls are told of where it came in.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name.
    pub listener: Rc<str>,
    /// The listener's bind address, by which its TLS and settings are found.
    pub bind: SocketAddr,
    /// The client's address.
    pub peer: SocketAddr,
}

impl Origin {
    /// Whether its listener lets clients open WebSockets. One that a reload has removed opens no new ones.
    pub fn takes_websockets(&self, config: &config::Config) -> bool {
        let mut listeners = config.listeners.iter();
        listeners.any(|listener| *listener.name == *self.listener && listener.websocket)
    }
}

/// After running out of descriptors or memory, accepting pauses this long: the loop must never end, nor spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until told to stop. A connection over the limit is closed at once and counted.
pub async fn accept_loop(
    socket: TcpListener,
    bind: SocketAddr,
    name: config::Name,
    worker: Rc<Worker>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener: Rc<str> = Rc::from(&*name);
    let draining = worker.guard().map(|guard| guard.reached(Stage::Draining));
    let Some(draining) = draining else { return };
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            // The sender is dropped when the listener goes.
            _ = stopped.changed() => break,
            () = &mut draining => break,
        };
        match accepted {
            Ok((stream, peer)) => admit(
                stream,
                Origin {
                    listener: Rc::clone(&listener),
                    bind,
                    peer,
                },
                &worker,
            ),
            Err(error) => pause_after(&error, bind).await,
        }
    }
    // What the kernel has accepted already was accepted: serve it before the socket goes.
    while let Some(Ok((stream, peer))) = futures_util::FutureExt::now_or_never(socket.accept()) {
        admit(
            stream,
            Origin {
                listener: Rc::clone(&listener),
                bind,
                peer,
            },
            &worker,
        );
    }
}

async fn pause_after(error: &std::io::Error, bind: SocketAddr) {
    if is_of_connection(error) {
        return;
    }
    tracing::warn!(%error, %bind, "accepting failed; waiting");
    tokio::time::sleep(EXHAUSTED_PAUSE).await;
}

/// Whether only the connection that was about to be accepted is at fault.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn admit(stream: TcpStream, origin: Origin, worker: &Rc<Worker>) {
    let limit = worker.world().snapshot.config.limits.connections;
    let Some(permit) = Permit::take(&worker.shared, |shared| &shared.connections, limit) else {
        worker.observer.shared().metrics.limit_hit.with(&["connections"]).inc();
        tracing::warn!(listener = %origin.listener, limit, "connection refused: too many are open");
        return;
    };
    let Some(guard) = worker.guard_for_work() else { return };
    let open = worker.observer.shared().metrics.connections.with(&[&origin.listener]);
    open.inc();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        connection::serve(stream, origin, worker, guard).await;
        open.dec();
        drop(permit);
    });
}
