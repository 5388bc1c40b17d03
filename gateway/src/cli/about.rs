//! `causeway version` and `causeway completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

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
