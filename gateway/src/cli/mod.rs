//! The command line.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 fine, 1 the run failed, 2 the input
//! was wrong, 130 ended by Ctrl-C.

mod check;
mod run;
mod signals;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use causeway_pki::cli::PkiCommand;
use clap::{Args, Parser, Subcommand};

/// A federation gateway for HTTP, WebSocket and gRPC.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway until it is told to stop.
    ///
    /// SIGHUP reloads the configuration, SIGTERM or Ctrl-C drains, a second one stops at once.
    Run(run::RunArgs),
    /// Check a configuration and everything it names, without serving.
    Check(ConfigArgs),
    /// Run only the backends of the demo.
    #[command(hide = true)]
    DemoBackends(crate::demo::backend::BackendArgs),
    /// Look at configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Certificates of the sites.
    #[command(subcommand)]
    Pki(PkiCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration.
    Check(ConfigArgs),
    /// Print the configuration as it takes effect, secrets hidden.
    Show(ConfigArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArgs {
    /// A TOML file; given more than once, later files lie over earlier ones.
    #[arg(long, short, value_name = "FILE", required = true, env = "CAUSEWAY_CONFIG")]
    pub(crate) config: Vec<PathBuf>,
    /// A single value over those of files and environment, e.g. `--set admin.bind=127.0.0.1:9001`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must look like key.path=value".to_owned()),
    }
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) | Command::Config(ConfigCommand::Check(args)) => check::check(&args),
        Command::DemoBackends(args) => demo_backends(args),
        Command::Config(ConfigCommand::Show(args)) => {
            match causeway_config::render_effective(&args.config, &args.set) {
                Ok(text) => print(&text),
                Err(problems) => fail(&problems, INPUT),
            }
        }
        Command::Config(ConfigCommand::Schema) => print(&format!("{:#}\n", causeway_config::schema())),
        Command::Pki(command) => match command.run(&mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
    }
}

fn demo_backends(args: crate::demo::backend::BackendArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(crate::demo::backend::run(args, &mut std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// The input was wrong.
pub(crate) const INPUT: u8 = 2;

/// Prints data. A reader that has gone away is its own business.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

/// Prints an error and what caused it.
pub(crate) fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let mut out = std::io::stderr().lock();
    let text = error.to_string();
    let prefix = if text.starts_with("error:") { "" } else { "error: " };
    let _ = writeln!(out, "{prefix}{}", text.trim_end());
    ExitCode::from(code)
}
