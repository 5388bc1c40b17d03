//! Stopping without failing a call: tell, wait, name who is late, cut.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How far the gateway is in stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is not.
    Serving,
    /// It says that it is not ready, and still takes everything; replies tell clients to come on another connection.
    Announced,
    /// Nothing new is taken. Work that has begun is finished; connections close when they are done.
    Draining,
    /// All clients are gone: tunnels close when the calls of their peers have ended.
    Finished,
    /// What is left is cut.
    Cutting,
}

impl Stage {
    /// The word used in `/status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::Draining => "draining",
            Self::Finished => "finished",
            Self::Cutting => "cutting",
        }
    }
}

/// Tells everybody who holds a [`Guard`], and counts them.
#[derive(Debug)]
pub struct Drain {
    stage: watch::Sender<Stage>,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Held {
    work: AtomicUsize,
    tunnels: AtomicUsize,
}

impl Held {
    fn of(&self, what: What) -> &AtomicUsize {
        match what {
            What::Tunnel => &self.tunnels,
            What::Work => &self.work,
        }
    }
}

/// What a guard is held by. Tunnels outlive the work: a call that is late in its request still has to cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Tunnel,
    Work,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Serving),
            held: Arc::default(),
        }
    }
}

impl Drain {
    /// A guard for a piece of work that should be finished before the gateway stops.
    pub fn guard(&self) -> Guard {
        Guard::new(self.stage.subscribe(), &self.held, What::Work)
    }

    /// The stage.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Moves on to a stage; never back.
    pub fn enter(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let later = stage > *now;
            if later {
                *now = stage;
            }
            later
        });
    }

    /// Pieces of work that are not finished, tunnels not counted.
    pub fn left(&self) -> usize {
        self.held.work.load(Ordering::Acquire)
    }

    /// Tunnels that are not closed.
    pub fn tunnels(&self) -> usize {
        self.held.tunnels.load(Ordering::Acquire)
    }

    /// Waits until the work and then the tunnels are finished, at most `within`.
    pub async fn finished(&self, within: Duration) -> Drained {
        let deadline = tokio::time::Instant::now() + within;
        let mut report = tokio::time::interval(Duration::from_secs(5));
        report.tick().await;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            let (left, tunnels) = (self.left(), self.tunnels());
            if left == 0 && tunnels == 0 {
                return Drained::Clean;
            }
            if left == 0 {
                self.enter(Stage::Finished);
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Drained::Cut { left: left + tunnels },
                _ = report.tick() => tracing::info!(left, tunnels, "draining"),
                _ = look.tick() => {}
            }
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything was finished.
    Clean,
    /// So much was not.
    Cut {
        /// Pieces of work.
        left: usize,
    },
}

/// Held by a piece of work.
#[derive(Debug)]
pub struct Guard {
    stage: watch::Receiver<Stage>,
    held: Arc<Held>,
    what: What,
}

impl Guard {
    fn new(stage: watch::Receiver<Stage>, held: &Arc<Held>, what: What) -> Self {
        held.of(what).fetch_add(1, Ordering::AcqRel);
        Self {
            stage,
            held: Arc::clone(held),
            what,
        }
    }

    /// Whether connections should not be kept for more work.
    pub fn is_draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Announced
    }

    /// Waits for a stage.
    pub fn reached(&self, stage: Stage) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.stage.clone();
        async move {
            // The sender lives as long as the gateway; when it is gone, everything is over.
            receiver.wait_for(|now| *now >= stage).await.ok();
        }
    }

    /// A guard for a tunnel.
    pub fn of_tunnel(&self) -> Self {
        Self::new(self.stage.clone(), &self.held, What::Tunnel)
    }

    /// For the work that a tunnel brings: it is work like any other.
    pub fn lender(&self) -> Lender {
        Lender {
            stage: self.stage.clone(),
            held: Arc::clone(&self.held),
        }
    }
}

/// Gives guards for work, and is not counted itself.
#[derive(Debug)]
pub struct Lender {
    stage: watch::Receiver<Stage>,
    held: Arc<Held>,
}

impl Lender {
    /// A guard for a piece of work.
    pub fn guard(&self) -> Guard {
        Guard::new(self.stage.clone(), &self.held, What::Work)
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        Self::new(self.stage.clone(), &self.held, self.what)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.held.of(self.what).fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tunnels_are_told_to_close_only_when_the_work_is_done() {
        let drain = Arc::new(Drain::default());
        let work = drain.guard();
        let tunnel = work.of_tunnel();
        assert_eq!((drain.left(), drain.tunnels()), (1, 1));
        drain.enter(Stage::Draining);
        let short = Duration::from_millis(50);
        assert_eq!(drain.finished(short).await, Drained::Cut { left: 2 });
        assert_eq!(drain.stage(), Stage::Draining, "the work is not done");
        drop(work);
        assert_eq!(drain.finished(short).await, Drained::Cut { left: 1 });
        tunnel.reached(Stage::Finished).await;
        // A call that its peer sent before it knew.
        let late = tunnel.lender().guard();
        drop(tunnel);
        assert_eq!(drain.finished(short).await, Drained::Cut { left: 1 });
        drop(late);
        assert_eq!(drain.finished(short).await, Drained::Clean);
    }

    #[test]
    fn stages_never_go_back() {
        let drain = Drain::default();
        let guard = drain.guard();
        drain.enter(Stage::Announced);
        assert!(guard.is_draining());
        drain.enter(Stage::Serving);
        assert_eq!(drain.stage(), Stage::Announced);
    }
}
