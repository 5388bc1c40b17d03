//! `causeway demo`: both sites until Ctrl-C, or as files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::signals::Signals;
use super::{INTERRUPTED, Mistake, fail, print};
use crate::demo::eject::{commands, eject};
use crate::demo::lines;
use crate::demo::places::{Inner, MAX_OFFSET, Places};
use crate::demo::sites::{DemoError, Sites};
use crate::drain::Drained;
use crate::telemetry::log::{self, LogFormat};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Write the same as files into this directory, with a README, instead of running it.
    #[arg(long, value_name = "DIR")]
    eject: Option<PathBuf>,
    /// Add this to every port: 18080 and 28080 for clients, 19000 and 29000 for operators.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(MAX_OFFSET)))]
    port_offset: u16,
    /// Take ports that are free, whichever they are.
    #[arg(long, conflicts_with_all = ["port_offset", "eject"])]
    free_ports: bool,
}

pub(super) fn demo(args: &DemoArgs) -> ExitCode {
    if let Some(folder) = &args.eject {
        let places = Places::fixed(args.port_offset, Inner::Fixed);
        return match eject(folder, &places) {
            Ok(()) => print(&format!(
                "wrote {0}; run each in a terminal of its own, in {0}:\n  {1}\n",
                folder.display(),
                commands(&places).join("\n  ")
            )),
            Err(error) => refused(&error),
        };
    }
    // What is odd is worth a line between the others; CAUSEWAY_LOG may ask for more.
    let _log = match log::init_at(LogFormat::Text, "warn") {
        Ok(log) => log,
        Err(error) => return fail(&Mistake::input(error)),
    };
    let places = if args.free_ports {
        Places::free()
    } else {
        Places::fixed(args.port_offset, Inner::Free)
    };
    run(&places)
}

fn run(places: &Places) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("demo")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Mistake::run(error)),
    };
    // Before the start, so that a Ctrl-C in its middle leaves nothing behind either.
    let mut signals = match runtime.block_on(async { Signals::new() }) {
        Ok(signals) => signals,
        Err(error) => return fail(&Mistake::run(error)),
    };
    let sites = match Sites::start(places, runtime) {
        Ok(sites) => sites,
        Err(error) => return refused(&error),
    };
    print(&greeting(&sites));
    // There is no file to read again: a hangup means that the terminal is gone.
    sites.runtime().block_on(signals.next());
    let folder = sites.folder().to_owned();
    sites.runtime().spawn(async move {
        signals.next().await;
        let _ = std::fs::remove_dir_all(folder);
        #[expect(clippy::exit, reason = "asked for twice: nothing is waited for")]
        std::process::exit(INTERRUPTED.into());
    });
    match sites.stop() {
        Ok(Drained::Clean) => ExitCode::SUCCESS,
        // What the user left open was cut; that is what was asked for.
        Ok(Drained::Cut { .. }) => ExitCode::SUCCESS,
        Err(error) => refused(&error),
    }
}

fn refused(error: &DemoError) -> ExitCode {
    let mistake = match error.exit_code() {
        1 => Mistake::run(error),
        _ => Mistake::input(error),
    };
    fail(&match error.hint() {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    })
}

fn greeting(sites: &Sites) -> String {
    let places = sites.places();
    let mut sections = lines::sections(places);
    sections.push(lines::operator(places, &program()));
    format!(
        "Two sites run in this process. Paste a line into another terminal; Ctrl-C ends it all and leaves nothing behind.\n\n\
         \x20  you --> aws {} ==tunnel, both sides verified==> azure {} --> backends: HTTP, WebSocket, gRPC\n\n\
         {}The same as files, for processes of their own: {} demo --eject DIR\n",
        places.aws.edge,
        places.azure.edge,
        lines::text(&sections),
        program(),
    )
}

/// What a shell in the same directory calls this program.
fn program() -> String {
    let plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c));
    let name = std::env::args().next().filter(|name| !name.is_empty());
    name.map_or_else(
        || "causeway".to_owned(),
        |name| {
            if plain(&name) {
                name
            } else {
                format!("'{}'", name.replace('\'', "'\\''"))
            }
        },
    )
}
