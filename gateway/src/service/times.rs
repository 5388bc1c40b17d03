//! How long the replies of a service take: a histogram that all workers count in, for percentiles of the recent past.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Four buckets for each doubling, from 64 microseconds to beyond a minute.
const BUCKETS: usize = 84;
const FIRST: u64 = 64;
/// Fewer replies say nothing of a percentile.
const ENOUGH: u64 = 50;

/// The times of one service.
#[derive(Debug)]
pub struct Times {
    buckets: [AtomicU32; BUCKETS],
    /// The percentile that was asked for, in microseconds; 0: not known.
    percentile: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            percentile: AtomicU64::new(0),
        }
    }
}

impl Times {
    /// A reply took this long, or an attempt was given up after that.
    pub(super) fn took(&self, time: Duration) {
        if let Some(bucket) = self.buckets.get(bucket(time)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The percentile as it was when last looked at.
    pub(super) fn percentile(&self) -> Option<Duration> {
        let micros = self.percentile.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Looks at the percentile.
    pub(super) fn look(&self, percent: u8) {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| u64::from(bucket.load(Ordering::Relaxed)))
            .collect();
        let all: u64 = counts.iter().sum();
        if all < ENOUGH {
            return;
        }
        let wanted = (all * u64::from(percent)).div_ceil(100);
        let mut sum = 0;
        let at = counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        self.percentile
            .store(upper(at.unwrap_or(BUCKETS - 1)), Ordering::Relaxed);
    }

    /// Lets the past count for half of what it did.
    pub(super) fn fade(&self) {
        for bucket in &self.buckets {
            bucket
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count / 2))
                .ok();
        }
    }
}

fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let quarters = (micros.max(FIRST) as f64 / FIRST as f64).log2() * 4.0;
    (quarters.ceil() as usize).min(BUCKETS - 1)
}

/// The longest time of a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    (FIRST as f64 * 2f64.powf(bucket as f64 / 4.0)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_fifth_and_follow_the_present() {
        let times = Times::default();
        times.took(Duration::from_millis(1));
        times.look(95);
        assert_eq!(times.percentile(), None, "too few to tell");
        for milli in 1..=1000 {
            times.took(Duration::from_millis(milli));
        }
        for (percent, millis) in [(50, 500.0), (95, 950.0), (99, 990.0)] {
            times.look(percent);
            let found = times.percentile().unwrap().as_secs_f64() * 1000.0;
            assert!((millis..=millis * 1.2).contains(&found), "p{percent}: {found}");
        }
        for _ in 0..10 {
            times.fade();
            (0..200).for_each(|_| times.took(Duration::from_millis(10)));
        }
        times.look(95);
        assert!(times.percentile().unwrap() < Duration::from_millis(20));
    }

    #[test]
    fn every_time_has_a_bucket() {
        for time in [
            Duration::ZERO,
            Duration::from_micros(1),
            Duration::from_secs(86_400),
            Duration::MAX,
        ] {
            assert!(bucket(time) < BUCKETS);
        }
        for at in 1..BUCKETS {
            assert_eq!(bucket(Duration::from_micros(upper(at) - 1)), at, "{at}");
        }
    }
}
