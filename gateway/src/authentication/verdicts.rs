//! What has been verified already: verdicts by the digest of what was presented, bounded, shared by all workers.
//!
//! Each source of identity has its own, so that what one issuer, audience or tenant said is never an answer for another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const SHARDS: usize = 16;

/// Remembers the latest verdicts. What has not been asked for lately goes first.
#[derive(Debug)]
pub struct Verdicts<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    /// Verdicts in one half of one shard.
    half: usize,
}

/// Two generations: what is asked for moves to the young one, and when that is full it becomes the old one.
#[derive(Debug)]
struct Shard<V> {
    young: HashMap<[u8; 32], V>,
    old: HashMap<[u8; 32], V>,
}

impl<V: Clone> Verdicts<V> {
    /// Room for at most `most`.
    pub fn new(most: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard {
                    young: HashMap::new(),
                    old: HashMap::new(),
                })
            }),
            half: (most / SHARDS / 2).max(1),
        }
    }

    /// The verdict on what has this digest, if it still holds; one that does not is forgotten.
    pub fn find(&self, digest: &[u8; 32], holds: impl Fn(&V) -> bool) -> Option<V> {
        let mut shard = self.shard(digest).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = shard.young.get(digest) {
            if holds(verdict) {
                return Some(verdict.clone());
            }
            shard.young.remove(digest);
            return None;
        }
        let verdict = shard.old.remove(digest).filter(holds)?;
        shard.put(*digest, verdict.clone(), self.half);
        Some(verdict)
    }

    /// Remembers a verdict.
    pub fn remember(&self, digest: [u8; 32], verdict: V) {
        let mut shard = self.shard(&digest).lock().unwrap_or_else(PoisonError::into_inner);
        shard.put(digest, verdict, self.half);
    }

    fn shard(&self, digest: &[u8; 32]) -> &Mutex<Shard<V>> {
        &self.shards[usize::from(digest[31]) % SHARDS]
    }
}

impl<V> Shard<V> {
    fn put(&mut self, digest: [u8; 32], verdict: V, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&digest) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> [u8; 32] {
        crate::authentication::sha256(&n.to_be_bytes())
    }

    #[test]
    fn verdicts_are_found_until_they_no_longer_hold() {
        let verdicts = Verdicts::new(100);
        verdicts.remember(digest(1), "alice");
        assert_eq!(verdicts.find(&digest(1), |_| true), Some("alice"));
        assert_eq!(verdicts.find(&digest(2), |_| true), None);
        assert_eq!(verdicts.find(&digest(1), |_| false), None);
        assert_eq!(verdicts.find(&digest(1), |_| true), None, "it was forgotten");
    }

    #[test]
    fn verdicts_are_never_more_than_there_is_room_for_and_the_used_ones_stay() {
        let verdicts = Verdicts::new(320);
        for n in 0..10_000 {
            verdicts.remember(digest(n), n);
            assert_eq!(verdicts.find(&digest(7), |_| true).is_some(), n >= 7, "{n}");
        }
        let kept: usize = verdicts
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(kept <= 320, "{kept}");
    }
}
