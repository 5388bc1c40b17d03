//! The task that keeps one name current.

use std::sync::Arc;

use causeway_config::Discover;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::history::History;
use super::lookup::Lookups;
use super::{Answer, DiscoveryStats, Endpoint, State};

/// Looks one name up for as long as somebody watches.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) what: Discover,
    pub(super) lookups: Arc<Lookups>,
    pub(super) answers: watch::Sender<Arc<Answer>>,
    /// Counts ended look-ups.
    pub(super) ended: watch::Sender<u64>,
    pub(super) wanted: Arc<Notify>,
    pub(super) stats: Arc<DiscoveryStats>,
}

impl Watcher {
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.answers.closed() => {}
            () = self.keep() => {}
        }
        tracing::debug!(name = self.stats.name(), "no longer watched");
    }

    async fn keep(&self) {
        let dns = self.lookups.dns();
        let mut history = History::of(&self.answers.borrow(), std::time::Instant::now());
        loop {
            let started = Instant::now();
            let before = history.endpoints(started.into_std(), dns);
            let first = self.answers.borrow().endpoints.is_empty();
            let early = |endpoints| {
                if first {
                    self.publish(endpoints, State::Fresh);
                }
            };
            let (result, refused) = self.lookups.resolve(&self.what, &before, early).await;
            self.stats
                .count(result.as_ref().map(|_| ()).map_err(|why| *why), refused);
            if refused > 0 {
                tracing::warn!(
                    name = self.stats.name(),
                    refused,
                    "answer holds addresses that no backend has"
                );
            }
            let now = Instant::now();
            let step = history.step(result, now.into_std(), dns, rand::random());
            self.publish(step.endpoints, step.state);
            self.ended.send_modify(|rounds| *rounds += 1);
            tokio::select! {
                () = sleep_until(now + step.pause) => {}
                () = self.wanted.notified() => sleep_until(started + dns.min_ttl).await,
            }
        }
    }

    /// Publishes what differs from what was published before.
    fn publish(&self, endpoints: Vec<Endpoint>, state: State) {
        self.stats.set_endpoints(endpoints.len());
        self.answers.send_if_modified(|current| {
            if current.endpoints == endpoints && current.state == state {
                return false;
            }
            log(self.stats.name(), current.state, state, endpoints.len());
            *current = Arc::new(Answer {
                endpoints,
                state,
                generation: current.generation + 1,
            });
            true
        });
    }
}

fn log(name: &str, before: State, state: State, endpoints: usize) {
    match state {
        State::Stale { why, .. } => tracing::warn!(
            name,
            why = why.label(),
            endpoints,
            "look-up failed, last good answer kept"
        ),
        State::Failed { why } => tracing::warn!(name, why = why.label(), "look-up failed, no endpoints"),
        State::Fresh if before == State::Fresh => tracing::debug!(name, endpoints, "endpoints changed"),
        State::Fresh | State::Pending => tracing::info!(name, endpoints, "endpoints found"),
    }
}
