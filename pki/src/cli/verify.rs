//! `verify`: what a gateway would say.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{PkiError, SiteArg};
use crate::bundle::TrustBundles;
use crate::certificate;
use crate::credentials::read_chain;
use crate::verify::{Peers, Role, Trust, verify_peer};

#[derive(Args, Debug)]
pub struct Verify {
    /// The certificate with its chain, as the peer presents it.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Directory of bundles and revocation lists, as the gateway has it.
    #[arg(long, value_name = "DIR")]
    bundles: PathBuf,
    /// A configured peer as site=trust-domain; may be given again. Without any, every known trust domain will do.
    #[arg(long, value_name = "SITE=DOMAIN")]
    peer: Vec<SiteArg>,
    /// The site that was dialled.
    #[arg(long, value_name = "SITE")]
    expect_site: Option<String>,
    /// What the peer is.
    #[arg(long, value_enum, default_value_t = RoleArg::Both)]
    role: RoleArg,
    /// The time to verify for, as in 2026-11-21T00:00:00Z, instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum RoleArg {
    /// Both.
    Both,
    /// It dials.
    Client,
    /// It is dialled.
    Server,
}

impl Verify {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let at = match &self.at {
            Some(text) => OffsetDateTime::parse(text, &Rfc3339).map_err(|error| PkiError::Input {
                what: format!("--at {text}: {error}"),
                hint: "write it as 2026-11-21T00:00:00Z",
            })?,
            None => now,
        };
        let mut loaded = TrustBundles::load(&self.bundles);
        if !loaded.problems.is_empty() {
            return Err(PkiError::Bundles(loaded.problems.swap_remove(0)));
        }
        let peers = match self.peer.is_empty() {
            true => Peers::AnyKnown,
            false => Peers::Sites(
                self.peer
                    .into_iter()
                    .map(|peer| (peer.site, peer.trust_domain))
                    .collect(),
            ),
        };
        let trust = Trust::new(loaded.bundles, peers);
        let chain = read_chain(&self.cert)?;
        // `read_chain` gives at least one certificate.
        let (leaf, intermediates) = chain.split_at(1);
        let roles: &[Role] = match self.role {
            RoleArg::Both => &[Role::Client, Role::Server],
            RoleArg::Client => &[Role::Client],
            RoleArg::Server => &[Role::Server],
        };
        let mut verified = None;
        for role in roles {
            let at = certificate::unix_time(at);
            let one = verify_peer(&leaf[0], intermediates, at, *role, &trust, self.expect_site.as_deref());
            verified = Some(one.map_err(PkiError::Refused)?);
        }
        if let Some(verified) = verified {
            let until = certificate::instant(certificate::date_time(verified.not_after));
            writeln!(out, "ok: {} until {until}", verified.identity)?;
            if let Some(skew) = verified.skew {
                writeln!(out, "  only because of the leeway of 60 s: {skew}")?;
            }
        }
        Ok(())
    }
}
