//! What causeway reads out of one X.509 certificate, and how times and certificates are shown.
//!
//! Nothing here decides whether a certificate is to be trusted; that is the work of the verifier.

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer as _;

/// The largest certificate read, in bytes. A leaf of the tool has some 600.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// The context tag of a URI in a subject alternative name (RFC 5280 4.2.1.6).
const TAG_URI: u32 = 6;

/// Why a certificate could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not an X.509 certificate, or one with broken parts.
    #[error("not a readable X.509 certificate: {why}")]
    Malformed {
        /// What is broken.
        why: String,
    },
    /// Larger than [`MAX_CERTIFICATE`].
    #[error("certificate of {length} bytes, at most {MAX_CERTIFICATE} are read")]
    TooLarge {
        /// What was found, in bytes.
        length: usize,
    },
}

fn malformed(why: impl ToString) -> CertificateError {
    CertificateError::Malformed { why: why.to_string() }
}

/// Parses one certificate and nothing after it.
///
/// # Errors
/// [`CertificateError`] when it is too large, not a certificate, or followed by other bytes.
pub fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(CertificateError::TooLarge { length: der.len() });
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(malformed("bytes follow the certificate")),
        Err(x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error)) => Err(malformed(error)),
        Err(x509_parser::nom::Err::Incomplete(_)) => Err(malformed("it ends too early")),
    }
}

/// The URI names of a certificate, raw: one that is no text counts too.
///
/// # Errors
/// When the extension is there twice or cannot be read, since names could hide in it.
pub fn uri_names<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a [u8]>, CertificateError> {
    let names = general_names(certificate)?;
    Ok(names
        .into_iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(uri.as_bytes()),
            GeneralName::Invalid(tag, bytes) if tag.0 == TAG_URI => Some(bytes),
            _ => None,
        })
        .collect())
}

/// The DNS names of a certificate that are text.
///
/// # Errors
/// When the extension is there twice or cannot be read.
pub fn dns_names<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a str>, CertificateError> {
    let names = general_names(certificate)?;
    Ok(names
        .into_iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        })
        .collect())
}

fn general_names<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<GeneralName<'a>>, CertificateError> {
    let mut extensions = certificate
        .iter_extensions()
        .filter(|e| e.oid == OID_X509_EXT_SUBJECT_ALT_NAME);
    let Some(extension) = extensions.next() else {
        return Ok(Vec::new());
    };
    if extensions.next().is_some() {
        return Err(malformed("two subject alternative name extensions"));
    }
    // The parser ignores what follows the names, so the length is checked here.
    let whole = x509_parser::asn1_rs::Any::from_der(extension.value).is_ok_and(|(rest, _)| rest.is_empty());
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) if whole => Ok(names.general_names.clone()),
        _ => Err(malformed("the subject alternative names cannot be read")),
    }
}

/// The serial number in hexadecimal without separators, as `openssl x509 -serial` prints it but in lower case.
pub fn serial(certificate: &X509Certificate<'_>) -> String {
    let raw = certificate.raw_serial();
    // A leading zero octet only says that the number is positive.
    let raw = if raw.len() > 1 && raw[0] == 0 { &raw[1..] } else { raw };
    data_encoding::HEXLOWER.encode(raw)
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` computes it, in lower case without colons.
pub fn fingerprint(der: &[u8]) -> String {
    // The hash of the cipher suite is the way to a hash without another dependency.
    let rustls::SupportedCipherSuite::Tls13(suite) = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
    else {
        return String::new();
    };
    data_encoding::HEXLOWER.encode(suite.common.hash_provider.hash(der).as_ref())
}

/// An instant as people and machines read it: `2026-11-21T01:52:15Z`.
pub fn instant(at: OffsetDateTime) -> String {
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole
        .format(&Rfc3339)
        .unwrap_or_else(|_| format!("{} s after 1970", at.unix_timestamp()))
}

/// The same instant in the type of the TLS library. Times before 1970 become 1970.
pub fn unix_time(at: OffsetDateTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(at.unix_timestamp()).unwrap_or(0),
    ))
}

/// The same instant in the type of the calendar library; what no calendar holds becomes its last day.
pub fn date_time(at: UnixTime) -> OffsetDateTime {
    let last = time::PrimitiveDateTime::MAX.assume_utc();
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
        .unwrap_or(last)
}
