//! `[[issuers]]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Kind, PathText, all, choice, claim, http_url, name, optional};
use crate::model::{Algorithm, Issuer, IssuerKeys};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, SizeText};

/// `[[issuers]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerFile {
    /// What routes call it.
    pub(super) name: Option<String>,
    /// What `iss` of its tokens must say.
    issuer: Option<String>,
    /// `aud` of its tokens must hold one of these.
    audiences: Option<Vec<String>>,
    /// The algorithms of its keys, all of one family, e.g. `ES256`. A token cannot choose another.
    #[schemars(extend("items" = { "type": "string", "enum": ["EdDSA", "ES256", "ES384", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"] }))]
    algorithms: Option<Vec<String>>,
    /// Where its keys are fetched: `https`, or `http` on this host.
    jwks_url: Option<String>,
    /// A file with its keys (RFC 7517) instead.
    jwks_file: Option<PathText>,
    /// Its keys (RFC 7517) themselves instead.
    jwks: Option<String>,
    /// A file with the secret shared with it, for `HS256` and its like: at least 32 bytes, a line end does not count.
    secret_file: Option<PathText>,
    /// PEM file of the roots to trust at `jwks_url`. Default: the system's.
    roots: Option<PathText>,
    /// How often `jwks_url` is fetched. Default: 5m.
    refresh: Option<DurationText>,
    /// How long keys are used while `jwks_url` cannot be fetched. Default: 24h.
    stale: Option<DurationText>,
    /// How far its clock may be from ours. Default: 60s.
    skew: Option<DurationText>,
    /// Longest time from `iat` to `exp` of a token. Default: any.
    max_lifetime: Option<DurationText>,
    /// Longest token. Default: 8KiB.
    max_token: Option<SizeText>,
    /// The claim that names the plan of a client. Default: none.
    plan_claim: Option<String>,
}

const DAY: u64 = 24 * 3_600_000;

