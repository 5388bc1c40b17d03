//! The memory that the process uses, held against its budget.
//!
//! Windows, buffers and connections have limits of their own; this is the last line before the system ends the process:
//! while more than 80 percent of `limits.memory` is in use, new calls are refused, those of low priority from 70 percent on,
//! and those under way go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the use is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// Share of the budget above which new calls are refused, in percent.
const FULL: u64 = 80;
/// Share above which those of low priority are.
const NEAR: u64 = 70;

/// Whether there is room for new calls.
#[derive(Debug, Default)]
pub struct Budget {
    full: AtomicBool,
    near: AtomicBool,
}

impl Budget {
    /// Whether new calls are to be refused.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether new calls of low priority are to be refused.
    pub fn is_near(&self) -> bool {
        self.near.load(Ordering::Relaxed)
    }

    /// Looks at the use until the process ends. `limit` in bytes.
    pub async fn watch(&self, limit: u64) {
        let mut interval = tokio::time::interval(EVERY);
        loop {
            interval.tick().await;
            // Where the system does not tell, nothing is refused.
            let Some(used) = used() else { return };
            let full = used >= limit / 100 * FULL;
            self.near.store(used >= limit / 100 * NEAR, Ordering::Relaxed);
            if full != self.full.swap(full, Ordering::Relaxed) {
                if full {
                    tracing::warn!(used, limit, "memory is short: new calls are refused");
                } else {
                    tracing::info!(used, limit, "memory is free again: new calls are taken");
                }
            }
        }
    }
}

/// Resident memory of this process in bytes.
fn used() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of `/proc/PID/status` (proc_pid_status(5)), in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_and_garbage_is_nothing() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"),
            Some(2 * 1024 * 1024)
        );
        for garbage in [
            "",
            "VmRSS:",
            "VmRSS: kB",
            "VmRSS: -1 kB",
            "VmRSS: 1 MB",
            "VmRSS: 99999999999999999999 kB",
        ] {
            assert_eq!(resident(garbage), None, "{garbage:?}");
        }
        assert!(used().is_some_and(|used| used > 100_000), "this process uses some");
    }

    #[tokio::test]
    async fn m3_new_calls_are_refused_above_the_budget_and_taken_below() {
        for (limit, full) in [(1_000, true), (u64::MAX, false)] {
            let budget = Budget::default();
            budget.full.store(!full, Ordering::Relaxed);
            let looked = async {
                while budget.is_full() != full {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = budget.watch(limit) => panic!("the system does not tell"),
                () = looked => {}
            }
        }
    }
}
