//! Keys that verify signatures: JSON Web Keys (RFC 7517), each usable only with the algorithms it is for.
//!
//! A key is never taken from a token, and its kind decides the algorithm: an RSA key cannot be used as a secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::{hmac, signature};
use causeway_config::Algorithm;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::sha256;

/// Most keys of a set; no issuer has so many.
pub const MOST_KEYS: usize = 64;
/// Keys that are tried for a token that names none.
const TRIES: usize = 8;
/// Fewest bytes of a shared secret (RFC 7518, section 3.2, for `HS256`).
const SHORTEST_SECRET: usize = 32;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It is not a key set at all.
    #[error("is not a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    /// There is nothing in it that could verify a token.
    #[error("holds no key that verifies signatures")]
    Empty,
    /// There is too much in it.
    #[error("holds more than {MOST_KEYS} keys")]
    TooMany,
    /// A guess would find it.
    #[error("holds fewer than {SHORTEST_SECRET} bytes")]
    ShortSecret,
}

/// What became of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is good.
    Good,
    /// It is not of the key.
    Bad,
    /// There is no such key.
    UnknownKey,
}

/// Some keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Of the text it was read from.
    digest: Option<[u8; 32]>,
    /// Differs from that of every other set, so that what was verified by another can be told.
    generation: u64,
}

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    ways: Vec<(Algorithm, Way)>,
}

/// How one key verifies by one algorithm.
#[derive(Debug)]
enum Way {
    Public(Box<signature::ParsedPublicKey>),
    Secret(Box<hmac::Key>),
}

impl KeySet {
    /// No keys.
    pub fn none() -> Arc<Self> {
        Arc::new(Self::of(Vec::new(), None))
    }

    /// Reads a JSON Web Key Set. Keys of unknown kinds, for encryption, or with mistakes are left out; secrets, too: a
    /// set may be public.
    ///
    /// # Errors
    /// When nothing usable is left.
    pub fn of_jwks(text: &[u8]) -> Result<Arc<Self>, KeysError> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<serde_json::Value>,
        }
        let set: Jwks = serde_json::from_slice(text)?;
        if set.keys.len() > MOST_KEYS {
            return Err(KeysError::TooMany);
        }
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok()?.key())
            .collect();
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(Arc::new(Self::of(keys, Some(sha256(text)))))
    }

    /// A secret shared with the issuer.
    ///
    /// # Errors
    /// When it is too short.
    pub fn of_secret(secret: &[u8]) -> Result<Arc<Self>, KeysError> {
        if secret.len() < SHORTEST_SECRET {
            return Err(KeysError::ShortSecret);
        }
        let ways = [
            (Algorithm::Hs256, hmac::HMAC_SHA256),
            (Algorithm::Hs384, hmac::HMAC_SHA384),
            (Algorithm::Hs512, hmac::HMAC_SHA512),
        ];
        let ways = ways
            .into_iter()
            .map(|(algorithm, hash)| (algorithm, Way::Secret(Box::new(hmac::Key::new(hash, secret)))))
            .collect();
        Ok(Arc::new(Self::of(vec![Key { id: None, ways }], Some(sha256(secret)))))
    }

    fn of(keys: Vec<Key>, digest: Option<[u8; 32]>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            keys,
            digest,
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether it was read from a text with this digest.
    pub fn is_of(&self, digest: &[u8; 32]) -> bool {
        self.digest.as_ref() == Some(digest)
    }

    /// A number that no other set has.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Verifies a signature by the key of this id; by every key for the algorithm where the token names none.
    pub fn verify(&self, algorithm: Algorithm, id: Option<&str>, message: &[u8], signature: &[u8]) -> Verified {
        let ways = self
            .keys
            .iter()
            .filter(|key| match (id, &key.id) {
                (Some(wanted), Some(id)) => *wanted == **id,
                // The id is a hint (RFC 7515, section 4.1.4): a key without one may be meant.
                (None, _) | (_, None) => true,
            })
            .flat_map(|key| &key.ways)
            .filter(|(way, _)| *way == algorithm)
            .take(TRIES);
        let mut verified = Verified::UnknownKey;
        for (_, way) in ways {
            if way.verify(message, signature) {
                return Verified::Good;
            }
            verified = Verified::Bad;
        }
        verified
    }
}

impl Way {
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// One key as written.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    fn key(self) -> Option<Key> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = self
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !signs || !verifies {
            return None;
        }
        let (bytes, candidates) = self.material()?;
        let ways: Vec<_> = candidates
            .iter()
            .filter(|(algorithm, _)| {
                let named = |name: &str| {
                    Algorithm::ALL
                        .iter()
                        .any(|(text, of_name)| *text == name && of_name == algorithm)
                };
                self.alg.as_deref().is_none_or(named)
            })
            .filter_map(|(algorithm, verification)| {
                let key = signature::ParsedPublicKey::new(*verification, &bytes).ok()?;
                Some((*algorithm, Way::Public(Box::new(key))))
            })
            .collect();
        let id = self.kid.map(String::into_boxed_str);
        (!ways.is_empty()).then_some(Key { id, ways })
    }

    /// The key as its algorithms take it.
    fn material(&self) -> Option<(Vec<u8>, &'static [Candidate])> {
        let decode = |text: &Option<String>| BASE64URL_NOPAD.decode(text.as_ref()?.as_bytes()).ok();
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => Some((point(&decode(&self.x)?, &decode(&self.y)?, 32)?, &P256)),
            ("EC", Some("P-384")) => Some((point(&decode(&self.x)?, &decode(&self.y)?, 48)?, &P384)),
            ("OKP", Some("Ed25519")) => Some((decode(&self.x)?, &ED25519)),
            ("RSA", _) => {
                let modulus = decode(&self.n)?;
                let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
                (bytes >= SHORTEST_MODULUS).then_some(())?;
                Some((rsa(&modulus, &decode(&self.e)?), &RSA))
            }
            _ => None,
        }
    }
}

