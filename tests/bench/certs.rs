//! Certificates: ECDSA P-256, one CA for the peers' two gateways, and causeway's own for its two sites.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::failure::{During, Failure, Result};

/// Writes `ca.crt`, and `gwa` and `gwb` each as `.crt`, `.key` and both in `.pem`, into `dir`.
pub(crate) fn for_peers(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).during("making a directory for certificates")?;
    let key = KeyPair::generate().during("CA key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bench CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = params.self_signed(&key).during("CA certificate")?;
    write(&dir.join("ca.crt"), &ca.pem())?;
    let issuer = Issuer::new(params, key);
    for name in ["gwa", "gwb"] {
        let key = KeyPair::generate().during("gateway key")?;
        let mut params = CertificateParams::new(["localhost".to_owned()]).during("gateway certificate")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).during("gateway certificate")?.pem();
        write(&dir.join(format!("{name}.crt")), &certificate)?;
        write(&dir.join(format!("{name}.key")), &key.serialize_pem())?;
        write(
            &dir.join(format!("{name}.pem")),
            &format!("{certificate}{}", key.serialize_pem()),
        )?;
    }
    Ok(())
}

/// Lets causeway's own tool make the sites `a` and `b` in `dir`.
pub(crate) fn for_causeway(program: &Path, dir: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args([
        "pki",
        "bootstrap",
        "--site",
        "a=a.bench.example",
        "--site",
        "b=b.bench.example",
        "--out",
    ]);
    let output = command.arg(dir).output().during("running causeway pki bootstrap")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "causeway pki bootstrap: {}: {}",
        output.status,
        said.trim()
    )))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).during(format_args!("writing {}", path.display()))
}
