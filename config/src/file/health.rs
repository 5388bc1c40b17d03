//! `[services.health]` and `[services.outlier]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{all, choice, duration, is_host, optional, whole};
use crate::model::{CodeSet, Health, HealthCheck, Outlier, Start, StatusSet};
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::{DurationText, Measure, PercentText, brief};

/// `[services.health]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthFile {
    /// What is asked: a connection, an HTTP request, or `grpc.health.v1`.
    #[schemars(extend("enum" = ["tcp", "http", "grpc"]))]
    kind: Option<String>,
    /// The port to ask. Default: the endpoint's own.
    port: Option<i64>,
    /// From one check of an endpoint to the next. Default: 5s.
    interval: Option<DurationText>,
    /// What a check may take. Default: 2s.
    timeout: Option<DurationText>,
    /// Good checks in a row that make an endpoint healthy, 1 to 100. Default: 2.
    healthy_threshold: Option<i64>,
    /// Bad checks in a row that make it unhealthy, 1 to 100. Default: 3.
    unhealthy_threshold: Option<i64>,
    /// How much the interval is stretched at random. Default: 10%.
    jitter: Option<PercentText>,
    /// `http` only: the path. Default: `/`.
    path: Option<String>,
    /// `http` only: what is sent as `host`. Default: the service's `host`, or the endpoint's name.
    host: Option<String>,
    /// `http` only: statuses that mean healthy, e.g. `2xx`, `204`, `200-399`. Default: `2xx`.
    expect: Option<Vec<String>>,
    /// `grpc` only: the gRPC service to ask for. Default: the whole server.
    service: Option<String>,
    /// What a new endpoint is taken for before its first check. Default: `healthy`.
    #[schemars(extend("enum" = ["healthy", "unhealthy"]))]
    start: Option<String>,
}

/// `[services.outlier]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutlierFile {
    /// Failures in a row that eject an endpoint, 0 (never) to 10000. Default: 5.
    consecutive: Option<i64>,
    /// gRPC codes that are failures. Default: unavailable, internal, unknown, deadline-exceeded, data-loss.
    codes: Option<Vec<String>>,
    /// Share of failures in one interval that ejects. Default: not looked at.
    failure_percent: Option<PercentText>,
    /// Standard deviations below the mean share of successes that eject, 0.1 to 10.0. Default: not looked at.
    success_rate_deviation: Option<f64>,
    /// Calls in one interval below which shares are not looked at, 1 to 1000000. Default: 20.
    min_requests: Option<i64>,
    /// How often shares are looked at. Default: 10s.
    interval: Option<DurationText>,
    /// Length of the first ejection; each further one doubles it. Default: 30s.
    base_ejection: Option<DurationText>,
    /// Longest ejection. Default: 5m.
    max_ejection: Option<DurationText>,
    /// How many endpoints may be ejected at a time; one always may. Default: 50%.
    max_ejected_percent: Option<PercentText>,
}

