//! What a signing request may ask for.

use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose as Extended, KeyUsagePurpose as Usage, SanType};
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use crate::identity::Quoted;
use crate::issue::Leaf;

/// Nothing, or exactly what it gets. An error says what it asks for beyond that.
pub(super) fn check_request(
    der: &CertificateSigningRequestDer<'_>,
    request: &CertificateSigningRequestParams,
    leaf: &Leaf,
) -> Result<(), String> {
    for name in &request.params.subject_alt_names {
        let allowed = match name {
            SanType::URI(uri) => uri.as_str() == leaf.identity.as_str(),
            SanType::DnsName(dns) => leaf.dns_names.iter().any(|name| name == dns.as_str()),
            _ => false,
        };
        if !allowed {
            return Err(format!("it asks for the name {}", Quoted::new(&format!("{name:?}"))));
        }
    }
    if let Some(usage) = request
        .params
        .key_usages
        .iter()
        .find(|usage| **usage != Usage::DigitalSignature)
    {
        return Err(format!("it asks for the key usage {usage:?}"));
    }
    let extended = &request.params.extended_key_usages;
    if let Some(usage) = extended
        .iter()
        .find(|usage| !matches!(usage, Extended::ServerAuth | Extended::ClientAuth))
    {
        return Err(format!("it asks for the extended key usage {usage:?}"));
    }
    let (_, parsed) = X509CertificationRequest::from_der(der).map_err(|error| error.to_string())?;
    for extension in parsed.requested_extensions().into_iter().flatten() {
        if matches!(extension, ParsedExtension::BasicConstraints(constraints) if constraints.ca) {
            return Err("it asks to be an authority".into());
        }
    }
    Ok(())
}
