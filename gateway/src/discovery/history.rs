//! What is published after each look-up, and when the next one is due. Pure: time and chance are passed in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use causeway_config::Dns;

use super::{Answer, Endpoint, Failure, State};

/// Longest pause between look-ups while they fail.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A good look-up.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// Never empty.
    pub(super) endpoints: Vec<Endpoint>,
    /// The shortest time to live of the records used.
    pub(super) ttl: Duration,
    /// Those of the endpoints that no answer named, but a failed part of the look-up had named before.
    pub(super) kept: Vec<SocketAddr>,
}

/// The last good answer and how often it failed since.
#[derive(Debug, Default)]
pub(super) struct History {
    good: Option<(Vec<Endpoint>, Instant)>,
    /// When an answer named each endpoint last.
    named: HashMap<SocketAddr, Instant>,
    failures: u32,
}

/// What to publish, and how long to wait.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) state: State,
    pub(super) pause: Duration,
}

impl History {
    /// Begins with an answer that was good before; an answer without endpoints is none.
    pub(super) fn of(answer: &Answer, now: Instant) -> Self {
        if answer.endpoints.is_empty() {
            return Self::default();
        }
        let since = match answer.state {
            State::Stale { since, .. } => since,
            State::Failed { .. } | State::Fresh | State::Pending => now,
        };
        Self {
            named: answer
                .endpoints
                .iter()
                .map(|endpoint| (endpoint.address, since))
                .collect(),
            good: Some((answer.endpoints.clone(), since)),
            failures: 0,
        }
    }

    /// The last good endpoints, without those that no answer has named for `max_stale`.
    pub(super) fn endpoints(&self, now: Instant, dns: &Dns) -> Vec<Endpoint> {
        let Some((endpoints, _)) = &self.good else {
            return Vec::new();
        };
        let is_recent = |endpoint: &&Endpoint| {
            let named = self.named.get(&endpoint.address);
            named.is_some_and(|named| now.saturating_duration_since(*named) < dns.max_stale)
        };
        endpoints.iter().filter(is_recent).cloned().collect()
    }

    /// Takes the result of a look-up. `chance` is between 0 and 1.
    pub(super) fn step(&mut self, result: Result<Resolved, Failure>, now: Instant, dns: &Dns, chance: f64) -> Step {
        match result {
            Ok(resolved) => {
                self.failures = 0;
                self.named = resolved
                    .endpoints
                    .iter()
                    .map(|endpoint| {
                        let before = self.named.get(&endpoint.address);
                        let named = before.filter(|_| resolved.kept.contains(&endpoint.address));
                        (endpoint.address, named.copied().unwrap_or(now))
                    })
                    .collect();
                self.good = Some((resolved.endpoints.clone(), now));
                Step {
                    endpoints: resolved.endpoints,
                    state: State::Fresh,
                    pause: stretched(bounded(resolved.ttl, dns), chance),
                }
            }
            Err(why) => self.failed(why, now, dns, chance),
        }
    }

    fn failed(&mut self, why: Failure, now: Instant, dns: &Dns, chance: f64) -> Step {
        let doubled = dns.min_ttl.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let mut pause = stretched(bounded(doubled.min(LONGEST_RETRY), dns), chance);
        let Some((endpoints, since)) = &self.good else {
            return Step {
                endpoints: Vec::new(),
                state: State::Failed { why },
                pause,
            };
        };
        let left = dns.max_stale.saturating_sub(now.saturating_duration_since(*since));
        if left.is_zero() && why != Failure::Empty {
            self.good = None;
            return Step {
                endpoints: Vec::new(),
                state: State::Failed { why },
                pause,
            };
        }
        // The end of the grace is looked at when it comes, not at the end of a long pause.
        if !left.is_zero() {
            pause = pause.min(left).max(dns.min_ttl);
        }
        Step {
            endpoints: endpoints.clone(),
            state: State::Stale { since: *since, why },
            pause,
        }
    }
}

fn bounded(ttl: Duration, dns: &Dns) -> Duration {
    // Not clamp: it panics should the floor be above the ceiling.
    ttl.min(dns.max_ttl).max(dns.min_ttl)
}

