//! `[routes.authenticate]`: who a client has to be able to prove to be.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::Known;
use super::super::value::{all, claim, header, optional};
use crate::model::Name;
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::brief;

/// What a route accepts as a proof of who its client is. Any one suffices; without one the call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// Tokens of these issuers, by name.
    pub issuers: Vec<Name>,
    /// Whom to ask about tokens of no such issuer, by name.
    pub introspector: Option<Name>,
    /// Whether names and passwords of consumers are taken. Default: false.
    pub basic: bool,
    /// Whether client certificates are taken, which listeners verify. Default: false.
    pub certificate: bool,
    /// API keys.
    pub api_key: Option<ApiKey>,
    /// The consumers whose keys are taken; empty: all.
    pub consumers: Vec<Name>,
    /// Whether a client may prove nothing at all. What is proved wrongly is refused all the same. Default: false.
    pub optional: bool,
    /// Where a token may be. Default: the `authorization` field.
    pub token_from: Vec<TokenPlace>,
    /// Whether the backend gets the token or key too. Default: false.
    pub forward: bool,
    /// Fields that are set from claims: name of the field in lower case, and the claim.
    pub claims_to_headers: BTreeMap<String, String>,
    /// Named in `www-authenticate`.
    pub realm: Option<String>,
    /// Refusals are counted and logged only.
    pub dry_run: bool,
}

/// Where an API key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The field, in lower case. Default: `x-api-key`.
    pub header: String,
    /// A query parameter that may have it instead. Default: none.
    pub query: Option<String>,
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `authorization: Bearer TOKEN` (RFC 6750, section 2.1).
    Authorization,
    /// A cookie.
    Cookie(String),
    /// A field of this name, in lower case.
    Header(String),
    /// A query parameter (RFC 6750, section 2.3).
    Query(String),
    /// `sec-websocket-protocol: bearer, TOKEN`: browsers can set no other field of a WebSocket.
    Subprotocol,
}

/// `authenticate` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthenticateFile {
    /// Issuers whose tokens are taken, by name.
    issuers: Option<Vec<String>>,
    /// Who is asked about tokens of no issuer above, by name. Default: nobody.
    introspector: Option<String>,
    /// Whether names and passwords of consumers are taken (RFC 7617). Default: false.
    basic: Option<bool>,
    /// Whether certificates are taken that clients have shown to a listener with `client_ca`. Default: false.
    certificate: Option<bool>,
    /// API keys are taken; `{}` for the field `x-api-key`.
    api_key: Option<ApiKeyFile>,
    /// Consumers whose keys are taken. Default: all.
    consumers: Option<Vec<String>>,
    /// Whether a client may come without any proof. Default: false.
    optional: Option<bool>,
    /// Where a token may be: `authorization`, `header:NAME`, `cookie:NAME`, `query:NAME`, `subprotocol`. Default: `authorization`.
    token_from: Option<Vec<String>>,
    /// Whether the backend gets the token or key too. Default: false.
    forward: Option<bool>,
    /// Fields to set for the backend from claims, e.g. `x-user = "sub"`. What a client sends under these names is dropped.
    claims_to_headers: Option<BTreeMap<String, String>>,
    /// The realm that `www-authenticate` names. Default: none.
    realm: Option<String>,
    /// Count and log refusals, and let the call pass. Default: false.
    dry_run: Option<bool>,
}

/// `api_key = {...}` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApiKeyFile {
    /// The field that has the key. Default: `x-api-key`.
    header: Option<String>,
    /// A query parameter that may have it instead; queries are in logs. Default: none.
    query: Option<String>,
}

