//! `[[consumers]]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{all, name, optional, scope};
use crate::model::{Consumer, PasswordDigest};
use crate::path::KeyPath;
use crate::problems::Problems;

/// `[[consumers]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsumerFile {
    /// Its name, which rules, logs and limits use.
    pub(super) name: Option<String>,
    /// Its plan, for limits and quotas. Default: none.
    plan: Option<String>,
    /// Digests of its API keys, `sha256:..`, as `causeway key` prints them.
    keys: Option<Vec<String>>,
    /// Digest of its password, `$pbkdf2-sha256$..`, as `causeway key --password` prints it. Default: none.
    password: Option<String>,
    /// Scopes that it was granted. Default: none.
    scopes: Option<Vec<String>>,
}

impl ConsumerFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Consumer> {
        let named = name(
            self.name.as_deref(),
            &at.key("name"),
            "name the consumer, e.g. `shop`",
            problems,
        );
        let plan = optional(self.plan, |plan| name(Some(&plan), &at.key("plan"), "", problems));
        let keys = all(self.keys, &at.key("keys"), |text, at| digest(&text, at, problems));
        let password = optional(self.password, |text| password(&text, &at.key("password"), problems));
        let scopes = all(self.scopes, &at.key("scopes"), |text, at| scope(text, at, problems));
        Some(Consumer {
            name: named?,
            plan: plan?,
            keys: keys?,
            password: password?,
            scopes: scopes?,
        })
    }
}

/// `sha256:` and 64 hexadecimal digits. What is written instead may be the key itself, so it is not repeated.
fn digest(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<[u8; 32]> {
    let parsed = text.strip_prefix("sha256:").and_then(|digits| {
        let mut digest = [0; 32];
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|_| pair.iter().all(u8::is_ascii_hexdigit))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(digest)
    });
    if parsed.is_none() {
        let hint = "write `sha256:` and the digest in hexadecimal: `causeway key` makes a key and prints both";
        problems.add_hint(at, "is not the digest of a key", hint);
    }
    parsed
}

/// `$pbkdf2-sha256$i=ROUNDS$SALT$DIGEST`, in base64 without padding. What is written instead may be the password itself.
fn password(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<PasswordDigest> {
    let parsed = || {
        let mut parts = text.strip_prefix("$pbkdf2-sha256$i=")?.split('$');
        let (rounds, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let decode = |part: &str| data_encoding::BASE64_NOPAD.decode(part.as_bytes()).ok();
        let rounds: std::num::NonZeroU32 = rounds.parse().ok()?;
        let salt = decode(salt).filter(|salt| (8..=64).contains(&salt.len()))?;
        let digest = decode(digest)?.try_into().ok()?;
        let good = parts.next().is_none() && (100_000..=5_000_000).contains(&rounds.get());
        good.then_some(PasswordDigest { rounds, salt, digest })
    };
    let parsed = parsed();
    if parsed.is_none() {
        let hint = "write what `causeway key --password` prints: 100000 to 5000000 rounds, salt and digest";
        problems.add_hint(at, "is not the digest of a password", hint);
    }
    parsed
}
