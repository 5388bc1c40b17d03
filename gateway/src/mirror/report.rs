//! What came of the copies of a route: counted, and with samples of what differed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use causeway_config as config;
use serde_json::{Value, json};

use super::compare::Difference;
use crate::telemetry::metrics::{Counter, Family};

/// Samples of one route; the oldest goes.
const SAMPLES: usize = 20;
/// Bytes of a path in a sample.
const PATH: usize = 256;
/// Kinds of differences that are counted apart.
const KINDS: usize = 32;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not made: as many as may be are under way.
    Busy,
    /// Compared, and something differs.
    Different,
    /// The second service did not answer.
    Failed,
    /// The client's call did not come to its end.
    Incomplete,
    /// Compared, and nothing differs.
    Same,
    /// Answered; nothing is to be compared.
    Sent,
    /// Not made or not compared: the request or a reply is too large.
    TooLarge,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Busy,
        Self::Different,
        Self::Failed,
        Self::Incomplete,
        Self::Same,
        Self::Sent,
        Self::TooLarge,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Different => "different",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Same => "same",
            Self::Sent => "sent",
            Self::TooLarge => "too_large",
        }
    }
}

/// The reports of a gateway by the name of the route; they outlive a reload.
#[derive(Debug, Default)]
pub struct Reports(Mutex<BTreeMap<config::Name, Arc<Report>>>);

impl Reports {
    /// The report of this route, old or new.
    pub fn of(&self, route: &config::Name, family: &Family<Counter>) -> Arc<Report> {
        let mut all = lock(&self.0);
        let report = all.entry(config::Name::clone(route)).or_insert_with(|| {
            Arc::new(Report {
                counters: Outcome::ALL.map(|outcome| family.with(&[route, outcome.label()])),
                under_way: Arc::default(),
                differing: Mutex::default(),
            })
        });
        Arc::clone(report)
    }

    /// All of them, for `/mirrors`.
    pub fn show(&self) -> Value {
        let all = lock(&self.0);
        let routes: serde_json::Map<_, _> = all
            .iter()
            .map(|(route, report)| (route.to_string(), report.show()))
            .collect();
        json!({ "routes": routes })
    }
}

/// The report of one route.
#[derive(Debug)]
pub struct Report {
    counters: [Counter; Outcome::ALL.len()],
    under_way: Arc<AtomicUsize>,
    differing: Mutex<Differing>,
}

#[derive(Debug, Default)]
struct Differing {
    kinds: BTreeMap<String, u64>,
    samples: VecDeque<Value>,
}

/// A copy under way.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Report {
    /// Room for one more copy, if less than `most` are under way.
    pub fn place(&self, most: usize) -> Option<Place> {
        let taken = |under_way: usize| (under_way < most).then_some(under_way + 1);
        let free = self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        free.is_ok().then(|| Place(Arc::clone(&self.under_way)))
    }

    /// Counts what became of one.
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.counters.get(outcome as usize) {
            counter.inc();
        }
    }

    /// Keeps a sample. Without `values` it says only where the answers differ: what they say may be anybody's.
    pub fn differ(&self, method: &str, path: &str, differences: Vec<Difference>, values: bool) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut differing = lock(&self.differing);
        for difference in &differences {
            let kinds = &mut differing.kinds;
            if kinds.len() < KINDS || kinds.contains_key(difference.kind()) {
                *kinds.entry(difference.kind().to_owned()).or_default() += 1;
            }
        }
        let told: Vec<_> = differences
            .into_iter()
            .map(|Difference { what, first, second }| {
                if values || what == "status" {
                    json!({ "what": what, "first": first, "second": second })
                } else {
                    json!({ "what": what })
                }
            })
            .collect();
        let path: String = path.chars().take(PATH).collect();
        differing
            .samples
            .push_back(json!({ "at": at, "method": method, "path": path, "differences": told }));
        if differing.samples.len() > SAMPLES {
            differing.samples.pop_front();
        }
    }

    fn show(&self) -> Value {
        let outcomes = Outcome::ALL.iter().zip(&self.counters);
        let outcomes: serde_json::Map<_, _> = outcomes
            .map(|(outcome, counter)| (outcome.label().to_owned(), counter.value().into()))
            .collect();
        let differing = lock(&self.differing);
        json!({ "copies": outcomes, "differing": differing.kinds, "samples": differing.samples })
    }
}

/// A panic while the lock was held left whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
