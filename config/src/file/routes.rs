//! `[[routes]]`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Known;
use super::aggregate::AggregateFile;
use super::destination::{FixedFile, RedirectFile, ToFile, captures, template, to};
use super::hedge::PRIORITIES;
use super::matching::{MatchFile, prefix};
use super::policies::{
    AuthenticateFile, AuthorizeFile, CacheFile, CompressionFile, ConcurrencyFile, CorsFile, IpFile, MessageLimitFile,
    MethodOverrideFile, MirrorFile, PoliciesFile, QuotaFile, RateLimitFile, RequestFile, ResponseFile,
    SecurityHeadersFile, StickyFile, VersionFile,
};
use super::retry::RetryFile;
use super::services::LONGEST;
use super::value::{OneOrMany, all, choice, is_host, name, optional};
use crate::model::{Destination, Match, Name, PathMatch, Rewrite, Route, Segment};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, SizeText, brief};

/// `[[routes]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteFile {
    /// Used in logs, metrics and spans. Default: made from host and path.
    pub(super) name: Option<String>,
    /// Which calls; leave it out for all.
    #[serde(rename = "match")]
    matches: Option<MatchFile>,
    /// `orders`, `orders@azure`, or a list with weights.
    to: Option<ToFile>,
    /// Answer with a redirect instead of `to`.
    redirect: Option<RedirectFile>,
    /// Answer with the results of several calls instead of `to`.
    aggregate: Option<AggregateFile>,
    /// Answer with this text instead of `to`.
    fixed: Option<FixedFile>,
    /// The path to send instead, e.g. `/new/{rest*}`.
    rewrite: Option<String>,
    /// What to cut off the front of the path, e.g. `/api`.
    strip_prefix: Option<String>,
    /// Origins whose pages may open a WebSocket: `https://app.acme.example` or `*.acme.example`. Default: any.
    origins: Option<Vec<String>>,
    /// Deadline of a call instead of the service's.
    timeout: Option<DurationText>,
    /// Tries instead of the service's.
    retry: Option<RetryFile>,
    /// Largest request body. Default: `limits.body`.
    max_body: Option<SizeText>,
    /// Whose calls are refused first when there is too much of them. Default: `normal`.
    #[schemars(extend("enum" = ["high", "normal", "low"]))]
    priority: Option<String>,
    /// Networks of clients that may call, and that may not.
    ip: Option<IpFile>,
    /// Pages of other origins that may call.
    cors: Option<CorsFile>,
    /// Reply fields that make browsers careful; `{}` for the usual ones.
    security_headers: Option<SecurityHeadersFile>,
    /// Replies made smaller for clients that take it; `{}` for the defaults.
    compression: Option<CompressionFile>,
    /// A POST that stands for another method; `{}` for the defaults.
    method_override: Option<MethodOverrideFile>,
    /// Where clients say the version of the API, and where the backend wants it.
    version: Option<VersionFile>,
    /// What is changed of a call.
    request: Option<RequestFile>,
    /// What is changed of a reply.
    response: Option<ResponseFile>,
    /// How many calls may be open at once: one rule, or `[[routes.concurrency]]` for several that must all agree.
    concurrency: Option<OneOrMany<ConcurrencyFile>>,
    /// How much may pass while a call is open.
    message_limit: Option<MessageLimitFile>,
    /// How much may be used in a period: one rule, or `[[routes.quota]]` for several that must all agree.
    quota: Option<OneOrMany<QuotaFile>>,
    /// How often calls may come: one rule, or `[[routes.rate_limit]]` for several that must all agree.
    rate_limit: Option<OneOrMany<RateLimitFile>>,
    /// Who a client has to be able to prove to be.
    authenticate: Option<AuthenticateFile>,
    /// Keep replies and answer with them; `{}` for what they themselves allow.
    cache: Option<CacheFile>,
    /// What who has proven who it is may do.
    authorize: Option<AuthorizeFile>,
    /// Send calls to a second service, too, and compare the answers.
    mirror: Option<MirrorFile>,
    /// Keep a caller with one service of `to`.
    sticky: Option<StickyFile>,
}

