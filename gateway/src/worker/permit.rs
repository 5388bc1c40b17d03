//! Counts of what the workers have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Shared;

/// Counts one of a bounded number; given back on drop.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    of: fn(&Shared) -> &AtomicUsize,
}

impl Permit {
    /// One more, unless `limit` are counted already.
    pub fn take(shared: &Arc<Shared>, of: fn(&Shared) -> &AtomicUsize, limit: usize) -> Option<Self> {
        let counted = of(shared).fetch_add(1, Ordering::Relaxed);
        let permit = Self {
            shared: Arc::clone(shared),
            of,
        };
        (counted < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.of)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}