impl HealthFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Health> {
        let port = optional(self.port, |port| {
            whole(Some(port), &at.key("port"), 1..=65_535, problems)
        });
        let seconds = |text: &str| DurationText(Measure::Text(text.to_owned()));
        let interval = self.interval.unwrap_or_else(|| seconds("5s"));
        let interval = duration(Some(&interval), &at.key("interval"), 100..=3_600_000, problems);
        let timeout = self.timeout.unwrap_or_else(|| seconds("2s"));
        let timeout = duration(Some(&timeout), &at.key("timeout"), 10..=60_000, problems);
        let mut threshold =
            |value: Option<i64>, key: &str, default| whole(value.or(Some(default)), &at.key(key), 1..=100, problems);
        let healthy = threshold(self.healthy_threshold, "healthy_threshold", 2);
        let unhealthy = threshold(self.unhealthy_threshold, "unhealthy_threshold", 3);
        let jitter = match self.jitter {
            Some(jitter) => jitter.parse(&at.key("jitter"), problems),
            None => Some(10),
        };
        let start = optional(self.start, |start| {
            let words = [("healthy", Start::Healthy), ("unhealthy", Start::Unhealthy)];
            choice(&start, &at.key("start"), &words, problems)
        });
        let kinds = [("tcp", "tcp"), ("http", "http"), ("grpc", "grpc")];
        let kind = match &self.kind {
            Some(kind) => choice(kind, &at.key("kind"), &kinds, problems),
            None => {
                problems.missing(&at.key("kind"), "say what is asked: `tcp`, `http` or `grpc`");
                None
            }
        };
        let strangers = [
            ("path", "http", self.path.is_some()),
            ("host", "http", self.host.is_some()),
            ("expect", "http", self.expect.is_some()),
            ("service", "grpc", self.service.is_some()),
        ];
        for (key, of, written) in strangers {
            if written && kind.is_some_and(|kind| kind != of) {
                problems.add_hint(&at.key(key), format!("belongs to `kind = \"{of}\"`"), "remove it");
            }
        }
        let check = match kind? {
            "tcp" => Some(HealthCheck::Tcp),
            "grpc" => grpc_service(self.service.unwrap_or_default(), &at.key("service"), problems),
            _ => http_check(self.path, self.host, self.expect, at, problems),
        };
        Some(Health {
            check: check?,
            port: port?,
            interval: interval?,
            timeout: timeout?,
            healthy: healthy?,
            unhealthy: unhealthy?,
            jitter: jitter?,
            start: start?.unwrap_or(Start::Healthy),
        })
    }
}

fn grpc_service(service: String, at: &KeyPath, problems: &mut Problems) -> Option<HealthCheck> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if service.len() > 255 || !service.chars().all(good) {
        problems.add_hint(
            at,
            format!("`{}` is not a gRPC service", brief(&service)),
            "write its full name, e.g. `shop.Orders`",
        );
        return None;
    }
    Some(HealthCheck::Grpc { service })
}

fn http_check(
    path: Option<String>,
    host: Option<String>,
    expect: Option<Vec<String>>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<HealthCheck> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let good = path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !good {
        let hint = "write a path such as `/healthz`, percent-encoded where it must be";
        problems.add_hint(&at.key("path"), format!("`{}` is not a path", brief(&path)), hint);
    }
    let host = optional(host, |host| {
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        if is_host(&name.to_ascii_lowercase()) {
            return Some(host);
        }
        problems.add(&at.key("host"), format!("`{}` is not a host", brief(&host)));
        None
    });
    let here = at.key("expect");
    let expect = expect.unwrap_or_else(|| vec!["2xx".to_owned()]);
    if expect.is_empty() {
        problems.add_hint(&here, "is empty", "remove it for `2xx`");
    }
    let ranges = all(Some(expect), &here, |text, at| {
        let range = statuses(&text);
        if range.is_none() {
            let hint = "write a status such as `204`, a class such as `2xx`, or a range such as `200-399`";
            problems.add_hint(at, format!("`{}` is no HTTP status", brief(&text)), hint);
        }
        range
    });
    let expect = ranges?
        .into_iter()
        .fold(StatusSet::default(), |set, (first, last)| set.with(first, last));
    (good && !expect.is_empty()).then_some(HealthCheck::Http {
        path,
        host: host?,
        expect,
    })
}

