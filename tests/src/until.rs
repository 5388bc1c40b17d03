//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; returns how long that took.
///
/// # Panics
/// When it does not hold within `limit`; the message says `what` was waited for.
pub fn until(what: &str, limit: Duration, condition: impl FnMut() -> bool) -> Duration {
    holds_within(limit, condition).unwrap_or_else(|| panic!("waited {limit:?} in vain until {what}"))
}

/// Waits until `condition` holds; returns how long that took, or `None` when `limit` has passed.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> Option<Duration> {
    let began = Instant::now();
    loop {
        if condition() {
            return Some(began.elapsed());
        }
        if began.elapsed() >= limit {
            return None;
        }
        pause(LOOK);
    }
}

/// Lets time pass where passing time is what a test is about: the pace of a load, or of a slow client.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that does; callers wait for conditions"
)]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}
