//! Making tunnels, on the control runtime: one dialler for each address of each peer, and one acceptor.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
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
use crate::discovery::{Discovery, Endpoint, Watched};
use crate::worker::Command;

/// First pause after a failed attempt; it doubles up to the configured longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// An address that was good so lately is tried at least every [`SOON`]: whoever restarts is found at once.
const LATELY: Duration = Duration::from_secs(600);
/// See [`LATELY`].
const SOON: Duration = Duration::from_secs(1);
/// The side with the higher identity leaves the dialling to the other for this long: longer than the other's pauses,
/// so that both dial only where one of them cannot, and short enough that such a link is back within two seconds.
const DEFERENCE: Duration = Duration::from_millis(1500);
/// Handshakes of arriving tunnels under way.
const MAX_HANDSHAKES: usize = 256;
/// Of those, from one address.
const MAX_HANDSHAKES_OF_ONE: usize = 32;
/// Bytes that the kernel takes ahead of the network.
const NOT_SENT: u32 = 128 * 1024;

/// What diallers and the acceptor share.
#[derive(Debug)]
struct Common {
    tls: TunnelTls,
    workers: Vec<mpsc::Sender<Command>>,
    settings: ArcSwap<config::Federation>,
    /// Tunnels that each site dialled to us, by site.
    inbound: std::sync::Mutex<HashMap<config::Name, Arc<PeerState>>>,
    /// Tunnels that we dialled, by site and address: a dialler that is started anew knows those of the one before.
    outbound: std::sync::Mutex<HashMap<(config::Name, SocketAddr), Arc<PeerState>>>,
    /// Handshakes of arriving tunnels under way, by address.
    shaking: std::sync::Mutex<HashMap<IpAddr, usize>>,
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

    fn outbound(&self, site: &config::Name, address: SocketAddr) -> Arc<PeerState> {
        let mut outbound = self.outbound.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // An address that is gone, and so are its tunnels.
        outbound.retain(|_, state| Arc::strong_count(state) > 1);
        Arc::clone(
            outbound
                .entry((config::Name::clone(site), address))
                .or_insert_with(|| PeerState::new(self.workers.len())),
        )
    }

