//! The one verifier: for dialling, for accepting, and for `causeway pki verify`.
//!
//! 1. Read the leaf: exactly one URI name, a SPIFFE id with a path, not an authority, key usage, both extended usages.
//! 2. Choose the bundle by the trust domain of that id. The name only selects; the next step proves it.
//! 3. Build and verify the chain up to that bundle alone, with the revocation lists of that trust domain.
//! 4. The site is a configured peer with that trust domain, is the expected one when dialling, and is not revoked.
//!
//! A bundle therefore never vouches for another trust domain, whoever signed what across (X.509-SVID, sections 3 to 5).
//!
//! Posture: robust against an untrusted peer; every refusal has a stable label for a counter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, RevocationOptionsBuilder, UnknownStatusPolicy};

use crate::bundle::{TrustBundle, TrustBundles};
use crate::certificate;
use crate::identity::{Identity, TrustDomain};

mod error;
mod leaf;
#[cfg(test)]
mod tests;

pub use error::{Fault, Subject, VerifyError};

/// How far clocks of two sites may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The most certificates taken after the leaf.
pub const MAX_INTERMEDIATES: usize = 8;

/// What the peer is in the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It dialled us.
    Client,
    /// We dialled it.
    Server,
}

/// Which peers may be talked to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peers {
    /// Any identity that a known bundle vouches for. For the offline tool; a gateway names its peers.
    AnyKnown,
    /// These sites, each with the trust domain that it has to prove.
    Sites(BTreeMap<String, TrustDomain>),
}

/// Everything that decides whether a peer is let in. Replaced whole, cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    bundles: TrustBundles,
    peers: Arc<Peers>,
    revoked: Arc<BTreeSet<Identity>>,
}

impl Trust {
    /// Trusts these bundles, each for its own trust domain, and talks to these peers.
    pub fn new(bundles: TrustBundles, peers: Peers) -> Self {
        Self {
            bundles,
            peers: Arc::new(peers),
            revoked: Arc::default(),
        }
    }

    /// Trusts these bundles and talks to these sites.
    pub fn of_sites(bundles: TrustBundles, sites: impl IntoIterator<Item = (String, TrustDomain)>) -> Self {
        Self::new(bundles, Peers::Sites(sites.into_iter().collect()))
    }

    /// The same trust, without these identities: the way to cut one gateway off without a revocation list.
    pub fn without(mut self, revoked: impl IntoIterator<Item = Identity>) -> Self {
        self.revoked = Arc::new(revoked.into_iter().collect());
        self
    }

    /// The bundles and revocation lists.
    pub fn bundles(&self) -> &TrustBundles {
        &self.bundles
    }
}

/// A peer that was let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Who it is.
    pub identity: Identity,
    /// When its leaf certificate ends.
    pub not_after: UnixTime,
    /// Set when the peer was let in only because of [`LEEWAY`]: one of the two clocks is wrong, or the certificate
    /// just ran out. Worth a warning.
    pub skew: Option<Skew>,
}

/// By how much a chain is outside of its validity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Skew {
    /// It ended this long ago.
    Expired(Duration),
    /// It begins only in this time.
    NotYetValid(Duration),
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(by) => write!(f, "certificate expired {} s ago", by.as_secs()),
            Self::NotYetValid(by) => write!(f, "certificate is valid only in {} s", by.as_secs()),
        }
    }
}

/// Decides whether a peer is who it says, and whether we talk to it.
///
/// `role` is what the peer is in the handshake. `expected_site` is the site that was dialled; `None` when accepting.
///
/// # Errors
/// [`VerifyError`] says who was refused, why, and how to mend it; [`VerifyError::reason`] is for a counter.
pub fn verify_peer(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    role: Role,
    trust: &Trust,
    expected_site: Option<&str>,
) -> Result<Verified, VerifyError> {
    let verified = verify_chain(leaf, intermediates, now, role, trust)?;
    match check_peer(&verified.identity, trust, expected_site) {
        Ok(()) => Ok(verified),
        Err(fault) => Err(VerifyError::new(Subject::identity(&verified.identity), fault)),
    }
}

/// The identity that a chain claims, read strictly but proved by nobody.
///
/// For a chain that [`verify_peer`] accepted, as the certificates of a finished connection are.
///
/// # Errors
/// When the leaf is not a well-formed certificate of a peer, and when there is none.
pub fn identity_of(chain: &[CertificateDer<'_>]) -> Result<Identity, VerifyError> {
    match chain.first() {
        Some(leaf) => Ok(leaf::read(leaf)?.identity),
        None => Err(no_certificate()),
    }
}

pub(crate) fn no_certificate() -> VerifyError {
    VerifyError::new(Subject::unnamed(), Fault::NoCertificate)
}

/// Steps 1 to 3, and revoked identities: everything but whether we talk to that site.
pub(crate) fn verify_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    role: Role,
    trust: &Trust,
) -> Result<Verified, VerifyError> {
    let read = leaf::read(leaf)?;
    let refuse = |fault| VerifyError::new(Subject::identity(&read.identity), fault);
    if intermediates.len() > MAX_INTERMEDIATES || intermediates.iter().any(|c| c.len() > certificate::MAX_CERTIFICATE) {
        return Err(refuse(Fault::TooLarge));
    }
    let domain = read.identity.trust_domain();
    let bundle = trust
        .bundles
        .get(domain)
        .ok_or_else(|| refuse(Fault::UnknownTrustDomain))?;
    if bundle.is_revoked() {
        return Err(refuse(Fault::TrustRevoked));
    }
    let path = Path {
        leaf,
        intermediates,
        role,
        trust,
    };
    let skew = path.verify_with_leeway(bundle, now).map_err(|error| {
        let fault = path.fault_of(error, bundle, now, read.not_after);
        refuse(fault)
    })?;
    if trust.revoked.contains(&read.identity) {
        return Err(refuse(Fault::Revoked));
    }
    Ok(Verified {
        not_after: read.not_after,
        identity: read.identity,
        skew,
    })
}

