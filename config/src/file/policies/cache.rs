//! `[routes.cache]`: which replies are kept, for how long, and what tells one from another.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{all, optional};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, SizeText, brief};

/// `[routes.cache]`: a shared cache (RFC 9111) for the replies of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How long a reply is fresh that does not say so itself; none: it is not kept.
    pub ttl: Option<Duration>,
    /// The same for replies with these statuses.
    pub negative: BTreeMap<u16, Duration>,
    /// How long a stale reply may be served while a fresh one is fetched, where it says nothing itself.
    pub stale_while_revalidate: Duration,
    /// How long a stale reply may be served when no fresh one can be had, where it says nothing itself.
    pub stale_if_error: Duration,
    /// Keep one reply for each caller.
    pub per_identity: bool,
    /// Request fields that are part of the key, in lower case: a tenant's, for instance.
    pub key_headers: Vec<String>,
    /// What of the query is part of the key.
    pub query: CacheQuery,
    /// gRPC methods without side effects, as `package.Service/Method`, whose replies are kept for `ttl`.
    pub grpc_methods: Vec<String>,
    /// How long a call waits for another one's reply before it asks by itself.
    pub wait: Duration,
    /// Largest body that is kept, in bytes. Default: `cache.max_entry`.
    pub max_entry: Option<u64>,
    /// Whether `cache-control` of requests is obeyed; otherwise only its `no-store` is.
    pub obey_clients: bool,
    /// Whether replies say `cache-status` (RFC 9211).
    pub status_field: bool,
}

/// What of the query tells one reply from another. What does not is not sent to the service either, so that no reply can
/// depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheQuery {
    /// Only these parameters; none: all.
    pub only: Option<Vec<String>>,
    /// Not these parameters; a name may end in `*`.
    pub ignore: Vec<String>,
    /// Parameters in the order of their names.
    pub sort: bool,
}

/// `[routes.cache]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct CacheFile {
    /// How long a reply is fresh that does not say so itself. Default: it is not kept.
    ttl: Option<DurationText>,
    /// The same for replies with other statuses than success, e.g. `{ 404 = "10s" }`.
    negative: Option<BTreeMap<String, DurationText>>,
    /// How long a stale reply may be served while a fresh one is fetched, where the reply says nothing.
    stale_while_revalidate: Option<DurationText>,
    /// How long a stale reply may be served when the service fails, where the reply says nothing.
    stale_if_error: Option<DurationText>,
    /// Keep one reply for each caller.
    per_identity: Option<bool>,
    /// Request fields that are part of the key.
    key_headers: Option<Vec<String>>,
    /// What of the query is part of the key, and sent to the service.
    query: Option<QueryFile>,
    /// gRPC methods without side effects, as `package.Service/Method`.
    grpc_methods: Option<Vec<String>>,
    /// How long a call waits for another one's reply before it asks by itself.
    wait: Option<DurationText>,
    /// Largest body that is kept. Default: `cache.max_entry`.
    max_entry: Option<SizeText>,
    /// Whether `cache-control` of requests is obeyed.
    obey_clients: Option<bool>,
    /// Whether replies say `cache-status`.
    status_field: Option<bool>,
}

/// `query = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QueryFile {
    /// Only these parameters. Default: all.
    only: Option<Vec<String>>,
    /// Not these; a name may end in `*`.
    ignore: Option<Vec<String>>,
    /// Put parameters in the order of their names.
    sort: Option<bool>,
}

/// A year, in milliseconds: longer than anything is kept in memory.
const YEAR: u64 = 366 * 24 * 3_600_000;
/// Names in one list.
const NAMES: usize = 64;

