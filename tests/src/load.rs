//! A closed-loop load that counts every request that failed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{Connection, Outcome};
use crate::until::{pause, until};

/// Requests that run until they are stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// The listener may be gone: a refused connection ends a client and is no failure.
    closing: AtomicBool,
    done: AtomicU64,
    repeated: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// How a load went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Requests that were answered with 200 and a whole body.
    pub done: u64,
    /// Requests repeated because the server had closed an idle connection just then.
    pub repeated: u64,
    /// What went wrong, at most 100 of them.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts `clients` keep-alive HTTP/1.1 clients, each asking for `target` again as soon as it was answered.
    pub fn start(address: SocketAddr, target: &str, clients: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let client = |_| {
            let (shared, target) = (Arc::clone(&shared), target.to_owned());
            std::thread::spawn(move || run(address, &target, &shared))
        };
        let threads = (0..clients).map(client).collect();
        Self { shared, threads }
    }

    /// Requests answered so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Waits until `count` more requests were answered.
    pub fn proceeds(&self, count: u64) {
        let goal = self.done() + count;
        until(
            &format!("{count} more requests are answered"),
            Duration::from_secs(30),
            || self.done() >= goal,
        );
    }

    /// From now on a refused connection ends a client without being a failure.
    pub fn listener_closes(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }

    /// Ends all clients after the answer they wait for.
    pub fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                self.shared.fail("a client panicked".into());
            }
        }
        let failures = self
            .shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Report {
            done: self.shared.done.load(Ordering::Relaxed),
            repeated: self.shared.repeated.load(Ordering::Relaxed),
            failures,
        }
    }
}

impl Shared {
    fn fail(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < 100 {
            failures.push(what);
        }
    }
}

fn run(address: SocketAddr, target: &str, shared: &Shared) {
    let mut connection = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut open = match connection.take().map_or_else(|| Connection::open(address), Ok) {
            Ok(open) => open,
            Err(_) if shared.closing.load(Ordering::Relaxed) => return,
            Err(error) => {
                shared.fail(format!("connecting: {error}"));
                pause(Duration::from_millis(10));
                continue;
            }
        };
        match open.request("GET", target, "", b"") {
            Ok(Outcome::Answered(answer)) if answer.status == 200 => {
                shared.done.fetch_add(1, Ordering::Relaxed);
                connection = Some(open);
            }
            Ok(Outcome::Last(answer)) if answer.status == 200 => {
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Outcome::Answered(answer) | Outcome::Last(answer)) => {
                shared.fail(format!("{}: {}", answer.status, answer.text()));
            }
            Ok(Outcome::ClosedWhileIdle) => {
                shared.repeated.fetch_add(1, Ordering::Relaxed);
            }
            // A connection that the closing listener's queue had taken, but nobody accepted any more.
            Err(_) if shared.closing.load(Ordering::Relaxed) && Connection::open(address).is_err() => return,
            Err(error) => shared.fail(format!("request: {error}")),
        }
    }
}
