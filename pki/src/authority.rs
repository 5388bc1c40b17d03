//! The authority of one trust domain: a root, an issuing authority below it, and what they signed.
//!
//! ```text
//! DIR/active              the number of the generation that issues
//! DIR/1/root.crt          the anchor that peers trust
//! DIR/1/root.key          signs issuing authorities only; may be kept elsewhere, issuing does not need it
//! DIR/1/issuing.crt       sent along by every gateway
//! DIR/1/issuing.key       signs gateways and revocation lists
//! DIR/issued/SERIAL.crt   every leaf ever signed
//! DIR/<trust-domain>.crl  what was revoked
//! ```
//!
//! A second generation appears during a rotation; one that is done with is renamed to `retired-N` and never removed.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::bundle::{BundleError, TrustBundle, pem};
use crate::certificate;
use crate::identity::{Identity, Quoted, TrustDomain};
use crate::issue::{self, IssueError, Leaf};
use crate::store::{self, Secrecy, StoreError};
use crate::verify::{Peers, Role, Trust, VerifyError, verify_chain};

mod generation;
mod request;
mod revoke;
mod rotate;
#[cfg(test)]
mod tests;

use generation::{Generation, make_generation, open_generation};
use request::check_request;
pub use revoke::Revoked;
pub use rotate::{Finish, GenerationStatus, RotationStatus, Stage};

/// Why the authority could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The directory is not that of an authority, or is damaged.
    #[error("`{}` is not the directory of an authority: {why}", path.display())]
    Directory {
        /// The directory or the file in it.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// The issuing authority has run out.
    #[error("the issuing authority of {trust_domain} ended at {}", certificate::instant(*not_after))]
    Ended {
        /// Whose.
        trust_domain: TrustDomain,
        /// When.
        not_after: OffsetDateTime,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A certificate of another trust domain.
    #[error("{identity} is not in trust domain {trust_domain}")]
    OtherTrustDomain {
        /// Whose certificate was asked for.
        identity: Identity,
        /// Whose authority this is.
        trust_domain: TrustDomain,
    },
    /// A signing request that asks for something that it may not have.
    #[error("the signing request is refused: {why}")]
    Request {
        /// What it asks for, or what is wrong with it.
        why: String,
    },
    /// A step of a rotation that would cut somebody off, or comes too early.
    #[error("{why}")]
    Rotation {
        /// Why not.
        why: String,
        /// How to go on.
        hint: &'static str,
    },
    /// The certificate just made would be refused by a peer; a fault of this tool or of a changed directory.
    #[error("the new certificate would be refused: {0}")]
    SelfCheck(VerifyError),
    /// A file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate that this authority never signed.
    #[error("no certificate with serial {serial} was issued here")]
    UnknownSerial {
        /// What was asked for.
        serial: Quoted,
    },
}

impl AuthorityError {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "make one with `causeway pki init`, or give its place with --dir",
            Self::Ended { .. } => "rotate it with `causeway pki rotate prepare`",
            Self::Issue(IssueError::DnsName { .. }) => "write names as in gw.acme.example, without wildcards",
            Self::Issue(IssueError::Lifetime { .. }) => "give --days of 1 or more",
            Self::Issue(_) => "see the message above",
            Self::OtherTrustDomain { .. } => "use the authority of that trust domain with --dir",
            Self::Request { .. } => "the names come from the arguments; make the request without others",
            Self::Rotation { hint, .. } => hint,
            Self::SelfCheck(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::UnknownSerial { .. } => "`causeway pki inspect` prints the serial of a certificate",
        }
    }
}

/// A certificate that was just signed.
#[derive(Debug)]
pub struct Issued {
    /// Whose it is.
    pub identity: Identity,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: OffsetDateTime,
    /// The leaf and the issuing authority, as PEM.
    pub chain_pem: String,
}

/// A certificate that was just signed, and its new key.
pub struct IssuedPair {
    /// The certificate.
    pub issued: Issued,
    /// The private key as PEM (PKCS#8).
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for IssuedPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedPair")
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

/// The authority of one trust domain, in the directory that it owns.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    trust_domain: TrustDomain,
    /// Every generation that is not retired, in order.
    generations: Vec<Generation>,
    active: u32,
}

const ACTIVE: &str = "active";
const ISSUED: &str = "issued";

impl Authority {
    /// Makes a new root and issuing authority.
    ///
    /// # Errors
    /// When the directory has an authority already, or cannot be written.
    pub fn create(directory: &Path, trust_domain: &TrustDomain, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        store::check_free(&directory.join(ACTIVE))?;
        store::check_free(&directory.join("1"))?;
        store::make_directory(&directory.join(ISSUED))?;
        make_generation(directory, 1, trust_domain, now)?;
        // Last, since it is what makes the directory one of an authority.
        store::create(&directory.join(ACTIVE), b"1\n", Secrecy::Public)?;
        Self::open(directory)
    }

