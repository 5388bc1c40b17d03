//! Counters, gauges and histograms that cost a worker a load and a store.
//!
//! Every series owns a few cells in every worker's [shard](Shard); a worker adds to its own without a locked
//! instruction, and a scrape sums all shards. Handles are made when a snapshot is built and cloned into it; nothing is
//! looked up by name while a call runs.
//!
//! - A series is its family and its label values: asking again for the same ones gives the same cells, so counters
//!   survive a reload.
//! - A series that nobody holds a handle of is served for [`GRACE`] more and then forgotten.
//! - The number of series is bounded; what is over the bound is counted in one place and told in
//!   `causeway_metrics_series_refused_total`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod cells;
mod exemplar;
mod gateway;
mod registry;
mod render;
#[cfg(test)]
mod tests;

use cells::Cells;
pub use cells::Shard;
use exemplar::{Exemplar, Exemplars};
pub(crate) use gateway::METHODS;
pub use gateway::{GatewayMetrics, Outcome, RouteMetrics};
pub use registry::{Family, GRACE, Registry};
pub use render::Format;

/// Bounds of duration histograms, in nanoseconds: those of the OpenTelemetry conventions, 5 ms to 10 s.
pub const SECONDS: Scale = Scale {
    bounds: &[
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        75_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        750_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        7_500_000_000,
        10_000_000_000,
    ],
    unit: 1e-9,
};

/// Bounds of size histograms, in bytes: 256 to 64 MiB.
pub const BYTES: Scale = Scale {
    bounds: &[
        256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
    ],
    unit: 1.0,
};

/// The buckets of a histogram, counted in whole units and shown in another.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Upper bounds, ascending; the one without bound is not among them.
    pub bounds: &'static [u64],
    /// What one counted unit is in the unit that is shown.
    pub unit: f64,
}

/// The cells of one series. Given back when the last handle and the registry let go.
#[derive(Debug)]
pub struct Series {
    cells: Arc<Cells>,
    first: u32,
    length: usize,
    bounds: &'static [u64],
    /// A [`Gauge`]'s value: set from any thread, so it is not in a shard.
    value: std::sync::atomic::AtomicU64,
    /// A [`Histogram`]'s.
    exemplars: Exemplars,
}

impl Drop for Series {
    fn drop(&mut self) {
        self.cells.release(self.first, self.length);
    }
}

/// Something a [`Family`] hands out.
pub trait Metric: Clone + private::FromSeries {}

mod private {
    use std::sync::Arc;

    use super::Series;
    use super::registry::Kind;

    pub trait FromSeries {
        const KIND: Kind;
        fn from_series(series: Arc<Series>) -> Self;
    }
}

macro_rules! handles {
    ($( $(#[$doc:meta])* $name:ident $kind:ident )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $name(Arc<Series>);

            impl Metric for $name {}

            impl private::FromSeries for $name {
                const KIND: registry::Kind = registry::Kind::$kind;

                fn from_series(series: Arc<Series>) -> Self {
                    Self(series)
                }
            }
        )*
    };
}

handles! {
    /// Only grows.
    Counter Counter
    /// A value that is set, from any thread.
    Gauge Gauge
    /// How many there are of something right now: goes up and down, each on the worker where it happens.
    Level Level
    /// How observations are spread.
    Histogram Histogram
}

impl Counter {
    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.cells.add(self.0.first, n);
    }

    /// The sum over all workers.
    pub fn value(&self) -> u64 {
        self.0.cells.sum(self.0.first)
    }
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0
            .value
            .store(value.to_bits(), std::sync::atomic::Ordering::Relaxed);
    }

    /// What was set last; 0 at first.
    pub fn value(&self) -> f64 {
        self.0.value()
    }
}

impl Level {
    /// One more.
    pub fn inc(&self) {
        self.0.cells.add(self.0.first, 1);
    }

    /// One less, also on another worker than the one that said one more.
    pub fn dec(&self) {
        self.0.cells.add(self.0.first, u64::MAX);
    }

    /// The sum over all workers.
    pub fn value(&self) -> i64 {
        self.0.cells.sum(self.0.first) as i64
    }
}

impl Histogram {
    /// Counts a duration, in a histogram of [`SECONDS`].
    pub fn observe(&self, duration: Duration) {
        self.observe_raw(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a value in the unit of the histogram's [`Scale`].
    pub fn observe_raw(&self, value: u64) {
        self.add(value);
    }

    /// As [`observe`](Self::observe), of a call whose trace is kept: its id becomes the exemplar of its bucket.
    pub fn observe_traced(&self, duration: Duration, trace: [u8; 32]) {
        let value = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.add(value);
        let at = SystemTime::now();
        let exemplar = Exemplar { trace, value, at };
        self.0.exemplars.keep(bucket, self.0.bounds.len() + 1, exemplar);
    }

    /// Counts a value, and says in which bucket.
    fn add(&self, value: u64) -> usize {
        let series = &*self.0;
        let bucket = series.bounds.partition_point(|bound| *bound < value);
        series.cells.add(series.first + bucket as u32, 1);
        series.cells.add(series.first + series.bounds.len() as u32 + 1, value);
        bucket
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.0.buckets().iter().sum()
    }
}

impl Series {
    fn value(&self) -> f64 {
        f64::from_bits(self.value.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Counts per bucket, not cumulative, the one without bound last.
    fn buckets(&self) -> Vec<u64> {
        (0..=self.bounds.len() as u32)
            .map(|bucket| self.cells.sum(self.first + bucket))
            .collect()
    }
}
