//! Counters of one name, read by the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Failure;

/// What happened to one name since it is watched.
#[derive(Debug)]
pub struct DiscoveryStats {
    name: Arc<str>,
    answered: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
    refused: AtomicU64,
    endpoints: AtomicU64,
}

impl DiscoveryStats {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            answered: AtomicU64::new(0),
            failed: Default::default(),
            refused: AtomicU64::new(0),
            endpoints: AtomicU64::new(0),
        }
    }

    /// As in the configuration: `dns:name:port` or `srv:name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Look-ups that gave endpoints.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Look-ups that gave none, by reason.
    pub fn failed(&self, why: Failure) -> u64 {
        self.counter(why).load(Ordering::Relaxed)
    }

    /// Addresses in answers that were refused as link-local, multicast or unspecified.
    pub fn refused_addresses(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Endpoints of the current answer.
    pub fn endpoints(&self) -> u64 {
        self.endpoints.load(Ordering::Relaxed)
    }

    fn counter(&self, why: Failure) -> &AtomicU64 {
        let [
            nxdomain,
            servfail,
            refused,
            timeout,
            empty,
            malformed,
            truncated,
            forbidden,
            unreachable,
        ] = &self.failed;
        match why {
            Failure::NxDomain => nxdomain,
            Failure::ServFail => servfail,
            Failure::Refused => refused,
            Failure::Timeout => timeout,
            Failure::Empty => empty,
            Failure::Malformed => malformed,
            Failure::Truncated => truncated,
            Failure::Forbidden => forbidden,
            Failure::Unreachable => unreachable,
        }
    }

    pub(super) fn count(&self, result: Result<(), Failure>, refused: u64) {
        match result {
            Ok(()) => &self.answered,
            Err(why) => self.counter(why),
        }
        .fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }

    pub(super) fn set_endpoints(&self, count: usize) {
        self.endpoints.store(count as u64, Ordering::Relaxed);
    }
}
