//! One generation of an authority: a root, an issuing authority below it, and their keys.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::AuthorityError;
use crate::bundle::pem;
use crate::certificate::{self, CertificateError};
use crate::identity::{IdentityError, TrustDomain};
use crate::issue::{self, ISSUING_LIFETIME, IssueError, Level, ROOT_LIFETIME};
use crate::store::{self, Secrecy, StoreError};

/// One generation: a root and its issuing authority.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) directory: PathBuf,
    pub(super) root: CertificateDer<'static>,
    pub(super) issuing: CertificateDer<'static>,
    pub(super) issuing_ends: OffsetDateTime,
}

impl Generation {
    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let path = self.directory.join("issuing.key");
        let key = Zeroizing::new(store::read(&path)?);
        let damaged = |why: String| AuthorityError::Directory {
            path: path.clone(),
            why,
        };
        let key = str::from_utf8(&key).map_err(|_| damaged("not PEM".into()))?;
        let key = KeyPair::from_pem(key).map_err(|error| damaged(error.to_string()))?;
        let parsed = certificate::parse(&self.issuing).map_err(|error| damaged(error.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(damaged("it does not belong to issuing.crt".into()));
        }
        Issuer::from_ca_cert_der(&self.issuing, key).map_err(|error| damaged(error.to_string()))
    }
}

pub(super) fn make_generation(
    directory: &Path,
    number: u32,
    trust_domain: &TrustDomain,
    now: OffsetDateTime,
) -> Result<(), AuthorityError> {
    let place = directory.join(number.to_string());
    let root_params = issue::authority(Level::Root, trust_domain, now, now + ROOT_LIFETIME)?;
    let root_key = issue::new_key()?;
    let root = rcgen::CertifiedIssuer::self_signed(root_params, &root_key).map_err(IssueError::from)?;
    let issuing_params = issue::authority(Level::Issuing, trust_domain, now, now + ISSUING_LIFETIME)?;
    let issuing_key = issue::new_key()?;
    let issuing = issuing_params
        .signed_by(&issuing_key, &root)
        .map_err(IssueError::from)?;

    // Complete under a hidden name first: half a generation is never seen.
    let hidden = directory.join(format!(".{number}.new"));
    if hidden.exists() {
        fs::remove_dir_all(&hidden).map_err(StoreError::io("removing", &hidden))?;
    }
    store::make_directory(&hidden)?;
    let root_secret = Zeroizing::new(root_key.serialize_pem());
    let issuing_secret = Zeroizing::new(issuing_key.serialize_pem());
    store::create(
        &hidden.join("root.crt"),
        pem("CERTIFICATE", root.der()).as_bytes(),
        Secrecy::Public,
    )?;
    store::create(&hidden.join("root.key"), root_secret.as_bytes(), Secrecy::Private)?;
    store::create(
        &hidden.join("issuing.crt"),
        pem("CERTIFICATE", issuing.der()).as_bytes(),
        Secrecy::Public,
    )?;
    store::create(&hidden.join("issuing.key"), issuing_secret.as_bytes(), Secrecy::Private)?;
    store::check_free(&place)?;
    fs::rename(&hidden, &place).map_err(StoreError::io("creating", &place))?;
    store::sync_directory(&place);
    Ok(())
}

pub(super) fn open_generation(directory: &Path, number: u32) -> Result<(Generation, TrustDomain), AuthorityError> {
    let directory = directory.join(number.to_string());
    let (root, domain, _) = open_certificate(&directory.join("root.crt"))?;
    let (issuing, issuing_domain, issuing_ends) = open_certificate(&directory.join("issuing.crt"))?;
    if domain != issuing_domain {
        let why = "its two certificates are of different trust domains".into();
        return Err(AuthorityError::Directory { path: directory, why });
    }
    Ok((
        Generation {
            number,
            directory,
            root,
            issuing,
            issuing_ends,
        },
        domain,
    ))
}

/// One certificate of the authority: itself, its trust domain, its end.
fn open_certificate(path: &Path) -> Result<(CertificateDer<'static>, TrustDomain, OffsetDateTime), AuthorityError> {
    let damaged = |why: String| AuthorityError::Directory { path: path.into(), why };
    let der = CertificateDer::from_pem_slice(&store::read(path)?).map_err(|error| damaged(error.to_string()))?;
    let parsed = certificate::parse(&der).map_err(|error: CertificateError| damaged(error.to_string()))?;
    let names = certificate::uri_names(&parsed).map_err(|error| damaged(error.to_string()))?;
    let name = match names.as_slice() {
        [name] => str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix("spiffe://")),
        _ => None,
    };
    let domain = name.ok_or_else(|| damaged("it has no SPIFFE id of a trust domain".into()))?;
    let domain = TrustDomain::parse(domain).map_err(|error: IdentityError| damaged(error.to_string()))?;
    let ends = parsed.validity().not_after.to_datetime();
    Ok((der, domain, ends))
}
