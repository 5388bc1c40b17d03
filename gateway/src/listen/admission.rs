//! Who may connect: what a balancer says by the PROXY protocol, and the networks of the listener.

use std::net::IpAddr;
use std::rc::Rc;

use causeway_config as config;
use tokio::net::TcpStream;

use super::address::contains;
use super::{Origin, proxy_protocol};
use crate::policy::ip::may_come;
use crate::worker::Worker;

/// What a listener asks of a connection before its first byte.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Networks that may connect, and that may not.
    ip: Option<Rc<config::IpLists>>,
    /// Balancers that begin each connection with a PROXY header. Others may not connect.
    balancers: Option<Rc<[config::Cidr]>>,
}

/// Why a connection was closed before it said anything.
#[derive(Debug)]
struct Refused {
    /// The label of the metric.
    label: &'static str,
    detail: String,
}

impl Admission {
    /// What this listener asks.
    pub fn of(listener: &config::Listener) -> Self {
        Self {
            ip: listener.ip.clone().map(Rc::new),
            balancers: listener
                .proxy_protocol
                .then(|| listener.trusted_proxies.as_slice().into()),
        }
    }

    /// Lets a connection in, or tells of its refusal. The client's address is then that of `origin`.
    pub async fn admit(&self, stream: &mut TcpStream, origin: &mut Origin, worker: &Worker) -> Option<()> {
        match self.check(stream, origin, worker).await {
            Ok(()) => Some(()),
            Err(Refused { label, detail }) => {
                let refused = &worker.observer.shared().metrics.connections_refused;
                refused.with(&[&origin.listener, label]).inc();
                tracing::debug!(client = %origin.peer, listener = %origin.listener, %detail, "connection refused");
                None
            }
        }
    }

    async fn check(&self, stream: &mut TcpStream, origin: &mut Origin, worker: &Worker) -> Result<(), Refused> {
        let refused = |label, detail| Refused { label, detail };
        if let Some(balancers) = &self.balancers {
            let peer: IpAddr = origin.peer.ip();
            if !balancers.iter().any(|network| contains(network, peer)) {
                return Err(refused("proxy_protocol", "it is of no trusted proxy".to_owned()));
            }
            let limit = worker.world().snapshot.config.timeouts.handshake;
            let read = tokio::time::timeout(limit, proxy_protocol::read(stream)).await;
            let read =
                read.map_err(|_| refused("proxy_protocol", "its PROXY header did not arrive in time".to_owned()))?;
            if let Some(client) = read.map_err(|error| refused("proxy_protocol", error.to_string()))? {
                origin.peer = client;
            }
        }
        match &self.ip {
            Some(lists) if !may_come(lists, origin.peer.ip()) => {
                Err(refused("ip", "its network may not connect".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
