//! JSON Web Tokens in their compact form (RFC 7519, RFC 7515), verified by the rules of RFC 8725.
//!
//! - The algorithm is one of the issuer's and fits the key; the token only says which it used. `none` is no algorithm.
//! - Keys come from the issuer's set. `jku`, `x5u`, `jwk` and `x5c` are not even read, and `kid` is only compared.
//! - `crit`, `b64`, `zip` and encrypted or nested tokens are refused: we understand none of them.
//! - No name stands twice in header or claims, and base64 has neither padding nor spare bits.
//! - `exp`, `iss` and `aud` must be there.

use std::time::{Duration, SystemTime};

use causeway_config as config;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::claims::{Distinct, scopes};
use super::keys::{KeySet, Verified};
use crate::principal::{Principal, PrincipalKind};

/// Why a token was refused. The client is told only that it was; these words are for log and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than the issuer's `max_token`.
    #[error("it is too long")]
    TooLong,
    /// Not three parts of base64, or not JSON objects with distinct names.
    #[error("it is malformed")]
    Malformed,
    /// A header member that would have to be understood.
    #[error("its header asks for what is not supported")]
    Header,
    /// An algorithm that is not one of the issuer's.
    #[error("its algorithm is not one of the issuer's")]
    Algorithm,
    /// No issuer of the route says `iss` so.
    #[error("its issuer is not accepted here")]
    Issuer,
    /// The issuer has no such key.
    #[error("its key is not one of the issuer's")]
    UnknownKey,
    /// The signature is not of the key.
    #[error("its signature is wrong")]
    Signature,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is not valid yet.
    #[error("it is not valid yet")]
    NotYet,
    /// It is for somebody else.
    #[error("it is for another audience")]
    Audience,
    /// It is valid for too long, or does not say since when.
    #[error("its lifetime is too long")]
    Lifetime,
    /// The introspector says that it is not good.
    #[error("it is not active")]
    Inactive,
    /// A claim that must be there is not, or has the wrong type.
    #[error("a claim is missing or has the wrong type")]
    Claims,
}

impl TokenError {
    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Audience => "audience",
            Self::Lifetime => "lifetime",
            Self::Inactive => "inactive",
            Self::Claims => "claims",
        }
    }
}

/// A token that has been taken apart. Nothing in it is proven.
#[derive(Debug)]
pub struct Unverified<'a> {
    algorithm: config::Algorithm,
    key: Option<String>,
    claims: Map<String, Value>,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::Header`] or [`TokenError::Algorithm`].
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        // A fourth part would be a dot in here, which is no base64.
        let header = object(header)?;
        let claims = object(payload)?;
        let signature = decode(signature)?;
        // Extensions that must be understood (RFC 7515, section 4.1.11), other encodings of the payload (RFC 7797),
        // encrypted (RFC 7516) and compressed content.
        if ["crit", "b64", "enc", "zip"]
            .iter()
            .any(|name| header.contains_key(*name))
        {
            return Err(TokenError::Header);
        }
        // A token in a token (RFC 7519, section 5.2).
        if let Some(content) = header.get("cty")
            && content
                .as_str()
                .is_none_or(|content| content.eq_ignore_ascii_case("jwt"))
        {
            return Err(TokenError::Header);
        }
        let named = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Header)?;
        let algorithm = config::Algorithm::ALL
            .iter()
            .find(|(name, _)| *name == named)
            .ok_or(TokenError::Algorithm)?
            .1;
        let key = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(TokenError::Header),
        };
        Ok(Self {
            algorithm,
            key,
            claims,
            message: message.as_bytes(),
            signature,
        })
    }

    /// Who it says has signed it: to look for keys, and for nothing else.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Verifies it. Who it is, if all is right.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(self, issuer: &config::Issuer, keys: &KeySet, now: SystemTime) -> Result<Principal, TokenError> {
        if self.issuer() != Some(&issuer.issuer) {
            return Err(TokenError::Issuer);
        }
        if !issuer.algorithms.contains(&self.algorithm) {
            return Err(TokenError::Algorithm);
        }
        match keys.verify(self.algorithm, self.key.as_deref(), self.message, &self.signature) {
            Verified::Good => {}
            Verified::Bad => return Err(TokenError::Signature),
            Verified::UnknownKey => return Err(TokenError::UnknownKey),
        }
        check(self.claims, issuer, now)
    }
}

/// Holds the claims of a token whose signature is good to the rules of its issuer.
fn check(claims: Map<String, Value>, issuer: &config::Issuer, now: SystemTime) -> Result<Principal, TokenError> {
    let skew = issuer.skew;
    let expires = date(&claims, "exp")?.ok_or(TokenError::Claims)?;
    if now >= later(expires, skew) {
        return Err(TokenError::Expired);
    }
    let issued = date(&claims, "iat")?;
    for start in [date(&claims, "nbf")?, issued].into_iter().flatten() {
        if start > later(now, skew) {
            return Err(TokenError::NotYet);
        }
    }
    if let Some(longest) = issuer.max_lifetime
        && issued.is_none_or(|issued| expires > later(issued, longest))
    {
        return Err(TokenError::Lifetime);
    }
    let ours = |audience: &Value| {
        let audience = audience.as_str();
        audience.is_some_and(|audience| issuer.audiences.iter().any(|ours| ours == audience))
    };
    match claims.get("aud") {
        Some(Value::Array(list)) if list.iter().any(ours) => {}
        Some(one @ Value::String(_)) if ours(one) => {}
        _ => return Err(TokenError::Audience),
    }
    // Tokens for machines have no subject with some issuers, but the client's id (RFC 9068, section 2.2; OpenID Connect).
    let subject = ["sub", "client_id", "azp"]
        .iter()
        .find_map(|name| claims.get(*name))
        .and_then(Value::as_str)
        .filter(|subject| Principal::is_name(subject))
        .ok_or(TokenError::Claims)?;
    let mut principal = Principal::new(PrincipalKind::Jwt, &issuer.issuer, subject);
    principal.scopes = scopes(&claims);
    principal.plan = issuer
        .plan_claim
        .as_ref()
        .and_then(|claim| super::claims::at(&claims, claim)?.as_str())
        .filter(|plan| plan.len() <= 63)
        .map(config::Name::from);
    // Who comes within the skew after the end has what is left of the skew.
    principal.expires = Some(if now < expires { expires } else { later(expires, skew) });
    principal.claims = claims;
    Ok(principal)
}

/// A moment, some time on; the last one there is where that is further than time goes.
fn later(moment: SystemTime, by: Duration) -> SystemTime {
    moment.checked_add(by).unwrap_or(moment)
}

/// A NumericDate (RFC 7519, section 2). Fractions are dropped.
pub(super) fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, TokenError> {
    /// The year 9999, and so nothing overflows.
    const LAST: f64 = 253_402_300_799.0;
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().ok_or(TokenError::Claims)?;
    if !(0.0..=LAST).contains(&seconds) {
        return Err(TokenError::Claims);
    }
    // Within the range above.
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds as u64)))
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD
        .decode(part.as_bytes())
        .map_err(|_| TokenError::Malformed)
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let Distinct(members) = serde_json::from_slice(&decode(part)?).map_err(|_| TokenError::Malformed)?;
    Ok(members)
}

#[cfg(test)]
mod tests;
