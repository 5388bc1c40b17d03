//! What is tried again, and when. Pure.

use std::time::Duration;

use causeway_config::{self as config, Twice};
use causeway_protocols::{CallHead, Code, FailureKind, Protocol, ReplyHead, name};

use crate::error::{CallError, Retry};

/// The rule for one call.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// As configured.
    pub retry: &'a config::Retry,
    /// Whether the call may be made twice.
    pub safe: Safe,
}

/// Whether a call may be made twice, by what its method means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safe {
    /// Once or twice is the same.
    Idempotent,
    /// Twice may be one too many.
    Once,
}

impl Safe {
    /// By the method (RFC 9110, section 9.2.2); of gRPC, by what the service says of its methods.
    pub fn of(head: &CallHead, service: Option<&config::Service>) -> Self {
        let safe = match head.protocol {
            Protocol::Http => head.method.is_idempotent(),
            Protocol::WebSocket => false,
            Protocol::Grpc => service.is_some_and(|service| {
                let (name, method) = head
                    .target
                    .path()
                    .trim_start_matches('/')
                    .split_once('/')
                    .unwrap_or_default();
                service
                    .idempotent_methods
                    .iter()
                    .any(|known| known.service == name && known.method.as_deref().is_none_or(|known| known == method))
            }),
        };
        if safe { Self::Idempotent } else { Self::Once }
    }
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// That is the answer.
    Stands,
    /// Another attempt may make it better, after this pause if the backend asked for one.
    Again(Option<Duration>),
}

impl Rule<'_> {
    /// What follows from an attempt without a reply.
    pub fn of_error(&self, error: &CallError) -> Verdict {
        let on = &self.retry.on;
        let wanted = match (error.retry, error.kind) {
            (Retry::Never, _) => false,
            (Retry::Unprocessed, FailureKind::Connect) => on.connect,
            (Retry::Unprocessed, _) => on.refused,
            (Retry::Idempotent, FailureKind::Deadline) => on.timeout && self.may_be_twice(),
            (Retry::Idempotent, _) => on.reset && self.may_be_twice(),
        };
        if !wanted {
            return Verdict::Stands;
        }
        self.after(error.retry_after)
    }

    /// What follows from a reply, by its head alone: what comes later has been passed on by then.
    pub fn of_reply(&self, head: &ReplyHead) -> Verdict {
        let on = &self.retry.on;
        let code = head.fields.get(name::GRPC_STATUS).map(Code::of_text);
        let wanted = on.statuses.has(head.status.as_u16()) || code.is_some_and(|code| on.codes.has(code.number()));
        if !wanted || !self.may_be_twice() {
            return Verdict::Stands;
        }
        match pushback(head) {
            Pushback::None => Verdict::Again(None),
            Pushback::Pause(pause) => self.after(Some(pause)),
            Pushback::Never => Verdict::Stands,
        }
    }

    fn may_be_twice(&self) -> bool {
        self.safe == Safe::Idempotent || self.retry.twice == Twice::Always
    }

    fn after(&self, pause: Option<Duration>) -> Verdict {
        match pause {
            Some(pause) if pause > self.retry.retry_after_max => Verdict::Stands,
            pause => Verdict::Again(pause),
        }
    }

    /// The pause before the next attempt, of which `attempt` were made; `chance` is from 0 to below 1.
    pub fn pause(&self, attempt: u8, chance: f64) -> Duration {
        let doublings = u32::from(attempt.saturating_sub(1)).min(16);
        let most = self
            .retry
            .backoff
            .saturating_mul(1 << doublings)
            .min(self.retry.backoff_max);
        most.mul_f64(0.5 + chance / 2.0)
    }
}

/// What a backend says of coming again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushback {
    None,
    Pause(Duration),
    Never,
}

/// `grpc-retry-pushback-ms` (gRPC A6), where anything but a number says never; `retry-after` in seconds (RFC 9110,
/// section 10.2.3), where a date is as good as nothing: it says more of clocks than of the backend.
fn pushback(head: &ReplyHead) -> Pushback {
    if let Some(text) = head.fields.get_named("grpc-retry-pushback-ms") {
        let millis = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        return millis.map_or(Pushback::Never, |millis: u32| {
            Pushback::Pause(Duration::from_millis(millis.into()))
        });
    }
    let seconds = head
        .fields
        .text(name::RETRY_AFTER)
        .and_then(|text| text.trim().parse().ok());
    seconds.map_or(Pushback::None, |seconds: u32| {
        Pushback::Pause(Duration::from_secs(seconds.into()))
    })
}

