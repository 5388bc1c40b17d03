//! Making tunnels, on the control runtime: one dialler for each address of each peer, and one acceptor.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use causeway_config as config;
use causeway_pki::tls::{Peer, TunnelTls};
use causeway_pki::verify::Role as PeerRole;
use causeway_protocols::tunnel::Role;
use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::Established;
use super::state::PeerState;
use crate::discovery::{Discovery, Watched};
use crate::worker::Command;

/// First pause after a failed attempt; it doubles up to the configured longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The side with the higher identity leaves the dialling to the other for this long.
const DEFERENCE: Duration = Duration::from_secs(2);
/// Handshakes of arriving tunnels under way.
const MAX_HANDSHAKES: usize = 256;
/// Bytes that the kernel takes ahead of the network.
const NOT_SENT: u32 = 128 * 1024;

/// What diallers and the acceptor share.
#[derive(Debug)]
struct Common {
    tls: TunnelTls,
    workers: Vec<mpsc::Sender<Command>>,
    settings: config::Federation,
    /// Tunnels that each site dialled to us, by site.
    inbound: std::sync::Mutex<HashMap<config::Name, Arc<PeerState>>>,
    refused: AtomicUsize,
}

impl Common {
    fn inbound(&self, site: &str) -> Arc<PeerState> {
        let mut inbound = self.inbound.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(
            inbound
                .entry(config::Name::from(site))
                .or_insert_with(|| PeerState::new(self.workers.len())),
        )
    }

    /// Hands a connection to the worker that has the fewest.
    async fn deal(&self, connection: Connection, state: &Arc<PeerState>, site: config::Name) {
        let place = state.deal();
        let Some(worker) = self.workers.get(place.worker) else {
            return;
        };
        let Connection {
            stream,
            tls,
            role,
            peer,
        } = connection;
        let established = Established {
            stream,
            tls,
            role,
            peer,
            site,
            place,
        };
        // A worker that is gone takes nothing more: the gateway is stopping.
        worker.send(Command::Tunnel(Box::new(established))).await.ok();
    }
}

/// A connection past its handshake.
struct Connection {
    stream: std::net::TcpStream,
    tls: rustls::Connection,
    role: Role,
    peer: Peer,
}

/// All diallers and the acceptor of a gateway.
#[derive(Debug)]
pub struct Links {
    common: Arc<Common>,
    control: Handle,
    dialling: HashMap<config::Name, (config::Peer, JoinHandle<()>)>,
    accepting: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Links {
    /// Nothing is dialled or accepted yet.
    pub fn new(
        tls: TunnelTls,
        workers: Vec<mpsc::Sender<Command>>,
        settings: config::Federation,
        control: Handle,
    ) -> Self {
        let common = Common {
            tls,
            workers,
            settings,
            inbound: std::sync::Mutex::default(),
            refused: AtomicUsize::new(0),
        };
        Self {
            common: Arc::new(common),
            control,
            dialling: HashMap::new(),
            accepting: None,
        }
    }

    /// Accepts tunnels on this socket.
    ///
    /// # Errors
    /// When the socket cannot be registered, or TLS cannot do TLS 1.3.
    pub fn accept(&mut self, socket: std::net::TcpListener, bind: SocketAddr) -> io::Result<()> {
        let _entered = self.control.enter();
        let socket = TcpListener::from_std(socket)?;
        let tls = self.common.tls.server_config().map_err(io::Error::other)?;
        let accepting = accept_tunnels(socket, Arc::new(tls), Arc::clone(&self.common));
        self.accepting = Some((bind, self.control.spawn(accepting)));
        Ok(())
    }

    /// Stops accepting tunnels and dialling for them. Those that are there go on.
    pub fn stop(&mut self) {
        if let Some((_, task)) = self.accepting.take() {
            task.abort();
        }
        for (_, (_, task)) in self.dialling.drain() {
            task.abort();
        }
    }

    /// Dials the peers of this configuration, and no others.
    pub fn update(&mut self, config: &config::Config, discovery: &Discovery) {
        self.dialling.retain(|site, (peer, task)| {
            let stays = config.peers.iter().any(|now| now.site == *site && now == peer);
            if !stays {
                task.abort();
            }
            stays
        });
        let ours = format!("{}/{}", config.site.trust_domain, config.site.name);
        for peer in &config.peers {
            let Some(discover) = &peer.discover else { continue };
            if self.dialling.contains_key(&peer.site) {
                continue;
            }
            let theirs = format!("{}/{}", peer.trust_domain, peer.site);
            let defers = config.federation.bind.is_some() && theirs < ours;
            let dialler = Dialler {
                site: config::Name::clone(&peer.site),
                watched: discovery.watch(discover),
                common: Arc::clone(&self.common),
                defers,
            };
            let task = self.control.spawn(dialler.run());
            self.dialling
                .insert(config::Name::clone(&peer.site), (peer.clone(), task));
        }
    }
}

async fn accept_tunnels(socket: TcpListener, tls: Arc<rustls::ServerConfig>, common: Arc<Common>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let (stream, address) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a tunnel failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            tracing::warn!(%address, "tunnel refused: too many handshakes are under way");
            continue;
        };
        let (tls, common) = (Arc::clone(&tls), Arc::clone(&common));
        #[expect(
            clippy::disallowed_methods,
            reason = "on the control runtime, bounded by the semaphore"
        )]
        tokio::spawn(async move {
            let limit = common.settings.handshake_timeout;
            let shaken = tokio::time::timeout(limit, accept_one(stream, tls)).await;
            drop(permit);
            match shaken {
                Ok(Ok(connection)) => {
                    let site = connection.peer.identity().site().map(config::Name::from);
                    let Some(site) = site else { return };
                    let state = common.inbound(&site);
                    common.deal(connection, &state, site).await;
                }
                Ok(Err(error)) => {
                    common.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%address, %error, "tunnel refused");
                }
                Err(_) => tracing::warn!(%address, ?limit, "tunnel refused: the handshake took too long"),
            }
        });
    }
}

