//! How many tunnels there are to a peer, and which worker has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// The tunnels to one peer (or to one address of it), counted.
#[derive(Debug)]
pub struct PeerState {
    /// Tunnels of each worker.
    of_worker: Vec<AtomicUsize>,
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
    /// No tunnels; we have so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            of_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
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

    /// As many as there should be: one for each worker of the side that has more of them.
    pub fn wanted(&self) -> usize {
        const MOST: usize = 64;
        self.of_worker
            .len()
            .max(self.peer_workers.load(Ordering::Acquire))
            .min(MOST)
    }

    /// Marks the tunnels as needed or not. Those that are not needed are given up when their calls have ended.
    pub fn set_surplus(&self, surplus: bool) {
        self.surplus.store(surplus, Ordering::Release);
    }

    /// Sees every change from now on. Subscribe first, look at the numbers then, and wait last: no change is missed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes a place at the worker that has the fewest tunnels.
    pub fn deal(self: &Arc<Self>) -> TunnelPlace {
        let fewest = self
            .of_worker
            .iter()
            .enumerate()
            .min_by_key(|(_, count)| count.load(Ordering::Acquire));
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
        let state = PeerState::new(3);
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
        let state = PeerState::new(2);
        assert_eq!(state.wanted(), 2);
        let mut place = state.deal();
        place.is_ready(4);
        place.is_ready(4);
        assert_eq!((state.wanted(), state.ready(), state.live()), (4, 1, 1));
        drop(place);
        assert_eq!((state.ready(), state.live()), (0, 0));
    }
}
