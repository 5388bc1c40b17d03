//! TLS for tunnels: rustls configurations that let in exactly the peers that [`verify_peer`] lets in.
//!
//! TLS 1.3 only, both sides with a certificate, ALPN [`ALPN`]. No tickets, no session storage, no early data: every
//! connection is a full handshake, so nobody resumes past a revocation. No hints about our authorities are sent, since
//! they would name our partners. SNI is never identity.
//!
//! Trust and credentials sit behind one cell that is read anew in every handshake: a renewal needs no new
//! configuration and disturbs no connection.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use causeway_pki::tls::{Peer, TunnelTls, provider};
//! use causeway_pki::{Credentials, Role, Trust, TrustBundles, TrustDomain};
//! # fn run(connection: &rustls::ServerConnection) -> Result<(), Box<dyn std::error::Error>> {
//! let loaded = TrustBundles::load(Path::new("bundles")); // loaded.problems names every bad file
//! let trust = Trust::of_sites(loaded.bundles, [("azure".into(), TrustDomain::parse("azure.acme.example")?)]);
//! let provider = provider();
//! let credentials = Credentials::load(Path::new("gateway.crt"), Path::new("gateway.key"), &provider)?;
//! let tls = TunnelTls::new(provider, trust, credentials)
//!     .on_refusal(Arc::new(|error| eprintln!("{}: {error}", error.reason())));
//! let acceptor = tls.server_config()?; // any configured peer
//! let dialler = tls.client_config("azure")?; // that site only
//!
//! let peer = Peer::of(connection, Role::Client)?; // after the handshake: who it is
//! peer.verify_again(&tls.trust(), rustls_pki_types::UnixTime::now(), None)?; // trust changed: may it stay?
//! # Ok(()) }
//! ```

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::credentials::Credentials;
use crate::identity::Identity;
use crate::verify::{self, Role, Trust, Verified, VerifyError, verify_peer};

#[cfg(test)]
mod tests;
mod verifier;

use verifier::PeerVerifier;
pub use verifier::refusal;

/// The protocol that tunnels speak, as ALPN names it.
pub const ALPN: &[u8] = b"causeway/1";

/// Called with every peer that is refused, for the log and the counter. Runs inside the handshake: keep it short.
pub type OnRefusal = Arc<dyn Fn(&VerifyError) + Send + Sync>;

/// Called with every peer that was let in only because of the leeway in time.
pub type OnSkew = Arc<dyn Fn(&Verified) + Send + Sync>;