async fn accept_one(stream: TcpStream, tls: Arc<rustls::ServerConfig>) -> io::Result<Connection> {
    prepare(&stream)?;
    let shaken = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await?;
    let (stream, tls) = shaken.into_inner();
    let peer = Peer::of(&tls, PeerRole::Client).map_err(io::Error::other)?;
    Ok(Connection {
        stream: stream.into_std()?,
        tls: tls.into(),
        role: Role::Acceptor,
        peer,
    })
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    // Helps, where the system has it.
    socket.set_tcp_notsent_lowat(NOT_SENT).ok();
    // A peer that vanishes without a word is noticed by pings; this ends what the kernel still tries to send it.
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20))).ok();
    Ok(())
}

/// Keeps tunnels to one peer.
struct Dialler {
    site: config::Name,
    watched: Watched,
    common: Arc<Common>,
    defers: bool,
}

impl Dialler {
    /// One task for each address; ended when the address is not in the answer any more, or the peer is removed.
    async fn run(self) {
        let this = Arc::new(self);
        let mut addresses: HashMap<SocketAddr, AbortOnDrop> = HashMap::new();
        let mut changes = this.watched.changes.clone();
        loop {
            let answer = this.watched.current();
            addresses.retain(|address, _| answer.endpoints.iter().any(|endpoint| endpoint.address == *address));
            for endpoint in &answer.endpoints {
                addresses.entry(endpoint.address).or_insert_with(|| {
                    #[expect(clippy::disallowed_methods, reason = "on the control runtime, one for each address")]
                    AbortOnDrop(tokio::spawn(Arc::clone(&this).keep(endpoint.address)))
                });
            }
            if changes.changed().await.is_err() {
                // Written-down addresses never change.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Keeps as many tunnels to one address as both sides have use for.
    async fn keep(self: Arc<Self>, address: SocketAddr) {
        let state = PeerState::new(self.common.workers.len());
        let mut failures = 0u32;
        loop {
            if self.defers {
                self.leave_it_to_them().await;
            }
            if state.live() >= state.wanted() {
                state.changed().await;
                continue;
            }
            match self.dial(address).await {
                Ok(connection) => {
                    failures = 0;
                    self.common
                        .deal(connection, &state, config::Name::clone(&self.site))
                        .await;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        tracing::warn!(site = %self.site, %address, %error, failures, "dialling a peer failed");
                    }
                    // The address may have moved: ask again. Rate limited below.
                    self.watched.refresh();
                    tokio::time::sleep(self.pause(failures)).await;
                }
            }
        }
    }

    /// Both could dial, and the other should: wait until it has not for a while.
    async fn leave_it_to_them(&self) {
        let inbound = self.common.inbound(&self.site);
        let mut since = tokio::time::Instant::now();
        while since.elapsed() < DEFERENCE {
            if inbound.live() > 0 {
                inbound.changed().await;
                since = tokio::time::Instant::now();
            } else {
                // Nothing tells that nothing has come.
                let _ = tokio::time::timeout(DEFERENCE - since.elapsed(), inbound.changed()).await;
            }
        }
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Connection> {
        let tls = self.common.tls.client_config(&self.site).map_err(io::Error::other)?;
        // SNI is never identity; what the certificate says is compared with the site that is dialled.
        let name = ServerName::from(address.ip());
        let shaken = tokio::time::timeout(self.common.settings.handshake_timeout, async {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            tokio_rustls::TlsConnector::from(Arc::new(tls))
                .connect(name, stream)
                .await
        });
        let (stream, tls) = shaken
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
            .into_inner();
        let peer = Peer::of(&tls, PeerRole::Server).map_err(io::Error::other)?;
        Ok(Connection {
            stream: stream.into_std()?,
            tls: tls.into(),
            role: Role::Dialler,
            peer,
        })
    }

    /// Doubling, between half and all of it, so that sites that lost each other do not come back in step.
    fn pause(&self, failures: u32) -> Duration {
        let most = FIRST_PAUSE
            .saturating_mul(1 << failures.min(16))
            .min(self.common.settings.reconnect_max);
        most.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
