//! `[redis]`: counters that the gateways of a site share.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{choice, duration, optional, whole};
use crate::model::{OnError, Redis};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::secret::Secret;
use crate::units::DurationText;

/// A server that is near answers in a hundredth of it.
const TIMEOUT: Duration = Duration::from_millis(50);

/// `[redis]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedisFile {
    /// Where it is: `redis://user:password@host:port/database`. Never printed, for it may hold a password.
    url: Option<Secret>,
    /// For one question. What takes longer counts as an error. Default: 50ms.
    timeout: Option<DurationText>,
    /// Connections of this gateway, 1 to 64. Default: 2.
    connections: Option<i64>,
    /// While it is away: `local` (count here alone), `allow` or `refuse`. Default: local.
    on_error: Option<String>,
}

impl RedisFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Redis> {
        let url = match self.url {
            Some(url) => check_url(url, &at.key("url"), problems),
            None => {
                problems.missing(&at.key("url"), "write where it is, e.g. `redis://redis.internal:6379`");
                None
            }
        };
        let timeout = optional(self.timeout, |timeout| {
            duration(Some(&timeout), &at.key("timeout"), 1..=10_000, problems)
        });
        let connections = whole(
            Some(self.connections.unwrap_or(2)),
            &at.key("connections"),
            1..=64,
            problems,
        );
        let words = [
            ("allow", OnError::Allow),
            ("local", OnError::Local),
            ("refuse", OnError::Refuse),
        ];
        let on_error = match &self.on_error {
            Some(word) => choice(word, &at.key("on_error"), &words, problems),
            None => Some(OnError::Local),
        };
        Some(Redis {
            url: url?,
            timeout: timeout?.unwrap_or(TIMEOUT),
            connections: connections?,
            on_error: on_error?,
        })
    }
}

/// Only what the gateway can dial; the text itself is not repeated.
fn check_url(url: Secret, at: &KeyPath, problems: &mut Problems) -> Option<Secret> {
    let text = url.expose();
    if text.strip_prefix("redis://").is_some_and(|rest| !rest.is_empty()) || text.starts_with("unix:/") {
        return Some(url);
    }
    let hint = if text.starts_with("rediss://") {
        "TLS to Redis is not supported: use a network of your own, or a Unix socket"
    } else {
        "write e.g. `redis://redis.internal:6379` or `unix:/run/redis/redis.sock`"
    };
    problems.add_hint(at, "is not the URL of a Redis server", hint);
    None
}
