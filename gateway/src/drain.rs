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
    /// Work that has begun is finished; connections close when they are done.
    Draining,
    /// What is left is cut.
    Cutting,
}

/// Tells everybody who holds a [`Guard`], and counts them.
#[derive(Debug)]
pub struct Drain {
    stage: watch::Sender<Stage>,
    held: Arc<AtomicUsize>,
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
        self.held.fetch_add(1, Ordering::Relaxed);
        Guard {
            stage: self.stage.subscribe(),
            held: Arc::clone(&self.held),
        }
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

    /// Pieces of work that are not finished.
    pub fn left(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Waits until all are finished, at most `within`.
    pub async fn finished(&self, within: Duration) -> Drained {
        let deadline = tokio::time::Instant::now() + within;
        let mut report = tokio::time::interval(Duration::from_secs(5));
        report.tick().await;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            if self.left() == 0 {
                return Drained::Clean;
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Drained::Cut { left: self.left() },
                _ = report.tick() => tracing::info!(left = self.left(), "draining"),
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
    held: Arc<AtomicUsize>,
}

impl Guard {
    /// Whether no new work should be begun.
    pub fn is_draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    /// Waits for a stage.
    pub fn reached(&self, stage: Stage) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.stage.clone();
        async move {
            // The sender lives as long as the gateway; when it is gone, everything is over.
            receiver.wait_for(|now| *now >= stage).await.ok();
        }
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        self.held.fetch_add(1, Ordering::Relaxed);
        Self {
            stage: self.stage.clone(),
            held: Arc::clone(&self.held),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}
