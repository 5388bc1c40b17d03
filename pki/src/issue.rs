//! What the certificates of causeway look like (X.509-SVID, sections 2 to 4, and RFC 5280).
//!
//! All defaults of the certificate library that matter are replaced: validity, serial number, subject, key identifiers.
//! Authorities carry no name constraints on URIs: path building refuses every chain that has them.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::DnsName;
use time::{Duration, OffsetDateTime};

use crate::identity::{Identity, Quoted, TrustDomain};

/// How long before now a certificate begins, since clocks of sites differ.
pub const BACKDATE: Duration = Duration::minutes(5);

/// The lifetime of a root.
pub const ROOT_LIFETIME: Duration = Duration::days(3650);

/// The lifetime of an issuing authority.
pub const ISSUING_LIFETIME: Duration = Duration::days(3 * 365);

/// The usual lifetime of a gateway's certificate. The tool is offline and its user is a person, so it is not a day.
pub const LEAF_LIFETIME: Duration = Duration::days(90);

/// The most DNS names in one certificate.
const MAX_DNS_NAMES: usize = 32;

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The library that makes certificates.
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Not a DNS name; wildcards are none here.
    #[error("{name} is not a DNS name that a certificate may carry")]
    DnsName {
        /// What was asked for.
        name: Quoted,
    },
    /// A lifetime that makes no sense.
    #[error("a certificate cannot be valid for {days} days")]
    Lifetime {
        /// What was asked for.
        days: i64,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Too many DNS names.
    #[error("{count} DNS names, at most {MAX_DNS_NAMES} fit")]
    TooManyNames {
        /// What was asked for.
        count: usize,
    },
}

/// What a gateway's certificate is to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// Its one URI name.
    pub identity: Identity,
    /// DNS names beside it, for clients that look for them; tunnels never do.
    pub dns_names: Vec<String>,
    /// How long it is valid, counted from now.
    pub lifetime: Duration,
}

/// Which authority a certificate is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    Root,
    Issuing,
}

/// A new key of the one kind that is made here.
pub(crate) fn new_key() -> Result<KeyPair, IssueError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// Fills a buffer with random bytes from the cryptography that TLS uses.
pub(crate) fn random(buffer: &mut [u8]) -> Result<(), IssueError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(buffer).map_err(|_| IssueError::Random)
}

/// A positive number of exactly 128 bits, most of them random.
fn new_serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    // The first bit clear keeps it positive, the second one set keeps its length (RFC 5280 4.1.2.2).
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn params(now: OffsetDateTime, not_after: OffsetDateTime) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = not_after;
    params.serial_number = Some(new_serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn uri(text: &str) -> Result<SanType, IssueError> {
    Ok(SanType::URI(text.try_into()?))
}

/// A root or an issuing authority: the SPIFFE id of its trust domain, and the right to sign and no other.
pub(crate) fn authority(
    level: Level,
    trust_domain: &TrustDomain,
    now: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateParams, IssueError> {
    let mut params = params(now, not_after)?;
    let (name, below) = match level {
        Level::Root => ("root", 1),
        Level::Issuing => ("issuing", 0),
    };
    // Two generations of one authority have to have different names, or a revocation list of one would seem to be
    // that of the other. 64 characters is what a name of this kind may have (RFC 5280, appendix A.1).
    let serial = params
        .serial_number
        .as_ref()
        .map(|serial| data_encoding::HEXLOWER.encode(serial.as_ref()));
    let tag = serial.unwrap_or_default().chars().take(8).collect::<String>();
    let organization = trust_domain.as_str().chars().take(64).collect::<String>();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("causeway {name} {tag}"));
    params.subject_alt_names = vec![uri(&trust_domain.uri())?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

impl Leaf {
    /// The certificate as the authority will sign it. It never outlives `authority_ends`.
    pub(crate) fn params(
        &self,
        now: OffsetDateTime,
        authority_ends: OffsetDateTime,
    ) -> Result<CertificateParams, IssueError> {
        let days = self.lifetime.whole_days();
        let not_after = now.checked_add(self.lifetime).filter(|end| *end > now);
        let not_after = not_after.ok_or(IssueError::Lifetime { days })?.min(authority_ends);
        // The subject stays empty, which makes the names critical, as the standard asks.
        let mut params = params(now, not_after)?;
        params.subject_alt_names = vec![uri(self.identity.as_str())?];
        if self.dns_names.len() > MAX_DNS_NAMES {
            return Err(IssueError::TooManyNames {
                count: self.dns_names.len(),
            });
        }
        for name in &self.dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(check_dns_name(name)?.try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params)
    }
}

fn check_dns_name(name: &str) -> Result<&str, IssueError> {
    match DnsName::try_from(name) {
        Ok(_) if !name.ends_with('.') => Ok(name),
        _ => Err(IssueError::DnsName {
            name: Quoted::new(name),
        }),
    }
}
