//! Where a route leads: `to`, `redirect`, `fixed`; and the templates of rewrites and redirects.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Known;
use super::endpoints::MAX_WEIGHT;
use super::policies::CanaryFile;
use super::services::peer;
use super::value::{LongForm, TextOr, all, is_name, optional, whole};
use crate::model::{Destination, Match, PathMatch, Segment, ServiceRef, WeightedTarget};
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::{brief, shown_size};

/// Bytes of a fixed answer.
const BODY: usize = 64 << 10;
/// Services of one route.
const TARGETS: usize = 64;

/// `to` as written.
pub(super) type ToFile = TextOr<Vec<TextOr<TargetFile>>>;

/// `{ service = "orders", weight = 90 }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetFile {
    /// `orders`, or `orders@azure` for a peer's.
    service: Option<String>,
    /// Share relative to the others of its tier, 0 to 1000000. Default: 1.
    weight: Option<i64>,
    /// Tier, 0 to 65535: a call goes to the lowest that can take it. Default: 0.
    priority: Option<i64>,
    /// Who goes there whatever the weights.
    canary: Option<CanaryFile>,
}

impl LongForm for TargetFile {}

/// `redirect = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedirectFile {
    /// 301, 302, 303, 307 or 308. Default: 308.
    status: Option<i64>,
    /// Absolute URL or path; captures, `{path}`, `{query}` and `{host}` are filled in.
    location: Option<String>,
}

/// `fixed = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FixedFile {
    /// 200 to 599. Default: 200.
    status: Option<i64>,
    /// Header fields.
    headers: Option<BTreeMap<String, String>>,
    /// Body text, at most 64 KiB. Default: none.
    body: Option<String>,
}

/// `to` with every name known.
pub(super) fn to(to: ToFile, at: &KeyPath, known: &Known, problems: &mut Problems) -> Option<Destination> {
    let list = match to {
        TextOr::Text(text) => {
            let service = service_ref(&text, at, known, problems)?;
            return Some(Destination::Split(vec![WeightedTarget {
                service,
                weight: 1,
                priority: 0,
                canary: None,
            }]));
        }
        TextOr::Long(list) => list,
    };
    if list.is_empty() || list.len() > TARGETS {
        problems.add(at, format!("must have 1 to {TARGETS} services"));
        return None;
    }
    let targets = all(Some(list), at, |target, at| match target {
        TextOr::Text(text) => Some(WeightedTarget {
            service: service_ref(&text, at, known, problems)?,
            weight: 1,
            priority: 0,
            canary: None,
        }),
        TextOr::Long(target) => {
            let weight = whole(target.weight.or(Some(1)), &at.key("weight"), 0..=MAX_WEIGHT, problems);
            let priority = whole(target.priority.or(Some(0)), &at.key("priority"), 0..=65_535, problems);
            let service = match target.service {
                Some(text) => service_ref(&text, &at.key("service"), known, problems),
                None => {
                    problems.missing(&at.key("service"), "name a service, e.g. `orders` or `orders@azure`");
                    None
                }
            };
            let canary = optional(target.canary, |canary| canary.parse(&at.key("canary"), problems));
            Some(WeightedTarget {
                service: service?,
                weight: weight?,
                priority: priority?,
                canary: canary?,
            })
        }
    })?;
    if targets.iter().all(|target| target.weight == 0) {
        problems.add_hint(at, "all weights are 0", "give at least one service a weight above 0");
        return None;
    }
    Some(Destination::Split(targets))
}

/// `orders` or `orders@azure`.
pub(super) fn service_ref(text: &str, at: &KeyPath, known: &Known, problems: &mut Problems) -> Option<ServiceRef> {
    let Some((service, site)) = text.split_once('@') else {
        if known.services.contains(text) {
            return Some(ServiceRef {
                service: text.into(),
                site: None,
            });
        }
        let hint = did_you_mean(text, known.services.iter().map(String::as_str))
            .unwrap_or_else(|| "add it under `[[services]]`, or write `name@site` for a peer's".to_owned());
        problems.add_hint(at, format!("no service named `{}`", brief(text)), hint);
        return None;
    };
    if !is_name(service) {
        problems.add_hint(
            at,
            format!("`{}` is not a service of a site", brief(text)),
            "write `name@site`, e.g. `orders@azure`",
        );
        return None;
    }
    if known.site.as_deref() == Some(site) {
        problems.add_hint(
            at,
            format!("`{}` is this site", brief(site)),
            format!("write `{service}`"),
        );
        return None;
    }
    peer(site, at, known, problems).then(|| ServiceRef {
        service: service.into(),
        site: Some(site.into()),
    })
}

