//! Counters that the gateways of a site share.

use std::time::Duration;

use crate::secret::Secret;

/// `[redis]`: Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// `redis://..` or `unix:..`.
    pub url: Secret,
    /// For one question. Default `50ms`.
    pub timeout: Duration,
    /// Connections of this gateway. Default 2.
    pub connections: usize,
    /// What is done while it is away. Default: count here alone.
    pub on_error: OnError,
}

/// What limits do while the shared counters are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// All calls pass.
    Allow,
    /// This gateway counts by itself.
    Local,
    /// No call passes.
    Refuse,
}