/// Route names in use, for those that have to be made.
#[derive(Debug)]
pub(super) struct Names {
    used: HashSet<String>,
    /// The next number of each base, so that thousands of like routes do not count up from 2 each.
    next: HashMap<String, usize>,
}

impl Names {
    /// The names that were written.
    pub(super) fn of<'a>(written: impl Iterator<Item = &'a str>) -> Self {
        Self {
            used: written.map(str::to_owned).collect(),
            next: HashMap::new(),
        }
    }

    /// A name from what a route matches, made unique by a number.
    fn make(&mut self, summary: &str) -> Name {
        let mut base = String::new();
        for c in summary.chars().map(|c| c.to_ascii_lowercase()) {
            let good = c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
            if good {
                base.push(c);
            } else if !base.is_empty() && !base.ends_with('-') {
                base.push('-');
            }
            // Room for a number.
            if base.len() >= 56 {
                break;
            }
        }
        let base = base
            .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
            .trim_end_matches('-');
        let base = if base.is_empty() { "all" } else { base };
        let mut name = base.to_owned();
        let number = self.next.entry(base.to_owned()).or_insert(2);
        while !self.used.insert(name.clone()) {
            name = format!("{base}-{number}");
            *number += 1;
        }
        name.into()
    }
}

impl RouteFile {
    pub(super) fn parse(
        self,
        at: &KeyPath,
        known: &Known,
        names: &mut Names,
        problems: &mut Problems,
    ) -> Option<Route> {
        let matches = self.matches.unwrap_or_default();
        let name = match self.name {
            Some(text) => name(Some(&text), &at.key("name"), "", problems),
            None => Some(names.make(&matches.summary())),
        };
        let matches = matches.parse(&at.key("match"), problems);
        let to_service = self.to.is_some();
        let aggregated = self.aggregate.is_some();
        let to = match (self.to, self.redirect, self.fixed) {
            (None, None, None) if aggregated => self
                .aggregate
                .and_then(|legs| legs.parse(&at.key("aggregate"), matches.as_ref(), known, problems)),
            _ if aggregated => {
                let hint = "write one of `to`, `redirect`, `fixed` and `aggregate`";
                problems.add_hint(at, "leads to several places", hint);
                None
            }
            (Some(target), None, None) => to(target, &at.key("to"), known, problems),
            (None, Some(redirect), None) => redirect.parse(&at.key("redirect"), matches.as_ref(), problems),
            (None, None, Some(fixed)) => fixed.parse(&at.key("fixed"), problems),
            (None, None, None) => {
                let broken = ["to", "redirect", "fixed", "aggregate"]
                    .iter()
                    .any(|key| problems.broken(&at.key(key)));
                if !broken {
                    let hint = "name a service, e.g. `orders` or `orders@azure`, or write `redirect` or `fixed`";
                    problems.missing(&at.key("to"), hint);
                }
                None
            }
            _ => {
                problems.add_hint(
                    at,
                    "leads to several places",
                    "write one of `to`, `redirect` and `fixed`",
                );
                None
            }
        };
        let rewrite = match (self.rewrite, self.strip_prefix) {
            (None, None) => Some(None),
            (Some(_), Some(_)) => {
                problems.add(&at.key("strip_prefix"), "stands beside `rewrite`");
                None
            }
            (Some(text), None) => rewrite(text, &at.key("rewrite"), matches.as_ref(), problems).map(Some),
            (None, Some(text)) => strip(&text, &at.key("strip_prefix"), matches.as_ref(), problems).map(Some),
        };
        if let Some(Some(rewrite)) = &rewrite
            && !to_service
            && matches!(
                to,
                Some(Destination::Redirect { .. } | Destination::Fixed { .. } | Destination::Aggregate(_))
            )
        {
            let key = if matches!(rewrite, Rewrite::Template(_)) {
                "rewrite"
            } else {
                "strip_prefix"
            };
            problems.add_hint(&at.key(key), "has no effect without `to`", "remove it");
        }
        let origins = all(self.origins, &at.key("origins"), |text, at| origin(text, at, problems));
        let range = Duration::from_millis(1)..=Duration::from_millis(LONGEST);
        let timeout = optional(self.timeout, |timeout| {
            timeout.parse(&at.key("timeout"), &range, problems)
        });
        let retry = optional(self.retry, |retry| retry.parse(&at.key("retry"), problems));
        let priority = optional(self.priority, |text| {
            choice(&text, &at.key("priority"), &PRIORITIES, problems)
        });
        let max_body = optional(self.max_body, |size| {
            size.parse(&at.key("max_body"), &(0..=1 << 40), problems)
        });
        let policies = PoliciesFile {
            ip: self.ip,
            cors: self.cors,
            authenticate: self.authenticate,
            authorize: self.authorize,
            security_headers: self.security_headers,
            compression: self.compression,
            method_override: self.method_override,
            version: self.version,
            request: self.request,
            response: self.response,
            rate_limit: self.rate_limit,
            quota: self.quota,
            concurrency: self.concurrency,
            cache: self.cache,
            message_limit: self.message_limit,
            mirror: self.mirror,
            sticky: self.sticky,
        };
        let captures = matches.as_ref().map(captures).unwrap_or_default();
        let policies = policies.parse(&captures, at, known, problems);
        Some(Route {
            name: name?,
            matches: matches?,
            to: to?,
            rewrite: rewrite?,
            origins: origins?,
            timeout: timeout?,
            retry: retry?,
            max_body: max_body?,
            priority: priority?.unwrap_or_default(),
            policies: policies?,
        })
    }
}

