//! What a gateway tells of itself and of its calls: the parts of a start that are about telemetry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_config::{self as config, Config};

use super::{AppError, Gateway};
use crate::discovery::Failure;
use crate::limits::store;
use crate::observe::Telemetry;
use crate::telemetry::export;
use crate::telemetry::lines::{Complain, Lines, Output};
use crate::telemetry::metrics::{GatewayMetrics, Registry};
use crate::telemetry::settings::TraceSettings;
use crate::telemetry::span::Memory;
use crate::worker::Shared;

/// What telemetry may take to be flushed at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Starts what tells of calls.
pub(super) fn telemetry(
    config: &Config,
    workers: usize,
    control: &tokio::runtime::Handle,
) -> Result<Telemetry, AppError> {
    let failed = |error: &dyn std::fmt::Display| AppError::Telemetry(error.to_string());
    let registry = Registry::new(workers);
    let metrics = GatewayMetrics::new(&registry);
    let instance = format!("{}-{}", config.site.name, std::process::id());
    let variable = |name: &str| std::env::var(name).ok();
    let (settings, problems) = TraceSettings::read(&config.telemetry, &config.site.name, &instance, variable);
    for problem in problems {
        tracing::warn!(%problem, "telemetry");
    }
    let memory = config.telemetry.keep_spans.map(|count| Memory::new(count.get()));
    let started = export::start(&settings, memory.clone(), &metrics, control);
    let (tracer, exporting) = started.map_err(|error| failed(&error))?;
    let lines = match &config.telemetry.access_log {
        config::AccessLog::Off => None,
        config::AccessLog::Stdout => {
            Some(Lines::start(Output::Stdout, Complain::InLog).map_err(|error| failed(&error))?)
        }
        config::AccessLog::File(path) => {
            let started = Lines::start(Output::File(path.clone()), Complain::InLog);
            Some(started.map_err(|error| failed(&format!("access log `{}`: {error}", path.display())))?)
        }
    };
    if let Some(lines) = &lines {
        lines.count_in(metrics.access_lines_dropped.clone());
    }
    let unrouted = metrics.route("none", "none");
    Ok(Telemetry {
        registry,
        metrics,
        unrouted,
        tracer,
        lines,
        memory,
        exporting: Mutex::new(Some(exporting)),
    })
}

/// Keeps the series of look-ups as the resolver counts them, which is on another thread and by name.
pub(super) fn tell_lookups(gateway: &Arc<Gateway>) {
    let metrics = gateway.shared.telemetry.metrics.clone();
    let registry = gateway.shared.telemetry.registry.clone();
    let gateway = Arc::downgrade(gateway);
    let told = Mutex::new(HashMap::new());
    registry.before_scrape(move || {
        let Some(gateway) = gateway.upgrade() else { return };
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for stats in gateway.discovery().stats() {
            let mut tell = |result: &'static str, count: u64| {
                let before = told.entry((stats.name().to_owned(), result)).or_insert(0);
                // A name that is watched anew counts from nothing.
                let more = if count >= *before { count - *before } else { count };
                if more > 0 {
                    metrics.discovery_lookups.with(&[stats.name(), result]).add(more);
                }
                *before = count;
            };
            tell("ok", stats.answered());
            for why in Failure::ALL {
                tell(why.label(), stats.failed(why));
            }
            metrics
                .discovery_endpoints
                .with(&[stats.name()])
                .set(stats.endpoints() as f64);
        }
    });
}

/// Keeps the series of limits as their counters have them.
pub(super) fn tell_limits(shared: &Arc<Shared>) {
    let counters = Arc::clone(&shared.policies.counters);
    let metrics = shared.telemetry.metrics.clone();
    let told = AtomicU64::new(0);
    shared.telemetry.registry.before_scrape(move || {
        metrics.limiter_keys.set(counters.keys() as f64);
        let crowded = counters.crowded();
        let before = told.swap(crowded, Ordering::Relaxed);
        metrics.limiter_keys_crowded.add(crowded.saturating_sub(before));
    });
}

/// Says what is lost with the process although people expect it to be kept.
pub(super) fn warn_of_memory(config: &Config) {
    if let Some(warning) = store::warning(config) {
        tracing::warn!("{warning}");
    }
}

/// Sends what was not sent yet.
pub(super) fn flush(telemetry: &Telemetry, control: &tokio::runtime::Runtime) {
    let exporting = telemetry
        .exporting
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    if let Some(exporting) = exporting {
        control.block_on(exporting.shutdown(FLUSH));
    }
    if let Some(lines) = &telemetry.lines {
        lines.flush(FLUSH);
    }
}

/// Sets what the metrics say of the configuration in use.
pub(super) fn tell_metrics(shared: &Shared, config: &Config) {
    let metrics = &shared.telemetry.metrics;
    if let Some(tls) = shared.federation.tls.get() {
        let credentials = tls.credentials();
        let expiry = credentials.not_after().unix_timestamp();
        metrics
            .certificate_expiry
            .with(&[credentials.identity().as_str()])
            .set(expiry as f64);
    }
    metrics
        .reload_success
        .set(rustls_pki_types::UnixTime::now().as_secs() as f64);
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(&format!("{config:?}"), &mut hasher);
    // 48 bits, which a float holds exactly.
    metrics
        .config_hash
        .set((std::hash::Hasher::finish(&hasher) >> 16) as f64);
}