    /// Marks the tunnels to addresses that a peer does not have any more.
    fn retire_all_but(&self, site: &str, endpoints: &[Endpoint]) {
        let outbound = self.outbound.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for ((of, address), state) in &*outbound {
            if **of == *site && !endpoints.iter().any(|endpoint| endpoint.address == *address) {
                state.set_surplus(true);
            }
        }
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
    dialling: HashMap<config::Name, (config::Peer, AbortOnDrop)>,
    accepting: Option<AbortOnDrop>,
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
            settings: ArcSwap::from_pointee(settings),
            inbound: std::sync::Mutex::default(),
            outbound: std::sync::Mutex::default(),
            shaking: std::sync::Mutex::default(),
            refused: AtomicUsize::new(0),
        };
        Self {
            common: Arc::new(common),
            control,
            dialling: HashMap::new(),
            accepting: None,
        }
    }

    /// Accepts tunnels on this socket, and no longer on the one before.
    ///
    /// # Errors
    /// When the socket cannot be registered, or TLS cannot do TLS 1.3.
    pub fn accept(&mut self, socket: std::net::TcpListener) -> io::Result<()> {
        let _entered = self.control.enter();
        let socket = TcpListener::from_std(socket)?;
        let tls = self.common.tls.server_config().map_err(io::Error::other)?;
        let accepting = accept_tunnels(socket, Arc::new(tls), Arc::clone(&self.common));
        self.accepting = Some(AbortOnDrop(self.control.spawn(accepting)));
        Ok(())
    }

    /// Stops accepting tunnels and dialling for them. Those that are there go on.
    pub fn stop(&mut self) {
        self.stop_accepting();
        self.dialling.clear();
    }

    /// Stops accepting tunnels.
    pub fn stop_accepting(&mut self) {
        self.accepting = None;
    }

    /// Forgets where peers are: [`update`](Self::update) then looks them up by another discovery. Tunnels stay.
    pub fn forget_addresses(&mut self) {
        self.dialling.clear();
    }

    /// Dials the peers of this configuration, and no others.
    pub fn update(&mut self, config: &config::Config, discovery: &Discovery) {
        let before = self.common.settings.load_full();
        self.common.settings.store(Arc::new(config.federation.clone()));
        if before.bind.is_some() != config.federation.bind.is_some() {
            // Who leaves the dialling to whom has changed.
            self.dialling.clear();
        }
        self.dialling
            .retain(|site, (peer, _)| config.peers.iter().any(|now| now.site == *site && now == peer));
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
                .insert(config::Name::clone(&peer.site), (peer.clone(), AbortOnDrop(task)));
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
        let Some(one) = Shaking::begin(&common, address.ip()) else {
            tracing::debug!(%address, "tunnel refused: too many handshakes of this address are under way");
            continue;
        };
        let (tls, common) = (Arc::clone(&tls), Arc::clone(&common));
        #[expect(
            clippy::disallowed_methods,
            reason = "on the control runtime, bounded by the semaphore"
        )]
        tokio::spawn(async move {
            let limit = common.settings.load().handshake_timeout;
            let shaken = tokio::time::timeout(limit, accept_one(stream, tls)).await;
            drop((permit, one));
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

/// One handshake of an address, as long as it lives.
struct Shaking {
    common: Arc<Common>,
    address: IpAddr,
}

impl Shaking {
    fn begin(common: &Arc<Common>, address: IpAddr) -> Option<Self> {
        let mut shaking = common.shaking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = shaking.entry(address).or_default();
        if *count >= MAX_HANDSHAKES_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self {
            common: Arc::clone(common),
            address,
        })
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        let mut shaking = self
            .common
            .shaking
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(count) = shaking.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                shaking.remove(&self.address);
            }
        }
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
            this.common.retire_all_but(&this.site, &answer.endpoints);
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
        let state = self.common.outbound(&self.site, address);
        let inbound = self.common.inbound(&self.site);
        let (mut ours, mut theirs) = (state.changes(), inbound.changes());
        let mut attempts = Attempts::new();
        loop {
            ours.mark_unchanged();
            theirs.mark_unchanged();
            let enough = inbound.ready() >= inbound.wanted();
            state.set_surplus(self.defers && enough);
            if self.defers && state.live() == 0 && self.is_left_to_them(&inbound).await {
                continue;
            }
            if state.live() >= state.wanted() || (self.defers && enough) {
                attempts.good();
                tokio::select! {
                    _ = ours.changed() => {}
                    _ = theirs.changed() => {}
                }
                continue;
            }
            match self.attempt(address, &state).await {
                Ok(()) => attempts.good(),
                Err(error) => {
                    let failures = attempts.failed();
                    if failures.is_power_of_two() {
                        tracing::warn!(site = %self.site, %address, %error, failures, "dialling a peer failed");
                    }
                    // The address may have moved: ask again. Rate limited below.
                    self.watched.refresh();
                    let longest = self.common.settings.load().reconnect_max;
                    tokio::time::sleep(attempts.pause(longest, Instant::now())).await;
                }
            }
        }
    }

    /// One more tunnel, up to the HELLO of the peer: only then has it let us in.
    async fn attempt(&self, address: SocketAddr, state: &Arc<PeerState>) -> io::Result<()> {
        let connection = self.dial(address).await?;
        let mut changes = state.changes();
        let ready = state.ready();
        // Counted before it is handed over: it may be gone again by the time that is done.
        let live = state.live() + 1;
        self.common
            .deal(connection, state, config::Name::clone(&self.site))
            .await;
        // Bounded by the tunnel, which gives up without a HELLO.
        while state.ready() <= ready {
            if state.live() < live {
                return Err(io::Error::other("the peer closed the tunnel before its HELLO"));
            }
            if changes.changed().await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Both could dial, and the other should: whether it does within a while.
    async fn is_left_to_them(&self, inbound: &PeerState) -> bool {
        let mut theirs = inbound.changes();
        let until = tokio::time::Instant::now() + DEFERENCE;
        loop {
            if inbound.live() > 0 {
                // Theirs are being made. Should they go again, somebody has to begin anew.
                theirs.changed().await.ok();
                return true;
            }
            if tokio::time::timeout_at(until, theirs.changed()).await.is_err() {
                return false;
            }
        }
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Connection> {
        let tls = self.common.tls.client_config(&self.site).map_err(io::Error::other)?;
        // SNI is never identity; what the certificate says is compared with the site that is dialled.
        let name = ServerName::from(address.ip());
        let shaken = tokio::time::timeout(self.common.settings.load().handshake_timeout, async {
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
}

/// How it went with one address, and how long to wait before the next attempt.
#[derive(Debug)]
struct Attempts {
    failures: u32,
    good: Instant,
}

impl Attempts {
    /// Nothing was tried. A peer that has not started yet is waited for like one that restarts.
    fn new() -> Self {
        Self {
            failures: 0,
            good: Instant::now(),
        }
    }

    fn good(&mut self) {
        *self = Self::new();
    }

    fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Doubling, between half and all of it, so that sites that lost each other do not come back in step.
    fn pause(&self, longest: Duration, now: Instant) -> Duration {
        let longest = if now.saturating_duration_since(self.good) < LATELY {
            longest.min(SOON)
        } else {
            longest
        };
        let most = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(longest);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_good_lately_is_tried_every_second() {
        let longest = Duration::from_secs(30);
        let mut attempts = Attempts::new();
        for _ in 0..40 {
            attempts.failed();
            assert!(attempts.pause(longest, Instant::now()) <= SOON);
        }
        let pause = attempts.pause(longest, Instant::now() + LATELY);
        assert!(pause > SOON && pause <= longest, "{pause:?}");
        attempts.good();
        attempts.failed();
        assert!(attempts.pause(longest, Instant::now() + LATELY / 2) <= 2 * FIRST_PAUSE);
    }
}
