//! The memory of one gateway's kept replies: shared by its workers, bounded in bytes.
//!
//! - Sharded by URI, each shard behind a lock that is held for a look-up or a change, never over an await. Bodies are
//!   [`Bytes`](bytes::Bytes): a hit copies none.
//! - Over budget, entries go in the order in which they came, but one that has been used since gets a second round.
//! - A fetch under way has a [`Flight`] here, so that one call fetches and the others wait, whichever worker they are at.
//!   A purge dooms the flights that it could concern: what they bring is served, and not kept.

mod flight;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_protocols::Fields;

pub use self::flight::{Landed, Ticket};
use self::shard::{Kept, Shard, Slot};
use super::entry::Stored;
use super::key::Key;

/// Enough that workers seldom meet, few enough that each holds something.
const SHARDS: usize = 64;
/// For so long a key whose reply could not be kept is asked for without waiting for others.
const PASS: Duration = Duration::from_secs(10);
/// Replies of one key that differ by `vary`; the oldest goes.
const VARIANTS: usize = 16;

/// What is there for a call.
#[derive(Clone, Debug)]
pub enum Found {
    /// A reply that fits it, fresh or not.
    Reply(Arc<Stored>),
    /// The last reply could not be kept: there is no use in waiting for another call's.
    Pass,
    /// Replies of this URI, and none fits.
    OtherVariant,
    /// Nothing.
    Nothing,
}

/// Who fetches.
#[derive(Debug)]
pub enum Joined {
    /// This call, for all.
    Leads(Ticket),
    /// Another one, which tells when it is done.
    Waits(tokio::sync::watch::Receiver<Landed>),
}

/// What a purge is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge<'a> {
    /// Everything.
    All,
    /// One URI as the client wrote it.
    Uri(&'a [u8]),
    /// All URIs that begin so.
    Prefix(&'a [u8]),
    /// All replies with this tag.
    Tag(&'a str),
}

/// Why entries went. What is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Others needed the room.
    Evicted,
    /// An operator wanted that.
    Purged,
    /// An unsafe method succeeded on the same URI.
    Invalidated,
}

impl Gone {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Evicted, Self::Purged, Self::Invalidated];

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Purged => "purged",
            Self::Invalidated => "invalidated",
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    budget: AtomicU64,
    used: AtomicU64,
    entries: AtomicU64,
    /// Bytes of bodies that are being fetched to be kept.
    arriving: AtomicU64,
    ids: AtomicU64,
    gone: [AtomicU64; Gone::ALL.len()],
}

/// With room for what `cache.memory` is by default, until a configuration is published.
impl Default for Store {
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl Store {
    /// An empty store that takes `budget` bytes.
    pub fn new(budget: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            budget: AtomicU64::new(budget),
            used: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            arriving: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            gone: Default::default(),
        }
    }

