//! Links to other sites: dialling and accepting tunnels, calls out and calls in.
//!
//! Connections are made on the control runtime ([`links`]) and dealt to the workers, which run them ([`tunnel`]) without
//! sharing anything. The wire form is `causeway_protocols::tunnel`.

pub mod accept;
pub mod bridge;
pub mod call;
pub mod caller;
pub mod carrier;
pub mod export;
pub mod links;
pub mod state;
pub mod stream;
pub mod tunnel;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use causeway_config as config;
use causeway_pki::tls::{Peer, TunnelTls};
use causeway_protocols::tunnel::{GrowthLedger, Role};
use tokio::sync::Notify;

use self::bridge::Lenders;
use self::state::TunnelPlace;
use self::tunnel::Tunnel;
use crate::retry::budget::Budget;

/// What all workers know of the links.
#[derive(Debug)]
pub struct Shared {
    /// How far the windows of all calls may grow.
    pub ledger: Arc<GrowthLedger>,
    /// Our credentials and whom we trust; none until there is an `[identity]`, then for good.
    pub tls: OnceLock<TunnelTls>,
    /// Which workers have tunnels, for those without.
    pub lenders: Arc<Lenders>,
    /// Workers of this gateway, as told in HELLO.
    pub workers: usize,
}

impl Shared {
    /// Name of this gateway within its site, as its certificate says.
    pub fn gateway(&self) -> String {
        let credentials = self.tls.get().map(TunnelTls::credentials);
        let name = credentials
            .as_ref()
            .and_then(|credentials| credentials.identity().gateway());
        name.unwrap_or("gateway").to_owned()
    }
}

/// A connection that has been shaken hands on, on its way to the worker that will run it.
#[derive(Debug)]
pub struct Established {
    /// The socket.
    pub stream: std::net::TcpStream,
    /// TLS, past its handshake.
    pub tls: rustls::Connection,
    /// Whether we dialled.
    pub role: Role,
    /// Who is at the other end.
    pub peer: Peer,
    /// The peer's site.
    pub site: config::Name,
    /// Its place among the tunnels to the peer; given back when it ends.
    pub place: TunnelPlace,
}

/// One worker's tunnels to a site.
#[derive(Debug)]
pub struct PeerLink {
    /// The site.
    pub site: config::Name,
    worker: usize,
    lenders: Arc<Lenders>,
    tunnels: RefCell<Vec<Rc<Tunnel>>>,
    ready: Notify,
    next: Cell<usize>,
    /// How many retries there may be on replies.
    pub budget: Budget,
}

impl PeerLink {
    /// The link of this worker, without tunnels.
    pub fn new(site: config::Name, worker: usize, lenders: Arc<Lenders>) -> Self {
        Self {
            site,
            worker,
            lenders,
            tunnels: RefCell::default(),
            ready: Notify::new(),
            next: Cell::new(0),
            budget: Budget::default(),
        }
    }

    /// A tunnel that takes calls, if there is one; they are used in turn.
    pub fn pick(&self) -> Option<Rc<Tunnel>> {
        let tunnels = self.tunnels.borrow();
        let start = self.next.get();
        self.next.set(start.wrapping_add(1));
        let (before, from) = tunnels.split_at(start % tunnels.len().max(1));
        from.iter().chain(before).find(|tunnel| tunnel.takes_calls()).cloned()
    }

    /// Whether there is a tunnel that takes calls, here or at another worker.
    pub fn is_up(&self) -> bool {
        let here = self.tunnels.borrow().iter().any(|tunnel| tunnel.takes_calls());
        here || self.lenders.has(&self.site)
    }

    /// Waits until some tunnel may have become ready.
    pub async fn changed(&self) {
        self.ready.notified().await;
    }

    /// Adds a tunnel that has had its HELLO.
    pub fn add(&self, tunnel: Rc<Tunnel>) {
        self.tunnels.borrow_mut().push(tunnel);
        self.lenders.note(&self.site, self.worker, true);
        self.ready.notify_waiters();
    }

    /// Removes a tunnel that takes no more calls.
    pub fn remove(&self, tunnel: &Rc<Tunnel>) {
        let mut tunnels = self.tunnels.borrow_mut();
        tunnels.retain(|other| !Rc::ptr_eq(other, tunnel));
        if tunnels.is_empty() {
            self.lenders.note(&self.site, self.worker, false);
        }
    }

    /// What is known of the tunnels of other workers.
    pub fn lenders(&self) -> &Lenders {
        &self.lenders
    }

    /// Whether another tunnel takes calls.
    pub fn has_other_than(&self, tunnel: &Tunnel) -> bool {
        let tunnels = self.tunnels.borrow();
        tunnels
            .iter()
            .any(|other| !std::ptr::eq(&**other, tunnel) && other.takes_calls())
    }

    /// Whether there is a tunnel that could take the place of this one: a newer one that takes calls.
    pub fn has_newer_than(&self, tunnel: &Tunnel) -> bool {
        let tunnels = self.tunnels.borrow();
        tunnels
            .iter()
            .any(|other| other.started() > tunnel.started() && other.takes_calls())
    }
}

impl Drop for PeerLink {
    fn drop(&mut self) {
        self.lenders.note(&self.site, self.worker, false);
    }
}
