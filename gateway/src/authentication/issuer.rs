//! One issuer of tokens: its keys, and what was verified by them already.

use std::sync::Arc;
use std::time::SystemTime;

use causeway_config as config;

use super::jwks::Jwks;
use super::jwt::{TokenError, Unverified};
use super::keys::KeySet;
use super::verdicts::Verdicts;
use crate::principal::Principal;
use crate::telemetry::metrics::{Counter, GatewayMetrics};

/// Verdicts that are remembered for each issuer.
const VERDICTS: usize = 16 * 1024;

/// Where the keys of an issuer are.
#[derive(Debug)]
pub enum Keys {
    /// Here.
    Fixed(Arc<KeySet>),
    /// Fetched.
    Fetched(Arc<Jwks>),
}

/// An issuer of tokens.
#[derive(Debug)]
pub struct Issuer {
    /// As configured.
    pub config: config::Issuer,
    keys: Keys,
    verdicts: Verdicts<Verdict>,
    hits: Counter,
}

/// A token that was good.
#[derive(Clone, Debug)]
struct Verdict {
    principal: Arc<Principal>,
    /// Of the key set that verified it.
    generation: u64,
}

/// What an issuer says of a token at once.
#[derive(Debug)]
pub enum Said {
    /// It is good.
    Good(Arc<Principal>),
    /// It is not.
    Bad(TokenError),
    /// It cannot be said before the keys of this set have been fetched anew.
    Later(Arc<KeySet>),
}

/// Why a token could not be verified in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// The token is to blame.
    Bad(TokenError),
    /// The issuer's keys cannot be had.
    NoKeys,
}

impl Issuer {
    /// An issuer by its configuration.
    pub fn new(config: config::Issuer, keys: Keys, metrics: &GatewayMetrics) -> Self {
        Self {
            hits: metrics.authentications.with(&[&*config.name, "remembered"]),
            config,
            keys,
            verdicts: Verdicts::new(VERDICTS),
        }
    }

    /// Whether it is the one of this configuration with these keys, so that its verdicts hold.
    pub fn is_same(&self, config: &config::Issuer, keys: &Keys) -> bool {
        let same_keys = match (&self.keys, keys) {
            (Keys::Fetched(ours), Keys::Fetched(theirs)) => Arc::ptr_eq(ours, theirs),
            (Keys::Fixed(ours), Keys::Fixed(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        same_keys && self.config == *config
    }

    fn current(&self) -> Arc<KeySet> {
        match &self.keys {
            Keys::Fixed(keys) => Arc::clone(keys),
            Keys::Fetched(jwks) => jwks.current(),
        }
    }

    /// Who a token that was verified before is for.
    pub fn remembered(&self, digest: &[u8; 32], now: SystemTime) -> Option<Arc<Principal>> {
        let generation = self.current().generation();
        let holds = |verdict: &Verdict| {
            verdict.generation == generation && verdict.principal.expires.is_some_and(|expires| now < expires)
        };
        let verdict = self.verdicts.find(digest, holds)?;
        self.hits.inc();
        Some(verdict.principal)
    }

    /// Verifies a token by the keys that are there.
    pub fn verify(&self, token: Unverified<'_>, digest: [u8; 32], now: SystemTime) -> Said {
        let keys = self.current();
        let fetched = matches!(self.keys, Keys::Fetched(_));
        if keys.is_empty() && fetched {
            return Said::Later(keys);
        }
        match self.judge(token, digest, &keys, now) {
            Ok(principal) => Said::Good(principal),
            Err(TokenError::UnknownKey) if fetched => Said::Later(keys),
            Err(error) => Said::Bad(error),
        }
    }

    /// Verifies a token whose key was not in `before`, once there may be another set.
    ///
    /// # Errors
    /// See [`Unproven`].
    pub async fn verify_later(
        &self,
        token: &str,
        digest: [u8; 32],
        before: &KeySet,
    ) -> Result<Arc<Principal>, Unproven> {
        let keys = match &self.keys {
            Keys::Fixed(keys) => Arc::clone(keys),
            Keys::Fetched(jwks) => jwks.renewed(before).await,
        };
        if keys.is_empty() {
            return Err(Unproven::NoKeys);
        }
        let token = Unverified::parse(token).map_err(Unproven::Bad)?;
        self.judge(token, digest, &keys, SystemTime::now())
            .map_err(Unproven::Bad)
    }

    fn judge(
        &self,
        token: Unverified<'_>,
        digest: [u8; 32],
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<Arc<Principal>, TokenError> {
        let principal = Arc::new(token.verify(&self.config, keys, now)?);
        let verdict = Verdict {
            principal: Arc::clone(&principal),
            generation: keys.generation(),
        };
        self.verdicts.remember(digest, verdict);
        Ok(principal)
    }
}
