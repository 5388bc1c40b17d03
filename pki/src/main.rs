//! `causeway-pki`: the certificates of causeway's sites, offline. The same commands are in `causeway pki`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use causeway_pki::cli::PkiCommand;
use clap::Parser;

/// Makes, shows and checks the certificates of causeway's sites. Works offline, on plain files.
#[derive(Parser)]
#[command(name = "causeway-pki", version)]
struct Arguments {
    #[command(subcommand)]
    command: PkiCommand,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let done = arguments.command.run(&mut out).and_then(|()| Ok(out.flush()?));
    let Err(error) = done else { return ExitCode::SUCCESS };
    // Nothing is left to tell it to when standard error is gone too.
    let _ = writeln!(io::stderr(), "error: {error}\n  hint: {}", error.hint());
    ExitCode::from(error.exit_code())
}
