//! One part of the store: entries by URI and scope, and the order in which they go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::flight::Flight;
use crate::cache::entry::Stored;
use crate::cache::key::Key;

/// Entries that an eviction passes over because they have been used; then the next one goes, used or not.
const SECOND_ROUNDS: usize = 64;

/// What is kept in a place.
#[derive(Debug)]
pub(super) enum Kept {
    /// A reply.
    Reply(Arc<Stored>),
    /// That there was none to keep.
    Pass {
        /// How long that is remembered.
        until: Instant,
    },
}

impl Kept {
    pub(super) fn is_reply(&self) -> bool {
        matches!(self, Self::Reply(_))
    }

    pub(super) fn has_tag(&self, tag: &str) -> bool {
        matches!(self, Self::Reply(stored) if stored.tags.iter().any(|known| **known == *tag))
    }
}

/// One place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) kept: Kept,
    /// What it was counted with.
    pub(super) size: usize,
    /// Since it was last looked at by an eviction.
    pub(super) used: bool,
}

type Scopes = HashMap<Arc<[u8]>, Vec<Slot>>;

/// One part.
#[derive(Debug, Default)]
pub(super) struct Shard {
    entries: HashMap<Arc<[u8]>, Scopes>,
    /// Oldest first, by key and id; what is gone is passed over.
    queue: VecDeque<(Key, u64)>,
    count: usize,
    pub(super) flights: HashMap<Key, Arc<Flight>>,
}

impl Shard {
    /// The replies of a key that differ by `vary`, the oldest first.
    pub(super) fn slots(&mut self, key: &Key) -> Option<&mut Vec<Slot>> {
        self.entries.get_mut(&key.uri)?.get_mut(&key.scope)
    }

    /// Adds a place; gives what it replaces, and what is too much.
    pub(super) fn put(&mut self, key: &Key, slot: Slot, most: usize, replaces: impl Fn(&Kept) -> bool) -> Vec<Slot> {
        self.queue.push_back((key.clone(), slot.id));
        let scopes = self.entries.entry(Arc::clone(&key.uri)).or_default();
        let slots = scopes.entry(Arc::clone(&key.scope)).or_default();
        let mut removed: Vec<Slot> = slots.extract_if(.., |slot| replaces(&slot.kept)).collect();
        if slots.len() >= most {
            removed.push(slots.remove(0));
        }
        slots.push(slot);
        self.count += 1;
        self.count -= removed.len();
        self.compact();
        removed
    }

    /// Removes what this holds for, and dooms every flight: nobody knows yet what they bring.
    pub(super) fn remove(&mut self, mut gone: impl FnMut(&[u8], &Kept) -> bool) -> Vec<Slot> {
        self.flights.drain().for_each(|(_, flight)| flight.doom());
        let mut removed = Vec::new();
        self.entries.retain(|uri, scopes| {
            scopes.retain(|_, slots| {
                removed.extend(slots.extract_if(.., |slot| gone(uri, &slot.kept)));
                !slots.is_empty()
            });
            !scopes.is_empty()
        });
        self.count -= removed.len();
        self.compact();
        removed
    }

    /// Removes all of one URI, and dooms its flights.
    pub(super) fn remove_uri(&mut self, uri: &[u8]) -> Vec<Slot> {
        self.flights.retain(|key, flight| {
            let other = *key.uri != *uri;
            if !other {
                flight.doom();
            }
            other
        });
        let scopes = self.entries.remove(uri).unwrap_or_default();
        let removed: Vec<Slot> = scopes.into_values().flatten().collect();
        self.count -= removed.len();
        self.compact();
        removed
    }

    /// Removes the entry that is the least use, as far as the queue tells. None where nothing is left.
    pub(super) fn evict(&mut self) -> Option<Slot> {
        let mut rounds = 0;
        while let Some((key, id)) = self.queue.pop_front() {
            let Some(slots) = self.slots(&key) else { continue };
            let Some(at) = slots.iter().position(|slot| slot.id == id) else {
                continue;
            };
            if slots[at].used && rounds < SECOND_ROUNDS {
                rounds += 1;
                slots[at].used = false;
                self.queue.push_back((key, id));
                continue;
            }
            let slot = slots.remove(at);
            self.count -= 1;
            self.prune(&key);
            return Some(slot);
        }
        None
    }

    /// Forgets maps that have become empty.
    fn prune(&mut self, key: &Key) {
        let Some(scopes) = self.entries.get_mut(&key.uri) else {
            return;
        };
        if scopes.get(&key.scope).is_some_and(Vec::is_empty) {
            scopes.remove(&key.scope);
        }
        if scopes.is_empty() {
            self.entries.remove(&key.uri);
        }
    }

    /// Drops places in the queue whose entries are gone, when they are most of it.
    fn compact(&mut self) {
        if self.queue.len() <= 2 * self.count + 64 {
            return;
        }
        let entries = &self.entries;
        self.queue.retain(|(key, id)| {
            let slots = entries.get(&key.uri).and_then(|scopes| scopes.get(&key.scope));
            slots.is_some_and(|slots| slots.iter().any(|slot| slot.id == *id))
        });
    }
}
