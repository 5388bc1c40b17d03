//! Bounds and clocks: of clients, of the end of the gateway, and of look-ups.

use std::net::SocketAddr;
use std::time::Duration;

/// `[limits]`: sizes in bytes unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections of the gateway. Default 20000.
    pub connections: usize,
    /// Request line and fields together. Default 32 KiB.
    pub head: usize,
    /// Number of fields. Default 100.
    pub fields: usize,
    /// Request target. Default 8 KiB.
    pub target: usize,
    /// Largest request body. Default none (streams are bounded by their windows).
    pub body: Option<u64>,
    /// Streams of one HTTP/2 connection. Default 128.
    pub http2_streams: u32,
    /// Largest frame of a WebSocket that is passed through. Default 16 MiB.
    pub websocket_frame: u64,
    /// Frames of one WebSocket message. Default 1024.
    pub websocket_fragments: u32,
    /// TLS handshakes under way. Default 1024.
    pub handshakes: usize,
    /// Of those, from one client address; an IPv6 /64 counts as one. Default 256.
    pub handshakes_per_address: usize,
    /// Memory the process should stay below; new calls are refused at 80 percent of it. Default 1 GiB.
    pub memory: u64,
}

/// `[timeouts]`: of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its end. Default 10 s.
    pub head: Duration,
    /// Longest pause of a request body. Default 30 s.
    pub body: Duration,
    /// Longest time a write makes no progress. Default 30 s.
    pub write: Duration,
    /// A connection without calls. Default 60 s.
    pub idle: Duration,
    /// A WebSocket without bytes either way. Default 10 min.
    pub websocket_idle: Duration,
    /// TLS handshake. Default 5 s.
    pub handshake: Duration,
}

/// `[drain]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Between failing readiness and closing listeners. Default 0 s.
    pub delay: Duration,
    /// What is left after this is cut and named in the log. Default 30 s.
    pub deadline: Duration,
}

/// `[cache]`: what the replies that routes keep may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheMemory {
    /// Bytes of all kept replies of this gateway, their heads and keys included. Default 64 MiB.
    pub memory: u64,
    /// Bytes of the largest body that is kept. Default 1 MiB.
    pub max_entry: u64,
}

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Servers to ask; empty: the system's (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// For one look-up. Default 2 s.
    pub timeout: Duration,
    /// Shortest time between look-ups of a name. Default 1 s.
    pub min_ttl: Duration,
    /// Longest time. Default 5 min.
    pub max_ttl: Duration,
    /// How long the last good answer is used when no new one can be had. Default 1 h.
    pub max_stale: Duration,
    /// Addresses taken from one answer. Default 256.
    pub max_endpoints: usize,
}
