//! Making tunnels, on the control runtime: one dialler for each address of each peer, and one acceptor.

mod accept;
mod dial;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use causeway_config as config;
use causeway_pki::tls::{Peer, TunnelTls};
use causeway_protocols::tunnel::Role;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Established;
use super::state::PeerState;
use crate::discovery::{Discovery, Endpoint};
use crate::listen::shares::Shares;
use crate::worker::Command;

use accept::accept_tunnels;
use dial::Dialler;

/// Tunnels that a gateway dials in all. Workers without one to a site borrow those of others.
const MAX_TUNNELS: usize = 256;
/// Bytes that the kernel takes ahead of the network.
const NOT_SENT: u32 = 128 * 1024;

type Outbound = HashMap<(config::Name, SocketAddr), Arc<PeerState>>;

/// What diallers and the acceptor share.
#[derive(Debug)]
struct Common {
    tls: TunnelTls,
    workers: Vec<mpsc::Sender<Command>>,
    settings: ArcSwap<config::Federation>,
    /// Tunnels that each site dialled to us, by site.
    inbound: std::sync::Mutex<HashMap<config::Name, Arc<PeerState>>>,
    /// Tunnels that we dialled, by site and address: a dialler that is started anew knows those of the one before.
    outbound: std::sync::Mutex<Outbound>,
    /// Handshakes of arriving tunnels under way, by address.
    shaking: Arc<Shares>,
    refused: AtomicUsize,
}

impl Common {
    fn inbound(&self, site: &str) -> Arc<PeerState> {
        let mut inbound = self.inbound.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(
            inbound
                .entry(config::Name::from(site))
                .or_insert_with(|| PeerState::new(self.workers.len(), self.settings.load().max_tunnels, site)),
        )
    }

    fn outbound(&self, site: &config::Name, address: SocketAddr) -> Arc<PeerState> {
        let mut outbound = self.outbound.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // An address that is gone, and so are its tunnels.
        outbound.retain(|_, state| Arc::strong_count(state) > 1);
        let state = Arc::clone(
            outbound
                .entry((config::Name::clone(site), address))
                .or_insert_with(|| PeerState::new(self.workers.len(), 1, (site, address))),
        );
        self.share(&outbound);
        state
    }

    /// Shares the tunnels that may be dialled out. Every gateway of every peer has one, however many there are.
    fn share(&self, outbound: &Outbound) {
        let share = (MAX_TUNNELS / outbound.len().max(1)).max(1);
        let share = share.min(self.settings.load().max_tunnels);
        outbound.values().for_each(|state| state.allow(share));
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
            shaking: Arc::default(),
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
        let outbound = self.common.outbound.lock();
        self.common
            .share(&outbound.unwrap_or_else(std::sync::PoisonError::into_inner));
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

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    // Helps, where the system has it.
    socket.set_tcp_notsent_lowat(NOT_SENT).ok();
    // A peer that vanishes without a word is noticed by pings; this ends what the kernel still tries to send it.
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20))).ok();
    Ok(())
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
