//! `rotate`: the root of a trust domain, in three steps.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::{AuthorityArgs, PkiError, bundle};
use crate::authority::{Authority, Finish, Stage};
use crate::certificate;
use crate::store;

#[derive(Debug, Subcommand)]
pub enum RotateCommand {
    /// Step 2: sign under the new root, once every peer trusts it.
    #[command(
        after_help = "Example:\n  causeway pki rotate activate --dir ca --peer-bundle from-azure/aws.acme.example.pem"
    )]
    Activate(Activate),
    /// Step 3: retire the old root, once nothing signed under it is valid any more.
    Finish(FinishArgs),
    /// Step 1: make the new root and put both into the bundle.
    Prepare(AuthorityArgs),
    /// Show how far a rotation is and what comes next.
    Status(AuthorityArgs),
}

#[derive(Args, Debug)]
#[group(id = "proof", required = true, multiple = false, args = ["peer_bundle", "assume_trusted"])]
pub struct Activate {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The bundle of this trust domain as a peer has it; given once for each peer.
    #[arg(long, value_name = "FILE")]
    peer_bundle: Vec<PathBuf>,
    /// Go on without looking at what peers trust; one that lacks the new root will refuse new certificates.
    #[arg(long)]
    assume_trusted: bool,
}

#[derive(Args, Debug)]
pub struct FinishArgs {
    #[command(flatten)]
    authority: AuthorityArgs,
    /// Retire the old root although certificates under it are valid; their gateways are cut off.
    #[arg(long)]
    cut_off_old_certificates: bool,
}

impl RotateCommand {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let authority = match self {
            Self::Activate(command) => command.run(now)?,
            Self::Finish(command) => {
                let finish = match command.cut_off_old_certificates {
                    true => Finish::CutOffOldCertificates,
                    false => Finish::WhenUnused,
                };
                Authority::open(&command.authority.dir)?.finish_rotation(finish, now)?
            }
            Self::Prepare(args) => Authority::open(&args.dir)?.prepare_rotation(now)?,
            Self::Status(args) => Authority::open(&args.dir)?,
        };
        tell(&authority, now, out)
    }
}

impl Activate {
    fn run(self, now: OffsetDateTime) -> Result<Authority, PkiError> {
        let authority = Authority::open(&self.authority.dir)?;
        let mut peers = Vec::new();
        for path in self.peer_bundle {
            let parsed = bundle::parse(authority.trust_domain(), &store::read(&path)?);
            let (bundle, _) = parsed.map_err(|source| PkiError::Bundle {
                path: path.clone(),
                source,
            })?;
            peers.push((path.display().to_string(), bundle));
        }
        Ok(authority.activate_rotation(&peers, now)?)
    }
}

fn tell(authority: &Authority, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
    let status = authority.rotation(now)?;
    for generation in &status.generations {
        let active = if generation.active { "signs" } else { "does not sign" };
        let ends = certificate::instant(generation.issuing_ends);
        let live = match generation.last_ends {
            Some(last) => format!(
                "{} valid certificates until {}",
                generation.live,
                certificate::instant(last)
            ),
            None => "no valid certificate".into(),
        };
        writeln!(
            out,
            "generation {}: {active}, issuing authority until {ends}, {live}",
            generation.number
        )?;
    }
    let next = match status.stage {
        Stage::Idle => "no rotation is under way; start one with `causeway pki rotate prepare`",
        Stage::Prepared => {
            "next: import the bundle of `causeway pki bundle export` at every peer, then `causeway pki rotate activate`"
        }
        Stage::Activated => {
            "next: renew every gateway with `causeway pki renew`; when no old certificate is valid, `causeway pki rotate finish`"
        }
    };
    writeln!(out, "{next}")?;
    Ok(())
}
