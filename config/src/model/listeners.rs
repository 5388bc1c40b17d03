//! Where clients arrive.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Name;
use crate::policies::IpLists;

/// `[[listeners]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Name used in logs and metrics.
    pub name: Name,
    /// Address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// TLS to clients; none means clear text.
    pub tls: Option<ListenerTls>,
    /// Clients that may state addresses and ids of requests.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether trusted proxies begin each connection with a header of the PROXY protocol. Default: false.
    pub proxy_protocol: bool,
    /// Networks that may connect, and that may not.
    pub ip: Option<IpLists>,
    /// Whether RFC 8441 and RFC 6455 upgrades are accepted at all. Default: true.
    pub websocket: bool,
}

/// `tls = { certificates = [...] }` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Chosen by SNI; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// Who vouches for clients, if they may show certificates.
    pub clients: Option<ClientCertificates>,
}

/// `client_ca` and `client_certificates` of a listener's `tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of the roots that vouch for clients.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused. Default: true.
    pub required: bool,
}

/// A certificate chain and its key as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
}

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Network address.
    pub address: std::net::IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}
