//! `[routes.concurrency]`: how many calls may be open at once.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::key::{self, KeyFile, LimitKey};
use super::rules;
use crate::file::value::{OneOrMany, whole};
use crate::model::Name;
use crate::path::KeyPath;
use crate::problems::Problems;

/// `[routes.concurrency]` as written: one rule, or `[[routes.concurrency]]` for several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct ConcurrencyFile {
    /// Name of the rule. Default: `default`, with a number from the second rule on.
    name: Option<String>,
    /// Calls that may be open at once, 1 to 1000000.
    calls: Option<i64>,
    /// What is counted together, as for `rate_limit`. Default: `address`.
    key: Option<KeyFile>,
    /// Bits of an IPv6 address that count, 32 to 128. Default: 64.
    ipv6_prefix: Option<i64>,
    /// Count and log what would be refused, and refuse nothing. Default: false.
    dry_run: Option<bool>,
}

/// A count of open calls for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Different from those of the other rules of the route.
    pub name: Name,
    /// So many may be open.
    pub calls: NonZeroU32,
    /// What is counted together.
    pub key: LimitKey,
    /// Whether nothing is refused.
    pub dry_run: bool,
}

/// All rules of a route.
pub(in crate::file) fn parse(
    written: Option<OneOrMany<ConcurrencyFile>>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<Vec<Concurrency>> {
    rules::each(written, at, problems, ConcurrencyFile::parse, |rule| &rule.name)
}

impl ConcurrencyFile {
    fn parse(self, at: &KeyPath, nth: usize, problems: &mut Problems) -> Option<Concurrency> {
        let name = rules::name(self.name.as_deref(), nth, at, problems);
        let calls = match self.calls {
            Some(_) => whole(self.calls, &at.key("calls"), 1..=1_000_000, problems),
            None => {
                problems.missing(
                    &at.key("calls"),
                    "write how many calls may be open at once, e.g. `calls = 10`",
                );
                None
            }
        };
        let key = key::parse(self.key, self.ipv6_prefix, at, problems);
        Some(Concurrency {
            name: name?,
            calls: NonZeroU32::new(calls?)?,
            key: key?,
            dry_run: self.dry_run.unwrap_or(false),
        })
    }
}
