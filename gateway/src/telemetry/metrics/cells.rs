//! Where metrics are counted: one array of cells per worker, and one that all other threads share.
//!
//! A worker is the only writer of its shard, so an addition is a load and a store. The sum of a cell over all shards is
//! the value. Cells come in chunks that the worker itself allocates when it first touches them.

use std::cell::Cell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

const CHUNK: usize = 512;
/// A million cells, 8 MiB a worker, if all are used.
const CHUNKS: usize = 2048;

/// Numbers the sets of cells of this process, so that a worker of one gateway never writes into another's shard.
static SETS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Which shard of which set of cells this thread is the only writer of.
    static SHARD: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

type Chunk = Box<[AtomicU64]>;

#[derive(Debug)]
pub(super) struct Cells {
    set: u64,
    /// The first is everybody's; the others belong to one worker each.
    shards: Box<[Chunks]>,
    claimed: Box<[AtomicBool]>,
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Chunks(Box<[OnceLock<Chunk>]>);

#[derive(Debug, Default)]
struct Free {
    next: usize,
    /// Runs that were given back, by length.
    runs: HashMap<usize, Vec<u32>>,
}

/// Makes the thread that holds it the only writer of one shard.
#[derive(Debug)]
pub struct Shard {
    cells: Arc<Cells>,
    index: usize,
    /// It is about this thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for Shard {
    fn drop(&mut self) {
        SHARD.set((0, 0));
        if let Some(claimed) = self.cells.claimed.get(self.index) {
            claimed.store(false, Ordering::Release);
        }
    }
}

impl Cells {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            set: SETS.fetch_add(1, Ordering::Relaxed),
            shards: (0..=workers)
                .map(|_| Chunks((0..CHUNKS).map(|_| OnceLock::new()).collect()))
                .collect(),
            claimed: (0..=workers).map(|_| AtomicBool::new(false)).collect(),
            free: Mutex::default(),
        })
    }

    /// Gives this thread a shard of its own. None when all are taken: counting stays right, but costs more.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Shard> {
        let index = (1..self.claimed.len()).find(|index| {
            self.claimed[*index]
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })?;
        SHARD.set((self.set, index));
        Some(Shard {
            cells: Arc::clone(self),
            index,
            _not_send: PhantomData,
        })
    }

    /// Adds to a cell of this thread's shard. Wraps around, so that adding `u64::MAX` takes one away.
    pub(super) fn add(&self, slot: u32, n: u64) {
        let (set, index) = SHARD.get();
        let own = if set == self.set { index } else { 0 };
        let Some(cell) = self.shards.get(own).and_then(|shard| shard.touch(slot)) else {
            return;
        };
        if own == 0 {
            cell.fetch_add(n, Ordering::Relaxed);
        } else {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    pub(super) fn sum(&self, slot: u32) -> u64 {
        self.shards
            .iter()
            .filter_map(|shard| shard.look(slot))
            .fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    /// `length` cells in a row, all zero. None when there are no more.
    pub(super) fn reserve(&self, length: usize) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = free.runs.get_mut(&length).and_then(Vec::pop) {
            return Some(first);
        }
        // A run does not cross chunks; what is left of one is lost, at most a histogram's worth.
        let mut first = free.next;
        if first / CHUNK != (first + length - 1) / CHUNK {
            first = first.next_multiple_of(CHUNK);
        }
        if length > CHUNK || first + length > CHUNK * CHUNKS {
            return None;
        }
        free.next = first + length;
        u32::try_from(first).ok()
    }

    /// Takes cells back. Nobody holds a handle to them any more, so nobody writes.
    pub(super) fn release(&self, first: u32, length: usize) {
        if length == 0 {
            return;
        }
        for slot in first..first + length as u32 {
            for cell in self.shards.iter().filter_map(|shard| shard.look(slot)) {
                cell.store(0, Ordering::Relaxed);
            }
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.runs.entry(length).or_default().push(first);
    }
}

impl Chunks {
    fn look(&self, slot: u32) -> Option<&AtomicU64> {
        let slot = slot as usize;
        self.0.get(slot / CHUNK)?.get()?.get(slot % CHUNK)
    }

    fn touch(&self, slot: u32) -> Option<&AtomicU64> {
        let slot = slot as usize;
        self.0
            .get(slot / CHUNK)?
            .get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect())
            .get(slot % CHUNK)
    }
}