type Candidate = (Algorithm, &'static dyn signature::VerificationAlgorithm);

static P256: [Candidate; 1] = [(Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED)];
static P384: [Candidate; 1] = [(Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED)];
static ED25519: [Candidate; 1] = [(Algorithm::EdDsa, &signature::ED25519)];
/// Fewest bytes of an RSA key (RFC 7518, section 3.3).
const SHORTEST_MODULUS: usize = 256;
static RSA: [Candidate; 6] = [
    (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
];

/// An uncompressed point (SEC 1, section 2.3.3); its coordinates have their full length (RFC 7518, section 6.2.1.2).
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}

/// `RSAPublicKey` (RFC 8017, appendix A.1.1) in DER.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut inside = integer(modulus);
    inside.extend(integer(exponent));
    tagged(0x30, &inside)
}

/// A positive INTEGER.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = &bytes[first..];
    let mut value = Vec::with_capacity(bytes.len() + 1);
    if bytes.first().is_none_or(|byte| *byte >= 0x80) {
        value.push(0);
    }
    value.extend_from_slice(bytes);
    tagged(2, &value)
}

fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = value.len().to_be_bytes();
    let first = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let digits = &length[first..];
    if value.len() >= 0x80 {
        // At most eight digits.
        out.push(0x80 | digits.len() as u8);
    }
    out.extend_from_slice(digits);
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::testing::SigningKey;

    #[test]
    fn a_signature_is_good_only_by_the_algorithm_of_its_key() {
        for algorithm in [
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::EdDsa,
            Algorithm::Rs256,
            Algorithm::Ps256,
        ] {
            let key = SigningKey::new(algorithm, "k");
            let set = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
            let signature = key.sign(b"message");
            assert_eq!(set.verify(algorithm, Some("k"), b"message", &signature), Verified::Good);
            assert_eq!(set.verify(algorithm, None, b"message", &signature), Verified::Good);
            assert_eq!(set.verify(algorithm, Some("k"), b"massage", &signature), Verified::Bad);
            assert_eq!(
                set.verify(algorithm, Some("other"), b"message", &signature),
                Verified::UnknownKey
            );
            for (_, other) in Algorithm::ALL {
                if other != algorithm {
                    assert_eq!(
                        set.verify(other, Some("k"), b"message", &signature),
                        Verified::UnknownKey
                    );
                }
            }
        }
    }

    #[test]
    fn a1_an_ecdsa_signature_of_zeros_is_bad() {
        for (algorithm, length) in [(Algorithm::Es256, 64), (Algorithm::Es384, 96)] {
            let set = KeySet::of_jwks(SigningKey::new(algorithm, "k").jwks().as_bytes()).unwrap();
            assert_eq!(set.verify(algorithm, Some("k"), b"m", &vec![0; length]), Verified::Bad);
            assert_eq!(set.verify(algorithm, Some("k"), b"m", b""), Verified::Bad);
        }
    }

    #[test]
    fn what_is_no_key_for_signatures_is_left_out() {
        let good = SigningKey::new(Algorithm::Es256, "good").jwk();
        let with = |name: &str, value: serde_json::Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        for bad in [
            with("kty", "XYZ".into()),
            with("use", "enc".into()),
            with("key_ops", serde_json::json!(["sign"])),
            with("alg", "ES384".into()),
            with("x", "AA".into()),
            with("y", good["x"].clone()),
            with("crv", "secp256k1".into()),
            serde_json::json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}),
            serde_json::json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            serde_json::json!(7),
        ] {
            let alone = serde_json::json!({ "keys": [bad] }).to_string();
            assert!(
                matches!(KeySet::of_jwks(alone.as_bytes()), Err(KeysError::Empty)),
                "{alone}"
            );
            let beside = serde_json::json!({ "keys": [bad, good] }).to_string();
            assert_eq!(KeySet::of_jwks(beside.as_bytes()).unwrap().keys.len(), 1);
        }
        let many = serde_json::json!({ "keys": vec![good; MOST_KEYS + 1] }).to_string();
        assert!(matches!(KeySet::of_jwks(many.as_bytes()), Err(KeysError::TooMany)));
        for text in ["", "<html>", "[]", "{\"keys\":1}"] {
            assert!(KeySet::of_jwks(text.as_bytes()).is_err());
        }
        assert!(matches!(KeySet::of_secret(&[7; 31]), Err(KeysError::ShortSecret)));
    }

    #[test]
    fn lengths_are_those_of_der() {
        assert_eq!(tagged(2, &[1]), [2, 1, 1]);
        assert_eq!(tagged(2, &[]), [2, 0]);
        assert_eq!(tagged(2, &[7; 0x80])[..3], [2, 0x81, 0x80]);
        assert_eq!(tagged(2, &[7; 0x102])[..4], [2, 0x82, 1, 2]);
        assert_eq!(integer(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }
}
