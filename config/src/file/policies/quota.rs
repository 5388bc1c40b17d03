//! `[routes.quota]`: how much may be used in a period of the clock.

use schemars::JsonSchema;
use serde::Deserialize;

use super::key::{self, KeyFile, LimitKey};
use super::rules;
use crate::file::value::{OneOrMany, TextOr, choice, whole};
use crate::model::Name;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::SizeText;

/// `[routes.quota]` as written: one rule, or `[[routes.quota]]` for several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct QuotaFile {
    /// Name of the rule, told to clients. Default: `default`, with a number from the second rule on.
    name: Option<String>,
    /// Calls in a period, 1 to 1000000000000000.
    requests: Option<i64>,
    /// Bytes of bodies in a period, both ways together, instead of `requests`.
    bytes: Option<SizeText>,
    /// `hour`, `day`, `week` (from Monday) or `month`, by the clock in UTC.
    per: Option<String>,
    /// What is counted together, as for `rate_limit`. Default: `identity`.
    key: Option<KeyFile>,
    /// Bits of an IPv6 address that count, 32 to 128. Default: 64.
    ipv6_prefix: Option<i64>,
    /// Whether replies have `RateLimit` fields. Default: true.
    fields: Option<bool>,
    /// Count it with the other gateways of the site, where there is `[redis]`. Default: true.
    shared: Option<bool>,
    /// Count and log what would be refused, and refuse nothing. Default: false.
    dry_run: Option<bool>,
}

/// What may be used in a period, for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Different from those of the other rules of the route.
    pub name: Name,
    /// How much, and of what.
    pub amount: QuotaAmount,
    /// How long.
    pub per: Period,
    /// What is counted together.
    pub key: LimitKey,
    /// Whether replies have `RateLimit` fields.
    pub fields: bool,
    /// Whether it is counted with the other gateways of the site, where they share counters.
    pub shared: bool,
    /// Whether nothing is refused.
    pub dry_run: bool,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaAmount {
    /// Bytes of bodies, both ways.
    Bytes(u64),
    /// Calls.
    Requests(u64),
}

/// A period of the clock in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    /// The word in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

const PERIODS: [(&str, Period); 4] = [
    ("hour", Period::Hour),
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
];

/// All rules of a route.
pub(super) fn parse(
    written: Option<OneOrMany<QuotaFile>>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<Vec<Quota>> {
    rules::each(written, at, problems, QuotaFile::parse, |rule| &rule.name)
}

impl QuotaFile {
    fn parse(self, at: &KeyPath, nth: usize, problems: &mut Problems) -> Option<Quota> {
        let name = rules::name(self.name.as_deref(), nth, at, problems);
        let amount = amount(self.requests, self.bytes, at, problems);
        let per = period(self.per.as_deref(), at, problems);
        let key = self.key.unwrap_or_else(|| TextOr::Text("identity".to_owned()));
        let key = key::parse(Some(key), self.ipv6_prefix, at, problems);
        Some(Quota {
            name: name?,
            amount: amount?,
            per: per?,
            key: key?,
            fields: self.fields.unwrap_or(true),
            shared: self.shared.unwrap_or(true),
            dry_run: self.dry_run.unwrap_or(false),
        })
    }
}

/// `requests` or `bytes`.
pub(in crate::file) fn amount(
    requests: Option<i64>,
    bytes: Option<SizeText>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<QuotaAmount> {
    match (requests, bytes) {
        (Some(_), None) => {
            whole(requests, &at.key("requests"), 1..=1_000_000_000_000_000, problems).map(QuotaAmount::Requests)
        }
        (None, Some(bytes)) => bytes
            .parse(&at.key("bytes"), &(1..=1 << 60), problems)
            .map(QuotaAmount::Bytes),
        (Some(_), Some(_)) => {
            problems.add_hint(&at.key("bytes"), "stands beside `requests`", "write two rules");
            None
        }
        (None, None) => {
            if !problems.broken(&at.key("bytes")) {
                let hint = "write how much, e.g. `requests = 100000` or `bytes = \"10GiB\"`";
                problems.missing(&at.key("requests"), hint);
            }
            None
        }
    }
}

/// `per`.
pub(in crate::file) fn period(written: Option<&str>, at: &KeyPath, problems: &mut Problems) -> Option<Period> {
    match written {
        Some(word) => choice(word, &at.key("per"), &PERIODS, problems),
        None => {
            problems.missing(&at.key("per"), "write `hour`, `day`, `week` or `month`");
            None
        }
    }
}
