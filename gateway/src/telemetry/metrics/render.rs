//! Metrics as text: Prometheus 0.0.4, and OpenMetrics 1.0 for those who ask for it.

use std::fmt::Write;

use super::registry::{FamilyState, Kind, Sample};

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What an `Accept` field asks for: OpenMetrics where it is named and liked at least as much as plain text.
    pub fn of_accept(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0f32, 0.0f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let mut quality = 1.0f32;
            let mut version = None;
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.trim().parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            match media {
                "application/openmetrics-text" if matches!(version, None | Some("0.0.1" | "1.0.0")) => {
                    open = open.max(quality);
                }
                "text/plain" => plain = plain.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The `Content-Type` of the text.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes one family. Writing to a string does not fail.
pub(super) fn family(text: &mut String, format: Format, family: &FamilyState, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    let name = family.name;
    // OpenMetrics: the suffix is the sample's, not the family's.
    let shown = match format {
        Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        Format::Prometheus => name,
    };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Level => "gauge",
        Kind::Histogram => "histogram",
    };
    text.push_str("# HELP ");
    text.push_str(shown);
    text.push(' ');
    escape(text, family.help, format == Format::OpenMetrics);
    let _ = writeln!(text, "\n# TYPE {shown} {kind}");
    for (values, series) in samples {
        let labels = |text: &mut String, le: Option<f64>| {
            let own = family.labels.iter().copied().zip(values.iter());
            let mut between = '{';
            for (label, value) in own {
                text.push(between);
                text.push_str(label);
                text.push_str("=\"");
                escape(text, value, true);
                text.push('"');
                between = ',';
            }
            if let Some(le) = le {
                text.push(between);
                text.push_str("le=\"");
                float(text, le);
                text.push('"');
                between = ',';
            }
            if between == ',' {
                text.push('}');
            }
            text.push(' ');
        };
        match family.kind {
            Kind::Counter => {
                text.push_str(name);
                labels(text, None);
                let _ = writeln!(text, "{}", series.cells.sum(series.first));
            }
            Kind::Level => {
                text.push_str(name);
                labels(text, None);
                let _ = writeln!(text, "{}", series.cells.sum(series.first) as i64);
            }
            Kind::Gauge => {
                text.push_str(name);
                labels(text, None);
                float(text, series.value());
                text.push('\n');
            }
            Kind::Histogram => {
                let mut count = 0u64;
                let bounds = series.bounds.iter().map(|bound| *bound as f64 * family.scale.unit);
                for (at, (bound, bucket)) in bounds.chain([f64::INFINITY]).zip(series.buckets()).enumerate() {
                    count += bucket;
                    let _ = write!(text, "{name}_bucket");
                    labels(text, Some(bound));
                    let _ = write!(text, "{count}");
                    if format == Format::OpenMetrics {
                        let value = |text: &mut String, value: u64| float(text, value as f64 * family.scale.unit);
                        series.exemplars.write(text, at, value);
                    }
                    text.push('\n');
                }
                let _ = write!(text, "{name}_sum");
                labels(text, None);
                let sum = series.cells.sum(series.first + series.bounds.len() as u32 + 1);
                float(text, sum as f64 * family.scale.unit);
                let _ = write!(text, "\n{name}_count");
                labels(text, None);
                let _ = writeln!(text, "{count}");
            }
        }
    }
}

/// What stands at the end of the whole text.
pub(super) fn end(text: &mut String, format: Format) {
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
}

/// Backslash, line feed and, in label values and OpenMetrics, the double quote.
fn escape(text: &mut String, value: &str, quotes: bool) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// Shortest form that reads back the same, always with a point, so that `le` is the same text in both formats.
fn float(text: &mut String, value: f64) {
    if value == f64::INFINITY {
        text.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        text.push_str("-Inf");
    } else if value.is_nan() {
        text.push_str("NaN");
    } else {
        // Nine digits: the sums and bounds are whole nanoseconds, and 0.005 must not become 0.005000000000000001.
        let start = text.len();
        let _ = write!(text, "{value:.9}");
        while text.ends_with('0') && !text[start..].ends_with(".0") {
            text.pop();
        }
    }
}
