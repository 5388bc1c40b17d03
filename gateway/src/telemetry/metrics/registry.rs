//! All families of metrics of one gateway, by name, and the series of each, by label values.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cells::{Cells, Shard};
use super::exemplar::Exemplars;
use super::private::FromSeries;
use super::render::{self, Format};
use super::{Counter, Gauge, Histogram, Level, Metric, Scale, Series};

/// How long a series is served after the last handle to it went.
pub const GRACE: Duration = Duration::from_secs(300);

/// Series of one family; more share one that is not shown.
const SERIES: usize = 20_000;
/// Bytes of a label value; the rest is cut off.
const LABEL: usize = 256;

/// What a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Counter`]
    Counter,
    /// [`Gauge`]
    Gauge,
    /// [`Histogram`]
    Histogram,
    /// [`Level`]
    Level,
}

/// Metrics of one gateway. Cloning it is cheap and gives the same registry.
#[derive(Clone, Debug)]
pub struct Registry(Arc<State>);

struct State {
    cells: Arc<Cells>,
    families: Mutex<BTreeMap<&'static str, Arc<FamilyState>>>,
    refused: Arc<Series>,
    before: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// A name, its help, and a series per set of label values.
#[derive(Debug)]
pub struct Family<M> {
    state: Arc<FamilyState>,
    registry: Registry,
    metric: PhantomData<fn() -> M>,
}

impl<M> Clone for Family<M> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            registry: self.registry.clone(),
            metric: PhantomData,
        }
    }
}

#[derive(Debug)]
pub(super) struct FamilyState {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) scale: Scale,
    series: Mutex<BTreeMap<Arc<[Box<str>]>, Entry>>,
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    /// When a scrape first found that nobody holds it.
    idle_since: Option<Instant>,
}

/// Label values and what was counted under them.
pub(super) type Sample = (Arc<[Box<str>]>, Arc<Series>);

impl Registry {
    /// A registry for a gateway with so many workers.
    pub fn new(workers: usize) -> Self {
        let cells = Cells::new(workers);
        let refused = Arc::new(series(&cells, 1, &[]));
        let registry = Self(Arc::new(State {
            cells,
            families: Mutex::default(),
            refused: Arc::clone(&refused),
            before: Mutex::default(),
        }));
        let family = registry.counter(
            "causeway_metrics_series_refused_total",
            "Additions to series that were not kept because there are too many.",
            &[],
        );
        let none: Arc<[Box<str>]> = Arc::new([]);
        family.state.lock().insert(
            none,
            Entry {
                series: refused,
                idle_since: None,
            },
        );
        registry
    }

    /// Makes this thread the only writer of a shard, for as long as the guard lives. Workers call it when they start.
    pub fn claim_shard(&self) -> Option<Shard> {
        self.0.cells.claim()
    }

