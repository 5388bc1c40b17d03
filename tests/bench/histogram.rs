//! Latencies in buckets: constant memory, one addition per sample, quantiles within 1 %.

use std::time::Duration;

/// Buckets per power of two: the relative error of a quantile is at most 1/128.
const SUB: u64 = 128;
const BUCKETS: usize = 7424;

/// Counts of nanosecond values; buckets grow with the value.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    /// Adds one sample.
    pub(crate) fn add(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The value that `share` (0.0 to 1.0) of the samples do not exceed, in microseconds; none without samples.
    pub(crate) fn quantile_us(&self, share: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(upper_edge(index) as f64 / 1000.0)
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let exponent = u64::from(value.ilog2()) - 7;
    (exponent * SUB + (value >> exponent)) as usize
}

/// The largest value of a bucket.
fn upper_edge(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB {
        return index;
    }
    let exponent = index / SUB - 1;
    let mantissa = index % SUB + SUB;
    ((mantissa + 1) << exponent).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_whose_edge_is_within_one_percent() {
        for value in (0..100_000).chain((1..63).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
            let index = bucket(value);
            assert!(index < BUCKETS, "{value}");
            let edge = upper_edge(index);
            assert!(edge >= value, "{value} lies above its edge {edge}");
            assert!(
                (edge - value) as f64 <= value as f64 * 0.01,
                "{value} is too far from {edge}"
            );
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_known_series_are_right() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), None);
        for micros in 1..=1000 {
            histogram.add(Duration::from_micros(micros));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0), (0.0, 1.0)] {
            let value = histogram.quantile_us(share).unwrap();
            assert!(
                (value - expected).abs() <= expected * 0.01,
                "{share}: {value} instead of {expected}"
            );
        }
    }
}
