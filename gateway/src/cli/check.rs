//! `causeway check`: everything that a start would find, without a start.

use std::process::ExitCode;

use super::{ConfigArgs, Mistake, fail, print};
use crate::app::App;
use crate::limits::store;

pub(super) fn check(args: &ConfigArgs) -> ExitCode {
    let config = match causeway_config::load(&args.config, &args.set) {
        Ok(config) => config,
        Err(problems) => return fail(&Mistake::input(problems)),
    };
    let summary = format!(
        "ok: site `{}`, {} listeners, {} peers, {} services, {} routes\n",
        config.site.name,
        config.listeners.len(),
        config.peers.len(),
        config.services.len(),
        config.routes.len()
    );
    let warning = store::warning(&config).map_or_else(String::new, |warning| format!("warning: {warning}\n"));
    match App::check(config) {
        Ok(()) => print(&(summary + &warning)),
        Err(error) => fail(&Mistake::start(&error)),
    }
}
