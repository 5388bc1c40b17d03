//! How long an endpoint takes to answer, by the peaks of its recent times: a slower answer counts at once, a faster one
//! slowly (peak EWMA).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A peak is forgotten by two thirds in this time, in milliseconds.
const DECAY: f32 = 10_000.0;
/// What a failed attempt counts for at least: failing fast is not answering fast.
const FAILED: Duration = Duration::from_secs(1);
/// What an endpoint is taken for, in microseconds, that has calls under way and has not answered one yet.
const UNKNOWN: f32 = 1_000_000.0;

/// The time of one endpoint, updated by all workers. An update that is lost to another does no harm.
#[derive(Debug, Default)]
pub struct Latency {
    /// Microseconds as `f32`, above when they were true, in milliseconds of the gateway as `u32`.
    packed: AtomicU64,
}

impl Latency {
    /// An answer took this long.
    pub(super) fn answered(&self, took: Duration, now: u64) {
        let took = took.as_micros() as f32;
        let known = self.now(now);
        let (value, at) = match known {
            None => (took, now),
            Some(known) if took >= known => (took, now),
            Some(known) => {
                let weight = self.weight(now);
                (known * weight + took * (1.0 - weight), now)
            }
        };
        self.packed
            .store(u64::from(value.to_bits()) << 32 | at & 0xffff_ffff, Ordering::Relaxed);
    }

    /// An attempt failed after this time.
    pub(super) fn failed(&self, took: Duration, now: u64) {
        self.answered(took.max(FAILED), now);
    }

    /// What the next call would cost, with so many under way.
    pub(super) fn cost(&self, in_flight: u32, now: u64) -> f32 {
        match self.now(now) {
            // An endpoint of which nothing is known is tried with one call.
            None if in_flight == 0 => 0.0,
            None => UNKNOWN * (in_flight as f32 + 1.0),
            Some(known) => known * (in_flight as f32 + 1.0),
        }
    }

    /// The value, with what time has taken off it: one that was slow long ago is tried again.
    fn now(&self, now: u64) -> Option<f32> {
        let packed = self.packed.load(Ordering::Relaxed);
        (packed != 0).then(|| f32::from_bits((packed >> 32) as u32) * self.weight(now))
    }

    fn weight(&self, now: u64) -> f32 {
        let then = (self.packed.load(Ordering::Relaxed) & 0xffff_ffff) as u32;
        let passed = (now as u32).wrapping_sub(then);
        // Another worker may have written a little later than `now`.
        if passed > u32::MAX / 2 {
            return 1.0;
        }
        (-(passed as f32) / DECAY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let latency = Latency::default();
        let millis = Duration::from_millis;
        assert!(latency.cost(0, 1) < 1.0, "unknown and idle: tried");
        assert!(latency.cost(1, 1) >= UNKNOWN, "unknown and busy: not twice");
        latency.answered(millis(10), 1_000);
        let fast = latency.cost(0, 1_000);
        assert!((fast - 10_000.0).abs() < 1.0, "{fast}");
        assert!(
            (latency.cost(3, 1_000) - 4.0 * fast).abs() < 1.0,
            "calls under way count"
        );
        latency.answered(millis(500), 1_001);
        assert!((latency.cost(0, 1_001) - 500_000.0).abs() < 100.0);
        for at in 0..100 {
            latency.answered(millis(10), 1_001 + at);
        }
        assert!(latency.cost(0, 1_101) > 400_000.0, "good answers at once change little");
        assert!(latency.cost(0, 60_000) < 5_000.0, "time does");
        assert!(latency.cost(0, 0) > 0.0, "a clock that lags behind does no harm");
    }

    #[test]
    fn failing_fast_is_not_answering_fast() {
        let (fails, slow) = (Latency::default(), Latency::default());
        fails.failed(Duration::from_micros(50), 1_000);
        slow.answered(Duration::from_millis(300), 1_000);
        assert!(fails.cost(0, 1_000) > slow.cost(0, 1_000));
    }
}
