//! How many calls of a key are open: exact over all workers, and as many counters as there are open calls at most.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::Hashed;

/// More than there are workers, so that they rarely meet in one.
const SHARDS: usize = 64;

type Shard = HashMap<u64, NonZeroU32, std::hash::BuildHasherDefault<Hashed>>;

/// The counters of one gateway. A counter that falls to zero is gone.
#[derive(Debug)]
pub struct Holds {
    shards: Box<[Mutex<Shard>]>,
}

/// One open call of a key; given back on drop.
#[derive(Debug)]
pub struct Hold {
    of: Arc<Holds>,
    key: u64,
}

impl Default for Holds {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Holds {
    /// One more of this key, unless there are `most` already. Keys are hashes, see [`Rule::hasher`](super::counters::Rule::hasher).
    pub fn take(self: &Arc<Self>, key: u64, most: NonZeroU32) -> Option<Hold> {
        match self.shard(key).entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(NonZeroU32::MIN)),
            Entry::Occupied(entry) if *entry.get() >= most => return None,
            Entry::Occupied(mut entry) => {
                let more = entry.get().saturating_add(1);
                entry.insert(more);
            }
        }
        Some(Hold {
            of: Arc::clone(self),
            key,
        })
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        self.shards[(key >> 32) as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.of.shard(self.key).entry(self.key) {
            match NonZeroU32::new(entry.get().get() - 1) {
                Some(left) => drop(entry.insert(left)),
                None => drop(entry.remove()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_open_than_may_be_and_nothing_is_left_of_those_that_ended() {
        let holds = Arc::new(Holds::default());
        let most = NonZeroU32::new(3).unwrap();
        let mut open: Vec<_> = (0..3).map(|_| holds.take(7, most).unwrap()).collect();
        assert!(holds.take(7, most).is_none());
        assert!(holds.take(8, most).is_some(), "another key");
        open.pop();
        assert!(holds.take(7, most).is_some());
        drop(open);
        assert!(holds.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn workers_together_never_hold_more_than_the_limit() {
        let holds = Arc::new(Holds::default());
        let most = NonZeroU32::new(5).unwrap();
        let now = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let Some(hold) = holds.take(1, most) else { continue };
                        let open = now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                        assert!(open <= 5, "{open}");
                        now.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(hold);
                    }
                });
            }
        });
    }
}
