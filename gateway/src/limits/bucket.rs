//! A token bucket as one number (GCRA): when the bucket will be full again.
//!
//! Pure: every question is asked with the time. Everything that may be spent at once, the burst, is worth a span of time,
//! and so is everything that is spent; a call may pass if the debt it leaves is not longer than the burst. Nothing has to
//! run while nobody asks, and a counter that nobody uses is simply in the past.

use std::time::Duration;

use causeway_config as config;

/// Parts of a nanosecond that debts are counted in: fine enough that ten million a second are counted to 0.1 percent,
/// and 36 years fit.
const TICKS: u128 = 16;

/// A moment or a span in ticks since the counters began.
pub type Ticks = u64;

/// Spans as ticks.
pub fn ticks(span: Duration) -> Ticks {
    Ticks::try_from(span.as_nanos().saturating_mul(TICKS)).unwrap_or(Ticks::MAX)
}

/// Ticks as a span.
pub fn span(ticks: Ticks) -> Duration {
    Duration::from_nanos(ticks.div_ceil(TICKS as u64))
}

/// How fast a bucket fills, and how much is in it when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    amount: u64,
    /// In ticks.
    per: u64,
    /// All of a full bucket, in ticks.
    depth: u64,
    burst: u64,
}

/// What came of asking for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was there.
    Granted {
        /// What is left.
        left: u64,
        /// Until the bucket is full again.
        full: Duration,
    },
    /// It was not, and nothing was taken.
    Refused {
        /// Until it will be, if nobody else asks; none: never, it is more than the bucket holds.
        after: Option<Duration>,
        /// What is left.
        left: u64,
        /// Until the bucket is full again.
        full: Duration,
    },
}

impl Bucket {
    /// A bucket that holds `burst` and gets `rate`.
    pub fn new(rate: config::Rate, burst: u64) -> Self {
        let (amount, per) = (rate.amount.get(), ticks(rate.per).max(1));
        let depth = u128::from(burst) * u128::from(per);
        Self {
            amount,
            per,
            // Rounded up, and costs down: as many as there should be always fit.
            depth: u64::try_from(depth.div_ceil(u128::from(amount))).unwrap_or(u64::MAX / 2),
            burst,
        }
    }

    /// What it holds when it is full.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Until an empty one is full.
    pub fn window(&self) -> Duration {
        span(self.depth)
    }

    /// The debt of spending so much.
    pub fn cost(&self, spent: u64) -> Ticks {
        let cost = u128::from(spent) * u128::from(self.per) / u128::from(self.amount);
        Ticks::try_from(cost).unwrap_or(Ticks::MAX)
    }

    /// When the bucket is full again if a call of this cost passes, and what the call is told; `full_at` is what it was
    /// before. The same `full_at` comes back where the call may not pass.
    pub fn take(&self, full_at: Ticks, now: Ticks, cost: Ticks) -> (Ticks, Taken) {
        let before = full_at.max(now);
        let after = before.saturating_add(cost);
        let debt = after - now;
        if debt > self.depth {
            let taken = Taken::Refused {
                after: (cost <= self.depth).then(|| span(debt - self.depth)),
                left: self.left(before - now),
                full: span(before - now),
            };
            return (full_at, taken);
        }
        let taken = Taken::Granted {
            left: self.left(debt),
            full: span(debt),
        };
        (after, taken)
    }

    /// What spending so much is worth in time.
    pub fn worth(&self, spent: u64) -> Duration {
        span(self.cost(spent))
    }

    /// What a counter elsewhere has said of a call of this cost: with the debt that it left, or found, and the wait.
    pub fn told(&self, granted: bool, debt: Duration, wait: Duration, cost: u64) -> Taken {
        let left = self.left(ticks(debt));
        if granted {
            return Taken::Granted { left, full: debt };
        }
        Taken::Refused {
            after: (cost <= self.burst).then_some(wait),
            left,
            full: debt,
        }
    }

