//! `init`, `issue`, `renew`, `revoke`, `sign`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use time::OffsetDateTime;

use super::{AuthorityArgs, GatewayArgs, LifetimeArgs, PkiError};
use crate::authority::{Authority, Issued, IssuedPair};
use crate::certificate;
use crate::credentials::read_chain;
use crate::identity::{Identity, TrustDomain};
use crate::issue::Leaf;
use crate::store::{self, Secrecy};
use crate::verify::identity_of;

#[derive(Args, Debug)]
pub struct Init {
    /// Name of the trust domain, such as aws.acme.example.
    #[arg(long, value_name = "NAME")]
    trust_domain: TrustDomain,
    #[command(flatten)]
    authority: AuthorityArgs,
}

impl Init {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let dir = &self.authority.dir;
        let authority = Authority::create(dir, &self.trust_domain, now)?;
        let ends = certificate::instant(authority.issuing_ends());
        writeln!(
            out,
            "authority of {} in {}, issuing until {ends}",
            authority.trust_domain(),
            dir.display()
        )?;
        writeln!(
            out,
            "keep {} offline: issuing does not need it",
            dir.join("1/root.key").display()
        )?;
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct Issue {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// Directory for gateway.crt and gateway.key.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl Issue {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let authority = Authority::open(&self.authority.dir)?;
        let leaf = leaf_of(&authority, self.gateway)?;
        let (certificate, key) = (self.out.join("gateway.crt"), self.out.join("gateway.key"));
        store::check_free(&certificate)?;
        store::check_free(&key)?;
        store::make_directory(&self.out)?;
        let pair = authority.issue(&leaf, now)?;
        write_pair(&pair, &certificate, &key)?;
        tell(&pair.issued, out)?;
        writeln!(
            out,
            "  certificate {}\n  private key {}",
            certificate.display(),
            key.display()
        )?;
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct Sign {
    /// The signing request (PKCS#10, PEM).
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// File for the certificate.
    #[arg(long, value_name = "FILE", default_value = "gateway.crt")]
    out: PathBuf,
}

impl Sign {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let authority = Authority::open(&self.authority.dir)?;
        let leaf = leaf_of(&authority, self.gateway)?;
        store::check_free(&self.out)?;
        let issued = authority.sign(&store::read(&self.csr)?, &leaf, now)?;
        store::create(&self.out, issued.chain_pem.as_bytes(), Secrecy::Public)?;
        tell(&issued, out)?;
        writeln!(out, "  certificate {}", self.out.display())?;
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct Renew {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The certificate to renew; it may have expired.
    #[arg(long, value_name = "FILE", default_value = "gateway.crt")]
    cert: PathBuf,
    /// Its private key.
    #[arg(long, value_name = "FILE", default_value = "gateway.key")]
    key: PathBuf,
    #[command(flatten)]
    lifetime: LifetimeArgs,
}

impl Renew {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let authority = Authority::open(&self.authority.dir)?;
        let old = Old::read(&self.cert)?;
        if authority.revoked()?.contains(&old.serial) {
            let what = format!("`{}` is revoked and is not renewed", self.cert.display());
            return Err(PkiError::Input {
                what,
                hint: "if it is to come back, use `causeway pki issue`",
            });
        }
        // Read before anything is replaced: a wrong path must not become a new file.
        store::read(&self.key)?;
        let Old {
            identity,
            dns_names,
            serial,
        } = old;
        let leaf = Leaf {
            identity,
            dns_names,
            lifetime: self.lifetime.lifetime(),
        };
        let pair = authority.issue(&leaf, now)?;
        // Between these two steps the pair does not match. A gateway that looks right then keeps what it has.
        store::replace_and_keep(&self.key, &serial, pair.key_pem.as_bytes(), Secrecy::Private)?;
        store::replace_and_keep(&self.cert, &serial, pair.issued.chain_pem.as_bytes(), Secrecy::Public)?;
        tell(&pair.issued, out)?;
        writeln!(
            out,
            "  certificate {}\n  private key {}",
            self.cert.display(),
            self.key.display()
        )?;
        writeln!(out, "  the old ones are beside them, ending in .{serial}")?;
        Ok(())
    }
}

#[derive(Args, Debug)]
#[group(id = "which", required = true, multiple = false, args = ["cert", "serial"])]
pub struct Revoke {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The certificate to revoke.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its serial number, hexadecimal.
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
}

impl Revoke {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let authority = Authority::open(&self.authority.dir)?;
        let serial = match (self.cert, self.serial) {
            (Some(cert), _) => Old::read(&cert)?.serial,
            (None, serial) => serial.unwrap_or_default(),
        };
        let revoked = authority.revoke(&serial, now)?;
        let already = if revoked.again { "already " } else { "" };
        writeln!(out, "{} is {already}revoked", revoked.serial)?;
        writeln!(
            out,
            "copy {} into the bundle directory of every peer",
            revoked.list.display()
        )?;
        Ok(())
    }
}

/// What a certificate says that is to be renewed or revoked.
struct Old {
    identity: Identity,
    dns_names: Vec<String>,
    serial: String,
}

impl Old {
    fn read(path: &Path) -> Result<Self, PkiError> {
        use crate::credentials::CredentialsError as E;
        let chain = read_chain(path)?;
        let identity = identity_of(&chain).map_err(|source| E::Identity {
            path: path.into(),
            source,
        })?;
        let broken = |source| E::Certificate {
            path: path.into(),
            source,
        };
        let leaf = chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
        let parsed = certificate::parse(leaf).map_err(broken)?;
        let names = certificate::dns_names(&parsed).map_err(broken)?;
        let dns_names = names.into_iter().map(String::from).collect();
        Ok(Self {
            identity,
            dns_names,
            serial: certificate::serial(&parsed),
        })
    }
}

fn leaf_of(authority: &Authority, gateway: GatewayArgs) -> Result<Leaf, PkiError> {
    let identity = Identity::gateway_of(authority.trust_domain(), &gateway.site, &gateway.gateway)?;
    Ok(Leaf {
        identity,
        dns_names: gateway.dns,
        lifetime: gateway.lifetime.lifetime(),
    })
}

/// Writes the key first: a certificate without its key is of no use, the other way round it can be signed again.
pub(super) fn write_pair(pair: &IssuedPair, certificate: &Path, key: &Path) -> Result<(), PkiError> {
    store::create(key, pair.key_pem.as_bytes(), Secrecy::Private)?;
    store::create(certificate, pair.issued.chain_pem.as_bytes(), Secrecy::Public)?;
    Ok(())
}

fn tell(issued: &Issued, out: &mut dyn Write) -> Result<(), PkiError> {
    let until = certificate::instant(issued.not_after);
    writeln!(
        out,
        "issued {} until {until}, serial {}",
        issued.identity, issued.serial
    )?;
    Ok(())
}
