//! API keys: random texts that a consumer was given, of which only the digests are kept.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use causeway_config::Consumer;
use data_encoding::BASE64URL_NOPAD;

use super::sha256;
use crate::principal::{Principal, PrincipalKind};

/// What vouches for consumers: the configuration of this gateway.
pub const ISSUER: &str = "consumers";
/// What a key begins with, so that scanners of source code find one that was committed.
const PREFIX: &str = "cwk_";
/// The longest key that is looked at, in bytes.
const LONGEST: usize = 512;

/// The keys of some consumers.
#[derive(Debug, Default)]
pub struct ApiKeys {
    /// By the first bytes of the digest, which tell nothing of the key; the rest is compared in constant time.
    by_prefix: HashMap<[u8; 4], Vec<Owned>>,
}

/// The digest of a key, and whose it is.
type Owned = ([u8; 32], Arc<Principal>);

impl ApiKeys {
    /// The keys of these consumers.
    pub fn of<'a>(consumers: impl Iterator<Item = &'a Consumer>) -> Self {
        let mut by_prefix: HashMap<_, Vec<_>> = HashMap::new();
        for consumer in consumers {
            let principal = Arc::new(principal(consumer, PrincipalKind::ApiKey));
            for digest in &consumer.keys {
                let kept = by_prefix.entry(prefix(digest)).or_default();
                kept.push((*digest, Arc::clone(&principal)));
            }
        }
        Self { by_prefix }
    }

    /// Whether a consumer has a key.
    pub fn has(&self, consumer: &str) -> bool {
        let mut owners = self.by_prefix.values().flatten();
        owners.any(|(_, principal)| *principal.subject == *consumer)
    }

    /// Whose key it is.
    pub fn find(&self, key: &[u8]) -> Option<Arc<Principal>> {
        if key.len() > LONGEST {
            return None;
        }
        let digest = sha256(key);
        self.by_prefix
            .get(&prefix(&digest))?
            .iter()
            .find(|(kept, _)| verify_slices_are_equal(kept, &digest).is_ok())
            .map(|(_, principal)| Arc::clone(principal))
    }
}

/// A consumer as a principal.
pub fn principal(consumer: &Consumer, kind: PrincipalKind) -> Principal {
    let mut principal = Principal::new(kind, ISSUER, &consumer.name);
    principal.scopes = consumer.scopes.iter().map(|scope| scope.as_str().into()).collect();
    principal.plan.clone_from(&consumer.plan);
    principal
}

fn prefix(digest: &[u8; 32]) -> [u8; 4] {
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Makes a key with 256 random bits.
///
/// # Errors
/// When the system has no random numbers.
pub fn make() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
}

/// The digest of a key as it goes into the configuration.
pub fn shown_digest(key: &str) -> String {
    sha256(key.as_bytes())
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_a_key_is_known_by_its_whole_digest_only() {
        let keys: Vec<String> = (0..3).map(|_| make().unwrap()).collect();
        let consumers: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| Consumer {
                name: format!("c{at}").into(),
                plan: Some("gold".into()),
                keys: vec![sha256(key.as_bytes())],
                password: None,
                scopes: vec!["orders.read".to_owned()],
            })
            .collect();
        let known = ApiKeys::of(consumers.iter());
        for (at, key) in keys.iter().enumerate() {
            let found = known.find(key.as_bytes()).unwrap();
            assert_eq!(*found.subject, *format!("c{at}"));
            assert!(found.has_scope("orders.read"));
            assert_eq!(found.plan.as_deref(), Some("gold"));
            let mut like = sha256(key.as_bytes());
            like[31] ^= 1;
            // A digest that shares the prefix is another key's.
            assert!(verify_slices_are_equal(&like, &sha256(key.as_bytes())).is_err());
            assert!(known.find(&key.as_bytes()[1..]).is_none());
            assert!(
                known.find(shown_digest(key).as_bytes()).is_none(),
                "the digest is no key"
            );
        }
        for bad in [&b""[..], b"cwk_", &[b'x'; 10_000]] {
            assert!(known.find(bad).is_none());
        }
        assert!(ApiKeys::default().find(keys[0].as_bytes()).is_none());
    }

    #[test]
    fn a_digest_is_what_other_tools_print() {
        assert_eq!(
            shown_digest("abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
