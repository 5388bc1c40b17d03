//! Which endpoint is ejected because its calls fail, and for how long. Pure but for the counters.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use causeway_config as config;

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many failures in a row.
    Consecutive,
    /// Too large a share of failures.
    FailurePercent,
    /// Far fewer successes than the others.
    SuccessRate,
}

impl Reason {
    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::FailurePercent => "failure_percent",
            Self::SuccessRate => "success_rate",
        }
    }
}

/// What is counted of one endpoint, by all workers.
#[derive(Debug, Default)]
pub struct Counts {
    /// Failures since the last success.
    in_a_row: AtomicU32,
    /// Of the interval under way.
    good: AtomicU32,
    bad: AtomicU32,
    /// Ejections that are not forgotten yet.
    ejections: AtomicU32,
    /// When the last one ends, in milliseconds of the gateway.
    until: AtomicU64,
}

/// Ejections double at most so often.
const DOUBLINGS: u32 = 16;
/// Endpoints with enough calls that a comparison needs.
const COMPARED: usize = 5;

impl Counts {
    pub(super) fn succeeded(&self, rule: &config::Outlier) {
        // Reading costs less than writing what other workers read.
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        if looks_at_shares(rule) {
            self.good.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether that is one failure in a row too many.
    pub(super) fn failed(&self, rule: &config::Outlier) -> bool {
        if looks_at_shares(rule) {
            self.bad.fetch_add(1, Ordering::Relaxed);
        }
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        rule.consecutive > 0 && in_a_row >= rule.consecutive
    }

    /// How long the next ejection is, and the how-manieth it is.
    pub(super) fn next_ejection(&self, rule: &config::Outlier) -> (Duration, u32) {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed);
        (ejection(rule, times), times + 1)
    }

    pub(super) fn ends_at(&self, millis: u64) {
        self.until.store(millis, Ordering::Release);
    }

    /// When the ejection ends.
    pub(super) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// A new beginning after an ejection, but for how many there were.
    pub(super) fn forgive(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
        self.good.store(0, Ordering::Relaxed);
        self.bad.store(0, Ordering::Relaxed);
    }

    /// An interval without an ejection shortens the next one.
    pub(super) fn behaved(&self) {
        self.ejections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1))
            .ok();
    }

    /// Successes and failures since the last time this was asked.
    pub(super) fn take(&self) -> (u32, u32) {
        (
            self.good.swap(0, Ordering::Relaxed),
            self.bad.swap(0, Ordering::Relaxed),
        )
    }
}

fn looks_at_shares(rule: &config::Outlier) -> bool {
    rule.failure_percent.is_some() || rule.success_rate_deviation.is_some()
}

/// Length of an ejection after so many others.
fn ejection(rule: &config::Outlier, times: u32) -> Duration {
    let factor = 1 << times.min(DOUBLINGS);
    rule.base_ejection.saturating_mul(factor).min(rule.max_ejection)
}

/// How many of `known` endpoints may be ejected: never the last one, but one of two or more always.
pub(super) fn most_ejected(known: u32, percent: u8) -> u32 {
    let share = u64::from(known) * u64::from(percent) / 100;
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    share.max(1).min(known.saturating_sub(1))
}

/// Which of the endpoints, with their successes and failures in one interval, are to be ejected.
pub(super) fn judge(rule: &config::Outlier, seen: &[(u32, u32)]) -> Vec<(usize, Reason)> {
    let enough: Vec<(usize, f64)> = seen
        .iter()
        .enumerate()
        .filter_map(|(at, (good, bad))| {
            let all = u64::from(*good) + u64::from(*bad);
            (all >= u64::from(rule.min_requests)).then(|| (at, f64::from(*good) / all as f64))
        })
        .collect();
    let mut out = Vec::new();
    if let Some(percent) = rule.failure_percent {
        let limit = f64::from(percent) / 100.0;
        let over = enough.iter().filter(|(_, rate)| 1.0 - rate >= limit && *rate < 1.0);
        out.extend(over.map(|(at, _)| (*at, Reason::FailurePercent)));
    }
    if let Some(tenths) = rule.success_rate_deviation
        && enough.len() >= COMPARED
    {
        let count = enough.len() as f64;
        let mean = enough.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let variance = enough.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
        let least = mean - variance.sqrt() * f64::from(tenths) / 10.0;
        let below = enough
            .iter()
            .filter(|(at, rate)| *rate < least && out.iter().all(|(other, _)| other != at));
        let below: Vec<_> = below.map(|(at, _)| (*at, Reason::SuccessRate)).collect();
        out.extend(below);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn rule() -> config::Outlier {
        config::Outlier {
            consecutive: 3,
            codes: config::CodeSet::default().with(14),
            failure_percent: None,
            success_rate_deviation: None,
            min_requests: 20,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 50,
        }
    }

    #[test]
    fn an_ejection_is_twice_as_long_as_the_one_before_up_to_the_longest() {
        let counts = Counts::default();
        let lengths: Vec<_> = (0..6).map(|_| counts.next_ejection(&rule()).0.as_secs()).collect();
        assert_eq!(lengths, [30, 60, 120, 240, 300, 300]);
        assert_eq!(ejection(&rule(), u32::MAX).as_secs(), 300);
        for _ in 0..5 {
            counts.behaved();
        }
        assert_eq!(
            counts.next_ejection(&rule()).0.as_secs(),
            60,
            "good behaviour is rewarded"
        );
    }

    #[test]
    fn only_failures_in_a_row_eject() {
        let (counts, rule) = (Counts::default(), rule());
        for _ in 0..10 {
            assert!(!counts.failed(&rule));
            assert!(!counts.failed(&rule));
            counts.succeeded(&rule);
        }
        assert!(!counts.failed(&rule));
        assert!(!counts.failed(&rule));
        assert!(counts.failed(&rule));
        let never = config::Outlier { consecutive: 0, ..rule };
        assert!((0..100).all(|_| !Counts::default().failed(&never)));
    }

    #[test]
    fn the_last_endpoint_is_never_ejected_and_one_of_two_may_be() {
        #[rustfmt::skip]
        let table = [(0, 100, 0), (1, 100, 0), (2, 0, 1), (2, 100, 1), (3, 50, 1), (4, 50, 2), (10, 30, 3), (10, 100, 9), (u32::MAX, 100, u32::MAX - 1)];
        for (known, percent, most) in table {
            assert_eq!(most_ejected(known, percent), most, "{known} at {percent}%");
        }
    }

    #[test]
    fn shares_are_judged_where_there_are_enough_calls() {
        let percent = config::Outlier {
            failure_percent: Some(50),
            ..rule()
        };
        let seen = [(10, 10), (5, 5), (0, 19), (100, 99), (0, 20), (20, 0)];
        let out: Vec<_> = judge(&percent, &seen).into_iter().map(|(at, _)| at).collect();
        assert_eq!(out, [0, 4]);
        let zero = config::Outlier {
            failure_percent: Some(0),
            ..rule()
        };
        assert_eq!(judge(&zero, &[(20, 0)]), [], "no failure is no reason");
        let rate = config::Outlier {
            success_rate_deviation: Some(19),
            ..rule()
        };
        let mut seen = vec![(99, 1); 9];
        seen.push((50, 50));
        assert_eq!(judge(&rate, &seen), [(9, Reason::SuccessRate)]);
        assert_eq!(judge(&rate, &[(50, 50); 10]), [], "all alike");
        assert_eq!(judge(&rate, &[(100, 0), (100, 0), (0, 100)]), [], "too few to compare");
        assert_eq!(judge(&rule(), &[(0, 1000)]), [], "not asked for");
    }
}
