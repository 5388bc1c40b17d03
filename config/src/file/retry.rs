//! `retry` of a service or a route.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::health::{code, statuses};
use super::value::{all, optional, whole};
use crate::model::{Retry, RetryOn, Twice};
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::{DurationText, PercentText, brief};

/// `retry` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryFile {
    /// All attempts, the first included, 1 to 10. Default: 2.
    attempts: Option<i64>,
    /// Retries allowed as a share of calls. Default: 20%.
    budget_percent: Option<PercentText>,
    /// What is tried again: `connect-failure`, `refused-stream`, `reset`, `timeout`, `5xx`, `gateway-error`,
    /// `retriable-4xx`, statuses such as `503`, gRPC codes such as `unavailable`. Default: the first four.
    on: Option<Vec<String>>,
    /// Whether calls that may not be made twice are tried again even when the backend may have worked on them. Default:
    /// false.
    non_idempotent: Option<bool>,
    /// Pause before the second attempt, at most; each further one is twice as long. Default: 25ms.
    backoff: Option<DurationText>,
    /// Longest pause. Default: 250ms.
    backoff_max: Option<DurationText>,
    /// Longest pause that a backend may ask for; for a longer one there is no retry. Default: 1s.
    retry_after_max: Option<DurationText>,
    /// For one attempt up to the reply's head. Default: `timeouts.per_try`.
    per_try: Option<DurationText>,
}

/// The words of `on` that stand for more than one status or code.
const WORDS: [&str; 7] = [
    "connect-failure",
    "refused-stream",
    "reset",
    "timeout",
    "5xx",
    "gateway-error",
    "retriable-4xx",
];

impl RetryFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Retry> {
        let default = Retry::DEFAULT;
        let here = at.key("attempts");
        let attempts = match self.attempts.unwrap_or_else(|| default.attempts.into()) {
            0 => {
                problems.add_hint(&here, "must be at least 1", "write `1` to turn retries off");
                None
            }
            attempts => whole(Some(attempts), &here, 1..=10, problems),
        };
        let budget = match self.budget_percent {
            Some(budget) => budget.parse(&at.key("budget_percent"), problems),
            None => Some(default.budget_percent),
        };
        let on = match self.on {
            Some(words) => {
                let added = all(Some(words), &at.key("on"), |word, at| {
                    let added = add(RetryOn::NOTHING, &word);
                    if added.is_none() {
                        let hint = did_you_mean(&word, WORDS)
                            .unwrap_or_else(|| format!("write a status, a gRPC code, or one of {}", WORDS.join(", ")));
                        problems.add_hint(at, format!("`{}` is nothing to try again on", brief(&word)), hint);
                    }
                    added.map(|_| word)
                });
                added.and_then(|words| words.iter().try_fold(RetryOn::NOTHING, |on, word| add(on, word)))
            }
            None => Some(default.on),
        };
        let mut time = |value: Option<DurationText>, key: &str, default, least| {
            let range = Duration::from_millis(least)..=Duration::from_secs(60);
            match value {
                Some(value) => value.parse(&at.key(key), &range, problems),
                None => Some(default),
            }
        };
        let backoff = time(self.backoff, "backoff", default.backoff, 1);
        let backoff_max = time(self.backoff_max, "backoff_max", default.backoff_max, 1);
        let retry_after_max = time(self.retry_after_max, "retry_after_max", default.retry_after_max, 0);
        let per_try = optional(self.per_try, |value| time(Some(value), "per_try", Duration::ZERO, 1));
        Some(Retry {
            attempts: attempts?,
            budget_percent: budget?,
            on: on?,
            twice: if self.non_idempotent == Some(true) {
                Twice::Always
            } else {
                Twice::Unprocessed
            },
            backoff: backoff?,
            backoff_max: backoff_max?.max(backoff?),
            retry_after_max: retry_after_max?,
            per_try: per_try?,
        })
    }
}

/// `on`, and this, too.
fn add(mut on: RetryOn, word: &str) -> Option<RetryOn> {
    match word {
        "connect-failure" => on.connect = true,
        "refused-stream" => on.refused = true,
        "reset" => on.reset = true,
        "timeout" => on.timeout = true,
        "gateway-error" => on.statuses = on.statuses.with(502, 504),
        // Conflict, too early, too many requests: what another time or place can mend.
        "retriable-4xx" => on.statuses = on.statuses.with(409, 409).with(425, 425).with(429, 429),
        _ => match (statuses(word).filter(|(first, _)| *first >= 400), code(word)) {
            (Some((first, last)), _) => on.statuses = on.statuses.with(first, last),
            (None, Some(code)) if code != 0 => on.codes = on.codes.with(code),
            (None, _) => return None,
        },
    }
    Some(on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_says_what_it_says_elsewhere() {
        let on = |words: &[&str]| words.iter().try_fold(RetryOn::NOTHING, |on, word| add(on, word));
        let gateway = on(&["gateway-error"]).unwrap().statuses;
        assert!([502, 503, 504].iter().all(|status| gateway.has(*status)) && !gateway.has(500) && !gateway.has(505));
        let five = on(&["5xx"]).unwrap().statuses;
        assert!(five.has(500) && five.has(599) && !five.has(499));
        let mixed = on(&["503", "429", "unavailable", "reset"]).unwrap();
        assert!(mixed.reset && !mixed.connect && mixed.codes.has(14) && !mixed.codes.has(13));
        assert!(mixed.statuses.has(503) && mixed.statuses.has(429) && !mixed.statuses.has(500));
        for bad in ["200", "2xx", "ok", "sometimes", ""] {
            assert_eq!(on(&[bad]), None, "{bad}");
        }
        assert_eq!(
            on(&["connect-failure", "refused-stream", "reset", "timeout"]),
            Some(RetryOn::DEFAULT)
        );
    }
}
