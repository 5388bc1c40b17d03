//! Exemplars: the trace of the last sampled observation of each bucket (OpenMetrics 1.0, section "Exemplars").

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// An observation whose trace can be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    /// The id of the trace, in hexadecimal.
    pub(super) trace: [u8; 32],
    /// In the unit of the histogram.
    pub(super) value: u64,
    /// When.
    pub(super) at: SystemTime,
}

/// Those of one series, by bucket; none until the first.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<Vec<Option<Exemplar>>>);

impl Exemplars {
    /// Keeps this one for its bucket, of so many. A worker does not wait for another or for a scrape: then it is left out.
    pub(super) fn keep(&self, bucket: usize, of: usize, exemplar: Exemplar) {
        let Ok(mut all) = self.0.try_lock() else { return };
        if all.len() < of {
            all.resize(of, None);
        }
        if let Some(place) = all.get_mut(bucket) {
            *place = Some(exemplar);
        }
    }

    /// Writes what stands behind the sample of a bucket.
    pub(super) fn write(&self, text: &mut String, bucket: usize, value: impl Fn(&mut String, u64)) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Some(exemplar)) = all.get(bucket).copied() else {
            return;
        };
        drop(all);
        // Hexadecimal digits are ASCII.
        let _ = write!(
            text,
            " # {{trace_id=\"{}\"}} ",
            String::from_utf8_lossy(&exemplar.trace)
        );
        value(text, exemplar.value);
        let since: Duration = exemplar.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let _ = write!(text, " {}.{:03}", since.as_secs(), since.subsec_millis());
    }
}