#[cfg(test)]
mod tests {
    use causeway_config::{CodeSet, RetryOn, StatusSet};
    use causeway_protocols::Length;
    use http::StatusCode;

    use super::*;

    fn retry() -> config::Retry {
        let on = RetryOn {
            statuses: StatusSet::default().with(503, 503),
            codes: CodeSet::default().with(14),
            ..RetryOn::DEFAULT
        };
        config::Retry {
            on,
            ..config::Retry::DEFAULT
        }
    }

    fn head(status: u16, fields: &[(&str, &str)]) -> ReplyHead {
        let mut head = ReplyHead::new(StatusCode::from_u16(status).unwrap(), Length::Empty);
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn what_may_not_be_made_twice_is_tried_again_only_when_nobody_worked_on_it() {
        let retry = retry();
        let error = |kind, verdict| CallError::new(kind, "x").retry(verdict);
        #[rustfmt::skip]
        let table = [
            (error(FailureKind::Connect, Retry::Unprocessed), true, true), (error(FailureKind::Protocol, Retry::Unprocessed), true, true),
            (error(FailureKind::Protocol, Retry::Idempotent), true, false), (error(FailureKind::Deadline, Retry::Idempotent), true, false),
            (error(FailureKind::Protocol, Retry::Never), false, false), (error(FailureKind::Breaker, Retry::Never), false, false),
        ];
        for (error, idempotent, once) in table {
            for (safe, again) in [(Safe::Idempotent, idempotent), (Safe::Once, once)] {
                let verdict = Rule { retry: &retry, safe }.of_error(&error);
                assert_eq!(verdict == Verdict::Again(None), again, "{error} {safe:?}");
            }
        }
        let unavailable = head(503, &[]);
        assert_eq!(
            Rule {
                retry: &retry,
                safe: Safe::Once
            }
            .of_reply(&unavailable),
            Verdict::Stands
        );
        let always = config::Retry {
            twice: Twice::Always,
            ..retry
        };
        assert_eq!(
            Rule {
                retry: &always,
                safe: Safe::Once
            }
            .of_reply(&unavailable),
            Verdict::Again(None)
        );
        let nothing = config::Retry {
            on: RetryOn::NOTHING,
            ..retry
        };
        let refused = error(FailureKind::Connect, Retry::Unprocessed);
        assert_eq!(
            Rule {
                retry: &nothing,
                safe: Safe::Idempotent
            }
            .of_error(&refused),
            Verdict::Stands
        );
    }

    /// Status, fields, and what follows.
    type Row<'a> = (u16, &'a [(&'a str, &'a str)], Verdict);

    #[test]
    fn only_listed_replies_are_asked_for_again_and_no_sooner_than_the_backend_says() {
        let retry = retry();
        let rule = Rule {
            retry: &retry,
            safe: Safe::Idempotent,
        };
        let after = |millis| Verdict::Again(Some(Duration::from_millis(millis)));
        #[rustfmt::skip]
        let table: &[Row<'_>] = &[
            (200, &[], Verdict::Stands), (500, &[], Verdict::Stands), (503, &[], Verdict::Again(None)),
            (503, &[("retry-after", "1")], after(1000)), (503, &[("retry-after", "2")], Verdict::Stands),
            (503, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], Verdict::Again(None)),
            (200, &[("grpc-status", "14")], Verdict::Again(None)), (200, &[("grpc-status", "13")], Verdict::Stands),
            (200, &[("grpc-status", "0")], Verdict::Stands),
            (200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "70")], after(70)),
            (200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")], Verdict::Stands),
            (200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "soon")], Verdict::Stands),
            (200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "60000")], Verdict::Stands),
        ];
        for (status, fields, verdict) in table {
            assert_eq!(rule.of_reply(&head(*status, fields)), *verdict, "{status} {fields:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = config::Retry::DEFAULT;
        let rule = Rule {
            retry: &retry,
            safe: Safe::Once,
        };
        let most: Vec<_> = (1..=6).map(|attempt| rule.pause(attempt, 1.0).as_millis()).collect();
        assert_eq!(most, [25, 50, 100, 200, 250, 250]);
        assert_eq!(rule.pause(2, 0.0).as_millis(), 25, "half of it is left to chance");
        assert_eq!(rule.pause(u8::MAX, 1.0).as_millis(), 250);
    }
}
