//! `[routes.aggregate]`: one answer from several calls.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Known;
use super::destination::{captures, service_ref};
use super::value::{all, choice, is_name, optional};
use crate::model::{Aggregate, Destination, Leg, Match, Merge, Piece};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, SizeText, brief};

/// Legs of one route.
const LEGS: usize = 16;

/// `[routes.aggregate]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AggregateFile {
    /// The calls.
    legs: Option<Vec<LegFile>>,
    /// `by-name`, or `deep`.
    #[schemars(extend("enum" = ["by-name", "deep"]))]
    merge: Option<String>,
    /// The status where optional legs have failed: 200, 206 or 207.
    partial_status: Option<i64>,
}

/// `[[routes.aggregate.legs]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LegFile {
    /// Its name in the answer and in templates.
    name: Option<String>,
    /// Who is called: `users`, or `users@azure`.
    to: Option<String>,
    /// Default: `GET`, with a body `POST`.
    method: Option<String>,
    /// Path and query, with `{captures}` and `{leg:/pointer}`.
    path: Option<String>,
    /// A JSON body; strings may have placeholders.
    body: Option<BTreeMap<String, Value>>,
    /// Legs that have to be done before, beside those that templates name.
    after: Option<Vec<String>>,
    /// Up to the end of its reply.
    timeout: Option<DurationText>,
    /// Whether there is an answer without it.
    optional: Option<bool>,
    /// Largest reply.
    max_body: Option<SizeText>,
    /// A JSON pointer to the part of the reply that is wanted.
    pick: Option<String>,
}

impl AggregateFile {
    pub(super) fn parse(
        self,
        at: &KeyPath,
        matches: Option<&Match>,
        known: &Known,
        problems: &mut Problems,
    ) -> Option<Destination> {
        let words = [("by-name", Merge::ByName), ("deep", Merge::Deep)];
        let merge = match &self.merge {
            Some(text) => choice(text, &at.key("merge"), &words, problems),
            None => Some(Merge::ByName),
        };
        let partial_status = match self.partial_status.unwrap_or(200) {
            status @ (200 | 206 | 207) => u16::try_from(status).ok(),
            _ => {
                problems.add(&at.key("partial_status"), "must be 200, 206 or 207");
                None
            }
        };
        let legs = self.legs.unwrap_or_default();
        let at = at.key("legs");
        if legs.is_empty() || legs.len() > LEGS {
            problems.add(&at, format!("must have 1 to {LEGS} legs"));
            return None;
        }
        let names: Vec<String> = legs.iter().map(|leg| leg.name.clone().unwrap_or_default()).collect();
        let captured = captures(matches?);
        let scope = Scope {
            names: &names,
            captures: &captured,
        };
        let mut place = 0;
        let legs = all(Some(legs), &at, |leg, at| {
            place += 1;
            leg.parse(at, place - 1, &scope, known, problems)
        })?;
        if let Some(circle) = circle(&legs) {
            let at = at.index(circle).key("after");
            problems.add(&at, "waits for a leg that waits for this one");
            return None;
        }
        Some(Destination::Aggregate(Box::new(Aggregate {
            legs,
            merge: merge?,
            partial_status: partial_status?,
        })))
    }
}

/// What templates may name.
struct Scope<'a> {
    names: &'a [String],
    captures: &'a [String],
}

impl Scope<'_> {
    /// A template with every name known.
    fn template(&self, text: &str, own: usize, at: &KeyPath, problems: &mut Problems) -> Option<Vec<Piece>> {
        let leg = |name: &str| {
            self.names
                .iter()
                .position(|known| known == name)
                .filter(|at| *at != own)
        };
        let mut pieces = match Piece::parse(text, &leg) {
            Ok(pieces) => pieces,
            Err(problem) => {
                problems.add(at, problem);
                return None;
            }
        };
        for piece in &mut pieces {
            if let Piece::Capture(name) = piece
                && !self.captures.contains(name)
            {
                let hint = "write what `match.path` captures, or `{leg:/pointer}` for a part of a result";
                problems.add_hint(at, format!("nothing fills in `{{{}}}`", brief(name)), hint);
                return None;
            }
        }
        Some(pieces)
    }

    /// Checks every string of a body.
    fn body(&self, value: &Value, own: usize, at: &KeyPath, problems: &mut Problems) -> Option<Vec<Piece>> {
        match value {
            Value::String(text) => self.template(text, own, at, problems),
            Value::Array(list) => {
                let parts = list.iter().map(|one| self.body(one, own, at, problems));
                Some(parts.collect::<Option<Vec<_>>>()?.concat())
            }
            Value::Object(members) => {
                let parts = members.values().map(|one| self.body(one, own, at, problems));
                Some(parts.collect::<Option<Vec<_>>>()?.concat())
            }
            _ => Some(Vec::new()),
        }
    }
}