/// The cryptography that causeway is built with. Passed on explicitly everywhere; no process default is read.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Why there can be no TLS for tunnels, or why a finished handshake makes no tunnel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer speaks something else.
    #[error("the peer did not agree on the protocol causeway/1")]
    Alpn,
    /// The cryptography at hand cannot do TLS 1.3.
    #[error("TLS 1.3 cannot be set up")]
    Provider(#[source] rustls::Error),
    /// The certificates of the peer are not there or not readable.
    #[error(transparent)]
    Peer(#[from] VerifyError),
    /// Older than TLS 1.3, or the handshake is not finished.
    #[error("the connection is not TLS 1.3")]
    Version,
}

/// What handshakes are decided with. One cell, since a rotation changes both together.
#[derive(Debug)]
struct Material {
    trust: Trust,
    credentials: Credentials,
}

/// TLS for tunnels. Cheap to clone; all clones and all configurations made by them share trust and credentials.
#[derive(Clone)]
pub struct TunnelTls {
    material: Arc<ArcSwap<Material>>,
    provider: Arc<CryptoProvider>,
    on_refusal: OnRefusal,
    on_skew: OnSkew,
}

impl TunnelTls {
    /// Presents these credentials and lets in whom this trust lets in.
    pub fn new(provider: Arc<CryptoProvider>, trust: Trust, credentials: Credentials) -> Self {
        let material = Arc::new(ArcSwap::from_pointee(Material { trust, credentials }));
        Self {
            material,
            provider,
            on_refusal: Arc::new(|_| {}),
            on_skew: Arc::new(|_| {}),
        }
    }

    /// Tells of refused peers. Applies to configurations made afterwards.
    pub fn on_refusal(mut self, on_refusal: OnRefusal) -> Self {
        self.on_refusal = on_refusal;
        self
    }

    /// Tells of peers that were let in only because of the leeway. Applies to configurations made afterwards.
    pub fn on_skew(mut self, on_skew: OnSkew) -> Self {
        self.on_skew = on_skew;
        self
    }

    /// Replaces both, for every handshake from now on. Open connections go on; see [`Peer::verify_again`].
    pub fn publish(&self, trust: Trust, credentials: Credentials) {
        self.material.store(Arc::new(Material { trust, credentials }));
    }

    /// Replaces the credentials, for every handshake from now on.
    pub fn publish_credentials(&self, credentials: Credentials) {
        self.material.rcu(|now| Material {
            trust: now.trust.clone(),
            credentials: credentials.clone(),
        });
    }

    /// Replaces the trust, for every handshake from now on.
    pub fn publish_trust(&self, trust: Trust) {
        self.material.rcu(|now| Material {
            trust: trust.clone(),
            credentials: now.credentials.clone(),
        });
    }

    /// The trust of this moment.
    pub fn trust(&self) -> Trust {
        self.material.load().trust.clone()
    }

    /// The credentials of this moment.
    pub fn credentials(&self) -> Credentials {
        self.material.load().credentials.clone()
    }

    /// For accepting tunnels from any configured peer.
    ///
    /// # Errors
    /// [`TlsError::Provider`] when the cryptography cannot do TLS 1.3.
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Provider)?
            .with_client_cert_verifier(Arc::new(self.verifier(None)))
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(&self.material))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// For dialling one site: any other site that answers is refused.
    ///
    /// # Errors
    /// [`TlsError::Provider`] when the cryptography cannot do TLS 1.3.
    pub fn client_config(&self, site: &str) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Provider)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(Some(site.into()))))
            .with_client_cert_resolver(Arc::new(Resolver(Arc::clone(&self.material))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn verifier(&self, expected_site: Option<Arc<str>>) -> PeerVerifier {
        PeerVerifier {
            tls: self.clone(),
            expected_site,
        }
    }
}

impl fmt::Debug for TunnelTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelTls")
            .field("material", &self.material)
            .finish_non_exhaustive()
    }
}

/// Presents the credentials of the moment.
#[derive(Debug)]
struct Resolver(Arc<ArcSwap<Material>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().credentials.certified_key())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().credentials.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The other end of a finished connection, with its chain kept for when trust changes.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: Identity,
    chain: Arc<[CertificateDer<'static>]>,
    role: Role,
}

impl Peer {
    /// Who is at the other end of a connection that was made with a configuration of [`TunnelTls`].
    ///
    /// `role` is what the peer is: [`Role::Client`] on an accepted connection.
    ///
    /// # Errors
    /// When the handshake is not finished, or agreed on something else than TLS 1.3 and [`ALPN`].
    pub fn of(connection: &CommonState, role: Role) -> Result<Self, TlsError> {
        if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) || connection.is_handshaking() {
            return Err(TlsError::Version);
        }
        // A client that offers no protocol at all is not refused by the TLS library.
        if connection.alpn_protocol() != Some(ALPN) {
            return Err(TlsError::Alpn);
        }
        let chain: Arc<[_]> = connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .cloned()
            .collect();
        let identity = verify::identity_of(&chain)?;
        Ok(Self { identity, chain, role })
    }

    /// Who it is, as verified in the handshake.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The chain it presented, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Asks whether this peer would be let in now. For live tunnels when trust, a revocation list or the peers changed,
    /// and when time passes. `expected_site` as when the connection was made.
    ///
    /// # Errors
    /// Why the tunnel has to be cut.
    pub fn verify_again(&self, trust: &Trust, now: UnixTime, site: Option<&str>) -> Result<Verified, VerifyError> {
        let (leaf, intermediates) = self.chain.split_first().ok_or_else(verify::no_certificate)?;
        verify_peer(leaf, intermediates, now, self.role, trust, site)
    }
}
