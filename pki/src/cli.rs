//! The command line of `causeway-pki`, which is also `causeway pki`.
//!
//! What was asked for goes to the writer that [`PkiCommand::run`] is given; errors are returned, with a hint each.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use time::{Duration, OffsetDateTime};

use crate::identity::TrustDomain;
use crate::issue::LEAF_LIFETIME;

mod bootstrap;
mod bundle;
mod certificates;
mod error;
mod inspect;
mod rotate;
#[cfg(test)]
mod tests;
mod verify;

pub use bootstrap::bootstrap;
pub use error::PkiError;

/// Makes, shows and checks the certificates of sites. Works offline, on plain files.
#[derive(Debug, Subcommand)]
#[command(subcommand_value_name = "COMMAND")]
pub enum PkiCommand {
    /// Prepare several sites at once, each trusting all others: for a first try, or where one team runs all sites.
    #[command(
        after_help = "Example:\n  causeway pki bootstrap --site aws=aws.acme.example --site azure=azure.acme.example --out pki"
    )]
    Bootstrap(bootstrap::Bootstrap),
    /// Exchange trust bundles between sites.
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Make the root and the issuing authority of a trust domain.
    #[command(after_help = "Example:\n  causeway pki init --trust-domain aws.acme.example --dir ca")]
    Init(certificates::Init),
    /// Show what a file holds: certificates, bundles, revocation lists, signing requests, keys.
    Inspect(inspect::Inspect),
    /// Issue a certificate and a new key for a gateway.
    #[command(after_help = "Example:\n  causeway pki issue --site aws --gateway gw-1 --dir ca --out /etc/causeway/pki")]
    Issue(certificates::Issue),
    /// Issue a certificate again, for the same gateway with a new key. The files it replaces are kept beside it.
    #[command(after_help = "Example:\n  causeway pki renew --dir ca --cert gateway.crt --key gateway.key")]
    Renew(certificates::Renew),
    /// Revoke a certificate and write the revocation list to copy to all peers.
    Revoke(certificates::Revoke),
    /// Replace the root of a trust domain in three steps that cut nobody off.
    #[command(subcommand)]
    Rotate(rotate::RotateCommand),
    /// Sign the key of a signing request. The names come from the arguments, never from the request.
    Sign(certificates::Sign),
    /// Ask what a gateway would say to a certificate, with the verifier that it uses.
    #[command(
        after_help = "Example:\n  causeway pki verify --cert gateway.crt --bundles bundles --peer azure=azure.acme.example"
    )]
    Verify(verify::Verify),
}

impl PkiCommand {
    /// Does what was asked for. Prints results to `out` and nothing anywhere else.
    ///
    /// # Errors
    /// [`PkiError`], with a hint and an exit code.
    pub fn run(self, out: &mut dyn Write) -> Result<(), PkiError> {
        self.run_at(OffsetDateTime::now_utc(), out)
    }

    fn run_at(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        match self {
            Self::Bootstrap(command) => command.run(now, out),
            Self::Bundle(command) => command.run(now, out),
            Self::Init(command) => command.run(now, out),
            Self::Inspect(command) => command.run(now, out),
            Self::Issue(command) => command.run(now, out),
            Self::Renew(command) => command.run(now, out),
            Self::Revoke(command) => command.run(now, out),
            Self::Rotate(command) => command.run(now, out),
            Self::Sign(command) => command.run(now, out),
            Self::Verify(command) => command.run(now, out),
        }
    }
}

/// Where the authority is.
#[derive(Args, Debug)]
pub struct AuthorityArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
}

/// Whose certificate it is to be.
#[derive(Args, Debug)]
struct GatewayArgs {
    /// Name of the site.
    #[arg(long)]
    site: String,
    /// Name of the gateway within its site.
    #[arg(long, value_name = "NAME", default_value = "gw-1")]
    gateway: String,
    /// A DNS name to put beside the identity; may be given again.
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    #[command(flatten)]
    lifetime: LifetimeArgs,
}

/// For how long.
#[derive(Args, Debug)]
struct LifetimeArgs {
    /// Days until it ends.
    #[arg(long, value_name = "DAYS", default_value_t = LEAF_LIFETIME.whole_days() as u32, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

impl LifetimeArgs {
    fn lifetime(&self) -> Duration {
        Duration::days(self.days.into())
    }
}

/// A site and the trust domain that it has to prove, written `site=trust-domain`.
#[derive(Clone, Debug)]
struct SiteArg {
    site: String,
    trust_domain: TrustDomain,
}

impl std::str::FromStr for SiteArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (site, domain) = text
            .split_once('=')
            .ok_or("write it as site=trust-domain, such as aws=aws.acme.example")?;
        let trust_domain = TrustDomain::parse(domain).map_err(|error| error.to_string())?;
        crate::identity::Identity::gateway_of(&trust_domain, site, "gw").map_err(|error| error.to_string())?;
        Ok(Self {
            site: site.into(),
            trust_domain,
        })
    }
}

/// The two forms of a bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum BundleFormat {
    /// SPIFFE bundle, for SPIRE and others.
    Jwks,
    /// Certificates as PEM.
    Pem,
}
