//! Durations, sizes and shares as people write them: `250ms`, `64KiB`, `20%`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

use crate::path::KeyPath;
use crate::problems::Problems;

/// Something with a unit, as written; it is understood later, so that all mistakes are told at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Measure {
    /// A number without a unit.
    Bare(f64),
    /// Anything in quotes.
    Text(String),
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Measures;

        impl Visitor<'_> for Measures {
            type Value = Measure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with a unit in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Measure, E> {
                Ok(Measure::Text(text.to_owned()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Measure, E> {
                Ok(Measure::Bare(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Measure, E> {
                Ok(Measure::Bare(number as f64))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Measure, E> {
                Ok(Measure::Bare(number as f64))
            }
        }

        deserializer.deserialize_any(Measures)
    }
}

macro_rules! measure {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) Measure);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

measure!(
    /// A duration such as `250ms`.
    DurationText,
    { "type": "string", "format": "duration", "pattern": "^([0-9]+(ms|s|m|h))+$" }
);
measure!(
    /// A size such as `64KiB`; a bare number counts bytes.
    SizeText,
    { "type": ["string", "integer"], "format": "size", "pattern": "^[0-9]+ ?([kKMG]i?)?B?$", "minimum": 0 }
);
measure!(
    /// A share such as `20%`; a bare number counts percent.
    PercentText,
    { "type": ["string", "integer"], "format": "percent", "pattern": "^[0-9]+%$", "minimum": 0, "maximum": 100 }
);

measure!(
    /// A number in a span of time such as `100/1s`.
    RateText,
    { "type": "string", "format": "rate", "pattern": "^[0-9]+ ?([kKMG]i?)?B?/([0-9]+(ms|s|m|h)|ms|s|m|h)$" }
);

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, or how many bytes.
    pub amount: NonZeroU64,
    /// In how long; not zero.
    pub per: Duration,
}

impl RateText {
    /// The rate of whole things, if it is one of at most `most` in at most `longest`.
    pub(crate) fn parse(&self, at: &KeyPath, most: u64, longest: Duration, problems: &mut Problems) -> Option<Rate> {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())?
        };
        self.parse_with(plain, "`100/1s`", at, most, longest, problems)
    }

    /// The rate of bytes, if it is one of at most `most` bytes in at most `longest`.
    pub(crate) fn parse_bytes(
        &self,
        at: &KeyPath,
        most: u64,
        longest: Duration,
        problems: &mut Problems,
    ) -> Option<Rate> {
        self.parse_with(size, "`1MiB/1s`", at, most, longest, problems)
    }

    fn parse_with(
        &self,
        amount: impl Fn(&str) -> Option<u64>,
        example: &str,
        at: &KeyPath,
        most: u64,
        longest: Duration,
        problems: &mut Problems,
    ) -> Option<Rate> {
        let hint = || format!("write how many in how long, such as {example}");
        let Measure::Text(text) = &self.0 else {
            problems.add_hint(at, "a rate needs a span of time", hint());
            return None;
        };
        let read = text.split_once('/').and_then(|(count, per)| {
            let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
                duration(per)?
            } else {
                duration(&format!("1{per}"))?
            };
            Some((amount(count)?, per))
        });
        let Some((amount, per)) = read else {
            problems.add_hint(at, format!("`{}` is not a rate", brief(text)), hint());
            return None;
        };
        let fits = amount <= most && per <= longest && !per.is_zero();
        match NonZeroU64::new(amount).filter(|_| fits) {
            Some(amount) => Some(Rate { amount, per }),
            None => {
                let least = shown(Duration::from_millis(1));
                let longest = shown(longest);
                problems.add(at, format!("must be 1 to {most} in {least} to {longest}"));
                None
            }
        }
    }
}

impl DurationText {
    /// The duration, if it is one within `range`.
    pub(crate) fn parse(
        &self,
        at: &KeyPath,
        range: &RangeInclusive<Duration>,
        problems: &mut Problems,
    ) -> Option<Duration> {
        let duration = match &self.0 {
            Measure::Bare(number) => {
                problems.add_hint(
                    at,
                    "a duration needs a unit",
                    format!("write `\"{number}s\"` for seconds, or `ms`, `m`, `h`"),
                );
                return None;
            }
            Measure::Text(text) => match duration(text) {
                Some(duration) => duration,
                None => {
                    problems.add_hint(
                        at,
                        format!("`{}` is not a duration", brief(text)),
                        "write a number and a unit, such as `250ms`, `10s`, `5m` or `1h`",
                    );
                    return None;
                }
            },
        };
        if !range.contains(&duration) {
            problems.add(
                at,
                format!("must be between {} and {}", shown(*range.start()), shown(*range.end())),
            );
            return None;
        }
        Some(duration)
    }

