//! `[routes.sticky]`: the same caller stays with the same service of a split. And `canary` of a target: who gets it.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{choice, optional};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, brief};

/// `[routes.sticky]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By the client's address.
    Address,
    /// By a cookie that the gateway sets.
    Cookie {
        /// Its name.
        name: String,
        /// How long clients keep it; none: until the browser is closed.
        ttl: Option<Duration>,
    },
    /// By who a policy has authenticated; callers without a proof by their address.
    Identity,
}

/// `[routes.sticky]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct StickyFile {
    /// `cookie`, `identity` or `address`.
    #[schemars(extend("enum" = ["cookie", "identity", "address"]))]
    by: Option<String>,
    /// Name of the cookie.
    cookie: Option<String>,
    /// How long clients keep the cookie. Default: until the browser is closed.
    ttl: Option<DurationText>,
}

/// A part that a call has, with any value or with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryPart {
    /// Its name; of a field in lower case.
    pub name: String,
    /// Its value; none: any.
    pub value: Option<String>,
}

/// `canary = {...}` of a target: a call that has any of these goes there, whatever the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canary {
    /// A field of the request.
    pub header: Option<CanaryPart>,
    /// A cookie.
    pub cookie: Option<CanaryPart>,
    /// A claim of whom a policy has authenticated; in a list one of them.
    pub claim: Option<CanaryPart>,
}

/// `canary = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct CanaryFile {
    /// A field: `x-canary`, or `x-canary=yes`.
    header: Option<String>,
    /// A cookie: `beta`, or `beta=1`.
    cookie: Option<String>,
    /// A claim of the caller: `beta`, or `groups=testers`.
    claim: Option<String>,
}

impl StickyFile {
    pub(in crate::file) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Sticky> {
        let range = Duration::from_secs(1)..=Duration::from_secs(400 * 86_400);
        let ttl = optional(self.ttl, |ttl| ttl.parse(&at.key("ttl"), &range, problems));
        let by = self.by.as_deref().unwrap_or("cookie");
        let words = [("cookie", 0), ("identity", 1), ("address", 2)];
        let by = choice(by, &at.key("by"), &words, problems)?;
        let name = self.cookie.clone().unwrap_or_else(|| "causeway-version".to_owned());
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            problems.add(
                &at.key("cookie"),
                format!("`{}` is not a name of a cookie", brief(&name)),
            );
            return None;
        }
        if by != 0 {
            for (key, written) in [("cookie", self.cookie.is_some()), ("ttl", ttl != Some(None))] {
                if written {
                    problems.add_hint(&at.key(key), "has no effect without `by = \"cookie\"`", "remove it");
                }
            }
        }
        let ttl = ttl?;
        Some(match by {
            0 => Sticky::Cookie { name, ttl },
            1 => Sticky::Identity,
            _ => Sticky::Address,
        })
    }
}

impl CanaryFile {
    pub(in crate::file) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Canary> {
        if self.header.is_none() && self.cookie.is_none() && self.claim.is_none() {
            problems.add_hint(at, "says nothing", "write one of `header`, `cookie` and `claim`");
            return None;
        }
        let mut part = |text: Option<String>, key: &str| {
            optional(text, |text| {
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text.clone(), None),
                };
                let good = if key == "claim" {
                    !name.is_empty()
                } else {
                    HeaderName::from_bytes(name.as_bytes()).is_ok()
                };
                if !good {
                    let hint = "write `name`, or `name=value`";
                    problems.add_hint(&at.key(key), format!("`{}` names nothing", brief(&text)), hint);
                    return None;
                }
                let name = if key == "header" {
                    name.to_ascii_lowercase()
                } else {
                    name
                };
                Some(CanaryPart { name, value })
            })
        };
        let header = part(self.header, "header");
        let cookie = part(self.cookie, "cookie");
        let claim = part(self.claim, "claim");
        Some(Canary {
            header: header?,
            cookie: cookie?,
            claim: claim?,
        })
    }
}
