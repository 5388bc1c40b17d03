//! What calls are counted under: `key = "address"`, or `key = { header = "x-api-key" }`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{LongForm, TextOr, choice, whole};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// `key` as written.
pub(super) type KeyFile = TextOr<PartFile>;

/// `{ header = ".." }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartFile {
    /// The value of this header field.
    header: Option<String>,
    /// The value of this cookie.
    cookie: Option<String>,
    /// The value of this query parameter.
    query: Option<String>,
}

impl LongForm for PartFile {}

/// What calls are counted under: those with the same one share a counter.
///
/// Calls that lack it share one counter too, so that leaving it out is no way around a limit. Only callers without a
/// proven identity are told apart by their address then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The client's address, as far as trusted proxies tell; of an IPv6 address only the first bits, because a client
    /// has a whole network to choose from.
    Address {
        /// Bits of an IPv6 address that count, 32 to 128. Default 64.
        ipv6_prefix: u8,
    },
    /// The caller, once authenticated; else as by address with a prefix of 64.
    Identity,
    /// The plan of the caller; all without a plan together.
    Plan,
    /// All calls of the route together.
    Route,
    /// All calls of the site together, on every route that has a rule of this name.
    Site,
    /// The value of a header field, by its name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter, decoded.
    Query(String),
}

/// The prefix of IPv6 addresses where none is written: what a provider gives to one customer, at least.
pub(super) const IPV6_PREFIX: u8 = 64;

/// `key` and `ipv6_prefix` checked; by address where nothing is written.
pub(super) fn parse(
    key: Option<KeyFile>,
    ipv6_prefix: Option<i64>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<LimitKey> {
    let prefix = match ipv6_prefix {
        None => Some(IPV6_PREFIX),
        Some(_) => whole(ipv6_prefix, &at.key("ipv6_prefix"), 32..=128, problems),
    };
    let here = at.key("key");
    let key = match key {
        None => Some(LimitKey::Address { ipv6_prefix: prefix? }),
        Some(TextOr::Text(word)) => match choice(&word, &here, &WORDS, problems)? {
            Word::Address => Some(LimitKey::Address { ipv6_prefix: prefix? }),
            Word::Identity => Some(LimitKey::Identity),
            Word::Plan => Some(LimitKey::Plan),
            Word::Route => Some(LimitKey::Route),
            Word::Site => Some(LimitKey::Site),
        },
        Some(TextOr::Long(part)) => part.parse(&here, problems),
    }?;
    if ipv6_prefix.is_some() && !matches!(key, LimitKey::Address { .. }) {
        problems.add_hint(
            &at.key("ipv6_prefix"),
            "has no effect without `key = \"address\"`",
            "remove it",
        );
    }
    Some(key)
}

#[derive(Clone, Copy)]
enum Word {
    Address,
    Identity,
    Plan,
    Route,
    Site,
}

const WORDS: [(&str, Word); 5] = [
    ("address", Word::Address),
    ("identity", Word::Identity),
    ("plan", Word::Plan),
    ("route", Word::Route),
    ("site", Word::Site),
];

impl PartFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<LimitKey> {
        match (self.header, self.cookie, self.query) {
            (Some(name), None, None) => match http::HeaderName::try_from(&name) {
                Ok(name) => Some(LimitKey::Header(name.as_str().to_owned())),
                Err(_) => {
                    problems.add(
                        &at.key("header"),
                        format!("`{}` is not the name of a header field", brief(&name)),
                    );
                    None
                }
            },
            (None, Some(name), None) => named(name, &at.key("cookie"), problems).map(LimitKey::Cookie),
            (None, None, Some(name)) => named(name, &at.key("query"), problems).map(LimitKey::Query),
            _ => {
                let hint = "write one of `header`, `cookie` and `query`, e.g. `key = { header = \"x-api-key\" }`";
                problems.add_hint(at, "must name one thing to count by", hint);
                None
            }
        }
    }
}

fn named(name: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    if name.is_empty() || name.len() > 255 {
        problems.add(at, "must have 1 to 255 characters");
        return None;
    }
    Some(name)
}