impl RedirectFile {
    pub(super) fn parse(self, at: &KeyPath, matches: Option<&Match>, problems: &mut Problems) -> Option<Destination> {
        let status = match self.status.unwrap_or(308) {
            status @ (301 | 302 | 303 | 307 | 308) => u16::try_from(status).ok(),
            _ => {
                problems.add(&at.key("status"), "must be 301, 302, 303, 307 or 308");
                None
            }
        };
        let at = at.key("location");
        let Some(location) = self.location else {
            problems.missing(&at, "say where to, e.g. `https://www.acme.example{path}`");
            return None;
        };
        let absolute = ["https://", "http://"]
            .iter()
            .find_map(|scheme| location.strip_prefix(scheme));
        let host = absolute.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        // `//host` would leave the site without saying so.
        let local = location.starts_with('/') && !location.starts_with("//");
        if !(local || host.is_some_and(|host| !host.is_empty() && !host.contains('@'))) {
            let hint = "write a path, or a URL such as `https://www.acme.example{path}`";
            problems.add_hint(
                &at,
                format!("`{}` is neither a path nor an http URL", brief(&location)),
                hint,
            );
            return None;
        }
        template(&location, matches, &["host", "path", "query"], &at, problems)?;
        Some(Destination::Redirect {
            status: status?,
            location,
        })
    }
}

impl FixedFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Destination> {
        let status: Option<u16> = whole(self.status.or(Some(200)), &at.key("status"), 200..=599, problems);
        let body = self.body.unwrap_or_default();
        if body.len() > BODY {
            problems.add(&at.key("body"), format!("is longer than {}", shown_size(BODY as u64)));
        }
        if matches!(status, Some(204 | 205 | 304)) && !body.is_empty() {
            problems.add(&at.key("body"), "stands beside a status that has no body");
        }
        let mut headers = BTreeMap::new();
        for (name, value) in self.headers.unwrap_or_default() {
            let at = at.key("headers").key(&name);
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => problems.add(&at, "is not a header name"),
                Ok(name) if FRAMING.contains(&name.as_str()) => {
                    problems.add_hint(&at, "is set by the gateway", "remove it");
                }
                Ok(_) if HeaderValue::from_str(&value).is_err() => {
                    problems.add(&at, "has characters that no header value can have");
                }
                Ok(name) => drop(headers.insert(name.as_str().to_owned(), value)),
            }
        }
        Some(Destination::Fixed {
            status: status?,
            headers,
            body,
        })
    }
}

/// Fields that say how a message is framed or for whom a connection is.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "date",
];

/// Checks that every `{placeholder}` is captured by the match, or is one of `more`.
pub(super) fn template(
    text: &str,
    matches: Option<&Match>,
    more: &[&str],
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<()> {
    if text.len() > 8 << 10 {
        problems.add(at, "is longer than 8KiB");
        return None;
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        problems.add_hint(
            at,
            format!("has {bad:?} in it"),
            "write it percent-encoded, as it is sent",
        );
        return None;
    }
    // Without a match that makes sense nothing can be said about its captures.
    let captures = captures(matches?);
    let mut known: Vec<&str> = captures.iter().map(String::as_str).collect();
    known.extend(more);
    let mut good = true;
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let inside = rest
            .get(open..)
            .and_then(|rest| rest.strip_prefix('{'))
            .and_then(|rest| rest.split_once('}'));
        let Some((name, after)) = inside else {
            problems.add(at, "has a brace without its partner");
            return None;
        };
        if !known.contains(&name) {
            let star = known
                .iter()
                .find(|known| known.trim_end_matches('*') == name.trim_end_matches('*'));
            let hint = match star {
                Some(known) => format!("write `{{{known}}}`"),
                None if known.is_empty() => "the match captures nothing; use a `path` such as `/v1/{rest*}`".to_owned(),
                None => did_you_mean(name, known.iter().copied()).unwrap_or_else(|| {
                    format!(
                        "there are {}",
                        known
                            .iter()
                            .map(|name| format!("`{{{name}}}`"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    )
                }),
            };
            problems.add_hint(at, format!("nothing fills in `{{{}}}`", brief(name)), hint);
            good = false;
        }
        rest = after;
    }
    good.then_some(())
}

/// The names a match gives to parts of the path, as they stand between braces.
pub(super) fn captures(matches: &Match) -> Vec<String> {
    match &matches.path {
        Some(PathMatch::Pattern(segments)) => segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Literal(_) => None,
                Segment::Parameter(name) => Some(name.clone()),
                Segment::Rest(name) => Some(format!("{name}*")),
            })
            .collect(),
        // Groups go by their number, and by their name where they have one.
        Some(PathMatch::Regex(regex)) => {
            let numbers = (1..regex.captures_len()).map(|number| number.to_string());
            regex
                .capture_names()
                .flatten()
                .map(str::to_owned)
                .chain(numbers)
                .collect()
        }
        Some(PathMatch::Prefix(_)) | None => Vec::new(),
    }
}
