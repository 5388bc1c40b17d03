//! The configuration as the gateway uses it: every value here makes sense by itself and with the others.
//!
//! Only [`crate::load`] makes a [`Config`]; the file types that mirror what people write are in `file`.

mod aggregate;
mod authentication;
mod edge;
mod federation;
mod limits;
mod listeners;
mod redis;
mod resilience;
mod retry;
mod routes;
mod services;
mod telemetry;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use causeway_pki::TrustDomain;

use crate::secret::Secret;

pub use aggregate::*;
pub use authentication::*;
pub use edge::*;
pub use federation::*;
pub use limits::*;
pub use listeners::*;
pub use redis::*;
pub use resilience::*;
pub use retry::*;
pub use routes::*;
pub use services::*;
pub use telemetry::*;

/// A name from the configuration: 1 to 63 characters of `a-z 0-9 - _ .`, starting with a letter or digit.
pub type Name = Arc<str>;

/// A whole, checked configuration of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub site: Site,
    /// Our certificate and whom we trust. Required when there are peers or a federation listener.
    pub identity: Option<IdentityFiles>,
    /// Where clients arrive.
    pub listeners: Vec<Listener>,
    /// Where peers' tunnels arrive.
    pub federation: Federation,
    /// Sites we are linked to.
    pub peers: Vec<Peer>,
    /// What calls can be sent to.
    pub services: Vec<Service>,
    /// Who signs the tokens of clients.
    pub issuers: Vec<Issuer>,
    /// Who is asked about tokens that say nothing by themselves.
    pub introspectors: Vec<Introspector>,
    /// Clients that this gateway knows by itself.
    pub consumers: Vec<Consumer>,
    /// Which call goes where; precedence is decided by the match, then by order.
    pub routes: Vec<Route>,
    /// What is told of clients to backends, and of this gateway to both.
    pub edge: Edge,
    /// The operator's port.
    pub admin: Admin,
    /// Traces, logs, metrics.
    pub telemetry: Telemetry,
    /// Bounds of everything.
    pub limits: Limits,
    /// The four clocks of client connections, and the deadline of a call.
    pub timeouts: Timeouts,
    /// How the gateway stops.
    pub drain: Drain,
    /// How names are resolved.
    pub dns: Dns,
    /// Where the gateways of the site count together; none: each by itself.
    pub redis: Option<Redis>,
    /// What must survive a restart is kept in this directory; none: in memory only.
    pub state_dir: Option<PathBuf>,
    /// The memory of kept replies.
    pub cache: CacheMemory,
    /// Traffic threads. Default: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Files this configuration was read from, to be watched for changes.
    pub sources: Vec<PathBuf>,
    /// All of it as TOML, defaults included, secrets redacted and paths resolved.
    pub effective: Arc<str>,
}

/// `[site]`.
#[derive(Clone, Debug)]
pub struct Site {
    /// The site's name, e.g. `aws`.
    pub name: Name,
    /// The trust domain our certificates are in, e.g. `aws.acme.example`.
    pub trust_domain: TrustDomain,
}

/// `[identity]`: reloaded when the files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
    /// Directory with one bundle file per trust domain.
    pub trust_bundles: PathBuf,
    /// Directory or file with CRLs (PEM), if revocation is used.
    pub revocations: Option<PathBuf>,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Loopback only. Default `127.0.0.1:9000`.
    pub bind: SocketAddr,
    /// Serve `/metrics` alone here too, e.g. for a scraper on the network.
    pub metrics_bind: Option<SocketAddr>,
    /// Unix socket that takes changes (`POST /reload`, `POST /drain`) from its owner alone. Default: none.
    pub socket: Option<PathBuf>,
    /// What lets one change something over `bind`, at least 16 characters. Default: nothing does.
    pub token: Option<Secret>,
    /// Names besides `localhost` and loopback addresses that `Host` may have, in lower case.
    pub hosts: Vec<String>,
}