    /// When the bucket is full again after this cost, which has come whether there was room or not, and how long to wait
    /// until there is.
    pub fn owe(&self, full_at: Ticks, now: Ticks, cost: Ticks) -> (Ticks, Option<Duration>) {
        let after = full_at.max(now).saturating_add(cost);
        let over = (after - now).saturating_sub(self.depth);
        (after, (over > 0).then(|| span(over)))
    }

    /// What can still be spent with this debt.
    fn left(&self, debt: Ticks) -> u64 {
        let room = u128::from(self.depth.saturating_sub(debt)) * u128::from(self.amount) / u128::from(self.per);
        u64::try_from(room).unwrap_or(u64::MAX).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    fn bucket(amount: u64, per: Duration, burst: u64) -> Bucket {
        let amount = NonZeroU64::new(amount).unwrap();
        Bucket::new(config::Rate { amount, per }, burst)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_not_one_more() {
        for (amount, per, burst) in [
            (100, 1000, 100),
            (3, 1000, 3),
            (7, 60_000, 1),
            (1_000_000, 1000, 50),
            (1, 1, 9),
        ] {
            let bucket = bucket(amount, Duration::from_millis(per), burst);
            let mut full_at = 0;
            let now = ticks(Duration::from_secs(5));
            for nth in 0..burst {
                let (next, taken) = bucket.take(full_at, now, bucket.cost(1));
                let left = burst - nth - 1;
                assert!(
                    matches!(taken, Taken::Granted { left: told, .. } if told == left),
                    "{bucket:?} {taken:?}"
                );
                full_at = next;
            }
            let (next, taken) = bucket.take(full_at, now, bucket.cost(1));
            let Taken::Refused {
                after: Some(after),
                left: 0,
                ..
            } = taken
            else {
                panic!("{bucket:?} {taken:?}")
            };
            assert_eq!(next, full_at, "a refusal costs nothing");
            let later = now + ticks(after);
            assert!(matches!(
                bucket.take(full_at, later, bucket.cost(1)).1,
                Taken::Granted { .. }
            ));
        }
    }

    #[test]
    fn what_never_fits_is_refused_for_ever() {
        let bucket = bucket(10, Duration::from_secs(1), 10);
        let (_, taken) = bucket.take(0, 0, bucket.cost(11));
        assert!(
            matches!(
                taken,
                Taken::Refused {
                    after: None,
                    left: 10,
                    ..
                }
            ),
            "{taken:?}"
        );
    }

    #[test]
    fn what_has_come_already_is_paid_for_by_waiting() {
        let bucket = bucket(10, Duration::from_secs(1), 10);
        let (full_at, wait) = bucket.owe(0, 0, bucket.cost(10));
        assert_eq!(wait, None);
        let (full_at, wait) = bucket.owe(full_at, 0, bucket.cost(25));
        assert_eq!(wait, Some(Duration::from_millis(2500)));
        let (_, wait) = bucket.owe(full_at, ticks(Duration::from_millis(2500)), bucket.cost(1));
        assert_eq!(wait, Some(Duration::from_millis(100)));
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_the_burst_and_the_rate_of_its_length(
            amount in 1u64..2000, per in 1u64..5000, burst in 1u64..100,
            steps in prop::collection::vec((0u64..50_000, 1u64..4), 1..300),
        ) {
            let bucket = bucket(amount, Duration::from_millis(per), burst);
            let (mut full_at, mut now, mut admitted) = (0, 0, Vec::new());
            for (micros, cost) in steps {
                now += ticks(Duration::from_micros(micros));
                let (next, taken) = bucket.take(full_at, now, bucket.cost(cost));
                full_at = next;
                if matches!(taken, Taken::Granted { .. }) {
                    admitted.push((now, cost));
                }
            }
            for first in 0..admitted.len() {
                let mut sum = 0;
                for (at, cost) in &admitted[first..] {
                    sum += cost;
                    let length = span(at - admitted[first].0).as_secs_f64();
                    let most = burst as f64 + length * amount as f64 * 1000.0 / per as f64;
                    prop_assert!(sum as f64 <= most + 1e-3, "{sum} in {length} s, at most {most}");
                }
            }
        }
    }
}
