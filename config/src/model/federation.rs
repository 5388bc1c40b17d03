//! Peers, and the tunnels to them.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_pki::TrustDomain;

use super::{Discover, Name};

/// `[federation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// Where tunnels arrive; none for a site that only dials out.
    pub bind: Option<SocketAddr>,
    /// Calls a peer may have open on one tunnel. Default 1024.
    pub max_calls: u32,
    /// First receive window of a call in bytes. Default 65536.
    pub window: u32,
    /// Tunnels to one gateway of a peer that are dialled, whatever the number of workers. Default 64.
    pub max_tunnels: usize,
    /// Silence after which a ping is sent. Default 2 s; a tunnel is dead after three misses.
    pub ping_interval: Duration,
    /// Longest pause between attempts to connect. Default 30 s (first 100 ms, doubling, jittered).
    pub reconnect_max: Duration,
    /// Time to connect and shake hands. Default 5 s.
    pub handshake_timeout: Duration,
    /// Hops a call may take over sites. Default 4.
    pub max_hops: u8,
    /// Claims of callers that other sites are told. Default: none.
    pub claims: Vec<String>,
}

/// `[[peers]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's site name.
    pub site: Name,
    /// The trust domain its certificates are in.
    pub trust_domain: TrustDomain,
    /// Where to dial it; none when it dials us.
    pub discover: Option<Discover>,
}
