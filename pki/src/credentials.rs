//! Credentials: our own certificate chain and private key, read from PEM files.
//!
//! The private key never appears in `Debug` output or in an error.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::certificate::{self, CertificateError};
use crate::identity::Identity;
use crate::verify::{Role, Trust, VerifyError, identity_of, verify_chain};

#[cfg(test)]
mod tests;

/// The largest certificate or key file read, in bytes.
const MAX_FILE: usize = 256 * 1024;

/// The most certificates of our own chain.
const MAX_CHAIN: usize = 8;

/// Why certificate and key make no credentials. Each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A certificate that cannot be read.
    #[error("certificate `{}`: {source}", path.display())]
    Certificate {
        /// The certificate file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A certificate without exactly one SPIFFE id, or otherwise not one that a peer would accept.
    #[error("certificate `{}` cannot be used: {source}", path.display())]
    Identity {
        /// The certificate file.
        path: PathBuf,
        /// What a peer would say to it.
        source: VerifyError,
    },
    /// A key that cannot be used.
    #[error("private key `{}`: {why}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key are from different pairs; also seen for a moment while both are being replaced.
    #[error("private key `{}` does not belong to certificate `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A file without what it should hold.
    #[error("`{}` holds no {wanted}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// A file that cannot be read.
    #[error("reading `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl CredentialsError {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificate { .. } | Self::Identity { .. } => "issue one with `causeway pki issue`",
            Self::Key { .. } => "it has to be an unencrypted PEM key in PKCS#8, SEC1 or PKCS#1 form",
            Self::Mismatch { .. } => "the two files are written together by `causeway pki issue`; copy both",
            Self::Missing { .. } => "were certificate and private key swapped?",
            Self::Read { .. } => "check that the file exists and that this user may read it",
        }
    }
}

/// Our certificate chain and key: proof of one identity. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    key: Arc<CertifiedKey>,
    identity: Identity,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    serial: String,
    wide_mode: Option<u32>,
}

impl Credentials {
    /// Reads a chain (leaf first, then what signed it, without the root) and its private key.
    ///
    /// An expired certificate is no error here: the caller decides how loud to be.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file and what is wrong.
    pub fn load(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, CredentialsError> {
        let chain = read_chain(certificate)?;
        let pem = read(key)?;
        let private = match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(private) => private,
            Err(rustls_pki_types::pem::Error::NoItemsFound) if encrypted(&pem) => {
                return Err(CredentialsError::Key {
                    path: key.into(),
                    why: "it is encrypted".into(),
                });
            }
            Err(rustls_pki_types::pem::Error::NoItemsFound) => {
                return Err(CredentialsError::Missing {
                    path: key.into(),
                    wanted: "private key",
                });
            }
            Err(error) => {
                return Err(CredentialsError::Key {
                    path: key.into(),
                    why: error.to_string(),
                });
            }
        };
        let signer = provider
            .key_provider
            .load_private_key(private)
            .map_err(|error| CredentialsError::Key {
                path: key.into(),
                why: error.to_string(),
            })?;
        let pair = CertifiedKey::new(chain, signer);
        pair.keys_match().map_err(|_| CredentialsError::Mismatch {
            certificate: certificate.into(),
            key: key.into(),
        })?;
        Self::of(pair, certificate, wide_mode(key))
    }

    fn of(pair: CertifiedKey, path: &Path, wide_mode: Option<u32>) -> Result<Self, CredentialsError> {
        let Some(leaf) = pair.cert.first() else {
            return Err(CredentialsError::Missing {
                path: path.into(),
                wanted: "certificate",
            });
        };
        let identity = identity_of(&pair.cert).map_err(|source| CredentialsError::Identity {
            path: path.into(),
            source,
        })?;
        let parsed = certificate::parse(leaf).map_err(|source| CredentialsError::Certificate {
            path: path.into(),
            source,
        })?;
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        let serial = certificate::serial(&parsed);
        Ok(Self {
            key: Arc::new(pair),
            identity,
            not_before,
            not_after,
            serial,
            wide_mode,
        })
    }

    /// Whom these credentials prove us to be.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Chain and key as the TLS library takes them.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// When the certificate begins to be valid.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// When to renew: after two thirds of the lifetime.
    pub fn renew_at(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// The serial number of the certificate, hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The mode of the key file when others than its owner may use it, such as `0o644`. Worth a warning.
    pub fn wide_mode(&self) -> Option<u32> {
        self.wide_mode
    }

    /// Asks what a peer that trusts what we trust would say to these credentials, in both roles. The peers that
    /// `trust` allows do not matter here, and a trust domain of ours that `trust` does not know passes.
    ///
    /// # Errors
    /// What the peer would say.
    pub fn check(&self, trust: &Trust, now: UnixTime) -> Result<(), VerifyError> {
        if trust.bundles().get(self.identity.trust_domain()).is_none() {
            return Ok(());
        }
        let Some((leaf, intermediates)) = self.key.cert.split_first() else {
            return Ok(());
        };
        for role in [Role::Client, Role::Server] {
            verify_chain(leaf, intermediates, now, role, trust)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Credentials");
        debug.field("identity", &self.identity).field("serial", &self.serial);
        debug
            .field("not_after", &certificate::instant(self.not_after))
            .finish_non_exhaustive()
    }
}

/// Reads a file of certificates in PEM form.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let broken = |why: String| CredentialsError::Certificate {
        path: path.into(),
        source: CertificateError::Malformed { why },
    };
    let pem = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .take(MAX_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| broken(format!("not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(CredentialsError::Missing {
            path: path.into(),
            wanted: "certificate",
        });
    }
    if chain.len() > MAX_CHAIN {
        return Err(broken(format!("more than {MAX_CHAIN} certificates in one chain")));
    }
    Ok(chain)
}

/// Reads at most [`MAX_FILE`] bytes, wiped from memory afterwards since they may be a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let failed = |source| CredentialsError::Read {
        path: path.into(),
        source,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE {
        return Err(failed(io::Error::other(format!("larger than {MAX_FILE} bytes"))));
    }
    Ok(bytes)
}

fn encrypted(pem: &[u8]) -> bool {
    const LABEL: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    pem.windows(LABEL.len()).any(|window| window == LABEL)
}

#[cfg(unix)]
fn wide_mode(key: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = fs::metadata(key).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn wide_mode(_key: &Path) -> Option<u32> {
    None
}
