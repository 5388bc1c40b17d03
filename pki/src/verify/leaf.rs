//! Step 1: what a leaf says of itself, read strictly (X.509-SVID, sections 2 to 4).

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::public_key::PublicKey;

use super::error::{Fault, Subject, VerifyError};
use crate::certificate::{self, CertificateError};
use crate::identity::Identity;

/// The shortest RSA key that TLS takes.
const MIN_RSA_BITS: usize = 2048;

/// A leaf that is well formed. Nobody has proved it yet.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) identity: Identity,
    pub(super) not_after: UnixTime,
}

pub(super) fn read(der: &CertificateDer<'_>) -> Result<Leaf, VerifyError> {
    let unreadable = |subject: Subject, error| match error {
        CertificateError::TooLarge { .. } => VerifyError::new(subject, Fault::TooLarge),
        CertificateError::Malformed { why } => VerifyError::new(subject, Fault::Malformed { why }),
    };
    let parsed = certificate::parse(der).map_err(|error| unreadable(Subject::unnamed(), error))?;
    let by_serial = || Subject::serial(&certificate::serial(&parsed));
    let refuse = |fault| VerifyError::new(by_serial(), fault);

    // First, since the SPIFFE id of an authority is no identity and would be called badly formed.
    match parsed.basic_constraints() {
        Ok(None) => {}
        Ok(Some(constraints)) if !constraints.value.ca => {}
        Ok(Some(_)) => return Err(refuse(Fault::CaLeaf)),
        Err(error) => return Err(refuse(Fault::Malformed { why: error.to_string() })),
    }
    let names = certificate::uri_names(&parsed).map_err(|error| unreadable(by_serial(), error))?;
    let name = match names.as_slice() {
        [] => return Err(refuse(Fault::NoSan)),
        [name] => *name,
        more => return Err(refuse(Fault::TwoSans { count: more.len() })),
    };
    let identity = std::str::from_utf8(name)
        .map_err(|_| Fault::Malformed {
            why: "its URI name is not text".into(),
        })
        .and_then(|text| Identity::parse(text).map_err(Fault::BadId))
        .map_err(refuse)?;

    let refuse = |fault| VerifyError::new(Subject::identity(&identity), fault);
    let usage = match parsed.key_usage() {
        Ok(Some(usage)) => usage,
        Ok(None) => return Err(refuse(Fault::BadKeyUsage { why: "has none" })),
        Err(error) => return Err(refuse(Fault::Malformed { why: error.to_string() })),
    };
    let wrong = match () {
        () if !usage.value.digital_signature() => Some("lacks digitalSignature"),
        () if usage.value.key_cert_sign() => Some("has keyCertSign"),
        () if usage.value.crl_sign() => Some("has cRLSign"),
        () if !usage.critical => Some("is not critical"),
        () => None,
    };
    if let Some(why) = wrong {
        return Err(refuse(Fault::BadKeyUsage { why }));
    }
    match parsed.extended_key_usage() {
        Ok(Some(usage)) if usage.value.server_auth && usage.value.client_auth => {}
        Ok(_) => return Err(refuse(Fault::BadEku)),
        Err(error) => return Err(refuse(Fault::Malformed { why: error.to_string() })),
    }
    // Path building looks at the keys that sign certificates, not at this one, which only the handshake uses.
    if let Ok(PublicKey::RSA(key)) = parsed.public_key().parsed()
        && key.key_size() < MIN_RSA_BITS
    {
        let why = format!("RSA of {} bits, at least {MIN_RSA_BITS} are asked for", key.key_size());
        return Err(refuse(Fault::WeakKey { why }));
    }
    let not_after = certificate::unix_time(parsed.validity().not_after.to_datetime());
    Ok(Leaf { identity, not_after })
}
