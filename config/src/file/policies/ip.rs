//! `[routes.ip]`, and `ip` of a listener: networks that may call, and that may not.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::listeners::cidr;
use crate::file::value::all;
use crate::model::Cidr;
use crate::path::KeyPath;
use crate::problems::Problems;

/// Networks of one list; each is compared with every call.
const MOST: usize = 1024;

/// `ip = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IpFile {
    /// Networks that may, e.g. `10.0.0.0/8`. Default: all.
    allow: Option<Vec<String>>,
    /// Networks that may not, also where `allow` has them.
    deny: Option<Vec<String>>,
    /// Only count and log what would be refused. Not for listeners. Default: false.
    dry_run: Option<bool>,
}

/// Who may come from where: whoever is in no network of `deny`, and in one of `allow` if that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpLists {
    /// Networks that may; empty means all.
    pub allow: Vec<Cidr>,
    /// Networks that may not. They win.
    pub deny: Vec<Cidr>,
    /// Whether refusals are only counted and logged.
    pub dry_run: bool,
}

impl IpFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<IpLists> {
        let mut list = |written: Option<Vec<String>>, at: &KeyPath| {
            if written.as_ref().is_some_and(|written| written.len() > MOST) {
                problems.add(at, format!("must have at most {MOST} networks"));
                return None;
            }
            all(written, at, |text, at| cidr(&text, at, problems))
        };
        // An empty `allow` would let everybody in where nobody was meant.
        let empty = self.allow.as_ref().is_some_and(Vec::is_empty);
        let allow = list(self.allow, &at.key("allow"));
        let deny = list(self.deny, &at.key("deny"));
        if empty {
            problems.add_hint(
                &at.key("allow"),
                "has no network",
                "write `deny = [\"0.0.0.0/0\", \"::/0\"]` for nobody",
            );
            return None;
        }
        let lists = IpLists {
            allow: allow?,
            deny: deny?,
            dry_run: self.dry_run.unwrap_or(false),
        };
        if lists.allow.is_empty() && lists.deny.is_empty() {
            problems.add_hint(at, "has no network", "write `allow` or `deny`");
            return None;
        }
        Some(lists)
    }
}
