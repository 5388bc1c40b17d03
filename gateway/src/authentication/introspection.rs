//! Asking who a token is for (RFC 7662), for tokens that say nothing by themselves.
//!
//! A good answer is remembered for a minute at most, and never beyond the token's end; a bad one for five seconds, so that
//! a client that tries again at once costs nothing. While nobody answers a good answer is used for `stale` more, and
//! else the token cannot be verified.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use causeway_config as config;
use data_encoding::BASE64;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value};

use super::claims::{Distinct, scopes};
use super::issuer::Unproven;
use super::jwt::TokenError;
use super::verdicts::Verdicts;
use crate::fetch::Fetcher;
use crate::principal::{Principal, PrincipalKind};

/// Answers that are remembered.
const VERDICTS: usize = 16 * 1024;
/// How long a bad one is.
const NEGATIVE: Duration = Duration::from_secs(5);
/// The largest answer in bytes.
pub const LARGEST: usize = 64 * 1024;

/// Who is asked.
#[derive(Debug)]
pub struct Introspector {
    /// As configured.
    pub config: config::Introspector,
    fetcher: Arc<Fetcher>,
    authorization: String,
    verdicts: Verdicts<Verdict>,
}

/// An answer.
#[derive(Clone, Debug)]
struct Verdict {
    principal: Option<Arc<Principal>>,
    fresh_until: Instant,
    usable_until: Instant,
}

impl Introspector {
    /// One that is asked with this secret.
    pub fn new(config: config::Introspector, fetcher: Arc<Fetcher>, secret: &[u8]) -> Self {
        let mut credentials = encode(config.client_id.as_bytes());
        credentials.push(':');
        credentials.push_str(&encode(secret));
        Self {
            authorization: format!("Basic {}", BASE64.encode(credentials.as_bytes())),
            config,
            fetcher,
            verdicts: Verdicts::new(VERDICTS),
        }
    }

    /// Whether it asks the same in the same way, so that its answers hold.
    pub fn is_same(&self, other: &Self) -> bool {
        self.config == other.config && self.authorization == other.authorization
    }

    /// What is remembered of a token: who it is for, or that it is for nobody.
    pub fn remembered(&self, digest: &[u8; 32], now: SystemTime) -> Option<Result<Arc<Principal>, TokenError>> {
        let verdict = self.verdict(digest, now)?;
        if Instant::now() >= verdict.fresh_until {
            return None;
        }
        Some(verdict.principal.ok_or(TokenError::Inactive))
    }

    fn verdict(&self, digest: &[u8; 32], now: SystemTime) -> Option<Verdict> {
        let instant = Instant::now();
        self.verdicts.find(digest, |verdict| {
            let expires = verdict.principal.as_ref().and_then(|principal| principal.expires);
            instant < verdict.usable_until && expires.is_none_or(|expires| now < expires)
        })
    }

    /// Asks about a token.
    ///
    /// # Errors
    /// See [`Unproven`].
    pub async fn ask(&self, token: &str, digest: [u8; 32]) -> Result<Arc<Principal>, Unproven> {
        let Some(claims) = self.answer(token).await else {
            let known = self
                .verdict(&digest, SystemTime::now())
                .and_then(|verdict| verdict.principal);
            return known.ok_or(Unproven::NoKeys);
        };
        let judged = self.judge(claims, SystemTime::now());
        let now = Instant::now();
        let (fresh, usable) = match &judged {
            Ok(_) => (self.config.cache, self.config.cache + self.config.stale),
            Err(_) => (NEGATIVE, NEGATIVE),
        };
        let verdict = Verdict {
            principal: judged.as_ref().ok().cloned(),
            fresh_until: now + fresh,
            usable_until: now + usable,
        };
        self.verdicts.remember(digest, verdict);
        judged.map_err(Unproven::Bad)
    }

    /// The claims that the introspector states; none when there is no answer.
    async fn answer(&self, token: &str) -> Option<Map<String, Value>> {
        let url = &self.config.url;
        let body = format!("token={}&token_type_hint=access_token", encode(token.as_bytes()));
        let request = Request::post(&url.target)
            .header(header::HOST, url.authority())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .ok()?;
        let name = &self.config.name;
        match self.fetcher.ask(request).await {
            Ok(answer) if answer.status == StatusCode::OK => match serde_json::from_slice(&answer.body) {
                Ok(Distinct(claims)) => Some(claims),
                Err(_) => {
                    tracing::warn!(introspector = %name, "the answer about a token is no JSON object");
                    None
                }
            },
            Ok(answer) => {
                tracing::warn!(introspector = %name, status = answer.status.as_u16(), "a token was not introspected");
                None
            }
            Err(error) => {
                tracing::warn!(introspector = %name, %error, "a token was not introspected");
                None
            }
        }
    }

    fn judge(&self, claims: Map<String, Value>, now: SystemTime) -> Result<Arc<Principal>, TokenError> {
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(TokenError::Inactive);
        }
        let ours = |audience: &Value| {
            let audience = audience.as_str();
            audience.is_some_and(|audience| self.config.audiences.iter().any(|ours| ours == audience))
        };
        let fits = match claims.get("aud") {
            _ if self.config.audiences.is_empty() => true,
            Some(Value::Array(list)) => list.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if !fits {
            return Err(TokenError::Audience);
        }
        let subject = ["sub", "username", "client_id"]
            .iter()
            .find_map(|name| claims.get(*name))
            .and_then(Value::as_str)
            .filter(|subject| Principal::is_name(subject))
            .ok_or(TokenError::Claims)?;
        let issuer = claims
            .get("iss")
            .and_then(Value::as_str)
            .filter(|issuer| Principal::is_name(issuer))
            .unwrap_or(&self.config.name);
        let mut principal = Principal::new(PrincipalKind::Token, issuer, subject);
        principal.scopes = scopes(&claims);
        principal.expires = super::jwt::date(&claims, "exp")?;
        if principal.expires.is_some_and(|expires| expires <= now) {
            return Err(TokenError::Expired);
        }
        principal.claims = claims;
        Ok(Arc::new(principal))
    }
}

/// As a form has it: everything but unreserved characters is percent-encoded.
fn encode(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut out, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}
