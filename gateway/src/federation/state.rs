//! How many tunnels there are to a peer, and which worker has them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// The tunnels to one peer (or to one address of it), counted.
#[derive(Debug)]
pub struct PeerState {
    /// Tunnels of each worker.
    of_worker: Vec<AtomicUsize>,
    /// Tunnels there may be, however many workers there are.
    most: AtomicUsize,
    /// Which workers come first where there are fewer tunnels than workers: others for every peer.
    seed: u64,
    /// Workers that the peer has, once it has said so.
    peer_workers: AtomicUsize,
    /// Tunnels that had their HELLO and take calls.
    ready: AtomicUsize,
    /// The other side made tunnels of its own: these are not needed any more.
    surplus: AtomicBool,
    /// Told on every change.
    changed: watch::Sender<()>,
}

impl PeerState {
    /// No tunnels yet to what `of` names; we have so many workers, and there may be so many tunnels.
    pub fn new(workers: usize, most: usize, of: impl Hash) -> Arc<Self> {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        Arc::new(Self {
            of_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            most: AtomicUsize::new(most),
            seed: hasher.finish(),
            peer_workers: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            surplus: AtomicBool::new(false),
            changed: watch::Sender::new(()),
        })
    }

    /// All tunnels.
    pub fn live(&self) -> usize {
        self.of_worker.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// Tunnels that take calls.
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    /// As many as there should be: one for each worker of the side that has more of them, where there may be so many.
    pub fn wanted(&self) -> usize {
        self.of_worker
            .len()
            .max(self.peer_workers.load(Ordering::Acquire))
            .min(self.most.load(Ordering::Acquire))
    }

    /// Whether there are as many that take calls as there should be.
    pub fn has_enough(&self) -> bool {
        self.ready() >= self.wanted()
    }

    /// There may be so many from now on. Those over it are not closed, but not replaced either.
    pub fn allow(&self, most: usize) {
        if self.most.swap(most, Ordering::AcqRel) != most {
            self.changed.send_replace(());
        }
    }

    /// Marks the tunnels as needed or not. Those that are not needed are given up when their calls have ended.
    pub fn set_surplus(&self, surplus: bool) {
        self.surplus.store(surplus, Ordering::Release);
    }

    /// Sees every change from now on. Subscribe first, look at the numbers then, and wait last: no change is missed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The place of a worker in an order that is another one for every peer (rendezvous hashing), so that gateways with few
    /// tunnels to each of many peers have as many at every worker.
    fn rank(&self, worker: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, worker).hash(&mut hasher);
        hasher.finish()
    }

    /// Takes a place at the worker that has the fewest tunnels.
    pub fn deal(self: &Arc<Self>) -> TunnelPlace {
        let fewest = self
            .of_worker
            .iter()
            .enumerate()
            .min_by_key(|(worker, count)| (count.load(Ordering::Acquire), self.rank(*worker)));
        let worker = fewest.map_or(0, |(worker, _)| worker);
        if let Some(count) = self.of_worker.get(worker) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        TunnelPlace {
            state: Arc::clone(self),
            worker,
            ready: false,
        }
    }
}

/// A tunnel's place at a worker, until it is dropped.
#[derive(Debug)]
pub struct TunnelPlace {
    state: Arc<PeerState>,
    /// The worker.
    pub worker: usize,
    ready: bool,
}

impl TunnelPlace {
    /// Whether the tunnel is not needed any more.
    pub fn is_surplus(&self) -> bool {
        self.state.surplus.load(Ordering::Acquire)
    }

    /// Gives the place back. Whoever keeps tunnels fills it, unless there are enough without.
    pub fn leave(self) -> Arc<PeerState> {
        Arc::clone(&self.state)
    }

    /// The peer has said HELLO: the tunnel takes calls.
    pub fn is_ready(&mut self, peer_workers: usize) {
        if !std::mem::replace(&mut self.ready, true) {
            self.state.ready.fetch_add(1, Ordering::AcqRel);
        }
        self.state.peer_workers.store(peer_workers, Ordering::Release);
        self.state.changed.send_replace(());
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        if self.ready {
            self.state.ready.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(count) = self.state.of_worker.get(self.worker) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
        self.state.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_dealt_evenly_and_their_places_come_back() {
        let state = PeerState::new(3, 64, "azure");
        let mut places: Vec<_> = (0..7).map(|_| state.deal()).collect();
        let mut of_worker = [0; 3];
        for place in &places {
            of_worker[place.worker] += 1;
        }
        of_worker.sort_unstable();
        assert_eq!(of_worker, [2, 2, 3]);
        places.retain(|place| place.worker != 1);
        assert_eq!(state.deal().worker, 1, "the emptied worker is next");
    }

    #[test]
    fn there_is_a_tunnel_for_each_worker_of_the_larger_side() {
        let state = PeerState::new(2, 64, "azure");
        assert_eq!(state.wanted(), 2);
        let mut place = state.deal();
        place.is_ready(4);
        place.is_ready(4);
        assert_eq!((state.wanted(), state.ready(), state.live()), (4, 1, 1));
        drop(place);
        assert_eq!((state.ready(), state.live()), (0, 0));
    }

    #[test]
    fn with_fewer_tunnels_than_workers_every_worker_has_some() {
        let mut of_worker = [0; 8];
        let states: Vec<_> = (0..400).map(|peer| PeerState::new(8, 1, ("site", peer))).collect();
        let places: Vec<_> = states.iter().map(PeerState::deal).collect();
        for place in &places {
            of_worker[place.worker] += 1;
        }
        assert!(states.iter().all(|state| state.wanted() == 1 && state.live() == 1));
        assert!(of_worker.iter().all(|count| (25..=80).contains(count)), "{of_worker:?}");
        let again = PeerState::new(8, 1, ("site", 0)).deal().worker;
        assert_eq!(again, places[0].worker, "a peer's worker stays");
    }

    #[test]
    fn when_there_may_be_fewer_none_is_made_anew() {
        let state = PeerState::new(4, 64, "azure");
        let mut places: Vec<_> = (0..4).map(|_| state.deal()).collect();
        places.iter_mut().for_each(|place| place.is_ready(4));
        assert!(state.has_enough());
        state.allow(2);
        let left = places.remove(0).leave();
        assert!(left.has_enough() && left.live() == 3);
        state.allow(64);
        assert!(!state.has_enough());
    }
}
