//! `causeway run`: a gateway until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::signals::{Signals, Wish};
use super::{ConfigArgs, INTERRUPTED, Mistake, fail, print};
use crate::app::App;
use crate::drain::Drained;
use crate::reload::{Reloader, Trigger, Watch};
use crate::telemetry::log::{self, LogFormat};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &RunArgs) -> ExitCode {
    let _log = match log::init(LogFormat::Auto) {
        Ok(log) => log,
        Err(error) => return fail(&Mistake::input(error)),
    };
    let config = match causeway_config::load(&args.config.config, &args.config.set) {
        Ok(config) => config,
        Err(problems) => return fail(&Mistake::input(problems)),
    };
    let app = match App::start(config) {
        Ok(app) => app,
        Err(error) => return fail(&Mistake::start(&error)),
    };
    let mut signals = match app.control().block_on(async { Signals::new() }) {
        Ok(signals) => signals,
        Err(error) => return fail(&Mistake::run(error)),
    };
    let (files, set) = (args.config.config.clone(), args.config.set.clone());
    let reloader = Reloader::new(app.gateway(), move || causeway_config::load(&files, &set));
    let watch = Watch::start(Arc::clone(&reloader));
    if let Err(error) = &watch {
        tracing::warn!(%error, "changed files are not noticed: send SIGHUP");
    }
    let wishes = app.gateway().wishes();
    wishes.reload_by(&reloader);
    announce(&app);
    let next = async |signals: &mut Signals| {
        tokio::select! {
            wish = signals.next() => wish,
            () = wishes.stop() => Wish::Stop,
        }
    };
    while app.control().block_on(next(&mut signals)) == Wish::Reload {
        // Problems are in the log, and nothing has changed.
        reloader.reload(Trigger::Signal).ok();
    }
    drop(watch);
    tracing::info!("draining");
    // The second signal ends the process at once.
    app.control().spawn(async move {
        signals.next().await;
        #[expect(clippy::exit, reason = "asked for twice: nothing is waited for")]
        std::process::exit(INTERRUPTED.into());
    });
    match app.drain() {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::Cut { .. } => ExitCode::from(1),
    }
}

/// One line of JSON, for whoever started us and wants to know which ports were free.
fn announce(app: &App) {
    let bound = app.bound();
    let listeners: serde_json::Map<_, _> = bound
        .listeners
        .iter()
        .map(|(name, address)| (name.to_string(), address.to_string().into()))
        .collect();
    let line = serde_json::json!({
        "ready": true,
        "listeners": listeners,
        "federation": bound.federation.map(|address| address.to_string()),
        "admin": bound.admin.map(|address| address.to_string()),
    });
    print(&format!("{line}\n"));
}
