//! The benchmark: causeway beside nginx, HAProxy and Envoy on the same work, in one run. See `README.md` beside this.

mod args;
mod backend;
mod buffered;
mod cases;
mod certs;
mod chart;
mod failure;
mod find;
mod histogram;
mod load;
mod measure;
mod process;
mod report;
mod results;
mod run;
mod systems;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use args::{Args, Hidden};
use failure::{During, Failure, Result};
use report::{Setup, say};
use results::Summary;

fn main() -> ExitCode {
    let args = Args::parse();
    match start(&args) {
        Ok(code) => code,
        Err(failure) => {
            say(format_args!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().during("starting the runtime")?;
    let tasks = LocalSet::new();
    if let Some(Hidden::Backend) = args.hidden {
        let served = tasks.block_on(&runtime, backend::serve());
        // The thread that waits for the end of standard input may be in its read still.
        runtime.shutdown_background();
        return served.map(|()| ExitCode::SUCCESS);
    }
    tasks.block_on(&runtime, async {
        let mut interrupt = signal(SignalKind::interrupt()).during("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).during("SIGTERM")?;
        // Dropping the run ends every process it started.
        tokio::select! {
            code = measure(args) => code,
            _ = interrupt.recv() => Err(Failure::new("interrupted")),
            _ = terminate.recv() => Err(Failure::new("terminated")),
        }
    })
}

async fn measure(args: &Args) -> Result<ExitCode> {
    let (mut systems, mut missing) = find::systems(args);
    let summaries = run::all(args, &mut systems, &mut missing).await?;
    let setup = setup();
    let text = report::render(&setup, &missing, &summaries);
    report::print(&text)?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&summaries).during("writing JSON")?;
        std::fs::write(path, json + "\n").during(format_args!("writing {}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        let caption = format!("{}, {}", setup.date, setup.machine);
        std::fs::write(path, chart::svg(&summaries, &caption)).during(format_args!("writing {}", path.display()))?;
    }
    if args.readme {
        report::write_readme(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/README.md"), &text)?;
    }
    let failed = |summary: &Summary| summary.failures > 0;
    Ok(if summaries.is_empty() || summaries.iter().any(failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// When and where this runs.
fn setup() -> Setup {
    let date = time::OffsetDateTime::now_utc().date();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Odd figures are explained by other work on the machine sooner than by anything else.
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = busy.split_whitespace().next().unwrap_or("unknown").to_owned();
    Setup {
        date: date.to_string(),
        machine: format!(
            "{} x {}, Linux {}",
            cores,
            model.unwrap_or("unknown processor"),
            kernel.trim()
        ),
        command: format!("bench {}", arguments.join(" ")).trim().to_owned(),
        notes: vec![format!("Load average over the last minute of the run: {busy}.")],
    }
}
