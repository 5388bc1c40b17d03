//! `[routes.rate_limit]`: how often calls may come.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::key::{self, KeyFile, LimitKey};
use super::rules;
use crate::file::value::{OneOrMany, optional, whole};
use crate::model::Name;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{Rate, RateText};

/// A day in milliseconds: what is counted over longer is a quota.
const LONGEST: u64 = 24 * 3_600_000;
/// The most that anything is counted to.
const MOST: u64 = 1_000_000_000;

/// `[routes.rate_limit]` as written: one rule, or `[[routes.rate_limit]]` for several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct RateLimitFile {
    /// Name of the rule, told to clients and in metrics. Default: `default`, with a number from the second rule on.
    name: Option<String>,
    /// How many in how long, e.g. `100/1s`; a call costs 1.
    rate: Option<RateText>,
    /// How many may come at once, 1 to 1000000000. Default: the number of `rate`.
    burst: Option<i64>,
    /// What is counted together: `address`, `identity`, `plan`, `route`, `site`, or a header, cookie or query
    /// parameter. Default: `address`.
    key: Option<KeyFile>,
    /// Bits of an IPv6 address that count, 32 to 128. Default: 64.
    ipv6_prefix: Option<i64>,
    /// What a call costs, 1 to `burst`. Default: 1.
    cost: Option<i64>,
    /// Whether replies have `RateLimit` fields. Default: true.
    fields: Option<bool>,
    /// Count it with the other gateways of the site, where there is `[redis]`. Default: true.
    shared: Option<bool>,
    /// Count and log what would be refused, and refuse nothing. Default: false.
    dry_run: Option<bool>,
}

/// A token bucket for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Different from those of the other rules of the route.
    pub name: Name,
    /// How fast a bucket fills.
    pub rate: Rate,
    /// What a bucket holds.
    pub burst: u64,
    /// Whose bucket it is.
    pub key: LimitKey,
    /// What a call takes out of it, at most `burst`.
    pub cost: u64,
    /// Whether replies have `RateLimit` fields.
    pub fields: bool,
    /// Whether it is counted with the other gateways of the site, where they share counters.
    pub shared: bool,
    /// Whether nothing is refused.
    pub dry_run: bool,
}

/// All rules of a route.
pub(in crate::file) fn parse(
    written: Option<OneOrMany<RateLimitFile>>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<Vec<RateLimit>> {
    rules::each(written, at, problems, RateLimitFile::parse, |rule| &rule.name)
}

impl RateLimitFile {
    fn parse(self, at: &KeyPath, nth: usize, problems: &mut Problems) -> Option<RateLimit> {
        let name = rules::name(self.name.as_deref(), nth, at, problems);
        let longest = Duration::from_millis(LONGEST);
        let rate = match &self.rate {
            Some(rate) => rate.parse(&at.key("rate"), MOST, longest, problems),
            None => {
                problems.missing(&at.key("rate"), "write how many in how long, e.g. `rate = \"100/1s\"`");
                None
            }
        };
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        let burst = optional(self.burst, |burst| {
            whole(Some(burst), &at.key("burst"), 1..=most, problems)
        });
        let burst = match (burst, rate) {
            (Some(Some(burst)), _) => Some(burst),
            (Some(None), Some(rate)) => Some(rate.amount.get()),
            _ => None,
        };
        let key = key::parse(self.key, self.ipv6_prefix, at, problems);
        let cost = whole(Some(self.cost.unwrap_or(1)), &at.key("cost"), 1..=most, problems);
        if let (Some(cost), Some(burst)) = (cost, burst)
            && cost > burst
        {
            problems.add_hint(
                &at.key("cost"),
                "is more than `burst`: no call would ever pass",
                "write a larger `burst`",
            );
        }
        Some(RateLimit {
            name: name?,
            rate: rate?,
            burst: burst?,
            key: key?,
            cost: cost?,
            fields: self.fields.unwrap_or(true),
            shared: self.shared.unwrap_or(true),
            dry_run: self.dry_run.unwrap_or(false),
        })
    }
}