    /// Whether it says `0s` in some unit.
    pub(crate) fn is_zero(&self) -> bool {
        matches!(&self.0, Measure::Text(text) if duration(text) == Some(Duration::ZERO))
    }
}

impl SizeText {
    /// The number of bytes, if it is within `range`.
    pub(crate) fn parse(&self, at: &KeyPath, range: &RangeInclusive<u64>, problems: &mut Problems) -> Option<u64> {
        let bytes = match &self.0 {
            Measure::Bare(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => Some(*number as u64),
            Measure::Bare(_) => None,
            Measure::Text(text) => size(text),
        };
        let Some(bytes) = bytes else {
            problems.add_hint(
                at,
                "is not a size",
                "write a number and a unit, such as `64KiB`, `10MiB` or `1GB`",
            );
            return None;
        };
        if !range.contains(&bytes) {
            problems.add(
                at,
                format!(
                    "must be between {} and {}",
                    shown_size(*range.start()),
                    shown_size(*range.end())
                ),
            );
            return None;
        }
        Some(bytes)
    }
}

impl PercentText {
    /// The share in whole percent, 0 to 100.
    pub(crate) fn parse(&self, at: &KeyPath, problems: &mut Problems) -> Option<u8> {
        let percent = match &self.0 {
            Measure::Bare(number) if number.fract() == 0.0 => Some(*number),
            Measure::Bare(_) => None,
            Measure::Text(text) => percent(text).filter(|number| number.fract() == 0.0),
        };
        match percent {
            Some(percent) if (0.0..=100.0).contains(&percent) => Some(percent as u8),
            _ => {
                problems.add_hint(
                    at,
                    "must be a whole number from 0 to 100",
                    "write `20` or `\"20%\"` for one in five",
                );
                None
            }
        }
    }
}

/// `"20%"` as 20.
pub(crate) fn percent(text: &str) -> Option<f64> {
    let digits = text.strip_suffix('%')?.trim_end();
    digits
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// `250ms`, `10s`, `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        if tail.is_empty() {
            return Some(total);
        }
        rest = tail;
    }
}

/// `64KiB`, `10 MB`, `512`.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration in its largest whole unit.
pub(crate) fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if !millis.is_multiple_of(1000) => format!("{millis}ms"),
        _ if !millis.is_multiple_of(60_000) => format!("{}s", millis / 1000),
        _ if !millis.is_multiple_of(3_600_000) => format!("{}m", millis / 60_000),
        _ => format!("{}h", millis / 3_600_000),
    }
}

/// A size in its largest whole unit.
pub(crate) fn shown_size(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if !bytes.is_multiple_of(1 << 10) => format!("{bytes}B"),
        _ if !bytes.is_multiple_of(1 << 20) => format!("{}KiB", bytes >> 10),
        _ if !bytes.is_multiple_of(1 << 30) => format!("{}MiB", bytes >> 20),
        _ => format!("{}GiB", bytes >> 30),
    }
}

/// `text`, cut where it would fill the screen.
pub(crate) fn brief(text: &str) -> String {
    let escaped: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        format!("{escaped}..")
    } else {
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        let table = [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
            ("1s2", None),
            ("ä", None),
        ];
        for (text, millis) in table {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
        let table = [
            ("64KiB", Some(65_536)),
            ("10MiB", Some(10 << 20)),
            ("1GB", Some(1_000_000_000)),
            ("1 kB", Some(1000)),
            ("12", Some(12)),
            ("12B", Some(12)),
            ("", None),
            ("KiB", None),
            ("1kib", None),
            ("-1", None),
            ("99999999999GiB", None),
            ("1.5MiB", None),
        ];
        for (text, bytes) in table {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for millis in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let value = Duration::from_millis(millis);
            assert_eq!(duration(&shown(value)), Some(value));
        }
        for bytes in [0, 1, 1000, 1024, 1 << 20, 3 << 20, 1 << 30] {
            assert_eq!(size(&shown_size(bytes)), Some(bytes));
        }
    }
}
