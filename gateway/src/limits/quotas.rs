//! What was spent of quotas in the present period, of all keys: exact over all workers, bounded, and able to be written down.
//!
//! Keys are hashes of 128 bits under a secret that is written down with them, so that the file tells nothing of clients and
//! the counters are found again after a restart. A counter whose period is over is worth nothing and is forgotten; one of
//! the present period never is. When there is no room, new keys share a counter of their rule.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::counters::Hashed;

/// More than there are workers, so that they rarely meet in one.
const SHARDS: usize = 64;

/// Keys that are counted apart.
pub const KEYS: usize = 200_000;

/// A full shard is looked through again after so many seconds at the earliest.
const SEARCH: u64 = 10;

/// Where a key is, in the file too.
pub type Key = u128;

/// The counters of one gateway.
#[derive(Debug)]
pub struct Quotas {
    secret: u128,
    shards: Box<[Mutex<Shard>]>,
    most: usize,
    crowded: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    counters: HashMap<Key, Counter, BuildHasherDefault<Hashed>>,
    search_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    /// In seconds of Unix time.
    ends: u64,
    spent: u64,
    /// Changed since it was written down.
    changed: bool,
}

/// A counter as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub key: Key,
    /// The end of its period, in seconds of Unix time.
    pub ends: u64,
    /// What was spent.
    pub spent: u64,
}

/// A rule's place in the counters.
#[derive(Clone, Debug)]
pub struct QuotaRule {
    quotas: Arc<Quotas>,
    hasher: SipHasher13,
}

/// What a key has spent in its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// All it has spent.
    pub spent: u64,
    /// Whether what was asked for is in that.
    pub granted: bool,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new(rand::random(), KEYS)
    }
}

impl Quotas {
    /// Counters for so many keys at most, under this secret.
    pub fn new(secret: u128, most: usize) -> Self {
        Self {
            secret,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most: most.div_ceil(SHARDS),
            crowded: AtomicU64::new(0),
        }
    }

    /// What keys are hashed with.
    pub fn secret(&self) -> u128 {
        self.secret
    }

    /// The place of the rule with this name.
    pub fn rule(self: &Arc<Self>, name: &[&str]) -> QuotaRule {
        let mut hasher = SipHasher13::new_with_key(&self.secret.to_le_bytes());
        // By hand: how the standard library hashes a text may change from one release to the next.
        for part in name {
            hasher.write(part.as_bytes());
            hasher.write_u8(0xff);
        }
        QuotaRule {
            quotas: Arc::clone(self),
            hasher,
        }
    }

    /// Takes over what was written down.
    pub fn restore(&self, entries: impl Iterator<Item = Entry>) {
        for Entry { key, ends, spent } in entries {
            let counter = Counter {
                ends,
                spent,
                changed: false,
            };
            self.shard(key).counters.insert(key, counter);
        }
    }

    /// What has changed since the last time. Each shard is locked for a moment.
    pub fn changes(&self) -> Vec<Entry> {
        self.collect(|counter| std::mem::take(&mut counter.changed))
    }

    /// All that matters at this moment; it all counts as written down then.
    pub fn all(&self, now: u64) -> Vec<Entry> {
        self.collect(|counter| {
            counter.changed = false;
            counter.ends > now
        })
    }

    fn collect(&self, mut wanted: impl FnMut(&mut Counter) -> bool) -> Vec<Entry> {
        let mut entries = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, counter) in &mut shard.counters {
                if wanted(counter) {
                    entries.push(Entry {
                        key: *key,
                        ends: counter.ends,
                        spent: counter.spent,
                    });
                }
            }
        }
        entries
    }

    /// Counters that are kept.
    pub fn len(&self) -> usize {
        let of = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).counters.len();
        self.shards.iter().map(of).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a key found no room, and shared a counter.
    pub fn crowded(&self) -> u64 {
        self.crowded.load(Ordering::Relaxed)
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        self.shards[(key >> 96) as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl QuotaRule {
    /// A hasher for what a call is counted under.
    pub fn hasher(&self) -> SipHasher13 {
        self.hasher
    }

    /// Different from that of every other rule.
    pub fn id(&self) -> u64 {
        self.hasher.finish()
    }

    /// Spends `cost` if no more than `limit` is spent with it; `now` and `ends`, the end of the present period, are in
    /// seconds of Unix time.
    pub fn spend(&self, key: &SipHasher13, cost: u64, limit: u64, now: u64, ends: u64) -> Spending {
        self.with(key, now, ends, |counter| {
            let after = counter.spent.saturating_add(cost);
            let granted = after <= limit;
            if granted && cost > 0 {
                counter.spent = after;
                counter.changed = true;
            }
            Spending {
                spent: counter.spent,
                granted,
            }
        })
    }

    /// Spends what has been used already, whatever is left, and says what is spent then.
    pub fn charge(&self, key: &SipHasher13, cost: u64, now: u64, ends: u64) -> u64 {
        self.with(key, now, ends, |counter| {
            counter.spent = counter.spent.saturating_add(cost);
            counter.changed = true;
            counter.spent
        })
    }

    fn with<T>(&self, key: &SipHasher13, now: u64, ends: u64, change: impl FnOnce(&mut Counter) -> T) -> T {
        let key = key.finish128().as_u128();
        let mut shard = self.quotas.shard(key);
        if shard.has_room(key, self.quotas.most, now) {
            return change(shard.counter(key, ends));
        }
        drop(shard);
        self.quotas.crowded.fetch_add(1, Ordering::Relaxed);
        let shared = self.hasher.finish128().as_u128();
        change(self.quotas.shard(shared).counter(shared, ends))
    }
}

impl Shard {
    /// The counter of a key in the period that ends then. A clock that was set back does not begin a period again.
    fn counter(&mut self, key: Key, ends: u64) -> &mut Counter {
        let fresh = Counter {
            ends,
            spent: 0,
            changed: false,
        };
        let counter = self.counters.entry(key).or_insert(fresh);
        if counter.ends < ends {
            *counter = fresh;
        }
        counter
    }

    /// Whether the key has a counter, or can have one.
    fn has_room(&mut self, key: Key, most: usize, now: u64) -> bool {
        if self.counters.len() < most || self.counters.contains_key(&key) {
            return true;
        }
        if now < self.search_at {
            return false;
        }
        self.counters.retain(|_, counter| counter.ends > now);
        if self.counters.len() > most / 2 {
            self.search_at = now.saturating_add(SEARCH);
        }
        self.counters.len() < most
    }
}

#[cfg(test)]
mod tests;
