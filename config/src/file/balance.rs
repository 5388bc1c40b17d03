//! `balance` of a service, what belongs to it, and `[services.breaker]`.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{LongForm, TextOr, choice, optional, whole};
use crate::model::{Balance, Breaker, HashOn};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, PercentText, brief};

/// `hash_on` as written.
pub(super) type HashOnFile = TextOr<HashOnTable>;

/// `hash_on = { header = ".." }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HashOnTable {
    /// A header field.
    header: Option<String>,
    /// A cookie.
    cookie: Option<String>,
    /// A query parameter.
    query: Option<String>,
    /// A claim of the client's token.
    claim: Option<String>,
}

impl LongForm for HashOnTable {}

/// `[services.breaker]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakerFile {
    /// Connections of the gateway to the service, idle ones included, 1 to 1000000. Default: no limit.
    max_connections: Option<i64>,
    /// Calls of the gateway that wait for a connection, 0 to 1000000. Default: no limit.
    max_pending: Option<i64>,
    /// Calls of the gateway under way, 1 to 1000000. Default: no limit.
    max_requests: Option<i64>,
}

/// Endpoint choice of one service, checked.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) balance: Balance,
    pub(super) hash_on: HashOn,
    pub(super) slow_start: Option<Duration>,
    pub(super) spill_over: Option<u8>,
}

/// The same as written.
#[derive(Debug)]
pub(super) struct ChoiceFile {
    pub(super) balance: Option<String>,
    pub(super) hash_on: Option<HashOnFile>,
    pub(super) slow_start: Option<DurationText>,
    pub(super) spill_over: Option<PercentText>,
}

impl ChoiceFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Choice> {
        let words = [
            ("round-robin", Balance::RoundRobin),
            ("least-request", Balance::LeastRequest),
            ("least-connections", Balance::LeastRequest),
            ("peak-ewma", Balance::PeakEwma),
            ("ring-hash", Balance::RingHash),
            ("ip-hash", Balance::RingHash),
        ];
        let by_address = self.balance.as_deref() == Some("ip-hash");
        let balance = optional(self.balance, |text| choice(&text, &at.key("balance"), &words, problems));
        let here = at.key("hash_on");
        if let (true, Some(balance)) = (self.hash_on.is_some(), balance) {
            if by_address {
                problems.add_hint(
                    &here,
                    "has no effect on `ip-hash`, which hashes the client's address",
                    "write `balance = \"ring-hash\"`, or remove it",
                );
            } else if balance != Some(Balance::RingHash) {
                problems.add_hint(
                    &here,
                    "has an effect on `ring-hash` only",
                    "write `balance = \"ring-hash\"`, or remove it",
                );
            }
        }
        let hash_on = optional(self.hash_on, |hash_on| hash_on_of(hash_on, &here, problems));
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        let slow_start = optional(self.slow_start, |time| {
            time.parse(&at.key("slow_start"), &range, problems)
        });
        if let (Some(Some(_)), Some(Some(Balance::RingHash))) = (slow_start, balance) {
            problems.add_hint(
                &at.key("slow_start"),
                "has no effect on `ring-hash`, where it would move calls from one endpoint to another",
                "remove it",
            );
        }
        let spill_over = optional(self.spill_over, |percent| {
            percent.parse(&at.key("spill_over"), problems)
        });
        Some(Choice {
            balance: balance?.unwrap_or(Balance::RoundRobin),
            hash_on: hash_on?.unwrap_or(HashOn::Address),
            slow_start: slow_start?,
            spill_over: spill_over?.filter(|percent| *percent > 0),
        })
    }
}

fn hash_on_of(hash_on: HashOnFile, at: &KeyPath, problems: &mut Problems) -> Option<HashOn> {
    let table = match hash_on {
        TextOr::Text(text) => return choice(&text, at, &[("address", ())], problems).map(|()| HashOn::Address),
        TextOr::Long(table) => table,
    };
    let parts = [
        table.header.map(|name| ("header", name)),
        table.cookie.map(|name| ("cookie", name)),
        table.query.map(|name| ("query", name)),
        table.claim.map(|name| ("claim", name)),
    ];
    let mut written = parts.into_iter().flatten();
    let (Some((part, name)), None) = (written.next(), written.next()) else {
        let hint = "write e.g. `hash_on = { header = \"x-tenant\" }`, or `hash_on = \"address\"`";
        problems.add_hint(at, "must have one of `header`, `cookie`, `query` and `claim`", hint);
        return None;
    };
    let at = at.key(part);
    if part == "header" {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            return Some(HashOn::Header(name.as_str().to_owned()));
        }
        problems.add(&at, format!("`{}` is not a header name", brief(&name)));
        return None;
    }
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        problems.add(&at, format!("`{}` is not a name", brief(&name)));
        return None;
    }
    Some(match part {
        "cookie" => HashOn::Cookie(name),
        "query" => HashOn::Query(name),
        _ => HashOn::Claim(name),
    })
}

impl BreakerFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Breaker> {
        let mut limit = |value: Option<i64>, key: &str, least| {
            optional(value, |value| {
                whole(Some(value), &at.key(key), least..=1_000_000, problems)
            })
        };
        let max_connections = limit(self.max_connections, "max_connections", 1);
        let max_pending = limit(self.max_pending, "max_pending", 0);
        let max_requests = limit(self.max_requests, "max_requests", 1);
        Some(Breaker {
            max_connections: max_connections?,
            max_pending: max_pending?,
            max_requests: max_requests?,
        })
    }
}
