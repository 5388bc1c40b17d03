//! `inspect`: what a file holds, for people.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::PkiError;
use crate::bundle::TrustBundle;
use crate::certificate;
use crate::identity::Quoted;
use crate::store;

#[derive(Args, Debug)]
pub struct Inspect {
    /// The file, PEM or JWKS.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The most blocks shown of one file.
const MAX_BLOCKS: usize = 256;

impl Inspect {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let file = zeroize::Zeroizing::new(store::read(&self.file)?);
        let bad = |what: String| PkiError::Input {
            what: format!("`{}`: {what}", self.file.display()),
            hint: "it has to be PEM, or a SPIFFE bundle in JWKS form",
        };
        if file.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
            let certificates = crate::bundle::jwks_certificates(&file).map_err(|error| bad(error.to_string()))?;
            writeln!(out, "SPIFFE bundle, {} keys", certificates.len())?;
            return certificates.iter().try_for_each(|der| certificate(der, now, out));
        }
        let mut blocks = 0;
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(&file).take(MAX_BLOCKS) {
            let (kind, der) = block.map_err(|error| bad(format!("not PEM: {error}")))?;
            let der = zeroize::Zeroizing::new(der);
            blocks += 1;
            match kind {
                SectionKind::Certificate => certificate(&der, now, out)?,
                SectionKind::Crl => list(&der, now, out)?,
                SectionKind::Csr => request(&der, out)?,
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    writeln!(out, "private key ({} bytes, not shown)", der.len())?;
                }
                _ => writeln!(out, "something else")?,
            }
        }
        match blocks {
            0 => Err(bad("nothing in it that is known here".into())),
            _ => Ok(()),
        }
    }
}

/// One certificate. What cannot be read is said and is no error: this is for looking at broken ones too.
fn certificate(der: &[u8], now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
    let parsed = match certificate::parse(der) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(writeln!(out, "certificate\n  {error}")?),
    };
    let authority = matches!(parsed.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    writeln!(out, "{}", if authority { "authority" } else { "certificate" })?;
    match certificate::uri_names(&parsed) {
        Ok(names) => {
            for name in names {
                writeln!(out, "  id          {}", shown(&String::from_utf8_lossy(name)))?;
            }
        }
        Err(error) => writeln!(out, "  names       {error}")?,
    }
    for name in certificate::dns_names(&parsed).unwrap_or_default() {
        writeln!(out, "  dns name    {}", shown(name))?;
    }
    let name = |name: &x509_parser::x509::X509Name<'_>| shown(&name.to_string());
    if parsed.subject().iter().next().is_some() {
        writeln!(out, "  subject     {}", name(parsed.subject()))?;
    }
    writeln!(out, "  issuer      {}", name(parsed.issuer()))?;
    writeln!(out, "  serial      {}", certificate::serial(&parsed))?;
    writeln!(out, "  valid       {}", validity(&parsed, now))?;
    writeln!(out, "  key usage   {}", usages(&parsed))?;
    writeln!(out, "  sha256      {}", certificate::fingerprint(der))?;
    Ok(())
}

fn validity(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> String {
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    let state = match () {
        () if now < from => "not yet valid".into(),
        () if now > to => format!("EXPIRED {} days ago", (now - to).whole_days()),
        () => format!("{} days left", (to - now).whole_days()),
    };
    format!(
        "{} to {}, {state}",
        certificate::instant(from),
        certificate::instant(to)
    )
}

fn usages(certificate: &X509Certificate<'_>) -> String {
    let mut usages: Vec<String> = Vec::new();
    match certificate.key_usage() {
        Ok(Some(usage)) => usages.push(usage.value.to_string()),
        Ok(None) => usages.push("any".into()),
        Err(error) => usages.push(error.to_string()),
    }
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => {
            let named = [
                (usage.value.server_auth, "server"),
                (usage.value.client_auth, "client"),
                (usage.value.any, "any extended"),
            ];
            usages.extend(named.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
        }
        Ok(None) => {}
        Err(error) => usages.push(error.to_string()),
    }
    usages.join(", ")
}

fn list(der: &[u8], now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
    let list = match CertificateRevocationList::from_der(der) {
        Ok((_, list)) => list,
        Err(error) => return Ok(writeln!(out, "revocation list\n  {error}")?),
    };
    writeln!(
        out,
        "revocation list\n  issuer      {}",
        shown(&list.issuer().to_string())
    )?;
    if let Some(next) = list.next_update().map(|at| at.to_datetime()) {
        let state = if next < now { ", OLD: a newer one is due" } else { "" };
        writeln!(out, "  next        {}{state}", certificate::instant(next))?;
    }
    for entry in list.iter_revoked_certificates().take(MAX_BLOCKS) {
        let serial = data_encoding::HEXLOWER.encode(entry.raw_serial());
        writeln!(
            out,
            "  revoked     {serial} at {}",
            certificate::instant(entry.revocation_date.to_datetime())
        )?;
    }
    Ok(())
}

fn request(der: &[u8], out: &mut dyn Write) -> Result<(), PkiError> {
    let request = match X509CertificationRequest::from_der(der) {
        Ok((_, request)) => request,
        Err(error) => return Ok(writeln!(out, "signing request\n  {error}")?),
    };
    let proof = if request.verify_signature().is_ok() {
        "proves its key"
    } else {
        "does NOT prove its key"
    };
    writeln!(out, "signing request, {proof}")?;
    for extension in request.requested_extensions().into_iter().flatten() {
        writeln!(out, "  asks for    {}", shown(&format!("{extension:?}")))?;
    }
    Ok(())
}

/// The anchors of a bundle, to be compared over a second channel.
pub(super) fn anchors(bundle: &TrustBundle, out: &mut dyn Write) -> Result<(), PkiError> {
    for anchor in bundle.anchors() {
        let sha256 = certificate::fingerprint(anchor.certificate());
        writeln!(
            out,
            "  root until {}, sha256 {sha256}",
            certificate::instant(anchor.not_after())
        )?;
    }
    Ok(())
}

/// Text out of a file, so that it cannot move the cursor of a terminal.
fn shown(text: &str) -> String {
    Quoted::new(text).to_string().trim_matches('`').to_owned()
}
