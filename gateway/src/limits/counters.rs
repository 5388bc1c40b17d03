//! The counters of all keys of all rate limits: exact over all workers, and bounded.
//!
//! A counter is one number, when its bucket is full again (see [`Bucket`]), so a counter whose moment has passed is worth
//! nothing and can be forgotten. Only such are: a key that has spent something never gets a fresh bucket because somebody
//! makes up new keys. When there is no room and nothing to forget, new keys share one counter a shard and rule: they get
//! less than they should, nobody gets more.
//!
//! Hits take a read lock, which readers share, and one compare-and-swap; a new key takes the write lock of its shard.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Instant;

use super::bucket::{Bucket, Taken, Ticks, ticks};

/// More than there are workers, so that they rarely meet in one.
const SHARDS: usize = 256;

/// Keys that are counted apart where nothing else is said.
pub const KEYS: usize = 1_000_000;

/// A full shard is looked through again after this long at the earliest: the keys of an attacker must not make
/// everybody pay for a search.
const SEARCH: Ticks = 16 * 20_000_000;

/// The counters of one gateway.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    epoch: Instant,
    most: usize,
    /// Of each rule that is in use, what the keys share that have no room; in the order of the shards.
    shared: Mutex<HashMap<u64, Weak<Shared>>>,
    crowded: AtomicU64,
}

/// What one rule's keys without room share.
#[derive(Debug)]
struct Shared(Box<[AtomicU64]>);

#[derive(Debug, Default)]
struct Shard {
    full_at: HashMap<u64, AtomicU64, BuildHasherDefault<Hashed>>,
    /// When it makes sense to look for counters to forget.
    search_at: Ticks,
}

/// A rule's place in the counters.
#[derive(Clone, Debug)]
pub struct Rule {
    counters: Arc<Counters>,
    id: u64,
    shared: Arc<Shared>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new(KEYS)
    }
}

impl Counters {
    /// Counters for so many keys at most.
    pub fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            epoch: Instant::now(),
            most: most.div_ceil(SHARDS),
            shared: Mutex::default(),
            crowded: AtomicU64::new(0),
        }
    }

    /// The place of the rule with this name. The same name finds the same debts, also after a reload.
    pub fn rule(self: &Arc<Self>, name: impl Hash) -> Rule {
        let id = self.hasher.hash_one(name);
        let mut all = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, shared| shared.strong_count() > 0);
        let shared = all.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let shared = Arc::new(Shared((0..SHARDS).map(|_| AtomicU64::new(0)).collect()));
            all.insert(id, Arc::downgrade(&shared));
            shared
        });
        Rule {
            counters: Arc::clone(self),
            id,
            shared,
        }
    }

    /// Keys that have a counter.
    pub fn keys(&self) -> usize {
        let of = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).full_at.len();
        self.shards.iter().map(of).sum()
    }

    /// How often a key found no room, and shared a counter.
    pub fn crowded(&self) -> u64 {
        self.crowded.load(Ordering::Relaxed)
    }

    fn now(&self, now: Instant) -> Ticks {
        ticks(now.saturating_duration_since(self.epoch))
    }
}

impl Rule {
    /// Different from that of every other rule.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A hasher for what a call is counted under; its end is the key.
    pub fn hasher(&self) -> impl Hasher + use<> {
        let mut hasher = self.counters.hasher.build_hasher();
        hasher.write_u64(self.id);
        hasher
    }

    /// Takes `cost` out of the bucket of a key.
    pub fn take(&self, key: u64, bucket: &Bucket, cost: u64, now: Instant) -> Taken {
        let counters = &*self.counters;
        let (now, cost) = (counters.now(now), bucket.cost(cost));
        // The lowest and highest bits choose the place in the table of the shard.
        let place = (key >> 32) as usize % SHARDS;
        let shard = &counters.shards[place];
        if let Some(full_at) = shard.read().unwrap_or_else(PoisonError::into_inner).full_at.get(&key) {
            return spend(full_at, bucket, cost, now);
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if !shard.has_room(&key, counters.most, now) {
            drop(shard);
            counters.crowded.fetch_add(1, Ordering::Relaxed);
            return spend(&self.shared.0[place], bucket, cost, now);
        }
        spend(shard.full_at.entry(key).or_default(), bucket, cost, now)
    }
}

/// One step of a counter. Exact whoever else is at it: what was granted is what was swapped in.
fn spend(full_at: &AtomicU64, bucket: &Bucket, cost: Ticks, now: Ticks) -> Taken {
    let mut seen = full_at.load(Ordering::Relaxed);
    loop {
        let (next, taken) = bucket.take(seen, now, cost);
        if matches!(taken, Taken::Refused { .. }) {
            return taken;
        }
        match full_at.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return taken,
            Err(other) => seen = other,
        }
    }
}

impl Shard {
    /// Whether the key is there by now, or can have a counter.
    fn has_room(&mut self, key: &u64, most: usize, now: Ticks) -> bool {
        if self.full_at.len() < most || self.full_at.contains_key(key) {
            return true;
        }
        if now < self.search_at {
            return false;
        }
        self.full_at.retain(|_, full_at| *full_at.get_mut() > now);
        // One that came free for each that was looked at pays for the search; else it is put off.
        if self.full_at.len() > most / 2 {
            self.search_at = now.saturating_add(SEARCH);
        }
        self.full_at.len() < most
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests;
