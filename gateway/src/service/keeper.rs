//! Looking after the endpoints of services, on the control runtime: runs their checks, and ends their ejections.
//!
//! One task per service that has `health` or `outlier`. Reloads start it anew; when a check is due, and what checks and
//! ejections have found, lies in the [`EndpointState`] and is kept.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use causeway_config as config;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::health::{self, Outcome};
use super::state::EndpointState;
use super::{ServiceSpec, outlier, probe};

/// Longest sleep of a keeper.
const LONGEST: Duration = Duration::from_secs(60);
/// How often percentiles are looked at, and after how many looks the past counts for half.
const LOOK: Duration = Duration::from_secs(1);
const FADE: u32 = 10;
/// First checks are spread over this, or over their interval if that is shorter.
const SPREAD: Duration = Duration::from_secs(1);

/// The tasks that look after the services of one snapshot.
#[derive(Debug)]
pub struct Keepers {
    control: Handle,
    tasks: Vec<AbortHandle>,
}

impl Keepers {
    /// Nobody is looked after.
    pub fn new(control: Handle) -> Self {
        Self {
            control,
            tasks: Vec::new(),
        }
    }

    /// Looks after these services from now on, and no others.
    pub fn update(&mut self, services: &[Arc<ServiceSpec>]) {
        self.stop();
        for spec in services {
            let task = self.control.spawn(Keeper::new(Arc::clone(spec)).run());
            self.tasks.push(task.abort_handle());
        }
    }

    fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A check that has ended: of which endpoint, and how.
type Checked = (u64, Result<(), String>);

struct Keeper {
    spec: Arc<ServiceSpec>,
    endpoints: HashMap<u64, Arc<EndpointState>>,
    running: FuturesUnordered<BoxFuture<'static, Checked>>,
    /// Endpoints that are being checked.
    busy: HashSet<u64>,
    /// When the shares of failures are looked at next, in milliseconds of the gateway.
    sweep: u64,
    /// When the limit that is found from times is looked at next.
    adapt: u64,
    /// When the percentile of times is looked at next, and how often it was.
    look: u64,
    looks: u32,
}

impl Keeper {
    fn new(spec: Arc<ServiceSpec>) -> Self {
        let sweep = spec.state.now() + spec.config.outlier.as_ref().map_or(0, |rule| millis(rule.interval));
        Self {
            spec,
            endpoints: HashMap::new(),
            running: FuturesUnordered::new(),
            busy: HashSet::new(),
            sweep,
            adapt: 0,
            look: 0,
            looks: 0,
        }
    }