/// `204`, `2xx` or `200-399` as the first and the last status.
pub(super) fn statuses(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| -> Option<u16> {
        let plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let (first, last) = match (text.strip_suffix("xx"), text.split_once('-')) {
        (Some(class), _) => {
            let class: u16 = class.parse().ok().filter(|_| class.len() == 1)?;
            (class * 100, class * 100 + 99)
        }
        (None, Some((first, last))) => (number(first)?, number(last)?),
        (None, None) => (number(text)?, number(text)?),
    };
    ((100..600).contains(&first) && (first..600).contains(&last)).then_some((first, last))
}

/// The words for gRPC status codes, by their number.
pub(super) const CODES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// The number of a code by its word, in either spelling.
pub(super) fn code(text: &str) -> Option<u8> {
    let word = text.to_ascii_lowercase().replace('_', "-");
    let at = CODES.iter().position(|code| *code == word)?;
    u8::try_from(at).ok()
}

impl OutlierFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Outlier> {
        let consecutive = whole(
            self.consecutive.or(Some(5)),
            &at.key("consecutive"),
            0..=10_000,
            problems,
        );
        let default = ["unavailable", "internal", "unknown", "deadline-exceeded", "data-loss"];
        let codes = self.codes.unwrap_or_else(|| default.map(str::to_owned).to_vec());
        let codes = all(Some(codes), &at.key("codes"), |text, at| {
            let code = code(&text).filter(|code| *code != 0);
            if code.is_none() {
                let hint = did_you_mean(&text, CODES.iter().skip(1).copied())
                    .unwrap_or_else(|| "write one such as `unavailable`".to_owned());
                problems.add_hint(at, format!("`{}` is no gRPC error", brief(&text)), hint);
            }
            code
        });
        let failure_percent = optional(self.failure_percent, |percent| {
            percent.parse(&at.key("failure_percent"), problems)
        });
        let deviation = optional(self.success_rate_deviation, |deviation| {
            if (0.1..=10.0).contains(&deviation) {
                return Some((deviation * 10.0).round() as u8);
            }
            problems.add_hint(
                &at.key("success_rate_deviation"),
                "must be between 0.1 and 10.0",
                "write `1.9` to eject the worst few of a hundred",
            );
            None
        });
        let min_requests = whole(
            self.min_requests.or(Some(20)),
            &at.key("min_requests"),
            1..=1_000_000,
            problems,
        );
        let mut time = |value: Option<DurationText>, key: &str, default: &str| {
            let value = value.unwrap_or_else(|| DurationText(Measure::Text(default.to_owned())));
            duration(Some(&value), &at.key(key), 100..=86_400_000, problems)
        };
        let interval = time(self.interval, "interval", "10s");
        let base_ejection = time(self.base_ejection, "base_ejection", "30s");
        let max_ejection = time(self.max_ejection, "max_ejection", "5m");
        if let (Some(base), Some(max)) = (base_ejection, max_ejection)
            && base > max
        {
            problems.add(&at.key("base_ejection"), "is longer than `max_ejection`");
        }
        let max_ejected_percent = match self.max_ejected_percent {
            Some(percent) => percent.parse(&at.key("max_ejected_percent"), problems),
            None => Some(50),
        };
        Some(Outlier {
            consecutive: consecutive?,
            codes: codes?.into_iter().fold(CodeSet::default(), CodeSet::with),
            failure_percent: failure_percent?,
            success_rate_deviation: deviation?,
            min_requests: min_requests?,
            interval: interval?,
            base_ejection: base_ejection?,
            max_ejection: max_ejection?,
            max_ejected_percent: max_ejected_percent?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_classes_or_ranges() {
        #[rustfmt::skip]
        let table = [
            ("204", Some((204, 204))), ("2xx", Some((200, 299))), ("200-399", Some((200, 399))), ("5xx", Some((500, 599))),
            ("0xx", None), ("6xx", None), ("20", None), ("2000", None), ("399-200", None), ("200-", None), ("-200", None), ("xx", None),
            ("+20", None), ("200-600", None), ("", None), ("22xx", None),
        ];
        for (text, range) in table {
            assert_eq!(statuses(text), range, "{text}");
        }
    }

    #[test]
    fn codes_are_known_in_both_spellings() {
        assert_eq!(code("unavailable"), Some(14));
        assert_eq!(code("DEADLINE_EXCEEDED"), Some(4));
        assert_eq!(code("sideways"), None);
    }
}