    /// Opens what [`create`](Self::create) made. No private key is read before it is needed.
    ///
    /// # Errors
    /// [`AuthorityError::Directory`] names the file that is missing or damaged.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let active_path = directory.join(ACTIVE);
        let damaged = |path: &Path, why: String| AuthorityError::Directory { path: path.into(), why };
        let active =
            fs::read_to_string(&active_path).map_err(|error| damaged(directory, format!("`{ACTIVE}`: {error}")))?;
        let active = active
            .trim()
            .parse::<u32>()
            .map_err(|error| damaged(&active_path, error.to_string()))?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory).map_err(StoreError::io("reading", directory))? {
            let name = entry.map_err(StoreError::io("reading", directory))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        if !numbers.contains(&active) {
            return Err(damaged(
                directory,
                format!("generation {active} is active but not there"),
            ));
        }
        let mut generations = Vec::new();
        let mut domains = Vec::new();
        for number in numbers {
            let (generation, domain) = open_generation(directory, number)?;
            generations.push(generation);
            domains.push(domain);
        }
        domains.dedup();
        match domains.as_slice() {
            [domain] => Ok(Self {
                directory: directory.into(),
                trust_domain: domain.clone(),
                generations,
                active,
            }),
            _ => Err(damaged(
                directory,
                "its generations are of different trust domains".into(),
            )),
        }
    }

    /// Whose authority this is.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When the issuing authority ends; no certificate outlives it.
    pub fn issuing_ends(&self) -> OffsetDateTime {
        self.current().issuing_ends
    }

    /// What peers have to trust: the roots of all generations that are not retired, the active one first.
    ///
    /// # Errors
    /// When a root is damaged.
    pub fn bundle(&self) -> Result<TrustBundle, AuthorityError> {
        let mut roots: Vec<_> = self
            .generations
            .iter()
            .map(|g| (g.number != self.active, g.root.clone()))
            .collect();
        roots.sort_by_key(|(other, _)| *other);
        self.bundle_of(roots.into_iter().map(|(_, root)| root).collect())
    }

    fn bundle_of(&self, roots: Vec<CertificateDer<'static>>) -> Result<TrustBundle, AuthorityError> {
        let damaged = |error: BundleError| AuthorityError::Directory {
            path: self.directory.clone(),
            why: error.to_string(),
        };
        TrustBundle::new(self.trust_domain.clone(), roots).map_err(damaged)
    }

    /// Signs a certificate for a new key.
    ///
    /// # Errors
    /// When the identity is of another trust domain, the authority has ended, or a name makes no sense.
    pub fn issue(&self, leaf: &Leaf, now: OffsetDateTime) -> Result<IssuedPair, AuthorityError> {
        let key = issue::new_key()?;
        let issued = self.certify(leaf, &key, now)?;
        Ok(IssuedPair {
            issued,
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Signs a certificate for the key of a signing request (PKCS#10, PEM). Its names come from `leaf` alone.
    ///
    /// # Errors
    /// As [`issue`](Self::issue), and when the request is not signed by its own key, or asks for names, usages or
    /// rights that `leaf` does not give: who made it expects something else than what would be signed.
    pub fn sign(&self, request: &[u8], leaf: &Leaf, now: OffsetDateTime) -> Result<Issued, AuthorityError> {
        let refused = |why: String| AuthorityError::Request { why };
        let der = CertificateSigningRequestDer::from_pem_slice(request).map_err(|error| refused(error.to_string()))?;
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|error| refused(error.to_string()))?;
        check_request(&der, &request, leaf).map_err(refused)?;
        self.certify(leaf, &request.public_key, now)
    }

    fn certify(&self, leaf: &Leaf, key: &impl PublicKeyData, now: OffsetDateTime) -> Result<Issued, AuthorityError> {
        if leaf.identity.trust_domain() != &self.trust_domain {
            let (identity, trust_domain) = (leaf.identity.clone(), self.trust_domain.clone());
            return Err(AuthorityError::OtherTrustDomain { identity, trust_domain });
        }
        let generation = self.current();
        if generation.issuing_ends <= now {
            let (trust_domain, not_after) = (self.trust_domain.clone(), generation.issuing_ends);
            return Err(AuthorityError::Ended {
                trust_domain,
                not_after,
            });
        }
        let params = leaf.params(now, generation.issuing_ends)?;
        let certificate = params.signed_by(key, &generation.issuer()?).map_err(IssueError::from)?;
        let serial = params
            .serial_number
            .as_ref()
            .map(|s| data_encoding::HEXLOWER.encode(s.as_ref()));
        let serial = serial.unwrap_or_default();
        self.self_check(certificate.der(), generation, now)?;
        let leaf_pem = pem("CERTIFICATE", certificate.der());
        // Recorded before it is handed out: what is not on record could not be revoked.
        let record = self.directory.join(ISSUED).join(format!("{serial}.crt"));
        store::create(&record, leaf_pem.as_bytes(), Secrecy::Public)?;
        let chain_pem = leaf_pem + &pem("CERTIFICATE", &generation.issuing);
        Ok(Issued {
            identity: leaf.identity.clone(),
            serial,
            not_after: params.not_after,
            chain_pem,
        })
    }

    /// Asks the verifier that a peer would use.
    fn self_check(
        &self,
        leaf: &CertificateDer<'_>,
        generation: &Generation,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let bundle = self.bundle_of(vec![generation.root.clone()])?;
        let trust = Trust::new([bundle].into_iter().collect(), Peers::AnyKnown);
        let intermediates = [generation.issuing.clone()];
        for role in [Role::Client, Role::Server] {
            verify_chain(leaf, &intermediates, certificate::unix_time(now), role, &trust)
                .map_err(AuthorityError::SelfCheck)?;
        }
        Ok(())
    }

    fn current(&self) -> &Generation {
        // `open` made sure that the active one is there.
        let active = self
            .generations
            .iter()
            .find(|generation| generation.number == self.active);
        active.unwrap_or(&self.generations[0])
    }
}
