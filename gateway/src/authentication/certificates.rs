//! Client certificates: who a verified one is for.

use std::sync::Arc;

use causeway_pki::certificate;
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime};

use crate::principal::{Principal, PrincipalKind};

/// Who a client certificate is for, which TLS has verified: its SPIFFE id, else its first DNS name, else its subject. The
/// issuer is the trust domain, else the issuer of the certificate. None where it names nobody.
pub fn principal(leaf: &CertificateDer<'_>) -> Option<Arc<Principal>> {
    let parsed = certificate::parse(leaf).ok()?;
    let uris = certificate::uri_names(&parsed).ok()?;
    let mut spiffe = uris
        .iter()
        .filter_map(|uri| std::str::from_utf8(uri).ok())
        .filter(|uri| uri.starts_with("spiffe://"));
    let (issuer, subject) = match (spiffe.next(), spiffe.next()) {
        (Some(id), None) => {
            let domain = id.strip_prefix("spiffe://")?.split('/').next()?;
            (domain.to_owned(), id.to_owned())
        }
        // Two of them are none (SPIFFE X.509-SVID, section 2).
        (Some(_), Some(_)) => return None,
        (None, _) => {
            let issuer = parsed.issuer().to_string();
            match certificate::dns_names(&parsed).ok()?.first() {
                Some(name) => (issuer, (*name).to_owned()),
                None => (issuer, parsed.subject().to_string()),
            }
        }
    };
    if !Principal::is_name(&issuer) || !Principal::is_name(&subject) {
        return None;
    }
    let mut principal = Principal::new(PrincipalKind::Certificate, &issuer, &subject);
    let ends = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    principal.expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(ends));
    Some(Arc::new(principal))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_is_for_its_spiffe_id_or_its_first_name() {
        let made = |names: &[&str], ids: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let mut params = CertificateParams::new(names).unwrap();
            for id in ids {
                params.subject_alt_names.push(SanType::URI((*id).try_into().unwrap()));
            }
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            principal(certificate.der())
        };
        let web = made(&["web.example"], &["spiffe://acme.example/web"]).unwrap();
        assert_eq!(
            (&*web.issuer, &*web.subject),
            ("acme.example", "spiffe://acme.example/web")
        );
        assert!(web.expires.is_some());
        let named = made(&["web.example", "other.example"], &["https://web.example"]).unwrap();
        assert_eq!(&*named.subject, "web.example");
        assert!(made(&[], &[]).unwrap().subject.contains("CN="));
        assert!(
            made(&[], &["spiffe://a/x", "spiffe://a/y"]).is_none(),
            "two ids are none"
        );
    }
}
