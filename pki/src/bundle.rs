//! Trust bundles: the anchors that vouch for one trust domain, as PEM or as SPIFFE JWKS.
//!
//! The trust domain of a bundle is never read out of the bundle: the one who installs the file says it, by its name.
//! A certificate of another trust domain in the file is an error, so that swapped files are noticed.
//!
//! Bounded: at most [`MAX_BUNDLE`] bytes and [`MAX_ANCHORS`] anchors.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use time::OffsetDateTime;

use crate::certificate::{self, CertificateError};
use crate::identity::{Quoted, TrustDomain};

mod directory;
mod jwks;
#[cfg(test)]
mod tests;

pub use directory::{BundleProblem, Loaded, ProblemKind, TrustBundles};

/// The largest bundle file read, in bytes.
pub const MAX_BUNDLE: usize = 1024 * 1024;

/// The most anchors of one trust domain. Rotation needs two; the rest is room.
pub const MAX_ANCHORS: usize = 32;

/// Why something is not a trust bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A certificate that cannot be read.
    #[error("certificate {number}: {source}")]
    Certificate {
        /// Its place in the bundle, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The file holds no certificate at all, which is more likely an accident than a wish.
    #[error("holds no certificate")]
    Empty,
    /// Not a JWKS document.
    #[error("not a SPIFFE bundle in JWKS form: {why}")]
    Jwks {
        /// What is wrong.
        why: String,
    },
    /// A certificate that may not sign certificates.
    #[error("certificate {number} is not an authority: {why}")]
    NotAnAuthority {
        /// Its place in the bundle, counted from 1.
        number: usize,
        /// What it lacks.
        why: &'static str,
    },
    /// An authority of some other trust domain.
    #[error("certificate {number} is an authority of {found}, this bundle is for spiffe://{wanted}")]
    OtherTrustDomain {
        /// Its place in the bundle, counted from 1.
        number: usize,
        /// What it says.
        found: Quoted,
        /// What the bundle is for.
        wanted: TrustDomain,
    },
    /// Not PEM.
    #[error("not PEM: {why}")]
    Pem {
        /// What is wrong.
        why: String,
    },
    /// More bytes or anchors than are read.
    #[error("too large: {what}")]
    TooLarge {
        /// What there is too much of.
        what: String,
    },
}

impl BundleError {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "copy the bundle again; to stop trusting a domain, remove its file",
            Self::NotAnAuthority { .. } => "export it at its site with `causeway pki bundle export`",
            Self::OtherTrustDomain { .. } => "the name of the file is the trust domain; were two files swapped?",
            _ => "export it again at its site with `causeway pki bundle export`",
        }
    }
}

/// One anchor and when it may be used.
#[derive(Clone, Debug)]
pub struct Anchor {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    serial: String,
}

impl Anchor {
    /// The certificate as it was read.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// When it ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Its serial number, hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

/// The anchors that vouch for one trust domain. None at all means that trust in it is revoked.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    anchors: Vec<Anchor>,
    sequence: Option<u64>,
}

impl TrustBundle {
    /// A bundle of these authorities; an empty one revokes the trust domain.
    ///
    /// # Errors
    /// When one is not an authority, or is one of another trust domain, or there are too many.
    pub fn new(trust_domain: TrustDomain, certificates: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        if certificates.len() > MAX_ANCHORS {
            let what = format!("{} certificates, at most {MAX_ANCHORS} are read", certificates.len());
            return Err(BundleError::TooLarge { what });
        }
        let anchors = certificates
            .into_iter()
            .enumerate()
            .map(|(n, c)| anchor(&trust_domain, n + 1, c));
        let anchors = anchors.collect::<Result<_, _>>()?;
        Ok(Self {
            trust_domain,
            anchors,
            sequence: None,
        })
    }

    /// Reads the certificates of a PEM file; text around them is ignored.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when the file holds no certificate.
    pub fn from_pem(trust_domain: TrustDomain, pem: &[u8]) -> Result<Self, BundleError> {
        check_size(pem)?;
        let mut certificates = Vec::new();
        for item in CertificateDer::pem_slice_iter(pem) {
            certificates.push(item.map_err(|error| BundleError::Pem { why: error.to_string() })?);
        }
        if certificates.is_empty() {
            return Err(BundleError::Empty);
        }
        Self::new(trust_domain, certificates)
    }

    /// Reads a SPIFFE bundle in JWKS form (SPIFFE Trust Domain and Bundle, 4). Keys of other uses are ignored, and an
    /// empty list of keys makes a bundle that revokes the trust domain.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when it is not such a document.
    pub fn from_jwks(trust_domain: TrustDomain, json: &[u8]) -> Result<Self, BundleError> {
        check_size(json)?;
        let (certificates, sequence) = jwks::read(json)?;
        Ok(Self {
            sequence,
            ..Self::new(trust_domain, certificates)?
        })
    }

