//! What the streams of a client's connection tell the task that drives it: how many there are, since when there are
//! none, and whether the client opens them only to cancel them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock::Timer;

/// Streams that are cancelled sooner than this, before their reply, count as an attack when there are many
/// (CVE-2023-44487: `h2` itself counts only those that were reset before we saw them).
const EARLY: Duration = Duration::from_secs(1);
/// So many early cancels...
const MOST_CANCELS: u32 = 200;
/// ...within this time, if they are more than half of all streams, end the connection.
const CANCEL_WINDOW: Duration = Duration::from_secs(10);

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    open: Cell<usize>,
    /// Runs while no stream is open.
    idle: Timer,
    limit: Cell<Duration>,
    since: Cell<Instant>,
    begun: Cell<u32>,
    cancelled: Cell<u32>,
    driver: RefCell<Option<Waker>>,
}

impl Activity {
    /// No streams yet; `idle` runs from now.
    pub(super) fn new(idle: Timer, limit: Duration) -> Rc<Self> {
        idle.arm(limit);
        Rc::new(Self {
            open: Cell::new(0),
            idle,
            limit: Cell::new(limit),
            since: Cell::new(Instant::now()),
            begun: Cell::new(0),
            cancelled: Cell::new(0),
            driver: RefCell::new(None),
        })
    }

    /// One more stream.
    pub(super) fn begin(self: &Rc<Self>) -> OpenStream {
        let now = Instant::now();
        if now - self.since.get() > CANCEL_WINDOW {
            self.since.set(now);
            self.begun.set(0);
            self.cancelled.set(0);
        }
        self.begun.set(self.begun.get() + 1);
        if self.open.replace(self.open.get() + 1) == 0 {
            self.idle.disarm();
        }
        OpenStream {
            activity: Rc::clone(self),
            started: now,
        }
    }

    /// Ready when no stream has been open for the idle time.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        match &mut *self.driver.borrow_mut() {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            driver => *driver = Some(cx.waker().clone()),
        }
        self.idle.poll(cx)
    }

    /// From now on, no streams for this long is idle.
    pub(super) fn idle_after(&self, limit: Duration) {
        self.limit.set(limit);
        if self.open.get() == 0 {
            self.idle.arm(limit);
        }
    }

    /// Whether the client opens streams only to cancel them.
    pub(super) fn is_abuse(&self) -> bool {
        let cancelled = self.cancelled.get();
        cancelled >= MOST_CANCELS && cancelled > self.begun.get() / 2
    }
}

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    activity: Rc<Activity>,
    started: Instant,
}

impl OpenStream {
    /// The client has reset it before it had its reply.
    pub(super) fn cancelled(&self) {
        let activity = &self.activity;
        if self.started.elapsed() < EARLY {
            activity.cancelled.set(activity.cancelled.get() + 1);
            if activity.is_abuse() {
                let driver = activity.driver.borrow_mut().take();
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let activity = &self.activity;
        activity.open.set(activity.open.get() - 1);
        if activity.open.get() == 0 {
            activity.idle.arm(activity.limit.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn many_early_cancels_are_abuse_only_if_they_are_most_of_what_is_asked() {
        for (cancelled, answered, abuse) in [(199, 0, false), (200, 0, true), (200, 199, true), (200, 200, false)] {
            let clock = Clock::new();
            let activity = Activity::new(clock.timer(), Duration::from_secs(60));
            for _ in 0..answered {
                drop(activity.begin());
            }
            for _ in 0..cancelled {
                activity.begin().cancelled();
            }
            assert_eq!(activity.is_abuse(), abuse, "{cancelled} of {}", cancelled + answered);
        }
    }

    #[test]
    fn idleness_begins_when_the_last_stream_ends() {
        let clock = Clock::new();
        let started = Instant::now();
        let activity = Activity::new(clock.timer(), Duration::from_secs(10));
        let cx = Context::from_waker(Waker::noop());
        let (first, second) = (activity.begin(), activity.begin());
        clock.tick(started + Duration::from_secs(60));
        assert!(activity.poll_idle(&cx).is_pending(), "streams are open");
        drop(first);
        clock.tick(started + Duration::from_secs(120));
        assert!(activity.poll_idle(&cx).is_pending(), "one is left");
        drop(second);
        clock.tick(started + Duration::from_secs(129));
        assert!(activity.poll_idle(&cx).is_pending(), "idle for 9 s");
        clock.tick(started + Duration::from_secs(131));
        assert!(activity.poll_idle(&cx).is_ready(), "idle for 11 s");
    }
}