    /// Takes so many bytes from now on; what is too much goes at once.
    pub fn resize(&self, budget: u64) {
        self.budget.store(budget, Ordering::Relaxed);
        self.make_room(0);
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Replies that are kept.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Calls that wait for another one's reply.
    pub fn waiting(&self) -> usize {
        let waiting = |shard| {
            lock(shard)
                .flights
                .values()
                .map(|flight| flight.waiting())
                .sum::<usize>()
        };
        self.shards.iter().map(waiting).sum()
    }

    /// How many went, for this reason.
    pub fn gone(&self, why: Gone) -> u64 {
        self.gone[why as usize].load(Ordering::Relaxed)
    }

    /// What is kept for a call with these fields.
    pub fn find(&self, key: &Key, fields: &Fields, now: Instant) -> Found {
        let (_, mut shard) = self.shard(&key.uri);
        let Some(slots) = shard.slots(key) else {
            return Found::Nothing;
        };
        // The newest first: a reply that varies on more replaces the idea of what the key depends on.
        for slot in slots.iter_mut().rev() {
            match &slot.kept {
                Kept::Reply(stored) if stored.vary.fits(fields) => {
                    slot.used = true;
                    return Found::Reply(Arc::clone(stored));
                }
                Kept::Pass { until } if *until > now => return Found::Pass,
                _ => {}
            }
        }
        Found::OtherVariant
    }

    /// Fetches for all, or waits for who does.
    pub fn join(self: &Arc<Self>, key: &Key) -> Joined {
        let (_, mut shard) = self.shard(&key.uri);
        if let Some(flight) = shard.flights.get(key) {
            return Joined::Waits(flight.subscribe());
        }
        let ticket = Ticket::new(self, key);
        shard.flights.insert(key.clone(), ticket.flight());
        Joined::Leads(ticket)
    }

    /// Keeps a reply in the place of the one that fits the same calls.
    fn keep(&self, ticket: &Ticket, stored: &Arc<Stored>, fields: &Fields) {
        let size = stored.size();
        self.put(ticket, Kept::Reply(Arc::clone(stored)), size, |kept| match kept {
            Kept::Reply(old) => old.vary.fits(fields),
            Kept::Pass { .. } => true,
        });
    }

    /// Remembers that a key is not worth waiting for.
    fn pass(&self, ticket: &Ticket, fields: &Fields) {
        let kept = Kept::Pass {
            until: Instant::now() + PASS,
        };
        self.put(ticket, kept, 128, |kept| match kept {
            Kept::Reply(old) => old.vary.fits(fields),
            Kept::Pass { .. } => true,
        });
    }

    fn put(&self, ticket: &Ticket, kept: Kept, size: usize, replaces: impl Fn(&Kept) -> bool) {
        let key = ticket.key();
        let size = size + key.uri.len() + key.scope.len();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (at, mut shard) = self.shard(&key.uri);
        // Looked at under the lock that a purge takes, too.
        if ticket.is_doomed() {
            return;
        }
        let is_reply = kept.is_reply();
        let slot = Slot {
            id,
            kept,
            size,
            used: false,
        };
        let removed = shard.put(key, slot, VARIANTS, replaces);
        self.count(size, is_reply);
        removed.iter().for_each(|slot| self.uncount(slot));
        drop(shard);
        self.make_room(at);
    }

    /// Removes what a purge is about; says how many replies went.
    pub fn purge(&self, what: Purge<'_>, why: Gone) -> usize {
        let mut removed = Vec::new();
        match what {
            Purge::Uri(uri) => removed = self.shard(uri).1.remove_uri(uri),
            Purge::All => self.each(|shard| removed.extend(shard.remove(|_, _| true))),
            Purge::Prefix(prefix) => self.each(|shard| removed.extend(shard.remove(|uri, _| uri.starts_with(prefix)))),
            Purge::Tag(tag) => self.each(|shard| removed.extend(shard.remove(|_, kept| kept.has_tag(tag)))),
        }
        removed.iter().for_each(|slot| self.uncount(slot));
        let replies = removed.iter().filter(|slot| slot.kept.is_reply()).count();
        self.gone[why as usize].fetch_add(replies as u64, Ordering::Relaxed);
        replies
    }

    fn each(&self, mut change: impl FnMut(&mut Shard)) {
        for shard in &self.shards {
            change(&mut lock(shard));
        }
    }

    /// Removes entries until the rest is within the budget, beginning with this shard.
    fn make_room(&self, from: usize) {
        let mut at = from;
        let mut empty = 0;
        while self.used() > self.budget.load(Ordering::Relaxed) && empty < SHARDS {
            let evicted = self.shards.get(at % SHARDS).and_then(|shard| lock(shard).evict());
            match evicted {
                Some(slot) => {
                    self.uncount(&slot);
                    if slot.kept.is_reply() {
                        self.gone[Gone::Evicted as usize].fetch_add(1, Ordering::Relaxed);
                    }
                    empty = 0;
                }
                None => empty += 1,
            }
            at += 1;
        }
    }

    /// Takes room for a piece of a body that is to be kept, where all of them stay below a quarter of the budget.
    pub fn arrive(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let before = self.arriving.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.budget.load(Ordering::Relaxed) / 4;
        if !fits {
            self.arriving.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives room back.
    pub fn arrived(&self, bytes: usize) {
        self.arriving.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn count(&self, size: usize, is_reply: bool) {
        self.used.fetch_add(size as u64, Ordering::Relaxed);
        self.entries.fetch_add(u64::from(is_reply), Ordering::Relaxed);
    }

    fn uncount(&self, slot: &Slot) {
        self.used.fetch_sub(slot.size as u64, Ordering::Relaxed);
        self.entries
            .fetch_sub(u64::from(slot.kept.is_reply()), Ordering::Relaxed);
    }

    fn shard(&self, uri: &[u8]) -> (usize, MutexGuard<'_, Shard>) {
        let at = (self.hasher.hash_one(uri) % SHARDS as u64) as usize;
        (at, lock(&self.shards[at]))
    }
}

/// A panic while a lock was held left a shard that is whole: changes are made of steps that do not panic.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