    /// The bundle as PEM. A bundle that revokes has no PEM form: it is empty text.
    pub fn to_pem(&self) -> String {
        self.anchors
            .iter()
            .map(|anchor| pem("CERTIFICATE", &anchor.certificate))
            .collect()
    }

    /// The same bundle with another sequence number.
    pub fn with_sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// The bundle in JWKS form. Where it has no sequence number, the start of its newest anchor is one.
    ///
    /// # Errors
    /// When a key of an anchor has no JWK form here; RSA, the NIST curves and Ed25519 have.
    pub fn to_jwks(&self) -> Result<String, BundleError> {
        let newest = self
            .anchors
            .iter()
            .map(|a| a.not_before.unix_timestamp())
            .max()
            .unwrap_or(0);
        let sequence = self.sequence.unwrap_or_else(|| u64::try_from(newest).unwrap_or(0));
        jwks::write(self.anchors.iter().map(|anchor| &anchor.certificate), sequence)
    }

    /// Which trust domain these anchors vouch for, and no other.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The anchors, in the order of the file.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The anchors that may be used at an instant. Path building itself asks no anchor for its age.
    pub fn anchors_at(&self, at: OffsetDateTime) -> Vec<TrustAnchor<'static>> {
        let valid = self.anchors.iter().filter(|a| a.not_before <= at && at <= a.not_after);
        valid.map(|a| a.anchor.clone()).collect()
    }

    /// `spiffe_sequence` of the JWKS form; a bundle with a lower number than a known one is old.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// True for the empty bundle, with which a site withdraws its trust domain.
    pub fn is_revoked(&self) -> bool {
        self.anchors.is_empty()
    }

    /// This bundle and the anchors of another that it lacks; for the time in which two roots overlap.
    ///
    /// # Errors
    /// When there would be too many.
    pub fn merged(&self, other: &Self) -> Result<Self, BundleError> {
        let mut certificates: Vec<_> = self.anchors.iter().map(|a| a.certificate.clone()).collect();
        for anchor in &other.anchors {
            if !certificates.contains(&anchor.certificate) {
                certificates.push(anchor.certificate.clone());
            }
        }
        Self::new(self.trust_domain.clone(), certificates)
    }
}

/// The certificates of a JWKS document, whatever trust domain they are of. For looking at one.
pub(crate) fn jwks_certificates(json: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    check_size(json)?;
    Ok(jwks::read(json)?.0)
}

fn check_size(file: &[u8]) -> Result<(), BundleError> {
    if file.len() > MAX_BUNDLE {
        return Err(BundleError::TooLarge {
            what: format!("{} bytes, at most {MAX_BUNDLE} are read", file.len()),
        });
    }
    Ok(())
}

/// Checks one certificate and makes it an anchor.
fn anchor(wanted: &TrustDomain, number: usize, der: CertificateDer<'static>) -> Result<Anchor, BundleError> {
    let broken = |source| BundleError::Certificate { number, source };
    let parsed = certificate::parse(&der).map_err(broken)?;
    match parsed.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => {}
        _ => {
            return Err(BundleError::NotAnAuthority {
                number,
                why: "CA is not set in its basic constraints",
            });
        }
    }
    match parsed.key_usage() {
        Ok(None) => {}
        Ok(Some(usage)) if usage.value.key_cert_sign() => {}
        _ => {
            return Err(BundleError::NotAnAuthority {
                number,
                why: "its key usage lacks keyCertSign",
            });
        }
    }
    // Authorities made by other tools may have no SPIFFE id; one that is there has to be the right one.
    for uri in certificate::uri_names(&parsed).map_err(broken)? {
        if uri != wanted.uri().as_bytes() {
            let found = Quoted::new(&String::from_utf8_lossy(uri));
            return Err(BundleError::OtherTrustDomain {
                number,
                found,
                wanted: wanted.clone(),
            });
        }
    }
    let bad = |error: webpki::Error| broken(CertificateError::Malformed { why: error.to_string() });
    let anchor = webpki::anchor_from_trusted_cert(&der).map_err(bad)?.to_owned();
    let validity = parsed.validity();
    let (not_before, not_after) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    let serial = certificate::serial(&parsed);
    Ok(Anchor {
        anchor,
        not_before,
        not_after,
        serial,
        certificate: der,
    })
}

/// One PEM block with lines of 64 characters (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|&byte| char::from(byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
