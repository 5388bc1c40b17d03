//! Where clients arrive: sockets, limits, and the protocols of one port.

pub mod address;
pub mod admission;
pub mod bind;
pub mod connection;
pub mod exchange;
pub mod http1;
pub mod proxy_protocol;
pub mod shares;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use causeway_config as config;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::admission::Admission;
use crate::drain::{Guard, Stage};
use crate::principal::Principal;
use crate::snapshot::Snapshot;
use crate::worker::{Permit, Worker};

/// What a connection's calls are told of where it came in.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name.
    pub listener: Rc<str>,
    /// The client's address.
    pub peer: SocketAddr,
    /// Who the client is by the certificate that it has shown.
    pub certificate: Option<Arc<Principal>>,
}

impl Origin {
    /// Whether the connection comes from a proxy that its listener trusts.
    pub fn is_trusted(&self, config: &config::Config) -> bool {
        let mut listeners = config.listeners.iter();
        let listener = listeners.find(|listener| *listener.name == *self.listener);
        let proxies = listener.map(|listener| listener.trusted_proxies.as_slice());
        let mut proxies = proxies.unwrap_or_default().iter();
        proxies.any(|network| address::contains(network, self.peer.ip()))
    }

    /// Whether its listener lets clients open WebSockets. One that a reload has removed opens no new ones.
    pub fn takes_websockets(&self, config: &config::Config) -> bool {
        let mut listeners = config.listeners.iter();
        listeners.any(|listener| *listener.name == *self.listener && listener.websocket)
    }
}

/// After running out of descriptors or memory, accepting pauses this long: the loop must never end, nor spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A socket that connections are accepted on, and what they are accepted with.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    now: RefCell<Settings>,
}

#[derive(Clone, Debug)]
struct Settings {
    name: Rc<str>,
    tls: Option<Arc<rustls::ServerConfig>>,
    admission: Admission,
}

impl Settings {
    fn of(name: &str, snapshot: &Snapshot) -> Self {
        let mut listeners = snapshot.config.listeners.iter();
        let own = listeners.find(|listener| *listener.name == *name);
        Self {
            name: Rc::from(name),
            tls: snapshot.listener_tls.get(name).cloned(),
            admission: own.map(Admission::of).unwrap_or_default(),
        }
    }
}

impl Listening {
    /// On a bound address, as the listener of this name.
    pub fn new(address: SocketAddr, name: &str, snapshot: &Snapshot) -> Self {
        Self {
            address,
            now: RefCell::new(Settings::of(name, snapshot)),
        }
    }

    /// Takes a new configuration over. A listener that it does not have keeps what it had: what is still in its accept
    /// queue must not be served in clear text, nor to anybody.
    pub fn renew(&self, snapshot: &Snapshot) {
        let now = &mut *self.now.borrow_mut();
        if snapshot
            .config
            .listeners
            .iter()
            .any(|listener| *listener.name == *now.name)
        {
            *now = Settings::of(&now.name, snapshot);
        }
    }

    /// The address stays, the listener is another one.
    pub fn rename(&self, name: &str, snapshot: &Snapshot) {
        self.now.borrow_mut().name = Rc::from(name);
        self.renew(snapshot);
    }
}

/// Accepts connections until told to stop. A connection over the limit is closed at once and counted.
pub async fn accept_loop(
    socket: TcpListener,
    listening: Rc<Listening>,
    worker: Rc<Worker>,
    mut stopped: watch::Receiver<bool>,
) {
    // Kept to the end: what is in the accept queue when a drain begins is work that has begun.
    let Some(guard) = worker.guard() else { return };
    let draining = guard.reached(Stage::Draining);
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            // The sender is dropped when the listener goes.
            _ = stopped.changed() => break,
            () = &mut draining => break,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &listening, &worker, &guard),
            Err(error) => pause_after(&error, listening.address).await,
        }
    }
    // What the kernel has accepted already was accepted: serve it before the socket goes.
    // Asked of the kernel itself: the runtime may not have heard yet of those that came just now.
    let Ok(socket) = socket.into_std() else { return };
    loop {
        let (stream, peer) = match socket.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_of_connection(&error) => continue,
            Err(_) => return,
        };
        match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => admit(stream, peer, &listening, &worker, &guard),
            Err(error) => tracing::debug!(%error, "a connection could not be taken over"),
        }
    }
}

async fn pause_after(error: &std::io::Error, address: SocketAddr) {
    if is_of_connection(error) {
        return;
    }
    tracing::warn!(%error, %address, "accepting failed; waiting");
    tokio::time::sleep(EXHAUSTED_PAUSE).await;
}

/// Whether only the connection that was about to be accepted is at fault.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn admit(stream: TcpStream, peer: SocketAddr, listening: &Listening, worker: &Rc<Worker>, guard: &Guard) {
    let Settings { name, tls, admission } = listening.now.borrow().clone();
    let origin = Origin {
        listener: name,
        peer,
        certificate: None,
    };
    let limit = worker.world().snapshot.config.limits.connections;
    let Some(permit) = Permit::take(&worker.shared, |shared| &shared.connections, limit) else {
        worker.observer.shared().metrics.limit_hit.with(&["connections"]).inc();
        tracing::warn!(listener = %origin.listener, limit, "connection refused: too many are open");
        return;
    };
    let open = worker.observer.shared().metrics.connections.with(&[&origin.listener]);
    open.inc();
    let (worker, guard) = (Rc::clone(worker), guard.clone());
    tokio::task::spawn_local(async move {
        connection::serve(stream, tls, origin, admission, worker, guard).await;
        open.dec();
        drop(permit);
    });
}
