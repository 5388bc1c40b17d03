//! How many calls may be under way at a service, found from how long its replies take.
//!
//! The best times of recent windows say what a reply takes when nothing waits. While replies take no longer than that and
//! a tolerance, the limit grows if it is used; when they do, it shrinks in proportion. Nothing is probed and nobody is
//! refused to find out. The baseline follows a service that became slower for good only by windows in which the limit
//! refused nobody, or was at its least: times under a limit that holds say more of the load than of the service.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use causeway_config as config;

/// Replies of a window below which it says nothing.
const ENOUGH: u32 = 10;
/// The limit halves at most, in one window.
const STEEPEST: f64 = 0.5;
/// By how much of itself the baseline grows at most, in one window: a first burst is not taken for the service itself.
const CREEP: f64 = 0.02;

/// What all workers count in the window under way.
#[derive(Debug, Default)]
pub struct Seen {
    micros: AtomicU64,
    replies: AtomicU32,
    /// The most calls that were under way.
    most: AtomicU32,
    refused: AtomicU32,
    /// The limit; 0: not known yet.
    limit: AtomicU32,
}

impl Seen {
    pub(super) fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 1_000_000);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.replies.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn under_way(&self, count: u32) {
        if count > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(count, Ordering::Relaxed);
        }
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls of this priority may be under way.
    pub(super) fn limit(&self, rule: &config::Adaptive, priority: config::Priority) -> u32 {
        let limit = match self.limit.load(Ordering::Relaxed) {
            0 => rule.max,
            limit => limit.clamp(rule.min, rule.max),
        };
        share(limit, priority, Above::ATenth)
    }

    /// Ends the window.
    pub(super) fn take(&self) -> Window {
        let replies = self.replies.swap(0, Ordering::Relaxed);
        let micros = self.micros.swap(0, Ordering::Relaxed);
        Window {
            replies,
            average: micros as f64 / f64::from(replies.max(1)),
            most: self.most.swap(0, Ordering::Relaxed),
            refused: self.refused.swap(0, Ordering::Relaxed),
        }
    }

    pub(super) fn set(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

/// Whether calls of high priority may go above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// By a tenth: the limit is an estimate.
    ATenth,
    /// Not at all: somebody wrote it down.
    Never,
}

/// How much of a limit calls of a priority may use.
pub fn share(limit: u32, priority: config::Priority, above: Above) -> u32 {
    let percent = match (priority, above) {
        (config::Priority::Low, _) => 80,
        (config::Priority::High, Above::ATenth) => 110,
        _ => return limit,
    };
    let share = (u64::from(limit) * percent).div_ceil(100);
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// What was seen in one window.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    replies: u32,
    /// Microseconds of a reply.
    average: f64,
    most: u32,
    refused: u32,
}

/// The limit over time. Pure.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    limit: f64,
    /// Microseconds of a reply when nothing waits.
    baseline: Option<f64>,
}

impl Gradient {
    pub(super) fn new(rule: &config::Adaptive) -> Self {
        Self {
            limit: f64::from(rule.max),
            baseline: None,
        }
    }

    /// The limit from now on.
    pub(super) fn on(&mut self, window: &Window, rule: &config::Adaptive) -> u32 {
        let (min, max) = (f64::from(rule.min), f64::from(rule.max));
        self.limit = self.limit.clamp(min, max);
        if window.replies >= ENOUGH && window.average > 0.0 {
            let free = (window.refused == 0 && f64::from(window.most) < self.limit) || self.limit <= min;
            let baseline = match self.baseline {
                Some(baseline) if free => window.average.min(baseline * (1.0 + CREEP)),
                Some(baseline) => baseline.min(window.average),
                None => window.average,
            };
            self.baseline = Some(baseline);
            let good = baseline * (1.0 + f64::from(rule.tolerance) / 100.0);
            let gradient = (good / window.average).clamp(STEEPEST, 1.0);
            let used = f64::from(window.most) * 2.0 >= self.limit;
            if gradient < 1.0 {
                // From what is under way, where the limit is far above that.
                let from = self.limit.min((f64::from(window.most) * 2.0).max(min));
                self.limit = from * gradient;
            } else if used {
                self.limit += self.limit.sqrt();
            }
            self.limit = self.limit.clamp(min, max);
        }
        self.limit.round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> config::Adaptive {
        config::Adaptive {
            min: 10,
            max: 1000,
            tolerance: 50,
            window: Duration::from_secs(1),
        }
    }

    /// A backend that works on 20 calls at a time, each for so many microseconds, and a demand of so many calls.
    fn window(limit: u32, demand: u32, works: f64) -> Window {
        let most = limit.min(demand);
        Window {
            replies: 1000,
            average: works * (f64::from(most) / 20.0).max(1.0),
            most,
            refused: demand.saturating_sub(limit),
        }
    }

    #[test]
    fn an_overload_is_cut_back_to_what_the_service_can_do_and_stays_so() {
        let mut gradient = Gradient::new(&rule());
        let mut limit = 1000;
        for _ in 0..20 {
            limit = gradient.on(&window(limit, 15, 10_000.0), &rule());
        }
        assert!(limit >= 15, "good traffic is not refused: {limit}");
        let mut limits = Vec::new();
        for _ in 0..20_000 {
            limit = gradient.on(&window(limit, 500, 10_000.0), &rule());
            limits.push(limit);
        }
        assert!(
            limits[10..].iter().all(|limit| (15..=45).contains(limit)),
            "{:?} .. {:?}",
            &limits[..30],
            &limits[19_990..]
        );
    }

    #[test]
    fn good_traffic_is_never_refused_to_find_something_out() {
        let mut gradient = Gradient::new(&rule());
        let mut limit = 1000;
        for step in 0..10_000u32 {
            // Up to all that the backend can do, with times that scatter by a third.
            let demand = 1 + step % 20;
            let works = 10_000.0 * (1.0 + f64::from(step * 7919 % 100) / 300.0);
            let before = limit;
            limit = gradient.on(&window(limit, demand, works), &rule());
            assert!(before >= demand, "step {step}: {before} for {demand}");
        }
    }

    #[test]
    fn a_service_that_became_slower_for_good_gets_its_calls_back() {
        let mut gradient = Gradient::new(&rule());
        let mut limit = 1000;
        for _ in 0..50 {
            limit = gradient.on(&window(limit, 18, 10_000.0), &rule());
        }
        for _ in 0..300 {
            limit = gradient.on(&window(limit, 18, 40_000.0), &rule());
        }
        assert!(limit >= 18, "{limit}");
    }

    #[test]
    fn few_replies_say_nothing() {
        let mut gradient = Gradient::new(&rule());
        let few = Window {
            replies: 9,
            average: 9e9,
            most: 9,
            refused: 0,
        };
        assert!((0..100).all(|_| gradient.on(&few, &rule()) == 1000));
    }

    #[test]
    fn low_comes_first_and_high_last() {
        use config::Priority::{High, Low, Normal};
        assert_eq!(
            [Low, Normal, High].map(|priority| share(100, priority, Above::ATenth)),
            [80, 100, 110]
        );
        assert_eq!(
            [Low, Normal, High].map(|priority| share(100, priority, Above::Never)),
            [80, 100, 100]
        );
        assert_eq!(share(1, Low, Above::Never), 1, "one is not none");
        assert_eq!(share(u32::MAX, High, Above::ATenth), u32::MAX);
    }
}