/// Step 4.
fn check_peer(identity: &Identity, trust: &Trust, expected_site: Option<&str>) -> Result<(), Fault> {
    let site = identity.site();
    if let Peers::Sites(sites) = &*trust.peers {
        let site = site.ok_or(Fault::NotAGateway)?;
        let domain = sites.get(site).ok_or(Fault::UnknownSite)?;
        if domain != identity.trust_domain() {
            return Err(Fault::SiteOfOtherDomain {
                configured: domain.clone(),
            });
        }
    }
    match expected_site {
        Some(expected) if site != Some(expected) => Err(Fault::WrongSite {
            expected: expected.into(),
        }),
        _ => Ok(()),
    }
}

/// One chain on its way up to a bundle.
struct Path<'a> {
    leaf: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    role: Role,
    trust: &'a Trust,
}

impl Path<'_> {
    /// Step 3. A chain that is only just outside of its validity is tried again at the edge of the leeway.
    fn verify_with_leeway(&self, bundle: &TrustBundle, now: UnixTime) -> Result<Option<Skew>, webpki::Error> {
        let seconds = now.as_secs();
        let error = match self.verify(bundle, now) {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        let (at, skew) = match &error {
            webpki::Error::CertExpired { not_after, .. } => {
                let by = Duration::from_secs(seconds.saturating_sub(not_after.as_secs()));
                (seconds.saturating_sub(LEEWAY.as_secs()), Skew::Expired(by))
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                let by = Duration::from_secs(not_before.as_secs().saturating_sub(seconds));
                (seconds.saturating_add(LEEWAY.as_secs()), Skew::NotYetValid(by))
            }
            _ => return Err(error),
        };
        match self.verify(bundle, UnixTime::since_unix_epoch(Duration::from_secs(at))) {
            Ok(()) => Ok(Some(skew)),
            Err(_) => Err(error),
        }
    }

    fn verify(&self, bundle: &TrustBundle, at: UnixTime) -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(self.leaf)?;
        let anchors = bundle.anchors_at(certificate::date_time(at));
        let usage = match self.role {
            Role::Client => webpki::KeyUsage::client_auth(),
            Role::Server => webpki::KeyUsage::server_auth(),
        };
        let crls = self.trust.bundles.crls(bundle.trust_domain());
        let lists = crls.map(|crls| crls.lists()).unwrap_or_default();
        // No list at all is said by None; and one authority's list says nothing about another's certificates.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            let builder = builder.with_status_policy(UnknownStatusPolicy::Allow);
            builder.with_expiration_policy(ExpirationPolicy::Ignore).build()
        });
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &anchors, self.intermediates, at, usage, revocation, None)
            .map(|_| ())
    }

    /// Puts the answer of path building into our words.
    fn fault_of(&self, error: webpki::Error, bundle: &TrustBundle, now: UnixTime, leaf_ends: UnixTime) -> Fault {
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Fault::Expired {
                not_after,
                authority: not_after != leaf_ends,
            },
            E::CertNotValidYet { not_before, .. } => Fault::NotYetValid { not_before },
            E::CertRevoked => Fault::Revoked,
            E::CaUsedAsEndEntity => Fault::CaLeaf,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Fault::BadEku,
            E::InvalidCrlSignatureForPublicKey
            | E::IssuerNotCrlSigner
            | E::UnsupportedCrlSignatureAlgorithmContext(_) => Fault::BadCrl { why: explain(&error) },
            E::UnknownIssuer | E::InvalidSignatureForPublicKey => {
                match bundle.anchors().iter().map(|a| a.not_after()).max() {
                    Some(last) if last < certificate::date_time(now) => Fault::Expired {
                        not_after: certificate::unix_time(last),
                        authority: true,
                    },
                    _ => Fault::WrongTrustDomain {
                        signer: self.signer(bundle, now),
                    },
                }
            }
            other => Fault::BadChain { why: explain(&other) },
        }
    }

    /// Whose bundle does vouch for this chain. Only for the message: it changes nothing about the refusal.
    fn signer(&self, own: &TrustBundle, now: UnixTime) -> Option<TrustDomain> {
        let others = self
            .trust
            .bundles
            .iter()
            .filter(|b| b.trust_domain() != own.trust_domain());
        others
            .take(16)
            .find(|bundle| self.verify(bundle, now).is_ok())
            .map(|bundle| bundle.trust_domain().clone())
    }
}

/// What path building says, for a log line: its own words are the names of its variants, some with long tables.
fn explain(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let words = match error {
        E::InvalidCertValidity => "it ends before it begins",
        E::InvalidCrlSignatureForPublicKey => "it is not signed by the authority that it names",
        E::IssuerNotCrlSigner => "its authority may not sign revocation lists",
        E::NameConstraintViolation => "an authority is constrained to other names",
        E::PathLenConstraintViolated => "an authority may not have another below it",
        E::UnsupportedCriticalExtension => "it has a critical extension that is unknown",
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | E::UnsupportedCrlSignatureAlgorithmContext(_)
        | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            "it is signed in a way that is not taken, such as with SHA-1 or a short RSA key"
        }
        other => return other.to_string().chars().take(100).collect(),
    };
    words.into()
}
