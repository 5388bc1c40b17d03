//! `[routes.mirror]`: calls that are sent to a second service, too, and how the answers are compared.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::Known;
use crate::file::destination::service_ref;
use crate::file::value::{all, choice, optional, whole};
use crate::model::ServiceRef;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, PercentText, brief};

/// `[routes.mirror]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets the copies.
    pub to: ServiceRef,
    /// Share of the calls that is copied, in percent. Default 100.
    pub percent: u8,
    /// Copies under way in this gateway; more are dropped and counted. Default 64.
    pub calls: usize,
    /// How long a copy may take. Default 5 s.
    pub timeout: Duration,
    /// How the answers are compared; none: not at all.
    pub compare: Option<Compare>,
}

/// `compare = {...}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Fields of the reply that must be the same, in lower case.
    pub headers: Vec<String>,
    /// What of the bodies must be the same. Default: JSON.
    pub body: CompareBody,
    /// JSON pointers (RFC 6901) of what may differ; `*` stands for any one name or place.
    pub ignore: Vec<String>,
    /// Whether samples show values. Default: only where they differ.
    pub values: bool,
}

/// What of two bodies is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareBody {
    /// Their bytes.
    Bytes,
    /// What they say as JSON; their bytes where one is none.
    Json,
    /// Nothing.
    Nothing,
}

/// `[routes.mirror]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct MirrorFile {
    /// Who gets the copies: `orders-v2`, or `orders-v2@azure`.
    to: Option<String>,
    /// Share of the calls that is copied.
    percent: Option<PercentText>,
    /// Copies under way in this gateway.
    calls: Option<i64>,
    /// How long a copy may take.
    timeout: Option<DurationText>,
    /// How the answers are compared; `{}` for status and JSON bodies.
    compare: Option<CompareFile>,
}

/// `compare = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompareFile {
    /// Fields of the reply that must be the same.
    headers: Option<Vec<String>>,
    /// `json`, `bytes` or `none`.
    #[schemars(extend("enum" = ["json", "bytes", "none"]))]
    body: Option<String>,
    /// JSON pointers of what may differ, e.g. `/items/*/updated`.
    ignore: Option<Vec<String>>,
    /// Whether samples show values.
    values: Option<bool>,
}

impl MirrorFile {
    pub(in crate::file) fn parse(self, at: &KeyPath, known: &Known, problems: &mut Problems) -> Option<Mirror> {
        let to = match self.to {
            Some(text) => service_ref(&text, &at.key("to"), known, problems),
            None => {
                problems.missing(&at.key("to"), "name a service, e.g. `orders-v2` or `orders-v2@azure`");
                None
            }
        };
        let percent = match self.percent {
            Some(percent) => percent.parse(&at.key("percent"), problems),
            None => Some(100),
        };
        let calls = whole(self.calls.or(Some(64)), &at.key("calls"), 1..=100_000, problems);
        let range = Duration::from_millis(10)..=Duration::from_secs(600);
        let timeout = optional(self.timeout, |timeout| {
            timeout.parse(&at.key("timeout"), &range, problems)
        });
        let compare = optional(self.compare, |compare| compare.parse(&at.key("compare"), problems));
        Some(Mirror {
            to: to?,
            percent: percent?,
            calls: calls?,
            timeout: timeout?.unwrap_or(Duration::from_secs(5)),
            compare: compare?,
        })
    }
}

impl CompareFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Compare> {
        let headers = all(
            self.headers,
            &at.key("headers"),
            |name, at| match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Some(name.as_str().to_owned()),
                Err(_) => {
                    problems.add(at, format!("`{}` is not a header name", brief(&name)));
                    None
                }
            },
        );
        let words = [
            ("json", CompareBody::Json),
            ("bytes", CompareBody::Bytes),
            ("none", CompareBody::Nothing),
        ];
        let body = match &self.body {
            Some(text) => choice(text, &at.key("body"), &words, problems),
            None => Some(CompareBody::Json),
        };
        let ignore = all(self.ignore, &at.key("ignore"), |pointer, at| {
            if pointer.starts_with('/') {
                return Some(pointer);
            }
            let hint = "write a JSON pointer, e.g. `/items/*/updated`";
            problems.add_hint(at, format!("`{}` is not a path", brief(&pointer)), hint);
            None
        });
        Some(Compare {
            headers: headers?,
            body: body?,
            ignore: ignore?,
            values: self.values.unwrap_or(false),
        })
    }
}