impl IssuerFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Issuer> {
        let name = name(
            self.name.as_deref(),
            &at.key("name"),
            "name the issuer, e.g. `acme`",
            problems,
        );
        let issuer = text(
            self.issuer,
            &at.key("issuer"),
            "write what `iss` of its tokens says, e.g. `https://idp.acme.example`",
            problems,
        );
        let here = at.key("audiences");
        if self.audiences.as_ref().is_none_or(Vec::is_empty) && !problems.broken(&here) {
            let hint = "say for whom tokens must be, e.g. `[\"https://api.acme.example\"]`: without it a token for \
                        another service would be taken";
            problems.missing(&here, hint);
        }
        let audiences = all(self.audiences, &here, |audience, at| {
            text(Some(audience), at, "", problems)
        });
        let algorithms = algorithms(self.algorithms, &at.key("algorithms"), problems);
        let symmetric = algorithms
            .as_ref()
            .and_then(|list| list.first().copied())
            .map(Algorithm::is_symmetric);
        let millis =
            |value: Option<DurationText>, key: &str, default: u64, range: (u64, u64), problems: &mut Problems| {
                let range = Duration::from_millis(range.0)..=Duration::from_millis(range.1);
                match value {
                    Some(value) => value.parse(&at.key(key), &range, problems),
                    None => Some(Duration::from_millis(default)),
                }
            };
        let (written_refresh, written_stale) = (self.refresh.is_some(), self.stale.is_some());
        let refresh = millis(self.refresh, "refresh", 300_000, (10_000, DAY), problems);
        let stale = millis(self.stale, "stale", DAY, (0, 30 * DAY), problems);
        let has_roots = self.roots.is_some();
        let roots = optional(self.roots, |path| path.parse(&at.key("roots"), Kind::File, problems));
        let keys = match (self.jwks_url, self.jwks_file, self.jwks, self.secret_file) {
            (Some(url), None, None, None) => http_url(&url, &at.key("jwks_url"), problems).and_then(|url| {
                Some(IssuerKeys::Url {
                    url,
                    roots: roots?,
                    refresh: refresh?,
                    stale: stale?,
                })
            }),
            (None, Some(file), None, None) => file
                .parse(&at.key("jwks_file"), Kind::File, problems)
                .map(IssuerKeys::File),
            (None, None, Some(text), None) => Some(IssuerKeys::Inline(text)),
            (None, None, None, Some(file)) => file
                .parse(&at.key("secret_file"), Kind::File, problems)
                .map(IssuerKeys::Secret),
            (None, None, None, None) => {
                let broken = ["jwks_url", "jwks_file", "jwks", "secret_file"]
                    .iter()
                    .any(|key| problems.broken(&at.key(key)));
                if !broken {
                    let hint = "say where its keys are: `jwks_url`, `jwks_file`, `jwks`, or `secret_file` for `HS256`";
                    problems.missing(&at.key("jwks_url"), hint);
                }
                None
            }
            _ => {
                let hint = "write one of `jwks_url`, `jwks_file`, `jwks` and `secret_file`";
                problems.add_hint(at, "has keys from several places", hint);
                None
            }
        };
        if let Some(keys) = &keys {
            let secret = matches!(keys, IssuerKeys::Secret(_));
            if symmetric.is_some_and(|symmetric| symmetric != secret) {
                let hint = if secret {
                    "write `HS256`, `HS384` or `HS512`, or public keys instead of `secret_file`"
                } else {
                    "public keys verify `ES256`, `RS256`, `PS256`, `EdDSA` and their like; a shared secret is a `secret_file`"
                };
                problems.add_hint(&at.key("algorithms"), "do not fit the keys", hint);
            }
            if !matches!(keys, IssuerKeys::Url { .. }) {
                for (key, written) in [
                    ("roots", has_roots),
                    ("refresh", written_refresh),
                    ("stale", written_stale),
                ] {
                    if written {
                        problems.add_hint(&at.key(key), "has no effect without `jwks_url`", "remove it");
                    }
                }
            }
        }
        let skew = millis(self.skew, "skew", 60_000, (0, 600_000), problems);
        let max_lifetime = match self.max_lifetime {
            Some(value) => millis(Some(value), "max_lifetime", 0, (1000, 366 * DAY), problems).map(Some),
            None => Some(None),
        };
        let max_token = match self.max_token {
            Some(size) => size.parse(&at.key("max_token"), &(256..=32 * 1024), problems),
            None => Some(8 * 1024),
        };
        let plan_claim = optional(self.plan_claim, |text| claim(text, &at.key("plan_claim"), problems));
        Some(Issuer {
            name: name?,
            issuer: issuer?,
            audiences: audiences?,
            algorithms: algorithms?,
            keys: keys?,
            skew: skew?,
            max_lifetime: max_lifetime?,
            max_token: usize::try_from(max_token?).unwrap_or(usize::MAX),
            plan_claim: plan_claim?,
        })
    }
}

fn algorithms(list: Option<Vec<String>>, at: &KeyPath, problems: &mut Problems) -> Option<Vec<Algorithm>> {
    if list.as_ref().is_none_or(Vec::is_empty) {
        if !problems.broken(at) {
            let hint = "name the algorithms of its keys, e.g. `[\"ES256\"]`: the token itself must not choose";
            problems.missing(at, hint);
        }
        return None;
    }
    let list = all(list, at, |text, at| choice(&text, at, &Algorithm::ALL, problems))?;
    if list
        .iter()
        .any(|algorithm| algorithm.is_symmetric() != list.first().is_some_and(|first| first.is_symmetric()))
    {
        let hint = "split it into two issuers: a public key must never be taken for a shared secret";
        problems.add_hint(at, "mixes shared secrets and public keys", hint);
        return None;
    }
    Some(list)
}

/// 1 to 1024 bytes without control characters.
fn text(text: Option<String>, at: &KeyPath, hint: &str, problems: &mut Problems) -> Option<String> {
    let Some(text) = text else {
        if !problems.broken(at) {
            problems.missing(at, hint);
        }
        return None;
    };
    if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
        problems.add(at, "must have 1 to 1024 bytes and no control characters");
        return None;
    }
    Some(text)
}
