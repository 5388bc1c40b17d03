//! `[services.hedge]`, `[services.adaptive]`, and `priority` of a route.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{duration, whole};
use crate::model::{Adaptive, Hedge, HedgeAfter, Priority};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, Measure, PercentText};

/// `[services.hedge]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HedgeFile {
    /// How long an attempt is waited for alone: a time such as `50ms`, or a percentile of the service's recent replies such
    /// as `p95`, from `p50` to `p99`.
    #[schemars(extend("pattern" = "^(p[0-9]{2}|([0-9]+(ms|s|m|h))+)$"))]
    after: Option<String>,
    /// Attempts beside the first, 1 to 3. Default: 1.
    max: Option<i64>,
}

/// `[services.adaptive]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdaptiveFile {
    /// Calls under way that are always allowed, 1 to 1000000. Default: 10.
    min: Option<i64>,
    /// Calls under way that are allowed at most, and at first, 1 to 1000000. Default: 1000.
    max: Option<i64>,
    /// How much longer replies may take than at their best. Default: 50%.
    tolerance: Option<PercentText>,
    /// How often the limit is looked at. Default: 1s.
    window: Option<DurationText>,
}

/// The words for priorities.
pub(super) const PRIORITIES: [(&str, Priority); 3] = [
    ("high", Priority::High),
    ("normal", Priority::Normal),
    ("low", Priority::Low),
];

impl HedgeFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Hedge> {
        let max = whole(self.max.or(Some(1)), &at.key("max"), 1..=3, problems);
        let here = at.key("after");
        let Some(after) = self.after else {
            problems.missing(
                &here,
                "say how long to wait: a time such as `50ms`, or a percentile such as `p95`",
            );
            return None;
        };
        let percentile = after.strip_prefix('p').and_then(|digits| digits.parse::<u8>().ok());
        let after = match percentile {
            Some(percentile @ 50..=99) => HedgeAfter::Percentile(percentile),
            Some(_) => {
                problems.add_hint(
                    &here,
                    "must be between p50 and p99",
                    "write `p95` for the slowest of twenty",
                );
                return None;
            }
            None => {
                let range = Duration::from_millis(1)..=Duration::from_secs(60);
                let text = DurationText(Measure::Text(after));
                HedgeAfter::Time(text.parse(&here, &range, problems)?)
            }
        };
        Some(Hedge { after, max: max? })
    }
}

impl AdaptiveFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Adaptive> {
        let min: Option<u32> = whole(self.min.or(Some(10)), &at.key("min"), 1..=1_000_000, problems);
        let max: Option<u32> = whole(self.max.or(Some(1000)), &at.key("max"), 1..=1_000_000, problems);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            problems.add(&at.key("min"), "is greater than `max`");
        }
        let tolerance = match self.tolerance {
            Some(tolerance) => tolerance.parse(&at.key("tolerance"), problems),
            None => Some(50),
        };
        let window = self
            .window
            .unwrap_or_else(|| DurationText(Measure::Text("1s".to_owned())));
        let window = duration(Some(&window), &at.key("window"), 100..=60_000, problems);
        Some(Adaptive {
            min: min?,
            max: max?,
            tolerance: tolerance?.into(),
            window: window?,
        })
    }
}
