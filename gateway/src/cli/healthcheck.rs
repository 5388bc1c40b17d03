//! `causeway healthcheck`: for containers that have no curl.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Mistake, fail, print, probe};

#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// Admin address of the gateway.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    admin: SocketAddr,
    /// How long it may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout: u64,
}

pub(super) fn healthcheck(args: &HealthcheckArgs) -> ExitCode {
    let within = Duration::from_millis(args.timeout);
    match probe::get(args.admin, "/readyz?verbose", within) {
        Ok(answer) if answer.status == 200 => print(&answer.body),
        Ok(answer) => {
            let text = format!("not ready: status {}\n{}", answer.status, answer.body.trim_end());
            fail(&Mistake::run(text))
        }
        Err(error) => {
            let hint = "is the gateway running, and is this its `admin.bind`?";
            fail(&Mistake::run(format!("asking {}: {error}", args.admin)).hint(hint))
        }
    }
}
