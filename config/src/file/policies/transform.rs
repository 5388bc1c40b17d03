//! `[routes.request]` and `[routes.response]`: what is changed of a call and of its reply.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::template::{self, Of, Template};
use crate::file::value::{all, optional};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// `[routes.request]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestFile {
    /// Fields that get another name: `old = "new"`.
    rename: Option<BTreeMap<String, String>>,
    /// Fields that are removed.
    remove: Option<Vec<String>>,
    /// Fields that have this value alone; one that comes out empty is not sent.
    set: Option<BTreeMap<String, String>>,
    /// Fields that have this value where the client sent none.
    default: Option<BTreeMap<String, String>>,
    /// Fields that are added beside those of the same name.
    add: Option<BTreeMap<String, String>>,
    /// Values that are put behind the one there is, after a comma.
    append: Option<BTreeMap<String, String>>,
    /// Changes of the query.
    query: Option<QueryFile>,
}

/// `[routes.response]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseFile {
    /// Fields that get another name: `old = "new"`.
    rename: Option<BTreeMap<String, String>>,
    /// Fields that are removed.
    remove: Option<Vec<String>>,
    /// Fields that have this value alone; one that comes out empty is not sent.
    set: Option<BTreeMap<String, String>>,
    /// Fields that have this value where the backend sent none.
    default: Option<BTreeMap<String, String>>,
    /// Fields that are added beside those of the same name.
    add: Option<BTreeMap<String, String>>,
    /// Values that are put behind the one there is, after a comma.
    append: Option<BTreeMap<String, String>>,
    /// Statuses that become others: `404 = 410`. HTTP only.
    status: Option<BTreeMap<String, i64>>,
}

/// `query = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QueryFile {
    /// Parameters that get another name: `old = "new"`.
    rename: Option<BTreeMap<String, String>>,
    /// Parameters that are removed.
    remove: Option<Vec<String>>,
    /// Parameters that have this value alone.
    set: Option<BTreeMap<String, String>>,
}

/// What is changed of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTransform {
    /// Of its fields.
    pub fields: FieldChanges,
    /// Parameters of the query that get another name.
    pub query_rename: Vec<(String, String)>,
    /// Parameters of the query that are removed.
    pub query_remove: Vec<String>,
    /// Parameters of the query that have this value alone.
    pub query_set: Vec<(String, Template)>,
}

/// What is changed of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseTransform {
    /// Of its fields.
    pub fields: FieldChanges,
    /// Statuses that become others.
    pub status: Vec<(u16, u16)>,
}

/// Changes of fields, in the order in which they are made. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// Those that get another name.
    pub rename: Vec<(String, String)>,
    /// Those that are removed.
    pub remove: Vec<String>,
    /// Those that have this value alone.
    pub set: Vec<(String, Template)>,
    /// Those that have this value where there is none.
    pub default: Vec<(String, Template)>,
    /// Those that are added.
    pub add: Vec<(String, Template)>,
    /// Those whose value goes behind the one there is.
    pub append: Vec<(String, Template)>,
}

impl RequestFile {
    pub(crate) fn parse(self, captures: &[String], at: &KeyPath, problems: &mut Problems) -> Option<RequestTransform> {
        let fields = FieldsFile {
            rename: self.rename,
            remove: self.remove,
            set: self.set,
            default: self.default,
            add: self.add,
            append: self.append,
        };
        let fields = fields.parse(captures, Of::Request, at, problems);
        let query = optional(self.query, |query| {
            let at = at.key("query");
            let set = templates(query.set, &at.key("set"), problems, |text, at, problems| {
                template::parse(text, captures, Of::Request, at, problems)
            });
            Some((query.rename.unwrap_or_default(), query.remove.unwrap_or_default(), set?))
        });
        let (query_rename, query_remove, query_set) = query?.unwrap_or_default();
        Some(RequestTransform {
            fields: fields?,
            query_rename: query_rename.into_iter().collect(),
            query_remove,
            query_set,
        })
    }
}