    async fn run(mut self) {
        let spec = Arc::clone(&self.spec);
        let mut changes = spec.watched.changes.clone();
        // Written-down addresses never change, and their watch says so by ending.
        let mut fixed = false;
        self.meet();
        if spec.config.health.is_none() {
            // Whoever was unwell by checks that are gone is well.
            self.endpoints.values().for_each(|endpoint| endpoint.set_healthy(true));
        }
        if spec.config.outlier.is_none() {
            self.endpoints.values().for_each(|endpoint| endpoint.uneject());
        }
        let idle = spec.config.health.is_none() && spec.config.outlier.is_none();
        if idle && spec.config.adaptive.is_none() && spec.config.hedge.is_none() {
            return;
        }
        loop {
            let next = self.tend();
            self.tell();
            tokio::select! {
                Some((key, checked)) = self.running.next(), if !self.running.is_empty() => self.learn(key, checked),
                changed = changes.changed(), if !fixed => {
                    fixed = changed.is_err();
                    self.meet();
                }
                () = spec.state.wake.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Takes over what discovery has found.
    fn meet(&mut self) {
        let answer = self.spec.watched.current();
        let found = answer.endpoints.iter().map(|found| {
            let state = self.spec.state.endpoint(found, &self.spec.config);
            (state.key, state)
        });
        self.endpoints = found.collect();
        self.spec.state.has_endpoints(self.endpoints.len());
    }

    /// Does what is due; when to come again.
    fn tend(&mut self) -> std::time::Instant {
        let state = Arc::clone(&self.spec.state);
        let now = state.now();
        let mut next = now + millis(LONGEST);
        if let Some(rule) = self.spec.config.outlier.clone() {
            if now >= self.sweep {
                self.sweep(&rule);
                self.sweep = now + millis(rule.interval);
            }
            next = next.min(self.sweep);
            for endpoint in self.endpoints.values().filter(|endpoint| endpoint.is_ejected()) {
                let until = endpoint.counts.until();
                if until <= now {
                    endpoint.uneject();
                } else {
                    next = next.min(until);
                }
            }
        }
        if let Some(rule) = &self.spec.config.adaptive {
            if now >= self.adapt {
                state.adapt(rule);
                self.adapt = now + millis(rule.window);
            }
            next = next.min(self.adapt);
        }
        if let Some(config::HedgeAfter::Percentile(percent)) = self.spec.config.hedge.map(|hedge| hedge.after) {
            if now >= self.look {
                state.times.look(percent);
                self.looks += 1;
                if self.looks.is_multiple_of(FADE) {
                    state.times.fade();
                }
                self.look = now + millis(LOOK);
            }
            next = next.min(self.look);
        }
        if let Some(health) = self.spec.config.health.clone() {
            let idle = self
                .endpoints
                .values()
                .filter(|endpoint| !self.busy.contains(&endpoint.key));
            let mut begun = Vec::new();
            for endpoint in idle {
                let mut streak = endpoint.streak.lock().unwrap_or_else(PoisonError::into_inner);
                if streak.due == 0 {
                    let spread = SPREAD.min(health.interval).mul_f64(rand::random_range(0.0..1.0));
                    streak.due = now + millis(spread);
                }
                if streak.due > now {
                    next = next.min(streak.due);
                    continue;
                }
                begun.push(endpoint.key);
                let (spec, endpoint, health) = (Arc::clone(&self.spec), Arc::clone(endpoint), health.clone());
                self.running.push(Box::pin(async move {
                    let checked = probe::probe(&spec, &health, endpoint.address, &endpoint.host).await;
                    (endpoint.key, checked)
                }));
            }
            self.busy.extend(begun);
        }
        state.instant(next)
    }

    /// Compares what the endpoints did in the interval that has ended.
    fn sweep(&self, rule: &config::Outlier) {
        let endpoints: Vec<_> = self.endpoints.values().collect();
        let seen: Vec<_> = endpoints.iter().map(|endpoint| endpoint.counts.take()).collect();
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_ejected()) {
            endpoint.counts.behaved();
        }
        for (at, reason) in outlier::judge(rule, &seen) {
            if let Some(endpoint) = endpoints.get(at) {
                endpoint.eject(rule, reason);
            }
        }
    }

    /// Takes in how a check ended.
    fn learn(&mut self, key: u64, checked: Result<(), String>) {
        self.busy.remove(&key);
        let (Some(endpoint), Some(health)) = (self.endpoints.get(&key), &self.spec.config.health) else {
            return;
        };
        let series = &self.spec.state.series;
        let outcome = match &checked {
            Ok(()) => {
                series.check_succeeded.inc();
                Outcome::Good
            }
            Err(_) => {
                series.check_failed.inc();
                Outcome::Bad
            }
        };
        let pause = health
            .interval
            .mul_f64(1.0 + f64::from(health.jitter) / 100.0 * rand::random_range(0.0..1.0));
        let verdict = {
            let mut streak = endpoint.streak.lock().unwrap_or_else(PoisonError::into_inner);
            streak.due = self.spec.state.now() + millis(pause);
            streak.on(outcome, health)
        };
        let service = &self.spec.config.name;
        match (verdict, checked) {
            (Some(Outcome::Good), _) if !endpoint.is_healthy() => {
                endpoint.set_healthy(true);
                tracing::info!(%service, endpoint = %endpoint.address, "endpoint is healthy again");
            }
            (Some(Outcome::Bad), Err(why)) if endpoint.is_healthy() => {
                endpoint.set_healthy(false);
                tracing::warn!(%service, endpoint = %endpoint.address, %why, "endpoint is unhealthy");
            }
            _ => {}
        }
    }

    /// Says whether health is looked at.
    fn tell(&self) {
        let answer = self.spec.watched.current();
        let list = answer.endpoints.iter().filter_map(|found| {
            let endpoint = self.endpoints.get(&super::endpoint::Endpoint::key_of(found))?;
            Some((found.priority, endpoint.is_usable()))
        });
        let panic = health::is_panic(list, self.spec.config.panic_threshold);
        self.spec.state.series.panic.set(if panic { 1.0 } else { 0.0 });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