impl AuthenticateFile {
    pub(crate) fn parse(self, at: &KeyPath, known: &Known, problems: &mut Problems) -> Option<Authenticate> {
        let issuers = named(self.issuers, &at.key("issuers"), "issuer", &known.issuers, problems);
        let consumers = named(
            self.consumers,
            &at.key("consumers"),
            "consumer",
            &known.consumers,
            problems,
        );
        let introspector = named(
            self.introspector.map(|name| vec![name]),
            &at.key("introspector"),
            "introspector",
            &known.introspectors,
            problems,
        );
        let (basic, certificate) = (self.basic.unwrap_or(false), self.certificate.unwrap_or(false));
        let api_key = optional(self.api_key, |api_key| api_key.parse(&at.key("api_key"), problems));
        let token_from = match self.token_from {
            None => Some(vec![TokenPlace::Authorization]),
            Some(list) => all(Some(list), &at.key("token_from"), |text, at| {
                token_place(&text, at, problems)
            }),
        };
        let here = at.key("claims_to_headers");
        let claims_to_headers: Vec<_> = self
            .claims_to_headers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, text)| {
                let at = here.key(&name);
                Some((header(&name, &at, problems)?, claim(text, &at, problems)?))
            })
            .collect();
        let claims_to_headers: Option<BTreeMap<_, _>> = claims_to_headers.into_iter().collect();
        let realm = optional(self.realm, |text| {
            let good = text
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if !good {
                problems.add(&at.key("realm"), "must be printable ASCII without quotes");
            }
            good.then_some(text)
        });
        let nothing = issuers.as_ref().is_some_and(Vec::is_empty)
            && matches!(api_key, Some(None))
            && introspector.as_ref().is_some_and(Vec::is_empty)
            && !basic
            && !certificate;
        if nothing {
            let hint =
                "name `issuers` or an `introspector`, or write `api_key = {}`, `basic = true` or `certificate = true`";
            problems.add_hint(at, "accepts no proof at all", hint);
        }
        Some(Authenticate {
            issuers: issuers?,
            introspector: introspector?.pop(),
            basic,
            certificate,
            api_key: api_key?,
            consumers: consumers?,
            optional: self.optional.unwrap_or(false),
            token_from: token_from?,
            forward: self.forward.unwrap_or(false),
            claims_to_headers: claims_to_headers?,
            realm: realm?,
            dry_run: self.dry_run.unwrap_or(false),
        })
    }
}

impl ApiKeyFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<ApiKey> {
        let name = self.header.as_deref().unwrap_or("x-api-key");
        let header = header(name, &at.key("header"), problems);
        let query = optional(self.query, |text| parameter(&text, &at.key("query"), problems));
        Some(ApiKey {
            header: header?,
            query: query?,
        })
    }
}

/// A list of names of what is defined elsewhere.
pub(super) fn named(
    list: Option<Vec<String>>,
    at: &KeyPath,
    what: &str,
    known: &BTreeSet<String>,
    problems: &mut Problems,
) -> Option<Vec<Name>> {
    all(list, at, |text, at| {
        if known.contains(&text) {
            return Some(Name::from(text));
        }
        let hint = did_you_mean(&text, known.iter().map(String::as_str))
            .unwrap_or_else(|| format!("add it under `[[{what}s]]`"));
        problems.add_hint(at, format!("no {what} named `{}`", brief(&text)), hint);
        None
    })
}

fn token_place(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<TokenPlace> {
    match text.split_once(':') {
        None if text == "authorization" => Some(TokenPlace::Authorization),
        None if text == "subprotocol" => Some(TokenPlace::Subprotocol),
        Some(("header", name)) => header(name, at, problems).map(TokenPlace::Header),
        Some(("cookie", name)) => parameter(name, at, problems).map(TokenPlace::Cookie),
        Some(("query", name)) => parameter(name, at, problems).map(TokenPlace::Query),
        _ => {
            let hint = "write `authorization`, `header:NAME`, `cookie:NAME`, `query:NAME` or `subprotocol`";
            problems.add_hint(at, format!("`{}` is no place of a token", brief(text)), hint);
            None
        }
    }
}

/// The name of a cookie or a query parameter that needs no encoding.
fn parameter(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if (1..=128).contains(&text.len()) && text.bytes().all(good) {
        return Some(text.to_owned());
    }
    problems.add(at, "must be a name of letters, digits, `-`, `_`, `.` and `~`");
    None
}
