//! Certificate revocation lists of one trust domain.
//!
//! Who signed a list is checked where it is used: the verifier takes only a list that the issuer of the certificate in
//! question has signed. A list past its `nextUpdate` still revokes; [`Crls::next_update`] lets the gateway say so.

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

/// The largest file of revocation lists read, in bytes; room for some 200,000 certificates.
pub const MAX_CRL: usize = 8 * 1024 * 1024;

/// The most lists in one file: one for each authority of a trust domain.
const MAX_LISTS: usize = 32;

/// Why something is not a revocation list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// There is none in the file.
    #[error("holds no revocation list")]
    Empty,
    /// Not a revocation list.
    #[error("revocation list {number}: {why}")]
    Malformed {
        /// Its place in the file, counted from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// Not PEM.
    #[error("not PEM: {0}")]
    Pem(rustls_pki_types::pem::Error),
    /// More bytes or lists than are read.
    #[error("too large: at most {MAX_CRL} bytes and {MAX_LISTS} lists are read")]
    TooLarge,
}

/// What the authorities of one trust domain have revoked.
#[derive(Debug, Default)]
pub struct Crls {
    lists: Vec<CertRevocationList<'static>>,
    next_update: Option<OffsetDateTime>,
}

impl Crls {
    /// Reads one DER list or any number of PEM lists.
    ///
    /// # Errors
    /// [`CrlError`], also when only one of several lists is bad.
    pub fn parse(file: &[u8]) -> Result<Self, CrlError> {
        if file.len() > MAX_CRL {
            return Err(CrlError::TooLarge);
        }
        // A DER list starts with a SEQUENCE, which is no letter of PEM.
        if file.first() == Some(&0x30) {
            return Self::of([file.into()].into());
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(file).take(MAX_LISTS + 1);
        Self::of(lists.collect::<Result<_, _>>().map_err(CrlError::Pem)?)
    }

    fn of(ders: Vec<CertificateRevocationListDer<'_>>) -> Result<Self, CrlError> {
        if ders.is_empty() {
            return Err(CrlError::Empty);
        }
        if ders.len() > MAX_LISTS {
            return Err(CrlError::TooLarge);
        }
        let mut crls = Self::default();
        for (number, der) in (1..).zip(&ders) {
            let malformed = |why: String| CrlError::Malformed { number, why };
            let list = OwnedCertRevocationList::from_der(der).map_err(|error| malformed(error.to_string()))?;
            let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| malformed(error.to_string()))?;
            let next = parsed.next_update().map(|at| at.to_datetime());
            crls.next_update = [crls.next_update, next].into_iter().flatten().min();
            crls.lists.push(list.into());
        }
        Ok(crls)
    }

    /// When the first of the lists should have been replaced by a newer one.
    pub fn next_update(&self) -> Option<OffsetDateTime> {
        self.next_update
    }

    /// The lists, for path building.
    pub(crate) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().collect()
    }
}