/// Up to a tenth longer.
fn stretched(pause: Duration, chance: f64) -> Duration {
    pause + pause.mul_f64(0.1 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn dns() -> Dns {
        Dns {
            servers: Vec::new(),
            timeout: 2 * SECOND,
            min_ttl: SECOND,
            max_ttl: 300 * SECOND,
            max_stale: 3600 * SECOND,
            max_endpoints: 256,
        }
    }

    fn good(ttl: u64) -> Result<Resolved, Failure> {
        let endpoint = Endpoint {
            address: "10.0.0.1:80".parse().unwrap(),
            weight: 1,
            priority: 0,
            host: "h".into(),
        };
        Ok(Resolved {
            endpoints: vec![endpoint],
            ttl: Duration::from_secs(ttl),
            kept: Vec::new(),
        })
    }

    #[test]
    fn d1_ttl_has_a_floor_a_ceiling_and_jitter() {
        let now = Instant::now();
        for (ttl, chance, pause) in [
            (0, 0.0, 1.0),
            (0, 1.0, 1.1),
            (30, 0.0, 30.0),
            (30, 0.5, 31.5),
            (1 << 31, 0.0, 300.0),
            (u64::from(u32::MAX), 1.0, 330.0),
        ] {
            let step = History::default().step(good(ttl), now, &dns(), chance);
            assert!(
                (step.pause.as_secs_f64() - pause).abs() < 1e-6,
                "{ttl} {chance}: {:?}",
                step.pause
            );
            assert_eq!(step.state, State::Fresh);
        }
    }

    #[test]
    fn d1_the_last_good_answer_is_kept_until_max_stale_and_then_dropped() {
        let start = Instant::now();
        let mut history = History::default();
        history.step(good(5), start, &dns(), 0.0);
        for (after, kept) in [(6, 1), (600, 1), (3599, 1), (3600, 0), (4000, 0)] {
            let step = history.step(Err(Failure::ServFail), start + SECOND * after, &dns(), 0.0);
            assert_eq!(step.endpoints.len(), kept, "after {after} s");
            let expected = match kept {
                1 => State::Stale {
                    since: start,
                    why: Failure::ServFail,
                },
                _ => State::Failed { why: Failure::ServFail },
            };
            assert_eq!(step.state, expected, "after {after} s");
        }
        assert_eq!(
            history.step(good(5), start + 5000 * SECOND, &dns(), 0.0).state,
            State::Fresh
        );
    }

    #[test]
    fn d1_an_empty_answer_never_empties_the_pool() {
        let start = Instant::now();
        let mut history = History::default();
        history.step(good(5), start, &dns(), 0.0);
        let step = history.step(Err(Failure::Empty), start + 100_000 * SECOND, &dns(), 0.0);
        assert_eq!(step.endpoints.len(), 1);
        assert!(matches!(
            step.state,
            State::Stale {
                why: Failure::Empty,
                ..
            }
        ));
    }

    #[test]
    fn d1_what_only_a_failing_part_of_a_look_up_had_named_is_dropped_after_max_stale() {
        let start = Instant::now();
        let mut history = History::default();
        history.step(good(5), start, &dns(), 0.0);
        for after in [1000, 2000, 3000] {
            let kept = Resolved {
                kept: vec!["10.0.0.1:80".parse().unwrap()],
                ..good(5).unwrap()
            };
            history.step(Ok(kept), start + SECOND * after, &dns(), 0.0);
        }
        assert_eq!(history.endpoints(start + SECOND * 3599, &dns()).len(), 1);
        assert_eq!(history.endpoints(start + SECOND * 3600, &dns()).len(), 0);
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_and_the_end_of_the_grace_is_not_missed() {
        let start = Instant::now();
        let mut history = History::default();
        let pauses: Vec<u64> = (0..8)
            .map(|_| history.step(Err(Failure::Timeout), start, &dns(), 0.0).pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        history.step(good(5), start, &dns(), 0.0);
        history.failures = 10;
        let step = history.step(Err(Failure::Timeout), start + 3590 * SECOND, &dns(), 0.0);
        assert_eq!(step.pause, 10 * SECOND);
    }
}
