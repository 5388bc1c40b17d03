//! `causeway version`, `causeway completions` and `causeway man`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Mistake, fail, print};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

/// What a bug report should say.
pub(super) fn version() -> ExitCode {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    print(&format!(
        "causeway {}\nbuild: {build}, {}-{}\ntunnel: {} over TLS 1.3 and TCP\nprotocols: HTTP/1.1, HTTP/2, WebSocket (RFC 6455, RFC 8441), gRPC\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        String::from_utf8_lossy(causeway_pki::tls::ALPN),
    ))
}

pub(super) fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "causeway", &mut script);
    print(&String::from_utf8_lossy(&script))
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for every command into this directory, which must be there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The manual, made of the same words as `--help`.
pub(super) fn man(args: &ManArgs) -> ExitCode {
    let command = Cli::command().disable_help_subcommand(true);
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(command).render(&mut page) {
            Ok(()) => print(&String::from_utf8_lossy(&page)),
            Err(error) => fail(&Mistake::run(error)),
        };
    };
    match clap_mangen::generate_to(command, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&Mistake::run(format!("writing to `{}`: {error}", dir.display()))),
    }
}