impl LegFile {
    fn parse(self, at: &KeyPath, own: usize, scope: &Scope<'_>, known: &Known, problems: &mut Problems) -> Option<Leg> {
        let name = self.name.unwrap_or_default();
        let good_name = is_name(&name) && name != "errors";
        if !good_name {
            let hint = "a leg needs a name of its own, not `errors`: the answer has its result under it";
            problems.add_hint(
                &at.key("name"),
                format!("`{}` is not a name of a leg", brief(&name)),
                hint,
            );
        } else if scope.names.iter().position(|known| *known == name) != Some(own) {
            problems.add(&at.key("name"), format!("`{}` is another leg's name", brief(&name)));
        }
        let to = match &self.to {
            Some(text) => service_ref(text, &at.key("to"), known, problems),
            None => {
                problems.missing(&at.key("to"), "name a service, e.g. `users` or `users@azure`");
                None
            }
        };
        let default = if self.body.is_some() { "POST" } else { "GET" };
        let method = self.method.as_deref().unwrap_or(default);
        let method = match http::Method::from_bytes(method.as_bytes()) {
            Ok(method) if method != http::Method::CONNECT => Some(method),
            _ => {
                problems.add(&at.key("method"), format!("`{}` is not a method", brief(method)));
                None
            }
        };
        let path = match &self.path {
            Some(text) if text.starts_with('/') => scope.template(text, own, &at.key("path"), problems),
            Some(text) => {
                problems.add(&at.key("path"), format!("`{}` does not begin with `/`", brief(text)));
                None
            }
            None => {
                problems.missing(&at.key("path"), "write a path, e.g. `/users/{id}`");
                None
            }
        };
        let body = self.body.map(|members| Value::Object(members.into_iter().collect()));
        let in_body = match &body {
            Some(body) => scope.body(body, own, &at.key("body"), problems),
            None => Some(Vec::new()),
        };
        let mut after = all(self.after, &at.key("after"), |name, at| {
            let place = scope
                .names
                .iter()
                .position(|known| *known == name)
                .filter(|place| *place != own);
            if place.is_none() {
                problems.add(at, format!("`{}` is no other leg", brief(&name)));
            }
            place
        });
        if let (Some(after), Some(path), Some(in_body)) = (&mut after, &path, &in_body) {
            for piece in path.iter().chain(in_body) {
                if let Piece::Result { leg, .. } = piece {
                    after.push(*leg);
                }
            }
            after.sort_unstable();
            after.dedup();
        }
        let range = Duration::from_millis(1)..=Duration::from_secs(600);
        let timeout = optional(self.timeout, |timeout| {
            timeout.parse(&at.key("timeout"), &range, problems)
        });
        let max_body = match self.max_body {
            Some(size) => size.parse(&at.key("max_body"), &(1..=64 << 20), problems),
            None => Some(1 << 20),
        };
        let pick_is_good = self.pick.as_ref().is_none_or(|pick| pick.starts_with('/'));
        if !pick_is_good {
            problems.add_hint(&at.key("pick"), "is not a JSON pointer", "write e.g. `/data/items`");
        }
        Some(Leg {
            name: good_name.then_some(name)?,
            to: to?,
            method: method?,
            path: path?,
            body,
            after: after?,
            timeout: timeout?.unwrap_or(Duration::from_secs(5)),
            optional: self.optional.unwrap_or(false),
            max_body: max_body?,
            pick: self.pick.filter(|_| pick_is_good),
        })
    }
}

/// A leg that can never begin.
fn circle(legs: &[Leg]) -> Option<usize> {
    let mut done = vec![false; legs.len()];
    for _ in legs {
        for (at, leg) in legs.iter().enumerate() {
            if leg.after.iter().all(|before| done.get(*before) == Some(&true)) {
                done[at] = true;
            }
        }
    }
    done.iter().position(|done| !done)
}
