//! Why a peer is refused: who, what, a label for counters, and how to mend it.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::certificate::{date_time, instant};
use crate::identity::{Identity, IdentityError, TrustDomain};

/// Who was refused: an identity where the certificate has one, else its serial number. Safe for a log line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject(Arc<str>);

impl Subject {
    pub(super) fn identity(identity: &Identity) -> Self {
        Self(identity.as_str().into())
    }

    pub(super) fn serial(serial: &str) -> Self {
        Self(format!("certificate with serial {serial}").into())
    }

    pub(super) fn unnamed() -> Self {
        Self("peer without a readable certificate".into())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A peer that is refused.
///
/// `Display` is one line that names the peer, the fault and the mend.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{peer} refused: {fault}; {}", self.hint())]
pub struct VerifyError {
    /// Who.
    pub peer: Subject,
    /// Why.
    pub fault: Fault,
}

/// Why a peer is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The chain is broken in some other way.
    #[error("its chain is not valid: {why}")]
    BadChain {
        /// What path building says.
        why: String,
    },
    /// The revocation list here is not one of the authority that it names.
    #[error("the revocation list of its trust domain cannot be used: {why}")]
    BadCrl {
        /// What is wrong.
        why: String,
    },
    /// Not usable both as client and as server.
    #[error("its extended key usage is not both serverAuth and clientAuth")]
    BadEku,
    /// The URI name is no SPIFFE id of a peer.
    #[error("its URI name is not the SPIFFE id of a peer: {0}")]
    BadId(IdentityError),
    /// The key may not be used for this.
    #[error("its key usage {why}")]
    BadKeyUsage {
        /// What is wrong, with the key usage as the subject.
        why: &'static str,
    },
    /// An authority where a peer should be.
    #[error("its certificate is one of an authority")]
    CaLeaf,
    /// Outside of its validity.
    #[error("{} expired at {}", if *authority { "the certificate of its authority" } else { "its certificate" }, instant(date_time(*not_after)))]
    Expired {
        /// When it ended.
        not_after: UnixTime,
        /// Whether it is one above the leaf that ended.
        authority: bool,
    },
    /// Not a certificate, or one that cannot be read.
    #[error("{why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// It presented no certificate.
    #[error("it presented no certificate")]
    NoCertificate,
    /// No URI name.
    #[error("its certificate has no URI name")]
    NoSan,
    /// An identity of something else than a gateway.
    #[error("its identity is not that of a gateway")]
    NotAGateway,
    /// Outside of its validity.
    #[error("its certificate is not valid before {}", instant(date_time(*not_before)))]
    NotYetValid {
        /// When it begins.
        not_before: UnixTime,
    },
    /// By a revocation list, or by name.
    #[error("its certificate is revoked")]
    Revoked,
    /// The site is configured with another trust domain.
    #[error("its site is configured here with trust domain {configured}")]
    SiteOfOtherDomain {
        /// The one in the configuration.
        configured: TrustDomain,
    },
    /// More certificates, or larger ones, than are read.
    #[error("its chain is too large")]
    TooLarge,
    /// The bundle of its trust domain is there, and empty.
    #[error("trust in its trust domain is revoked")]
    TrustRevoked,
    /// More than one URI name; text or not, each counts.
    #[error("its certificate has {count} URI names, exactly one is allowed")]
    TwoSans {
        /// How many.
        count: usize,
    },
    /// No configured peer.
    #[error("its site is not a configured peer")]
    UnknownSite,
    /// No bundle.
    #[error("there is no bundle of its trust domain")]
    UnknownTrustDomain,
    /// A key that is too short to prove anything.
    #[error("its key is too weak: {why}")]
    WeakKey {
        /// What is wrong.
        why: String,
    },
    /// Another site than the one that was dialled.
    #[error("site `{expected}` was dialled")]
    WrongSite {
        /// The one that was dialled.
        expected: String,
    },
    /// Signed by something else than the authorities of the trust domain in its own id.
    #[error("its chain is not signed by the authorities of its trust domain{}", match signer {
        Some(signer) => format!(" but by those of {signer}"),
        None => String::new(),
    })]
    WrongTrustDomain {
        /// Whose authorities did sign it, when we know them.
        signer: Option<TrustDomain>,
    },
}

impl VerifyError {
    pub(super) fn new(peer: Subject, fault: Fault) -> Self {
        Self { peer, fault }
    }

    /// A stable label for a counter.
    pub fn reason(&self) -> &'static str {
        self.fault.reason()
    }

    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        self.fault.hint()
    }
}

impl Fault {
    /// Every label of [`reason`](Self::reason), so that counters can start at zero.
    pub const REASONS: [&'static str; 21] = [
        "bad_chain",
        "bad_crl",
        "bad_eku",
        "bad_id",
        "bad_key_usage",
        "ca_leaf",
        "expired",
        "malformed",
        "no_certificate",
        "no_san",
        "not_a_gateway",
        "not_yet_valid",
        "revoked",
        "too_large",
        "trust_revoked",
        "two_sans",
        "unknown_site",
        "unknown_trust_domain",
        "weak_key",
        "wrong_site",
        "wrong_trust_domain",
    ];

    /// A stable label for a counter.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadChain { .. } => "bad_chain",
            Self::BadCrl { .. } => "bad_crl",
            Self::BadEku => "bad_eku",
            Self::BadId(_) => "bad_id",
            Self::BadKeyUsage { .. } => "bad_key_usage",
            Self::CaLeaf => "ca_leaf",
            Self::Expired { .. } => "expired",
            Self::Malformed { .. } => "malformed",
            Self::NoCertificate => "no_certificate",
            Self::NoSan => "no_san",
            Self::NotAGateway => "not_a_gateway",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::SiteOfOtherDomain { .. } | Self::WrongTrustDomain { .. } => "wrong_trust_domain",
            Self::TooLarge => "too_large",
            Self::TrustRevoked => "trust_revoked",
            Self::TwoSans { .. } => "two_sans",
            Self::UnknownSite => "unknown_site",
            Self::UnknownTrustDomain => "unknown_trust_domain",
            Self::WeakKey { .. } => "weak_key",
            Self::WrongSite { .. } => "wrong_site",
        }
    }

    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadChain { .. } => {
                "`causeway pki inspect` shows its chain; issue it again at its site with `causeway pki issue`"
            }
            Self::BadCrl { .. } => "copy the revocation list of that site again",
            Self::Expired { authority: false, .. } => "renew it at its site with `causeway pki renew`",
            Self::Expired { authority: true, .. } => "rotate the authority at its site, then import its bundle here",
            Self::NotYetValid { .. } => "compare the clocks of the two sites",
            Self::Revoked => "issue a new one at its site with `causeway pki issue`",
            Self::SiteOfOtherDomain { .. } => "correct `trust_domain` of this peer, or refuse it as an impostor",
            Self::TrustRevoked => "import a bundle with keys if it is to be trusted again",
            Self::NotAGateway | Self::UnknownSite => "add the site to `[[peers]]` if it is to connect",
            Self::UnknownTrustDomain => "import its bundle with `causeway pki bundle import` if it is to connect",
            Self::WrongSite { .. } => "correct the address of this peer",
            Self::WrongTrustDomain { .. } => {
                "import the current bundle of its trust domain, or send the issuing certificate along; else it is an impostor"
            }
            _ => "issue a certificate at its site with `causeway pki issue`",
        }
    }
}
