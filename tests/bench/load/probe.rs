//! What the connections of one run share: when to send, and what came back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::histogram::Histogram;

/// Requests that a fixed rate may be behind before the rest is given up as failures.
const BACKLOG: usize = 100_000;

/// The meeting point of the connections, the pace and the measurement.
#[derive(Debug)]
pub(super) struct Probe {
    window: RefCell<Option<Window>>,
    pace: Cell<Pace>,
    due: RefCell<VecDeque<Instant>>,
    idle: RefCell<VecDeque<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Each connection sends as soon as it has its reply.
    Closed,
    /// A connection sends when a request falls due.
    Fixed,
}

/// What ended between opening and closing.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) first_failure: Option<String>,
    pub(super) latency: Histogram,
}

impl Window {
    fn new() -> Self {
        Self {
            requests: 0,
            failures: 0,
            first_failure: None,
            latency: Histogram::new(),
        }
    }
}

impl Probe {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            window: RefCell::new(Some(Window::new())),
            pace: Cell::new(Pace::Fixed),
            due: RefCell::default(),
            idle: RefCell::default(),
        })
    }

    /// Lets every connection send at once and from then on without a pace.
    pub(super) fn unpaced(&self) {
        self.pace.set(Pace::Closed);
        self.idle.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// One more request falls due at `at`.
    pub(super) fn add_due(&self, at: Instant) {
        if self.due.borrow().len() >= BACKLOG {
            return self.failed(&Failure::new("the gateway cannot keep up with the rate"));
        }
        self.due.borrow_mut().push_back(at);
        if let Some(idle) = self.idle.borrow_mut().pop_front() {
            idle.wake();
        }
    }

    /// Waits for the moment to send. Latency counts from the instant returned: when the request was due, so that a
    /// late sender hides nothing.
    pub(super) async fn turn(&self) -> Instant {
        poll_fn(|cx| match self.pace.get() {
            Pace::Closed => Poll::Ready(Instant::now()),
            Pace::Fixed => match self.due.borrow_mut().pop_front() {
                Some(due) => Poll::Ready(due),
                None => {
                    self.idle.borrow_mut().push_back(cx.waker().clone());
                    Poll::Pending
                }
            },
        })
        .await
    }

    /// A request that was due at `began` has its whole reply.
    pub(super) fn done(&self, began: Instant) {
        if let Some(window) = self.window.borrow_mut().as_mut() {
            window.requests += 1;
            window.latency.add(began.elapsed());
        }
    }

    /// Messages of a stream, beyond the one that [`done`](Self::done) counts.
    pub(super) fn messages(&self, count: u64) {
        if let Some(window) = self.window.borrow_mut().as_mut() {
            window.requests += count;
        }
    }

    pub(super) fn failed(&self, failure: &Failure) {
        if let Some(window) = self.window.borrow_mut().as_mut() {
            window.failures += 1;
            window.first_failure.get_or_insert_with(|| failure.to_string());
        }
    }

    /// Counts a failure and gives the gateway a moment, so that a dead one is not hammered.
    pub(super) async fn failed_for_now(&self, failure: Failure) {
        self.failed(&failure);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Starts counting afresh. Failures of the warm-up stay: none is forgiven.
    pub(super) fn open_window(&self) {
        let mut window = self.window.borrow_mut();
        let warm_up = window.take().unwrap_or_else(Window::new);
        let fresh = Window::new();
        *window = Some(Window {
            failures: warm_up.failures,
            first_failure: warm_up.first_failure,
            ..fresh
        });
    }

    /// Stops counting; what ends after this is nobody's.
    pub(super) fn close_window(&self) -> Window {
        self.window.borrow_mut().take().unwrap_or_else(Window::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts_but_failures_of_the_warm_up_too() {
        let probe = Probe::new();
        probe.done(Instant::now());
        probe.failed(&Failure::new("first"));
        probe.open_window();
        probe.done(Instant::now());
        probe.messages(9);
        let window = probe.close_window();
        probe.done(Instant::now());
        probe.failed(&Failure::new("after"));
        assert_eq!((window.requests, window.failures), (10, 1));
        assert_eq!(window.first_failure.as_deref(), Some("first"));
        assert!(window.latency.quantile_us(0.5).is_some());
    }

    #[tokio::test]
    async fn at_a_fixed_rate_a_turn_comes_when_a_request_falls_due() {
        let probe = Probe::new();
        let due = Instant::now();
        let (began, ()) = tokio::join!(probe.turn(), async { probe.add_due(due) });
        assert_eq!(began, due);
        probe.unpaced();
        assert!(probe.turn().await >= due);
    }
}