    /// A family of counters; `name` ends in `_total`. The same name gives the same family.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family<Counter> {
        self.family(name, help, labels, super::BYTES)
    }

    /// A family of gauges.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family<Gauge> {
        self.family(name, help, labels, super::BYTES)
    }

    /// A family of levels, shown as gauges.
    pub fn level(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family<Level> {
        self.family(name, help, labels, super::BYTES)
    }

    /// A family of histograms; the name ends in the unit of `scale`.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        scale: Scale,
    ) -> Family<Histogram> {
        self.family(name, help, labels, scale)
    }

    /// Runs `refresh` before every scrape, to set gauges whose value is read from elsewhere.
    pub fn before_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.0
            .before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(refresh));
    }

    /// All metrics as text. Series that nobody has held for [`GRACE`] are forgotten.
    pub fn render(&self, format: Format, now: Instant) -> String {
        for refresh in self.0.before.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh();
        }
        let families: Vec<_> = self.families().values().cloned().collect();
        let mut text = String::with_capacity(16 * 1024);
        for family in families {
            render::family(&mut text, format, &family, &family.samples(now));
        }
        render::end(&mut text, format);
        text
    }

    fn family<M: FromSeries>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        scale: Scale,
    ) -> Family<M> {
        let fresh = || {
            Arc::new(FamilyState {
                name,
                help,
                kind: M::KIND,
                labels,
                scale,
                series: Mutex::default(),
            })
        };
        let mut families = self.families();
        let known = Arc::clone(families.entry(name).or_insert_with(fresh));
        drop(families);
        let same = known.kind == M::KIND && known.labels == labels && known.scale.bounds == scale.bounds;
        let state = if same {
            known
        } else {
            // A mistake in the code, not in any input: count apart and say so rather than mix two meanings.
            tracing::error!(metric = name, "metric registered twice with different labels or kind");
            fresh()
        };
        Family {
            state,
            registry: self.clone(),
            metric: PhantomData,
        }
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<FamilyState>>> {
        self.0.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Metric> Family<M> {
    /// The series with these label values, in the order of the family's labels. Takes a lock and allocates: for
    /// snapshots, not for calls.
    pub fn with(&self, values: &[&str]) -> M {
        debug_assert_eq!(values.len(), self.state.labels.len(), "labels of {}", self.state.name);
        let key: Arc<[Box<str>]> = values.iter().map(|value| Box::from(cut(value))).collect();
        let mut all = self.state.lock();
        if let Some(entry) = all.get_mut(&key) {
            entry.idle_since = None;
            return M::from_series(Arc::clone(&entry.series));
        }
        let cells = &self.registry.0.cells;
        let (length, bounds) = match self.state.kind {
            Kind::Counter | Kind::Level => (1, &[][..]),
            Kind::Gauge => (0, &[][..]),
            Kind::Histogram => (self.state.scale.bounds.len() + 2, self.state.scale.bounds),
        };
        let first = if all.len() < SERIES {
            reserve(cells, length)
        } else {
            None
        };
        let Some(first) = first else {
            // The place where refused series are counted has one cell; a histogram without bounds would need two.
            drop(all);
            return M::from_series(self.refused());
        };
        let series = Arc::new(Series {
            cells: Arc::clone(cells),
            first,
            length,
            bounds,
            value: AtomicU64::new(0),
            exemplars: Exemplars::default(),
        });
        all.insert(
            key,
            Entry {
                series: Arc::clone(&series),
                idle_since: None,
            },
        );
        M::from_series(series)
    }

    /// The series that stands for all that were refused: a counter counts there, anything else counts nowhere.
    fn refused(&self) -> Arc<Series> {
        let state = &self.registry.0;
        match self.state.kind {
            Kind::Counter => Arc::clone(&state.refused),
            Kind::Gauge | Kind::Histogram | Kind::Level => {
                state.cells.add(state.refused.first, 1);
                Arc::new(Series {
                    cells: Arc::clone(&state.cells),
                    first: u32::MAX - 4096,
                    length: 0,
                    bounds: &[],
                    value: AtomicU64::new(0),
                    exemplars: Exemplars::default(),
                })
            }
        }
    }
}

impl FamilyState {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<[Box<str>]>, Entry>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there to show. The lock is not held while it is written out.
    fn samples(&self, now: Instant) -> Vec<Sample> {
        let mut all = self.lock();
        all.retain(|_, entry| {
            if Arc::strong_count(&entry.series) > 1 {
                entry.idle_since = None;
                return true;
            }
            now.duration_since(*entry.idle_since.get_or_insert(now)) < GRACE
        });
        all.iter()
            .map(|(labels, entry)| (Arc::clone(labels), Arc::clone(&entry.series)))
            .collect()
    }
}

fn series(cells: &Arc<Cells>, length: usize, bounds: &'static [u64]) -> Series {
    Series {
        cells: Arc::clone(cells),
        first: reserve(cells, length).unwrap_or_default(),
        length,
        bounds,
        value: AtomicU64::new(0),
        exemplars: Exemplars::default(),
    }
}

fn reserve(cells: &Cells, length: usize) -> Option<u32> {
    if length == 0 {
        return Some(0);
    }
    cells.reserve(length)
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(LABEL);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}