fn rewrite(text: String, at: &KeyPath, matches: Option<&Match>, problems: &mut Problems) -> Option<Rewrite> {
    if !text.starts_with('/') || text.contains(['?', '#', '\\']) {
        let hint = "write a path, e.g. `/new/{rest*}`; the query stays as it is";
        problems.add_hint(at, format!("`{}` is not a path", brief(&text)), hint);
        return None;
    }
    template(&text, matches, &["host", "path"], at, problems)?;
    Some(Rewrite::Template(text))
}

fn strip(text: &str, at: &KeyPath, matches: Option<&Match>, problems: &mut Problems) -> Option<Rewrite> {
    let prefix = prefix(text, at, problems)?;
    let path = matches?.path.as_ref();
    let fits = match path {
        Some(PathMatch::Pattern(segments)) => {
            let literals = segments.iter().map_while(|segment| match segment {
                Segment::Literal(text) => Some(text.as_str()),
                Segment::Parameter(_) | Segment::Rest(_) => None,
            });
            let path = literals.fold(String::new(), |path, segment| format!("{path}/{segment}"));
            below(&path, &prefix)
        }
        Some(PathMatch::Prefix(path)) => below(path, &prefix),
        Some(PathMatch::Regex(_)) | None => true,
    };
    if !fits {
        problems.add_hint(
            at,
            "no path of this route starts with it",
            "write the beginning of what `match` says",
        );
        return None;
    }
    Some(Rewrite::StripPrefix(prefix))
}

/// Whether `path` is `prefix` or below it, by whole segments.
fn below(path: &str, prefix: &str) -> bool {
    prefix == "/"
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `https://app.acme.example`, or `*.acme.example`.
pub(super) fn origin(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let good = match lower.strip_prefix("*.") {
        Some(suffix) => is_host(suffix) && suffix.parse::<std::net::IpAddr>().is_err(),
        None => lower.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest
                .parse::<http::uri::Authority>()
                .ok()
                .filter(|_| !rest.contains('@'));
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
                && host.is_some_and(|host| is_host(host.host().trim_matches(['[', ']'])))
        }),
    };
    if good {
        return Some(lower);
    }
    let hint = "write what the browser sends, e.g. `https://app.acme.example`, or `*.acme.example`";
    problems.add_hint(at, format!("`{}` is not an origin", brief(&text)), hint);
    None
}
