//! When a call is tried again.

use std::time::Duration;

use super::{CodeSet, StatusSet};

/// `[services.retry]`, or that of a route: attempts after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// All attempts, the first included. Default 2.
    pub attempts: u8,
    /// Retries allowed as a share of calls. Default 20 percent.
    pub budget_percent: u8,
    /// What is tried again.
    pub on: RetryOn,
    /// Whether calls are tried again, too, that may not be made twice and that the backend may have worked on. Default:
    /// not.
    pub twice: Twice,
    /// Pause before the second attempt, at most; each further one is twice as long. Default 25 ms.
    pub backoff: Duration,
    /// Longest pause. Default 250 ms.
    pub backoff_max: Duration,
    /// Longest pause that a backend may ask for by `retry-after` or `grpc-retry-pushback-ms`; for a longer one there is
    /// no retry. Default 1 s.
    pub retry_after_max: Duration,
    /// For one attempt up to the reply's head. None: as `timeouts.per_try` of the service says.
    pub per_try: Option<Duration>,
}

/// Whether a call may be made twice that says that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// Only when the first attempt was provably not worked on.
    Unprocessed,
    /// It may (`non_idempotent = true`).
    Always,
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// `connect-failure`: no connection.
    pub connect: bool,
    /// `refused-stream`: the backend, or the tunnel to it, did not begin to work on the call.
    pub refused: bool,
    /// `reset`: the connection or the stream was lost before the reply.
    pub reset: bool,
    /// `timeout`: one attempt took too long.
    pub timeout: bool,
    /// Replies with these statuses.
    pub statuses: StatusSet,
    /// gRPC replies that end with these codes before their first message.
    pub codes: CodeSet,
}

/// `[services.hedge]`: a second attempt beside one that takes long; the first reply wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// How long an attempt is waited for alone.
    pub after: HedgeAfter,
    /// Attempts beside the first, at most. Default 1.
    pub max: u8,
}

/// How long an attempt is waited for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// So long.
    Time(Duration),
    /// As long as this share of the service's recent replies took at most, in percent.
    Percentile(u8),
}

impl Retry {
    /// What is in force where nothing is written.
    pub const DEFAULT: Self = Self {
        attempts: 2,
        budget_percent: 20,
        on: RetryOn::DEFAULT,
        twice: Twice::Unprocessed,
        backoff: Duration::from_millis(25),
        backoff_max: Duration::from_millis(250),
        retry_after_max: Duration::from_secs(1),
        per_try: None,
    };
}

impl RetryOn {
    /// Nothing.
    pub const NOTHING: Self = Self {
        connect: false,
        refused: false,
        reset: false,
        timeout: false,
        statuses: StatusSet::EMPTY,
        codes: CodeSet::EMPTY,
    };
    /// Whatever ends without a reply.
    pub const DEFAULT: Self = Self {
        connect: true,
        refused: true,
        reset: true,
        timeout: true,
        ..Self::NOTHING
    };
}
