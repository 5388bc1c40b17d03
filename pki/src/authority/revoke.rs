//! Revocation: one list for each issuing authority, in one file for the whole trust domain.

use std::fs;
use std::path::PathBuf;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{Authority, AuthorityError, Generation, ISSUED};
use crate::bundle::pem;
use crate::certificate;
use crate::identity::Quoted;
use crate::issue::IssueError;
use crate::store::{self, Secrecy};

/// How long a list is good for. A list that is older still revokes, and gateways say that it is old.
const LIST_LIFETIME: Duration = Duration::days(30);

/// What a revocation did.
#[derive(Debug)]
pub struct Revoked {
    /// The serial number, hexadecimal.
    pub serial: String,
    /// The file to copy into the bundle directories of all peers.
    pub list: PathBuf,
    /// Whether it was revoked before already.
    pub again: bool,
}

/// One entry of a list.
struct Entry {
    serial: Vec<u8>,
    at: OffsetDateTime,
}

impl Authority {
    /// Where the revocation lists of this trust domain are. The name is the one that a directory of bundles wants.
    pub fn crl_path(&self) -> PathBuf {
        self.directory.join(format!("{}.crl", self.trust_domain))
    }

    /// Revokes a certificate that was issued here, by its serial number in hexadecimal, and writes the lists anew.
    ///
    /// # Errors
    /// [`AuthorityError::UnknownSerial`] when it was not issued here.
    pub fn revoke(&self, serial: &str, now: OffsetDateTime) -> Result<Revoked, AuthorityError> {
        let unknown = || AuthorityError::UnknownSerial {
            serial: Quoted::new(serial),
        };
        let wanted: String = serial
            .chars()
            .filter(|c| *c != ':')
            .collect::<String>()
            .to_ascii_lowercase();
        // The serial becomes part of a path, so nothing but digits may be in it.
        let bytes = data_encoding::HEXLOWER
            .decode(wanted.as_bytes())
            .map_err(|_| unknown())?;
        let record = self.directory.join(ISSUED).join(format!("{wanted}.crt"));
        let leaf = fs::read(&record).map_err(|_| unknown())?;
        let leaf = CertificateDer::from_pem_slice(&leaf).map_err(|_| unknown())?;
        let parsed = certificate::parse(&leaf).map_err(|_| unknown())?;
        let mut again = false;
        let mut signed = false;
        let mut file = String::new();
        for generation in &self.generations {
            let (mut entries, number) = self.entries(generation)?;
            let issuing = generation.parsed_issuing()?;
            if issuing.subject().as_raw() == parsed.issuer().as_raw() {
                signed = true;
                again = entries.iter().any(|entry| entry.serial == bytes);
                if !again {
                    entries.push(Entry {
                        serial: bytes.clone(),
                        at: now,
                    });
                }
            }
            file += &generation.sign_list(entries, number + 1, now)?;
        }
        if !signed {
            return Err(unknown());
        }
        let list = self.crl_path();
        store::replace(&list, file.as_bytes(), Secrecy::Public)?;
        Ok(Revoked {
            serial: wanted,
            list,
            again,
        })
    }

    /// The serials that are revoked, hexadecimal.
    ///
    /// # Errors
    /// When the lists are damaged.
    pub fn revoked(&self) -> Result<Vec<String>, AuthorityError> {
        let mut serials = Vec::new();
        for generation in &self.generations {
            let (entries, _) = self.entries(generation)?;
            serials.extend(
                entries
                    .iter()
                    .map(|entry| data_encoding::HEXLOWER.encode(&entry.serial)),
            );
        }
        Ok(serials)
    }

    /// The entries and the number of the list of one generation.
    fn entries(&self, generation: &Generation) -> Result<(Vec<Entry>, u64), AuthorityError> {
        let path = self.crl_path();
        if !path.exists() {
            return Ok((Vec::new(), 0));
        }
        let damaged = |why: String| AuthorityError::Directory {
            path: path.clone(),
            why,
        };
        let issuing = generation.parsed_issuing()?;
        for der in CertificateRevocationListDer::pem_slice_iter(&store::read(&path)?) {
            let der = der.map_err(|error| damaged(error.to_string()))?;
            let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| damaged(error.to_string()))?;
            if list.issuer().as_raw() != issuing.subject().as_raw() {
                continue;
            }
            let number = list
                .crl_number()
                .and_then(|n| u64::try_from(n.clone()).ok())
                .unwrap_or(0);
            let entries = list.iter_revoked_certificates().map(|entry| Entry {
                serial: entry
                    .raw_serial()
                    .iter()
                    .copied()
                    .skip_while(|byte| *byte == 0)
                    .collect(),
                at: entry.revocation_date.to_datetime(),
            });
            return Ok((entries.collect(), number));
        }
        Ok((Vec::new(), 0))
    }
}

impl Generation {
    fn parsed_issuing(&self) -> Result<x509_parser::certificate::X509Certificate<'_>, AuthorityError> {
        let path = self.directory.join("issuing.crt");
        certificate::parse(&self.issuing).map_err(|error| AuthorityError::Directory {
            path,
            why: error.to_string(),
        })
    }

    fn sign_list(&self, entries: Vec<Entry>, number: u64, now: OffsetDateTime) -> Result<String, AuthorityError> {
        let revoked = entries.into_iter().map(|entry| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&entry.serial),
            revocation_time: entry.at,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + LIST_LIFETIME,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer()?).map_err(IssueError::from)?;
        Ok(pem("X509 CRL", list.der()))
    }
}
