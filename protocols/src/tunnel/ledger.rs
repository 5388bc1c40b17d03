//! How far windows may grow, over all tunnels of the process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes by which windows may grow beyond their first size; shared by all sessions of a process.
///
/// Asked once per doubling of a window, so that workers do not contend for it.
#[derive(Debug)]
pub struct GrowthLedger {
    limit: u64,
    used: AtomicU64,
}

impl GrowthLedger {
    /// A ledger of `limit` bytes: half of the process's memory budget.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes that may be used.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, bytes: u32) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(u64::from(bytes)).filter(|used| *used <= self.limit)
            })
            .is_ok()
    }

    pub(super) fn give_back(&self, bytes: u32) {
        self.used.fetch_sub(u64::from(bytes), Ordering::Relaxed);
    }
}
