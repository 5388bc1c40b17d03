//! The command line.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 fine, 1 the run failed, 2 the input
//! was wrong, 130 ended by a second Ctrl-C.

mod about;
mod check;
mod config;
mod control;
mod demo;
mod explain;
mod healthcheck;
mod key;
pub(crate) mod probe;
mod run;
mod signals;
mod traces;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use causeway_pki::cli::PkiCommand;
use clap::{Args, Parser, Subcommand};

use crate::app::AppError;

/// A federation gateway for HTTP, WebSocket and gRPC.
#[derive(Debug, Parser)]
#[command(
    name = "causeway",
    version,
    about,
    propagate_version = true,
    after_help = "Examples:
  causeway demo                                          two linked sites on this machine, to try
  causeway check --config aws.toml                       is this configuration good?
  causeway run --config aws.toml                         serve
  causeway explain GET https://api.acme.example/orders --config aws.toml
                                                         which route, and where to?"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway until it is told to stop.
    ///
    /// SIGHUP reloads the configuration, SIGTERM or Ctrl-C drains, a second one stops at once.
    #[command(after_help = "Examples:
  causeway run --config aws.toml
  causeway run --config base.toml --config aws.toml --set admin.bind=127.0.0.1:9001")]
    Run(run::RunArgs),
    /// Check a configuration and everything it names, without serving.
    #[command(after_help = "Example:\n  causeway check --config aws.toml")]
    Check(ConfigArgs),
    /// Try it: two linked sites with backends, on this machine alone.
    ///
    /// Listens on loopback only, keeps its certificates in a temporary directory, and removes everything when it ends.
    #[command(after_help = "Examples:
  causeway demo
  causeway demo --port-offset 100     when a port is in use
  causeway demo --eject my-sites      the same as files")]
    Demo(demo::DemoArgs),
    /// Run only the backends of the demo.
    #[command(hide = true)]
    DemoBackends(crate::demo::backend::BackendArgs),
    /// Say which route a request would take, why, and where it would go. Exits with 1 when there is none.
    #[command(after_help = "Examples:
  causeway explain GET https://api.acme.example/v1/orders/7 --config aws.toml
  causeway explain POST grpc://api.acme.example/demo.Chat/Say --config aws.toml
  causeway explain GET wss://api.acme.example/chat -H 'origin: https://app.example' --config aws.toml")]
    Explain(explain::ExplainArgs),
    /// Ask a running gateway whether it is ready. Exits with 0 when it is, 1 when not.
    #[command(after_help = "Example, in a Dockerfile:\n  HEALTHCHECK CMD [\"causeway\", \"healthcheck\"]")]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Show how a running gateway is.
    #[command(after_help = "Examples:
  causeway status                                        the gateway at 127.0.0.1:9000
  causeway status --config aws.toml --json")]
    Status(control::StatusArgs),
    /// Make a running gateway read its configuration again. Exits with 1, and says why, when that changed nothing.
    #[command(after_help = "Example, where `aws.toml` has `admin.socket`:\n  causeway reload --config aws.toml")]
    Reload(control::ControlArgs),
    /// Make a running gateway stop: it takes nothing new, finishes what has begun, and ends. Does not wait for that.
    #[command(after_help = "Example, where `aws.toml` has `admin.socket`:\n  causeway drain --config aws.toml")]
    Drain(control::ControlArgs),
    /// Make an API key for a consumer, and print it with the digest for the configuration.
    #[command(after_help = "Examples:
  causeway key
  causeway key --digest < key.txt     the digest of a key that exists")]
    Key(key::KeyArgs),
    /// Look at configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Certificates of the sites.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Show the last calls as spans, put together from several gateways; they keep them where `telemetry.keep_spans` says so.
    #[command(after_help = "Example:\n  causeway traces --admin 127.0.0.1:19000 --admin 127.0.0.1:29000")]
    Traces(traces::TracesArgs),
    /// Print a script that completes commands in a shell.
    #[command(after_help = "Example:\n  causeway completions bash > /etc/bash_completion.d/causeway")]
    Completions(about::CompletionsArgs),
    /// Print a page of the manual.
    #[command(after_help = "Examples:
  causeway man | man -l -
  causeway man --dir /usr/local/share/man/man1           one page for each command")]
    Man(about::ManArgs),
    /// Print the version, and what a bug report should say.
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration.
    Check(ConfigArgs),
    /// Print the configuration as it takes effect, secrets hidden.
    Show(ConfigArgs),
    /// Print what would change: the configuration of a running gateway, or another one, beside this one. Exits with 1 when
    /// they differ.
    #[command(after_help = "Examples:
  causeway config diff --config new.toml                 beside what the gateway runs with
  causeway config diff --config new.toml --against old.toml")]
    Diff(config::DiffArgs),
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
        Command::Drain(args) => control::drain(&args),
        Command::Man(args) => about::man(&args),
        Command::Reload(args) => control::reload(&args),
        Command::Status(args) => control::status(&args),
        Command::Completions(args) => about::completions(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::DemoBackends(args) => demo_backends(args),
        Command::Explain(args) => explain::explain(&args),
        Command::Healthcheck(args) => healthcheck::healthcheck(&args),
        Command::Key(args) => key::key(&args),
        Command::Traces(args) => traces::traces(&args),
        Command::Version => about::version(),
        Command::Config(ConfigCommand::Show(args)) => {
            match causeway_config::render_effective(&args.config, &args.set) {
                Ok(text) => print(&text),
                Err(problems) => fail(&Mistake::input(problems)),
            }
        }
        Command::Config(ConfigCommand::Diff(args)) => config::diff(&args),
        Command::Config(ConfigCommand::Schema) => print(&format!("{:#}\n", causeway_config::schema())),
        Command::Pki(command) => match command.run(&mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&Mistake::of(&error, error.exit_code()).hint(error.hint())),
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
        Err(error) => return fail(&Mistake::run(error)),
    };
    match runtime.block_on(crate::demo::backend::run(args, &mut std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&Mistake::run(error)),
    }
}