impl CacheFile {
    pub(in crate::file) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Cache> {
        let mut span = |value: Option<DurationText>, key: &str| {
            let range = Duration::ZERO..=Duration::from_millis(YEAR);
            optional(value, |value| value.parse(&at.key(key), &range, problems))
        };
        let ttl = span(self.ttl, "ttl");
        let stale_while_revalidate = span(self.stale_while_revalidate, "stale_while_revalidate");
        let stale_if_error = span(self.stale_if_error, "stale_if_error");
        let negative = negative(self.negative.unwrap_or_default(), &at.key("negative"), problems);
        let range = Duration::ZERO..=Duration::from_secs(60);
        let wait = optional(self.wait, |wait| wait.parse(&at.key("wait"), &range, problems));
        let key_headers = all(
            bounded(self.key_headers, &at.key("key_headers"), problems),
            &at.key("key_headers"),
            |name, at| match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Some(name.as_str().to_owned()),
                Err(_) => {
                    problems.add(at, format!("`{}` is not a header name", brief(&name)));
                    None
                }
            },
        );
        let query = match self.query {
            Some(query) => query.parse(&at.key("query"), problems),
            None => Some(CacheQuery::default()),
        };
        let methods = bounded(self.grpc_methods, &at.key("grpc_methods"), problems);
        let grpc_methods = all(methods, &at.key("grpc_methods"), |method, at| {
            method_name(method, at, problems)
        });
        let max_entry = optional(self.max_entry, |size| {
            size.parse(&at.key("max_entry"), &(1..=1 << 30), problems)
        });
        if ttl == Some(None) && grpc_methods.as_ref().is_some_and(|methods| !methods.is_empty()) {
            problems.missing(
                &at.key("ttl"),
                "gRPC replies do not say how long they are fresh: add e.g. `ttl = \"30s\"`",
            );
            return None;
        }
        Some(Cache {
            ttl: ttl?,
            negative: negative?,
            stale_while_revalidate: stale_while_revalidate?.unwrap_or_default(),
            stale_if_error: stale_if_error?.unwrap_or_default(),
            per_identity: self.per_identity.unwrap_or(false),
            key_headers: key_headers?,
            query: query?,
            grpc_methods: grpc_methods?,
            wait: wait?.unwrap_or(Duration::from_secs(5)),
            max_entry: max_entry?,
            obey_clients: self.obey_clients.unwrap_or(false),
            status_field: self.status_field.unwrap_or(true),
        })
    }
}

impl QueryFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<CacheQuery> {
        if self.only.is_some() && self.ignore.is_some() {
            problems.add_hint(&at.key("ignore"), "stands beside `only`", "write one of them");
            return None;
        }
        let mut names = |list: Option<Vec<String>>, key: &str| {
            let at = at.key(key);
            let list = bounded(list, &at, problems);
            all(list, &at, |name, at| {
                let good = !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte));
                if !good {
                    problems.add_hint(
                        at,
                        format!("`{}` is not a parameter name", brief(&name)),
                        "write it as it is sent",
                    );
                }
                good.then_some(name)
            })
        };
        let only = match self.only {
            Some(only) => names(Some(only), "only").map(Some),
            None => Some(None),
        };
        let ignore = names(self.ignore, "ignore");
        Some(CacheQuery {
            only: only?,
            ignore: ignore?,
            sort: self.sort.unwrap_or(false),
        })
    }
}

/// The list, if it is not too long.
fn bounded(list: Option<Vec<String>>, at: &KeyPath, problems: &mut Problems) -> Option<Vec<String>> {
    if list.as_ref().is_some_and(|list| list.len() > NAMES) {
        problems.add(at, format!("must have at most {NAMES} entries"));
    }
    list
}

/// Statuses with their time to live.
fn negative(
    written: BTreeMap<String, DurationText>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<BTreeMap<u16, Duration>> {
    let range = Duration::ZERO..=Duration::from_millis(YEAR);
    let parsed: Vec<Option<(u16, Duration)>> = written
        .into_iter()
        .map(|(status, ttl)| {
            let at = at.key(&status);
            let number = status
                .parse()
                .ok()
                .filter(|number| (300..=599).contains(number) && *number != 304);
            if number.is_none() {
                problems.add_hint(
                    &at,
                    "is not a status that says no",
                    "write one from 300 to 599, e.g. `404`",
                );
            }
            let ttl = ttl.parse(&at, &range, problems);
            Some((number?, ttl?))
        })
        .collect();
    parsed.into_iter().collect()
}

/// `package.Service/Method`.
fn method_name(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
    };
    let good = text
        .split_once('/')
        .is_some_and(|(service, method)| part(service) && part(method) && !method.contains('.'));
    if !good {
        let hint = "write `package.Service/Method`";
        problems.add_hint(at, format!("`{}` is not a gRPC method", brief(&text)), hint);
    }
    good.then_some(text)
}
