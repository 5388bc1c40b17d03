//! Who makes a call, once that is proven: by a token, a key, a certificate, a password, or another site's word for it.

use std::fmt;
use std::time::{Duration, SystemTime};

use causeway_config as config;
use serde_json::{Map, Value};

/// How a principal was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// An API key.
    ApiKey,
    /// A name and a password.
    Basic,
    /// A client certificate.
    Certificate,
    /// Another service was asked about the call.
    External,
    /// A JSON Web Token.
    Jwt,
    /// A token that its issuer was asked about (RFC 7662).
    Token,
}

impl PrincipalKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ApiKey,
        Self::Basic,
        Self::Certificate,
        Self::External,
        Self::Jwt,
        Self::Token,
    ];

    /// The word in configuration, rules, logs, metrics, and between sites.
    pub fn label(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Basic => "basic",
            Self::Certificate => "certificate",
            Self::External => "external",
            Self::Jwt => "jwt",
            Self::Token => "token",
        }
    }

    /// The kind with this word.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

/// Who makes a call. Only what has been verified is in here.
///
/// A name means something only together with who vouches for it: `alice` of one issuer is not `alice` of another. What
/// keys something by principal keys it by [`Principal::key`].
#[derive(Clone, PartialEq)]
pub struct Principal {
    /// How that was proven.
    pub kind: PrincipalKind,
    /// Who vouches for it: the `iss` of a token, the name of a source in the configuration, a trust domain.
    pub issuer: Box<str>,
    /// Its name at the issuer: `sub`, the name of a consumer, a SPIFFE id, a DNS name.
    pub subject: Box<str>,
    /// What it was granted (RFC 6749, section 3.3).
    pub scopes: Vec<Box<str>>,
    /// The claims of its token; at most as large as a token may be. Empty where there are none.
    pub claims: Map<String, Value>,
    /// The plan it has, for limits and quotas.
    pub plan: Option<config::Name>,
    /// When the proof ends; none: never.
    pub expires: Option<SystemTime>,
}

impl Principal {
    /// A principal of this name, with nothing but its name.
    pub fn new(kind: PrincipalKind, issuer: &str, subject: &str) -> Self {
        Self {
            kind,
            issuer: issuer.into(),
            subject: subject.into(),
            scopes: Vec::new(),
            claims: Map::new(),
            plan: None,
            expires: None,
        }
    }

    /// A text that no other principal has, for keys of limits, quotas and caches. The parts cannot run into each other:
    /// neither an issuer nor a subject holds a line feed, see [`Principal::is_name`].
    pub fn key(&self) -> String {
        format!("{}\n{}\n{}", self.kind.label(), self.issuer, self.subject)
    }

    /// Whether a text may be an issuer or a subject: 1 to 1024 bytes without control characters.
    pub fn is_name(text: &str) -> bool {
        (1..=1024).contains(&text.len()) && !text.chars().any(char::is_control)
    }

    /// Whether it was granted this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| **granted == *scope)
    }

    /// What is left of its proof; none: for ever.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.expires
            .map(|expires| expires.duration_since(now).unwrap_or_default())
    }
}

/// Claims are not shown: they are about people.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("kind", &self.kind)
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_principals_of_different_issuers_or_kinds_never_share_a_key() {
        let mut keys = std::collections::HashSet::new();
        for kind in PrincipalKind::ALL {
            assert_eq!(PrincipalKind::of_label(kind.label()), Some(kind));
            for (issuer, subject) in [("a", "alice"), ("b", "alice"), ("a", "bob"), ("aa", "lice")] {
                assert!(keys.insert(Principal::new(kind, issuer, subject).key()));
            }
        }
        for bad in ["", "a\nb", "a\u{7f}", "\0", &"x".repeat(1025)] {
            assert!(!Principal::is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn claims_are_in_no_log() {
        let mut principal = Principal::new(PrincipalKind::Jwt, "https://idp.example", "alice");
        principal.claims.insert("email".to_owned(), "alice@acme.example".into());
        assert!(!format!("{principal:?}").contains("acme"));
    }
}
