//! How a service stays usable while some of its endpoints are not: checks, ejection, breakers.

use std::time::Duration;

/// `[services.health]`: asking every endpoint, again and again, whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub check: HealthCheck,
    /// The port that is asked, where it is not the endpoint's own.
    pub port: Option<u16>,
    /// From one check of an endpoint to the next. Default 5 s.
    pub interval: Duration,
    /// What a check may take, connecting included. Default 2 s.
    pub timeout: Duration,
    /// Good checks in a row that make an endpoint healthy. Default 2.
    pub healthy: u8,
    /// Bad checks in a row that make it unhealthy. Default 3.
    pub unhealthy: u8,
    /// By how many percent the interval is stretched at random, so that gateways do not check in step. Default 10.
    pub jitter: u8,
    /// What a new endpoint is taken for until it has been checked. Default healthy.
    pub start: Start,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// Whether it takes a connection, and shakes hands where the service has TLS.
    Tcp,
    /// `GET` of a path, in the HTTP version of the service.
    Http {
        /// The path, perhaps with a query. Default `/`.
        path: String,
        /// Sent as `host`. Default: the `host` of the service, or the name of the endpoint.
        host: Option<String>,
        /// The statuses that mean healthy. Default 200 to 299.
        expect: StatusSet,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The gRPC service that is asked for; empty for the server as a whole.
        service: String,
    },
}

/// What an endpoint is taken for before its first check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It gets calls at once.
    Healthy,
    /// It gets calls after the checks that make it healthy; the first good one is enough.
    Unhealthy,
}

/// `[services.outlier]`: an endpoint whose calls fail is left out for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Failures in a row that eject at once; 0 for never. Default 5.
    pub consecutive: u32,
    /// gRPC codes that are failures. Default: `unavailable`, `internal`, `unknown`, `deadline-exceeded`, `data-loss`.
    pub codes: CodeSet,
    /// Share of failures in one interval that ejects, in percent. Default: not looked at.
    pub failure_percent: Option<u8>,
    /// Ejects an endpoint whose share of successes lies so many tenths of a standard deviation below the mean of all.
    /// Default: not looked at.
    pub success_rate_deviation: Option<u8>,
    /// Calls of an endpoint in one interval below which its shares are not looked at. Default 20.
    pub min_requests: u32,
    /// How often shares are looked at. Default 10 s.
    pub interval: Duration,
    /// Length of the first ejection; each further one is twice as long. Default 30 s.
    pub base_ejection: Duration,
    /// Longest ejection. Default 5 min.
    pub max_ejection: Duration,
    /// How much of the endpoints may be ejected at a time, in percent; one always may, where there are two. Default 50.
    pub max_ejected_percent: u8,
}

/// `[services.breaker]`: what a gateway has under way at a service at most, over all its workers and endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Connections, idle ones included. None: only as `max_connections` of the service says.
    pub max_connections: Option<u32>,
    /// Calls that wait for a connection. None: only as `max_pending` of the service says.
    pub max_pending: Option<u32>,
    /// Calls under way. None: no limit.
    pub max_requests: Option<u32>,
}

/// `[services.adaptive]`: how many calls may be under way follows from how long they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// Never fewer. Default 10.
    pub min: u32,
    /// Never more, and so many at first. Default 1000.
    pub max: u32,
    /// By how many percent replies may take longer than at their best. Default 50.
    pub tolerance: u16,
    /// How often the limit is looked at. Default 1 s.
    pub window: Duration,
}

/// Which calls are refused first when there is too much of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// These last.
    High,
    /// Unless something else is said.
    #[default]
    Normal,
    /// These first.
    Low,
}

/// What of a call says which endpoint it goes to (`ring-hash`). Where a call has no such thing, its client's address does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address (`address`, and what `ip-hash` means).
    Address,
    /// A header field, the name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// A claim of the token that the client is known by.
    Claim(String),
}

/// A set of HTTP statuses, 100 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusSet([u64; 8]);

impl StatusSet {
    /// None of them.
    pub const EMPTY: Self = Self([0; 8]);

    /// Adds all from `first` to `last`. What is no status is left out.
    pub fn with(mut self, first: u16, last: u16) -> Self {
        for status in first.max(100)..=last.min(599) {
            let at = usize::from(status - 100);
            self.0[at / 64] |= 1 << (at % 64);
        }
        self
    }

    /// Whether it is in the set.
    pub fn has(&self, status: u16) -> bool {
        let Some(at) = status.checked_sub(100).map(usize::from) else {
            return false;
        };
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A set of gRPC status codes, by their numbers 0 to 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeSet(u32);

impl CodeSet {
    /// None of them.
    pub const EMPTY: Self = Self(0);

    /// Adds one. What is no code is left out.
    pub fn with(self, code: u8) -> Self {
        if code > 16 {
            return self;
        }
        Self(self.0 | 1 << code)
    }

    /// Whether it is in the set.
    pub fn has(self, code: u8) -> bool {
        code <= 16 && self.0 >> code & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in_and_nothing_else() {
        let set = StatusSet::default()
            .with(200, 299)
            .with(503, 503)
            .with(0, 99)
            .with(600, 9999);
        for status in 0..=u16::MAX {
            assert_eq!(
                set.has(status),
                (200..300).contains(&status) || status == 503,
                "{status}"
            );
        }
        let codes = CodeSet::default().with(0).with(14).with(17).with(255);
        for code in 0..=u8::MAX {
            assert_eq!(codes.has(code), code == 0 || code == 14, "{code}");
        }
    }
}
