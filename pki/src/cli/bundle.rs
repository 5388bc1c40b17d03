//! `bundle export` and `bundle import`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::{AuthorityArgs, BundleFormat, PkiError, inspect};
use crate::authority::Authority;
use crate::bundle::{BundleError, TrustBundle};
use crate::identity::TrustDomain;
use crate::store::{self, Secrecy};

#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Print the bundle of an authority, for its peers.
    #[command(after_help = "Example:\n  causeway pki bundle export --dir ca > aws.acme.example.pem")]
    Export(Export),
    /// Check the bundle of a peer and put it where the gateway looks for it.
    #[command(
        after_help = "Compare the printed fingerprints with the other site over a second channel.\n\nExample:\n  causeway pki bundle import azure.pem --trust-domain azure.acme.example --bundles bundles"
    )]
    Import(Import),
}

impl BundleCommand {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        match self {
            Self::Export(command) => command.run(now, out),
            Self::Import(command) => command.run(out),
        }
    }
}

#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// Form of the bundle.
    #[arg(long, value_enum, default_value_t = BundleFormat::Pem)]
    format: BundleFormat,
    /// File to write instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        // The number has to grow with every change, and the end of a rotation adds no newer root. Time always grows.
        let sequence = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let bundle = Authority::open(&self.authority.dir)?.bundle()?.with_sequence(sequence);
        let dir = self.authority.dir;
        let text = match self.format {
            BundleFormat::Jwks => bundle
                .to_jwks()
                .map_err(|source| PkiError::Bundle { path: dir, source })?,
            BundleFormat::Pem => bundle.to_pem(),
        };
        match self.out {
            Some(path) => {
                store::create(&path, text.as_bytes(), Secrecy::Public)?;
                writeln!(out, "bundle of {} in {}", bundle.trust_domain(), path.display())?;
            }
            None => out.write_all(text.as_bytes())?,
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
pub struct Import {
    /// The bundle, as PEM or JWKS.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Trust domain that it vouches for.
    #[arg(long, value_name = "NAME")]
    trust_domain: TrustDomain,
    /// Directory of bundles of the gateway.
    #[arg(long, value_name = "DIR", default_value = "bundles")]
    bundles: PathBuf,
    /// Replace the bundle that is there; it stays beside the new one under a hidden name.
    #[arg(long)]
    replace: bool,
}

impl Import {
    fn run(self, out: &mut dyn Write) -> Result<(), PkiError> {
        let file = store::read(&self.file)?;
        let domain = &self.trust_domain;
        let (bundle, extension) = parse(domain, &file).map_err(|source| PkiError::Bundle {
            path: self.file.clone(),
            source,
        })?;
        let present = ["pem", "jwks", "json"].map(|known| self.bundles.join(format!("{domain}.{known}")));
        let present: Vec<_> = present.into_iter().filter(|path| path.exists()).collect();
        let path = self.bundles.join(format!("{domain}.{extension}"));
        if let (Some(path), false) = (present.first(), self.replace) {
            let what = format!("`{}` exists already", path.display());
            return Err(PkiError::Input {
                what,
                hint: "give --replace if the new bundle is to take its place",
            });
        }
        for old in &present {
            // A bundle that is there and broken is no reason to keep it.
            let known = parse(domain, &store::read(old)?)
                .ok()
                .and_then(|(known, _)| known.sequence());
            if let (Some(known), Some(given)) = (known, bundle.sequence())
                && given < known
            {
                let what = format!("`{}` is older than `{}`", self.file.display(), old.display());
                return Err(PkiError::Input {
                    what,
                    hint: "export it again at its site with `causeway pki bundle export`",
                });
            }
        }
        store::make_directory(&self.bundles)?;
        for old in &present {
            let kept = self.bundles.join(format!(
                ".{}.before",
                old.file_name().unwrap_or_default().to_string_lossy()
            ));
            std::fs::copy(old, &kept).map_err(store::StoreError::io("writing", &kept))?;
        }
        store::replace(&path, &file, Secrecy::Public)?;
        for old in present.iter().filter(|old| **old != path) {
            std::fs::remove_file(old).map_err(store::StoreError::io("removing", old))?;
        }
        writeln!(out, "{domain} is trusted by {}", path.display())?;
        if bundle.is_revoked() {
            writeln!(out, "  the bundle has no keys: trust in {domain} is revoked")?;
        }
        inspect::anchors(&bundle, out)
    }
}

/// Reads a bundle in whichever form it has, and says which extension its file has to have.
pub(super) fn parse(domain: &TrustDomain, file: &[u8]) -> Result<(TrustBundle, &'static str), BundleError> {
    if file.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return Ok((TrustBundle::from_jwks(domain.clone(), file)?, "jwks"));
    }
    Ok((TrustBundle::from_pem(domain.clone(), file)?, "pem"))
}
