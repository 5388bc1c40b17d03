//! Medians over the rounds: one result for each case and system.

use serde::Serialize;

use crate::cases::Case;
use crate::load::{IdleCost, Outcome};
use crate::systems::System;

/// One run's figures; those that a case does not have are absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) req_per_cpu_s: Option<f64>,
    pub(crate) user_us: Option<f64>,
    pub(crate) system_us: Option<f64>,
    pub(crate) rps: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    pub(crate) alone_p50_us: Option<f64>,
    pub(crate) rss_mib: Option<f64>,
    pub(crate) kib_per_idle: Option<f64>,
    pub(crate) idle: Option<f64>,
    pub(crate) failures: u64,
    pub(crate) failure: Option<String>,
}

impl From<Outcome> for Sample {
    fn from(outcome: Outcome) -> Self {
        let requests = outcome.requests as f64;
        let cpu = outcome.user + outcome.system;
        let some = |value: f64| value.is_finite().then_some(value);
        // Nothing within the window is a failure, not a fast system.
        let stalled = outcome.requests == 0;
        let stall = stalled.then(|| "nothing ended within the window".to_owned());
        Self {
            req_per_cpu_s: some(requests / cpu),
            user_us: some(outcome.user * 1e6 / requests),
            system_us: some(outcome.system * 1e6 / requests),
            rps: some(requests / outcome.seconds),
            p50_us: outcome.latency.quantile_us(0.5),
            p99_us: outcome.latency.quantile_us(0.99),
            p999_us: outcome.latency.quantile_us(0.999),
            alone_p50_us: outcome.alone.and_then(|alone| alone.quantile_us(0.5)),
            rss_mib: Some(outcome.rss_kib as f64 / 1024.0),
            kib_per_idle: None,
            idle: None,
            failures: outcome.failures + u64::from(stalled),
            failure: outcome.first_failure.or(stall),
        }
    }
}

impl From<IdleCost> for Sample {
    fn from(cost: IdleCost) -> Self {
        Self {
            rss_mib: Some(cost.rss_kib as f64 / 1024.0),
            kib_per_idle: Some(cost.kib_per_connection),
            idle: Some(cost.connections as f64),
            failures: cost.failures,
            failure: cost.first_failure,
            ..Self::default()
        }
    }
}

impl Sample {
    /// A run that did not come to figures.
    pub(crate) fn failed(why: String) -> Self {
        Self {
            failures: 1,
            failure: Some(why),
            ..Self::default()
        }
    }
}

/// Medians of a case on a system, as in the JSON file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(serialize_with = "case_name")]
    pub(crate) case: Case,
    #[serde(serialize_with = "system_name")]
    pub(crate) system: System,
    pub(crate) version: String,
    pub(crate) req_per_cpu_s: Option<f64>,
    pub(crate) user_us: Option<f64>,
    pub(crate) system_us: Option<f64>,
    pub(crate) rps: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    pub(crate) alone_p50_us: Option<f64>,
    pub(crate) rss_mib: Option<f64>,
    pub(crate) kib_per_idle: Option<f64>,
    /// Idle connections that were open.
    pub(crate) idle: Option<f64>,
    /// Over all rounds.
    pub(crate) failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

impl Summary {
    /// Sums up the rounds of one case on one system.
    pub(crate) fn of(case: Case, system: System, version: &str, samples: &[Sample]) -> Self {
        let middle = |field: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(field).collect());
        Self {
            case,
            system,
            version: version.to_owned(),
            req_per_cpu_s: middle(|sample| sample.req_per_cpu_s),
            user_us: middle(|sample| sample.user_us),
            system_us: middle(|sample| sample.system_us),
            rps: middle(|sample| sample.rps),
            p50_us: middle(|sample| sample.p50_us),
            p99_us: middle(|sample| sample.p99_us),
            p999_us: middle(|sample| sample.p999_us),
            alone_p50_us: middle(|sample| sample.alone_p50_us),
            rss_mib: middle(|sample| sample.rss_mib),
            kib_per_idle: middle(|sample| sample.kib_per_idle),
            idle: middle(|sample| sample.idle),
            failures: samples.iter().map(|sample| sample.failures).sum(),
            failure: samples.iter().find_map(|sample| sample.failure.clone()),
        }
    }

    /// How many times better `ours` is than this in what the case is about; above 1 is better.
    pub(crate) fn lead(&self, ours: &Self) -> Option<f64> {
        let lead = match (
            ours.req_per_cpu_s,
            self.req_per_cpu_s,
            ours.kib_per_idle,
            self.kib_per_idle,
        ) {
            (Some(ours), Some(theirs), _, _) => ours / theirs,
            (_, _, Some(ours), Some(theirs)) => theirs / ours,
            _ => return None,
        };
        lead.is_finite().then_some(lead)
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(high);
    }
    Some((values.get(values.len() / 2 - 1)? + high) / 2.0)
}

fn case_name<S: serde::Serializer>(case: &Case, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&case.name())
}

fn system_name<S: serde::Serializer>(system: &System, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&system.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_do_not_follow_one_odd_round() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 2.0, 100.0], Some(3.0)),
        ] {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_lead_above_one_means_more_work_per_cpu_second_or_less_memory() {
        let summary = |rate: Option<f64>, kib: Option<f64>| {
            let sample = Sample {
                req_per_cpu_s: rate,
                kib_per_idle: kib,
                ..Sample::default()
            };
            Summary::of(Case::Http1, System::Nginx, "1", &[sample])
        };
        assert_eq!(summary(Some(10.0), None).lead(&summary(Some(15.0), None)), Some(1.5));
        assert_eq!(summary(None, Some(6.0)).lead(&summary(None, Some(2.0))), Some(3.0));
        assert_eq!(summary(None, None).lead(&summary(Some(1.0), None)), None);
        assert_eq!(summary(None, Some(6.0)).lead(&summary(None, Some(0.0))), None);
    }

    #[test]
    fn failures_of_all_rounds_add_up_and_the_first_is_told() {
        let rounds = [
            Sample::default(),
            Sample::failed("no".into()),
            Sample::failed("never".into()),
        ];
        let summary = Summary::of(Case::Ws, System::Envoy, "1.2", &rounds);
        assert_eq!((summary.failures, summary.failure.as_deref()), (2, Some("no")));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(
            (json["case"].as_str(), json["system"].as_str()),
            (Some("ws"), Some("envoy"))
        );
        for key in [
            "version",
            "req_per_cpu_s",
            "rps",
            "p50_us",
            "p99_us",
            "rss_mib",
            "kib_per_idle",
            "failures",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
