//! What a gateway has under way at a service at most, over all workers and endpoints; exact, by atomics.
//!
//! A service without `[services.breaker]` counts nothing here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use causeway_protocols::FailureKind;

use super::state::ServiceState;
use crate::error::CallError;

/// What a client is told to wait when a breaker refuses its call.
pub const COME_AGAIN: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Connections, idle ones included.
    Connections,
    /// Calls that wait for a connection.
    Pending,
    /// Calls under way.
    Requests,
}

impl Counted {
    /// The key of its limit, which is also its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Pending => "max_pending",
            Self::Requests => "max_requests",
        }
    }
}

/// How many there are of each, and how many calls want a connection that the limit does not allow.
#[derive(Debug, Default)]
pub struct Counts {
    connections: AtomicU32,
    pending: AtomicU32,
    requests: AtomicU32,
    starving: AtomicU32,
}

impl Counts {
    fn of(&self, counted: Counted) -> &AtomicU32 {
        match counted {
            Counted::Connections => &self.connections,
            Counted::Pending => &self.pending,
            Counted::Requests => &self.requests,
        }
    }

    /// Whether some call of this gateway waits for the end of a connection, idle ones included.
    pub(super) fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed) > 0
    }
}

/// One of a bounded number, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    state: Arc<ServiceState>,
    counted: Counted,
}

impl Permit {
    /// One more, unless `limit` are counted already. Never more than `limit` are given out, and never one fewer.
    pub fn take(state: &Arc<ServiceState>, counted: Counted, limit: u32) -> Option<Self> {
        let taken = state
            .counts
            .of(counted)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < limit).then_some(count + 1)
            });
        if counted == Counted::Requests
            && let Ok(before) = taken
        {
            state.seen.under_way(before + 1);
        }
        taken.ok().map(|_| Self {
            state: Arc::clone(state),
            counted,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.state.counts.of(self.counted).fetch_sub(1, Ordering::AcqRel);
    }
}

/// Says that a call waits for a connection that only the end of another allows, until it is dropped.
#[derive(Debug)]
pub struct Starving<'a>(&'a Counts);

impl<'a> Starving<'a> {
    /// One more call waits.
    pub fn new(state: &'a ServiceState) -> Self {
        state.counts.starving.fetch_add(1, Ordering::AcqRel);
        Self(&state.counts)
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The refusal of a call that would be one too many; counts it.
pub fn refusal(state: &ServiceState, counted: Counted, limit: u32) -> CallError {
    state.count_refusal(counted.label());
    let detail = format!("breaker.{} of service `{}` is {limit}", counted.label(), state.name());
    CallError {
        retry_after: Some(COME_AGAIN),
        ..CallError::new(FailureKind::Breaker, detail)
    }
}

/// The refusal of a call that the limit found from times does not allow; counts it.
pub fn overload(state: &ServiceState, limit: u32) -> CallError {
    state.count_refusal(ADAPTIVE);
    let detail = format!("the adaptive limit of service `{}` is {limit}", state.name());
    CallError {
        retry_after: Some(COME_AGAIN),
        ..CallError::new(FailureKind::Overload, detail)
    }
}

/// The label of refusals by that limit.
pub const ADAPTIVE: &str = "adaptive";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::state::ServiceStates;
    use crate::telemetry::metrics::Registry;

    #[test]
    fn exactly_as_many_as_the_limit_are_given_out_by_all_threads_together() {
        let state = ServiceStates::new(&Registry::new(0)).service(&"s".into());
        let most = AtomicU32::new(0);
        let refused = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        match Permit::take(&state, Counted::Requests, 3) {
                            Some(_permit) => {
                                let now = state.counts.requests.load(Ordering::Acquire);
                                most.fetch_max(now, Ordering::Relaxed);
                            }
                            None => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(state.counts.requests.load(Ordering::Acquire), 0, "all are given back");
        let held: Vec<_> = (0..3)
            .map(|_| Permit::take(&state, Counted::Requests, 3).unwrap())
            .collect();
        assert!(Permit::take(&state, Counted::Requests, 3).is_none());
        assert!(
            Permit::take(&state, Counted::Pending, 1).is_some(),
            "each limit counts for itself"
        );
        drop(held);
        assert!(Permit::take(&state, Counted::Requests, 1).is_some());
    }
}
