//! How many retries there may be: a share of the calls of the last seconds, so that a dead backend is not called twice as
//! often as a living one.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Calls and retries of the window under way and of the one before it count.
const WINDOW: Duration = Duration::from_secs(10);
/// So many are always allowed, so that a quiet service can retry at all.
const ALWAYS: u64 = 10;

/// The budget of one service, or of one link, at one worker.
#[derive(Debug, Default)]
pub struct Budget {
    began: Cell<Option<Instant>>,
    now: Cell<Seen>,
    before: Cell<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    calls: u64,
    retries: u64,
}

impl Budget {
    /// Counts a call.
    pub fn count_call(&self, now: Instant) {
        self.roll(now);
        let seen = self.now.get();
        self.now.set(Seen {
            calls: seen.calls + 1,
            ..seen
        });
    }

    /// Whether one more call may be made in place of, or beside, one that was counted; counts it. `percent` is the share
    /// of calls that may be retries; 0 allows none.
    pub fn take(&self, percent: u8, now: Instant) -> bool {
        self.roll(now);
        let (seen, before) = (self.now.get(), self.before.get());
        let allowed = ((seen.calls + before.calls) * u64::from(percent) / 100).max(ALWAYS);
        let granted = percent > 0 && seen.retries + before.retries < allowed;
        if granted {
            self.now.set(Seen {
                retries: seen.retries + 1,
                ..seen
            });
        }
        granted
    }

    fn roll(&self, now: Instant) {
        let passed = self.began.get().map(|began| now.saturating_duration_since(began));
        match passed {
            Some(passed) if passed < WINDOW => return,
            Some(passed) if passed < 2 * WINDOW => self.before.set(self.now.take()),
            _ => {
                self.before.take();
                self.now.take();
            }
        }
        self.began.set(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n4_every_call_failing_makes_a_fifth_more_at_20_percent() {
        let budget = Budget::default();
        let begin = Instant::now();
        let (mut calls, mut retries) = (0u64, 0u64);
        for at in 0..60_000u64 {
            let now = begin + Duration::from_millis(at);
            budget.count_call(now);
            calls += 1;
            retries += u64::from(budget.take(20, now));
        }
        assert!(retries * 100 <= calls * 21, "{retries} retries of {calls} calls");
        assert!(
            retries * 100 >= calls * 15,
            "{retries} retries of {calls} calls: the budget is used"
        );
    }

    #[test]
    fn a_quiet_service_has_ten_and_no_percent_has_none() {
        let budget = Budget::default();
        let now = Instant::now();
        budget.count_call(now);
        let granted = (0..100).filter(|_| budget.take(20, now)).count();
        assert_eq!(granted, 10);
        let later = now + 3 * WINDOW;
        assert!(budget.take(20, later), "the past is forgotten");
        assert!(!Budget::default().take(0, now));
    }

    #[test]
    fn what_was_not_used_long_ago_is_not_saved_up() {
        let budget = Budget::default();
        let begin = Instant::now();
        for at in 0..10_000 {
            budget.count_call(begin + Duration::from_millis(at / 2));
        }
        let later = begin + Duration::from_secs(60);
        let granted = (0..10_000).filter(|_| budget.take(20, later)).count();
        assert_eq!(granted, 10);
    }
}
