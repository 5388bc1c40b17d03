//! Who the original caller is, as the sites tell each other inside the tunnel.
//!
//! One version byte. Version 1: the client's address as text. Version 2: a JSON object with the address and with who the
//! caller has proven to be at its entry: kind, issuer, subject, scopes, plan, when that ends, and those claims that the
//! calling site lets out. Nobody outside can write it: it crosses in the head of the call, beside the fields.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use causeway_protocols::tunnel::MAX_CALLER;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::authentication::claims;
use crate::principal::{Principal, PrincipalKind};

const ADDRESS: u8 = 1;
const PRINCIPAL: u8 = 2;

/// Who a call is for.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Who it has proven to be.
    pub principal: Option<Principal>,
}

/// Version 2. Members are only ever added; those that are not understood are ignored.
#[derive(Default, Deserialize, Serialize)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    kind: String,
    issuer: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// Seconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    claims: Map<String, Value>,
}

/// Writes the caller of a call; `allowed` are the claims that may leave this site. What is too large is left out: claims
/// first, then who it is, so that the other site refuses rather than knows half.
pub fn encode(address: Option<IpAddr>, principal: Option<&Principal>, allowed: &[String]) -> Option<Vec<u8>> {
    if let Some(principal) = principal {
        let mut wire = Wire {
            address,
            kind: principal.kind.label().to_owned(),
            issuer: principal.issuer.to_string(),
            subject: principal.subject.to_string(),
            scopes: principal.scopes.iter().map(ToString::to_string).collect(),
            plan: principal.plan.as_ref().map(ToString::to_string),
            expires: principal.expires.map(seconds),
            claims: Map::new(),
        };
        for path in allowed {
            if let Some(value) = claims::at(&principal.claims, path) {
                wire.claims.insert(path.clone(), value.clone());
            }
        }
        if let Some(out) = written(&wire) {
            return Some(out);
        }
        tracing::debug!(subject = %principal.subject, "the claims of a caller are too large to cross");
        wire.claims.clear();
        if let Some(out) = written(&wire) {
            return Some(out);
        }
    }
    let mut out = vec![ADDRESS];
    out.extend_from_slice(address?.to_string().as_bytes());
    Some(out)
}

fn written(wire: &Wire) -> Option<Vec<u8>> {
    let mut out = vec![PRINCIPAL];
    serde_json::to_writer(&mut out, wire).ok()?;
    (out.len() <= MAX_CALLER).then_some(out)
}

fn seconds(moment: SystemTime) -> u64 {
    moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Reads it. What a peer says about its client is never an error of the call: it only may be nothing.
pub fn decode(caller: &[u8]) -> Told {
    match caller.split_first() {
        Some((&ADDRESS, text)) => Told {
            address: std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            principal: None,
        },
        Some((&PRINCIPAL, text)) => serde_json::from_slice::<Wire>(text).map_or_else(
            |_| Told::default(),
            |wire| Told {
                address: wire.address,
                principal: principal(wire),
            },
        ),
        _ => Told::default(),
    }
}

fn principal(wire: Wire) -> Option<Principal> {
    if !Principal::is_name(&wire.issuer) || !Principal::is_name(&wire.subject) {
        return None;
    }
    let mut principal = Principal::new(PrincipalKind::of_label(&wire.kind)?, &wire.issuer, &wire.subject);
    principal.scopes = wire.scopes.into_iter().map(String::into_boxed_str).collect();
    principal.plan = wire.plan.map(Into::into);
    principal.claims = wire.claims;
    // An end that no clock has is as good as past.
    principal.expires = wire.expires.map(|seconds| {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    });
    Some(principal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_crosses_and_garbage_is_nobody() {
        for text in ["10.1.2.3", "::1"] {
            let address = text.parse().unwrap();
            let told = decode(&encode(Some(address), None, &[]).unwrap());
            assert_eq!((told.address, told.principal), (Some(address), None));
        }
        assert_eq!(encode(None, None, &[]), None);
        for garbage in [
            &b""[..],
            b"\x01",
            b"\x03127.0.0.1",
            b"\x01127.0.0.1\0",
            b"\x01\xff",
            b"\x02",
            b"\x02{}",
            b"\x02{\"kind\":\"root\",\"issuer\":\"i\",\"subject\":\"s\"}",
            b"\x02{\"kind\":\"jwt\",\"issuer\":\"i\",\"subject\":\"a\\nb\"}",
            b"\x02{\"kind\":\"jwt\",\"issuer\":\"\",\"subject\":\"s\"}",
            b"\x02{\"kind\":\"jwt\",\"kind\":\"jwt\",\"issuer\":\"i\",\"subject\":\"s\"}",
        ] {
            assert_eq!(decode(garbage), Told::default(), "{garbage:?}");
        }
    }

    #[test]
    fn i6_a_principal_crosses_with_the_claims_that_are_let_out_and_no_others() {
        let mut alice = Principal::new(PrincipalKind::Jwt, "https://idp.example", "alice \"quoted\" \u{e9}");
        alice.scopes = vec!["orders.read".into()];
        alice.plan = Some("gold".into());
        alice.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        alice.claims = json!({"tenant": "blue", "email": "a@b.example", "org": {"id": 7}})
            .as_object()
            .unwrap()
            .clone();
        let allowed = ["tenant".to_owned(), "org.id".to_owned(), "none".to_owned()];
        let told = decode(&encode(None, Some(&alice), &allowed).unwrap())
            .principal
            .unwrap();
        assert_eq!(
            told.claims,
            *json!({"tenant": "blue", "org.id": 7}).as_object().unwrap()
        );
        assert_eq!(
            told,
            Principal {
                claims: told.claims.clone(),
                ..alice.clone()
            }
        );

        alice.claims.insert("tenant".to_owned(), "x".repeat(MAX_CALLER).into());
        let out = encode(None, Some(&alice), &allowed).unwrap();
        assert!(out.len() <= MAX_CALLER);
        let told = decode(&out).principal.unwrap();
        assert_eq!((&*told.subject, told.claims.len()), (&*alice.subject, 0));

        alice.scopes = vec!["x".repeat(MAX_CALLER).into()];
        assert_eq!(encode(None, Some(&alice), &allowed), None, "half a principal is none");
    }
}
