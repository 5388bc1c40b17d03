//! Certificates for tests: good ones, and bad ones that no honest authority would sign.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, SerialNumber};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::bundle::TrustBundle;
use crate::identity::{Identity, TrustDomain};
use crate::issue::{self, Leaf, Level};

/// The one moment of all tests that need no clock.
pub(crate) const NOW: OffsetDateTime = time::macros::datetime!(2026-11-21 12:00 UTC);

pub(crate) fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// An authority in memory that signs whatever it is told.
pub(crate) struct Forge {
    pub(crate) domain: TrustDomain,
    pub(crate) now: OffsetDateTime,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) root_issuer: Issuer<'static, KeyPair>,
    pub(crate) issuing: CertificateDer<'static>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

/// A chain and its key.
pub(crate) struct Forged {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Forge {
    pub(crate) fn new(name: &str) -> Self {
        Self::at(name, NOW)
    }

    pub(crate) fn at(name: &str, now: OffsetDateTime) -> Self {
        Self::with(name, now, |_| {})
    }

    /// `edit` changes the issuing authority before it is signed.
    pub(crate) fn with(name: &str, now: OffsetDateTime, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let domain = domain(name);
        let params = issue::authority(Level::Root, &domain, now, now + issue::ROOT_LIFETIME).unwrap();
        let key = issue::new_key().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let root_issuer = Issuer::new(params, key);
        let mut params = issue::authority(Level::Issuing, &domain, now, now + issue::ISSUING_LIFETIME).unwrap();
        edit(&mut params);
        let key = issue::new_key().unwrap();
        let issuing = params.signed_by(&key, &root_issuer).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self {
            domain,
            now,
            root,
            root_issuer,
            issuing,
            issuer,
        }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(self.domain.clone(), vec![self.root.clone()]).unwrap()
    }

    /// What an honest authority would sign for the gateway `gw-1` of a site.
    pub(crate) fn params(&self, site: &str) -> CertificateParams {
        let identity = Identity::gateway_of(&self.domain, site, "gw-1").unwrap();
        let leaf = Leaf {
            identity,
            dns_names: Vec::new(),
            lifetime: Duration::days(90),
        };
        leaf.params(self.now, self.now + issue::ISSUING_LIFETIME).unwrap()
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Forged {
        let key = issue::new_key().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Forged {
            chain: vec![leaf, self.issuing.clone()],
            key,
        }
    }

    /// A gateway's certificate with something changed.
    pub(crate) fn leaf(&self, site: &str, edit: impl FnOnce(&mut CertificateParams)) -> Forged {
        let mut params = self.params(site);
        edit(&mut params);
        self.sign(&params)
    }
}

impl Forged {
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Arc::new(CertifiedKey::from_der(self.chain.clone(), key, &provider).unwrap())
    }

    pub(crate) fn chain_pem(&self) -> String {
        self.chain
            .iter()
            .map(|der| crate::bundle::pem("CERTIFICATE", der))
            .collect()
    }
}

/// Replaces the names of a certificate by URI names of any bytes at all.
pub(crate) fn raw_uris(params: &mut CertificateParams, uris: &[&[u8]]) {
    let names: Vec<u8> = uris.iter().flat_map(|uri| tlv(0x86, uri)).collect();
    raw_names(params, &tlv(0x30, &names));
}

/// Replaces the names of a certificate by any bytes at all.
pub(crate) fn raw_names(params: &mut CertificateParams, der: &[u8]) {
    params.subject_alt_names.clear();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], der.to_vec());
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
}

/// One DER element of at most 65,535 bytes.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let mut out = match length {
        0..=127 => vec![tag, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    out.extend_from_slice(content);
    out
}

pub(crate) fn not_a_ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::ExplicitNoCa;
}

pub(crate) fn serial(number: u64) -> SerialNumber {
    SerialNumber::from(number)
}