/// What ends a process that was told twice.
pub(crate) const INTERRUPTED: u8 = 130;

/// Prints data. A reader that has gone away is its own business.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

/// Why a command ends without having done what it was asked for.
#[derive(Debug)]
pub(crate) struct Mistake {
    text: String,
    hint: Option<&'static str>,
    code: u8,
}

impl Mistake {
    /// The run failed.
    pub(crate) fn run(error: impl Display) -> Self {
        Self::of(error, 1)
    }

    /// The input was wrong.
    pub(crate) fn input(error: impl Display) -> Self {
        Self::of(error, 2)
    }

    fn of(error: impl Display, code: u8) -> Self {
        Self {
            text: error.to_string(),
            hint: None,
            code,
        }
    }

    /// A gateway that did not start.
    pub(crate) fn start(error: &AppError) -> Self {
        let mistake = Self::input(error);
        let AppError::Bind { source, .. } = error else {
            return mistake;
        };
        match source.kind() {
            ErrorKind::AddrInUse => mistake.hint("another program listens there: stop it, or choose another address"),
            ErrorKind::AddrNotAvailable => {
                mistake.hint("this machine has no such address: `ip address` lists those it has")
            }
            ErrorKind::PermissionDenied => {
                mistake.hint("ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE")
            }
            _ => mistake,
        }
    }

    /// How to go on.
    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }
}

/// Prints what went wrong and how to go on.
pub(crate) fn fail(mistake: &Mistake) -> ExitCode {
    let mut out = std::io::stderr().lock();
    let text = &mistake.text;
    let prefix = if text.starts_with("error:") { "" } else { "error: " };
    let _ = writeln!(out, "{prefix}{}", text.trim_end());
    if let Some(hint) = mistake.hint {
        let _ = writeln!(out, "hint: {hint}");
    }
    ExitCode::from(mistake.code)
}
