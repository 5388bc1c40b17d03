//! Names and passwords (RFC 7617): digested slowly, on a few threads of the control runtime, and remembered for a while.
//!
//! An unknown name takes as long as a known one. What is remembered is keyed by a MAC with a key of this process, so that
//! memory holds nothing that could be guessed from.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use aws_lc_rs::{hmac, pbkdf2};
use causeway_config::{Consumer, PasswordDigest};
use data_encoding::BASE64_NOPAD;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::api_keys::principal;
use super::verdicts::Verdicts;
use crate::principal::{Principal, PrincipalKind};

/// Passwords that are digested at once, over all routes.
const AT_ONCE: usize = 4;
static DIGESTING: Semaphore = Semaphore::const_new(AT_ONCE);
/// How long a right password is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most that are.
const VERDICTS: usize = 4096;
/// The longest password that is looked at, in bytes.
const LONGEST: usize = 256;
/// Rounds of a new digest (OWASP's advice for PBKDF2-HMAC-SHA256).
const ROUNDS: u32 = 600_000;

/// Why a password was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordError {
    /// It is wrong, or nobody has that name.
    Wrong,
    /// Too many are being digested.
    Busy,
}

/// The passwords of some consumers.
#[derive(Debug)]
pub struct Passwords {
    by_name: HashMap<Box<str>, (PasswordDigest, Arc<Principal>)>,
    verdicts: Verdicts<(Arc<Principal>, Instant)>,
    handle: Handle,
}

impl Passwords {
    /// The passwords of these consumers.
    pub fn of<'a>(consumers: impl Iterator<Item = &'a Consumer>, handle: Handle) -> Self {
        let by_name = consumers
            .filter_map(|consumer| {
                let digest = consumer.password.clone()?;
                let principal = Arc::new(principal(consumer, PrincipalKind::Basic));
                Some((Box::from(&*consumer.name), (digest, principal)))
            })
            .collect();
        Self {
            by_name,
            verdicts: Verdicts::new(VERDICTS),
            handle,
        }
    }

    /// Whether a consumer has a password.
    pub fn has(&self, consumer: &str) -> bool {
        self.by_name.contains_key(consumer)
    }

    /// Who has shown this name and password before.
    pub fn remembered(&self, digest: &[u8; 32]) -> Option<Arc<Principal>> {
        let now = Instant::now();
        self.verdicts
            .find(digest, |(_, until)| now < *until)
            .map(|(principal, _)| principal)
    }

    /// Verifies a name and a password.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn verify(&self, shown: &str, digest: [u8; 32]) -> Result<Arc<Principal>, PasswordError> {
        let (name, password) = shown.split_once(':').ok_or(PasswordError::Wrong)?;
        if password.len() > LONGEST {
            return Err(PasswordError::Wrong);
        }
        let permit = DIGESTING.try_acquire().map_err(|_| PasswordError::Busy)?;
        let known = self.by_name.get(name);
        let expected = known.map_or_else(nobody, |(expected, _)| expected.clone());
        let password = password.to_owned();
        let work = move || {
            let right = is_right(&expected, &password);
            drop(permit);
            right
        };
        let right = self.handle.spawn_blocking(work).await.unwrap_or(false);
        let (_, principal) = known.filter(|_| right).ok_or(PasswordError::Wrong)?;
        self.verdicts
            .remember(digest, (Arc::clone(principal), Instant::now() + REMEMBERED));
        Ok(Arc::clone(principal))
    }
}

/// What remembers a name and a password as they were shown.
pub fn fingerprint(shown: &str) -> [u8; 32] {
    static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
        let key: [u8; 32] = rand::random();
        hmac::Key::new(hmac::HMAC_SHA256, &key)
    });
    super::sha256(hmac::sign(&KEY, shown.as_bytes()).as_ref())
}

fn is_right(expected: &PasswordDigest, password: &str) -> bool {
    pbkdf2::verify(
        pbkdf2::PBKDF2_HMAC_SHA256,
        expected.rounds,
        &expected.salt,
        password.as_bytes(),
        &expected.digest,
    )
    .is_ok()
}

/// What a password of an unknown name is compared with.
fn nobody() -> PasswordDigest {
    PasswordDigest {
        rounds: std::num::NonZeroU32::new(ROUNDS).unwrap_or(std::num::NonZeroU32::MIN),
        salt: vec![0; 16],
        digest: [0; 32],
    }
}

/// The digest of a password as it goes into the configuration.
///
/// # Errors
/// When the system has no random numbers.
pub fn digest(password: &str) -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt)?;
    let mut digest = [0; 32];
    let rounds = nobody().rounds;
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        &salt,
        password.as_bytes(),
        &mut digest,
    );
    Ok(format!(
        "$pbkdf2-sha256$i={rounds}${}${}",
        BASE64_NOPAD.encode(&salt),
        BASE64_NOPAD.encode(&digest)
    ))
}