impl ResponseFile {
    pub(crate) fn parse(self, captures: &[String], at: &KeyPath, problems: &mut Problems) -> Option<ResponseTransform> {
        let fields = FieldsFile {
            rename: self.rename,
            remove: self.remove,
            set: self.set,
            default: self.default,
            add: self.add,
            append: self.append,
        };
        let fields = fields.parse(captures, Of::Reply, at, problems);
        let at = at.key("status");
        let written = self.status.unwrap_or_default().into_iter().collect::<Vec<_>>();
        let mut status = Vec::new();
        for (from, to) in written {
            // What a body may follow, and what not, stays as it is.
            let final_one = |status: u16| (200..=599).contains(&status) && !matches!(status, 204 | 205 | 206 | 304);
            let from_number = from.parse::<u16>().ok().filter(|status| final_one(*status));
            let to_number = u16::try_from(to).ok().filter(|status| final_one(*status));
            match (from_number, to_number) {
                (Some(from), Some(to)) => status.push((from, to)),
                _ => {
                    let hint = "write final statuses whose replies have bodies, e.g. `404 = 410`";
                    problems.add_hint(&at.key(&from), "is not a change of statuses", hint);
                    return None;
                }
            }
        }
        Some(ResponseTransform {
            fields: fields?,
            status,
        })
    }
}

/// The part of both tables that is the same.
struct FieldsFile {
    rename: Option<BTreeMap<String, String>>,
    remove: Option<Vec<String>>,
    set: Option<BTreeMap<String, String>>,
    default: Option<BTreeMap<String, String>>,
    add: Option<BTreeMap<String, String>>,
    append: Option<BTreeMap<String, String>>,
}

impl FieldsFile {
    fn parse(self, captures: &[String], of: Of, at: &KeyPath, problems: &mut Problems) -> Option<FieldChanges> {
        let rename_at = at.key("rename");
        let rename = self.rename.unwrap_or_default().into_iter().map(|(from, to)| {
            let at = rename_at.key(&from);
            Some((field(&from, &at, problems)?, field(&to, &at, problems)?))
        });
        let rename: Vec<Option<_>> = rename.collect();
        let remove = all(self.remove, &at.key("remove"), |text, at| field(&text, at, problems));
        let mut list = |written: Option<BTreeMap<String, String>>, key: &str| {
            let named = written.map(|written| {
                written
                    .into_iter()
                    .map(|(name, text)| (name.to_ascii_lowercase(), text))
                    .collect()
            });
            let at = at.key(key);
            let parsed = templates(named, &at, problems, |text, at, problems| {
                template::parse(text, captures, of, at, problems)
            })?;
            for (name, _) in &parsed {
                field(name, &at.key(name), problems)?;
            }
            Some(parsed)
        };
        let set = list(self.set, "set");
        let default = list(self.default, "default");
        let add = list(self.add, "add");
        let append = list(self.append, "append");
        Some(FieldChanges {
            rename: rename.into_iter().collect::<Option<_>>()?,
            remove: remove?,
            set: set?,
            default: default?,
            add: add?,
            append: append?,
        })
    }
}

fn templates(
    written: Option<BTreeMap<String, String>>,
    at: &KeyPath,
    problems: &mut Problems,
    parse: impl Fn(&str, &KeyPath, &mut Problems) -> Option<Template>,
) -> Option<Vec<(String, Template)>> {
    let parsed: Vec<Option<_>> = written
        .unwrap_or_default()
        .into_iter()
        .map(|(name, text)| {
            let template = parse(&text, &at.key(&name), problems)?;
            Some((name, template))
        })
        .collect();
    parsed.into_iter().collect()
}

/// Framing, routing, and what only a gateway may say.
const OURS: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-http-method-override",
    "x-request-id",
];

/// The name of a field that may be changed, in lower case.
fn field(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if lower.parse::<http::HeaderName>().is_err() {
        problems.add(at, format!("`{}` is not the name of a field", brief(text)));
        return None;
    }
    let prefixes = ["x-forwarded-", "x-causeway-", "sec-websocket-", "grpc-"];
    if OURS.contains(&lower.as_str()) || prefixes.iter().any(|prefix| lower.starts_with(prefix)) {
        problems.add(at, format!("`{lower}` is the gateway's to say"));
        return None;
    }
    Some(lower)
}
