//! A fetch under way, for one key of one gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_protocols::Fields;
use tokio::sync::watch;

use super::Store;
use crate::cache::entry::Stored;
use crate::cache::key::Key;
use crate::error::CallError;

/// What became of a fetch, as its waiters see it.
#[derive(Clone, Debug, Default)]
pub enum Landed {
    /// It is under way.
    #[default]
    Flying,
    /// This is the reply; it has been kept, if nothing purged it meanwhile.
    Reply(Arc<Stored>),
    /// The service failed, and would fail the others, too.
    Failed(CallError),
    /// Its reply is for one call only: everybody asks for himself.
    Released,
}

/// The fetch as the store knows it.
#[derive(Debug)]
pub(super) struct Flight {
    landed: watch::Sender<Landed>,
    doomed: AtomicBool,
}

impl Flight {
    pub(super) fn subscribe(&self) -> watch::Receiver<Landed> {
        self.landed.subscribe()
    }

    pub(super) fn waiting(&self) -> usize {
        self.landed.receiver_count()
    }

    /// What it brings is not to be kept. Called under the lock of its shard.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }
}

/// The right, and the duty, to fetch for all who wait. Dropped, it releases them.
#[derive(Debug)]
pub struct Ticket {
    store: Arc<Store>,
    key: Key,
    flight: Arc<Flight>,
}

impl Ticket {
    pub(super) fn new(store: &Arc<Store>, key: &Key) -> Self {
        Self {
            store: Arc::clone(store),
            key: key.clone(),
            flight: Arc::new(Flight {
                landed: watch::Sender::new(Landed::Flying),
                doomed: AtomicBool::new(false),
            }),
        }
    }

    pub(super) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// What it fetches.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether its reply is not to be kept any more.
    pub fn is_doomed(&self) -> bool {
        self.flight.doomed.load(Ordering::Relaxed)
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Keeps the reply to a call with these fields, and gives it to all who wait.
    pub fn reply(self, stored: &Arc<Stored>, fields: &Fields) {
        self.store.keep(&self, stored, fields);
        self.land(Landed::Reply(Arc::clone(stored)));
    }

    /// Gives a reply to all who wait, without keeping it anew.
    pub fn serve(self, stored: &Arc<Stored>) {
        self.land(Landed::Reply(Arc::clone(stored)));
    }

    /// Fails all who wait.
    pub fn fail(self, error: &CallError) {
        self.land(Landed::Failed(error.clone()));
    }

    /// Lets everybody ask for himself, also those who come in the next seconds.
    pub fn pass(self, fields: &Fields) {
        self.store.pass(&self, fields);
    }

    fn land(&self, landed: Landed) {
        self.leave();
        self.flight.landed.send_replace(landed);
    }

    /// Those who come from now on find the entry, or fetch anew.
    fn leave(&self) {
        let (_, mut shard) = self.store.shard(&self.key.uri);
        let ours = shard
            .flights
            .get(&self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight));
        if ours {
            shard.flights.remove(&self.key);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
        self.flight.landed.send_if_modified(|landed| {
            let flying = matches!(landed, Landed::Flying);
            if flying {
                *landed = Landed::Released;
            }
            flying
        });
    }
}
