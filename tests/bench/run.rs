//! The rounds: every case on every system with fresh processes, one system after the other within each round.

use std::collections::BTreeMap;
use std::path::Path;

use crate::args::Args;
use crate::backend::Backend;
use crate::cases::{Case, Kind};
use crate::certs;
use crate::failure::{During, Failure, Result};
use crate::find::Missing;
use crate::load;
use crate::process::raise_open_files;
use crate::report::say;
use crate::results::{Sample, Summary};
use crate::systems::{FreePorts, Installed, Setting, System};

/// Open files for everything but the idle connections.
const SPARE_FILES: u64 = 1_000;

/// Measures, and returns a summary for each case and system, in the order of the cases and systems.
pub(crate) async fn all(args: &Args, systems: &mut Vec<Installed>, missing: &mut Vec<Missing>) -> Result<Vec<Summary>> {
    let dir = tempfile::tempdir().during("making a directory for the run")?;
    certs::for_peers(&dir.path().join("certs"))?;
    if let Some(index) = systems
        .iter()
        .position(|installed| installed.system == System::Causeway)
    {
        let made = systems
            .get(index)
            .map(|ours| certs::for_causeway(&ours.program, &dir.path().join("sites")));
        if let Some(Err(failure)) = made {
            systems.remove(index);
            missing.push(Missing {
                system: System::Causeway,
                reason: failure.to_string(),
            });
        }
    }
    for missing in missing.iter() {
        say(format_args!(
            "not measured: {}: {}",
            missing.system.name(),
            missing.reason
        ));
    }

    // Client and tunnel or backend side of every connection, in the process that has most.
    let wanted = (args.idle().max(args.connections) * 2) as u64 + 2 * SPARE_FILES;
    let files = raise_open_files(wanted);
    if files < wanted {
        say(format_args!(
            "only {files} of {wanted} files may be open: some systems get fewer idle connections"
        ));
    }

    let mut ports = FreePorts::new();
    let mut samples: BTreeMap<(usize, System), Vec<Sample>> = BTreeMap::new();
    let runs = args.rounds() as usize * args.cases.len() * systems.len();
    let mut done = 0;
    for round in 0..args.rounds() as usize {
        for (index, case) in args.cases.iter().enumerate() {
            for step in 0..systems.len() {
                // Each round starts with another system, so that none is always the first after the pause.
                let Some(installed) = systems.get((step + round) % systems.len()) else {
                    continue;
                };
                done += 1;
                let sample = one(args, *case, installed, dir.path(), files, &mut ports).await;
                tell(done, runs, *case, installed, &sample);
                samples.entry((index, installed.system)).or_default().push(sample);
            }
        }
    }
    let summary = |index: usize, case: Case, installed: &Installed| {
        let samples = samples
            .get(&(index, installed.system))
            .map(Vec::as_slice)
            .unwrap_or_default();
        Summary::of(case, installed.system, &installed.version, samples)
    };
    let cases = args.cases.iter().enumerate();
    Ok(cases
        .flat_map(|(index, case)| systems.iter().map(move |installed| (index, *case, installed)))
        .map(|(index, case, installed)| summary(index, case, installed))
        .collect())
}

/// One run. What goes wrong is a result too.
async fn one(args: &Args, case: Case, installed: &Installed, dir: &Path, files: u64, ports: &mut FreePorts) -> Sample {
    measure(args, case, installed, dir, files, ports)
        .await
        .unwrap_or_else(|failure| Sample::failed(failure.to_string()))
}

async fn measure(
    args: &Args,
    case: Case,
    installed: &Installed,
    dir: &Path,
    files: u64,
    ports: &mut FreePorts,
) -> Result<Sample> {
    let backend = Backend::start()?;
    let connections = match case.kind() {
        // As many as the open files allow; the table tells the number.
        Kind::Idle(idle) => {
            let possible = files.saturating_sub(SPARE_FILES) / installed.system.files_per_idle(idle);
            args.idle().min(usize::try_from(possible).unwrap_or(usize::MAX))
        }
        Kind::Load(_) => args.connections,
    };
    let setting = Setting {
        dir,
        backend: backend.ports,
        topology: case.topology(),
        buffers: case.buffers(),
        connections,
        files,
    };
    let mut gateways = installed.start(setting, ports)?;
    let ready = load::wait_ready(case.probe(), gateways.entry).await;
    gateways.check_alive()?;
    if let Err(failure) = ready {
        return Err(Failure::new(format!(
            "not ready: {failure}; it said: {}",
            gateways.last_words()
        )));
    }
    let pids = gateways.pids();
    let mut sample: Sample = match case.kind() {
        Kind::Idle(idle) => load::open_idle(idle, gateways.entry, connections, &pids).await?.into(),
        Kind::Load(work) => load::run(work, gateways.entry, args.plan(case), &pids).await?.into(),
    };
    gateways.check_alive()?;
    let words = gateways.last_words();
    if let (Some(failure), false) = (&mut sample.failure, words.is_empty()) {
        failure.push_str(&format!("; it said: {words}"));
    }
    Ok(sample)
}

fn tell(done: usize, runs: usize, case: Case, installed: &Installed, sample: &Sample) {
    let figure = match (sample.kib_per_idle, sample.req_per_cpu_s, sample.p99_us) {
        (Some(kib), _, _) => format!("{kib:.2} KiB per connection"),
        (None, Some(rate), Some(p99)) => format!("{rate:.0} req/CPU-s, p99 {p99:.0} us"),
        _ => "no figures".to_owned(),
    };
    let (case, name) = (case.name(), installed.system.name());
    match &sample.failure {
        None => say(format_args!("[{done}/{runs}] {case} {name}: {figure}")),
        Some(failure) => {
            say(format_args!(
                "[{done}/{runs}] {case} {name}: {figure}; {} failures: {failure}",
                sample.failures
            ));
        }
    }
}
