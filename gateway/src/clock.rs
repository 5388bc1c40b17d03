//! One coarse timer wheel per worker drives every clock of its connections and calls.
//!
//! Ticks are 50 ms. Pushing a deadline back, which happens on every read and write, costs one store: the timer stays in
//! its slot and is moved only when that slot comes up. Nothing here is shared between threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Length of a tick.
pub const TICK: Duration = Duration::from_millis(50);
const SLOTS: u64 = 1024;
const NEVER: u64 = u64::MAX;
const NONE: usize = usize::MAX;

#[derive(Debug)]
struct Entry {
    /// Tick at which it expires; [`NEVER`] when it is not armed.
    deadline: u64,
    /// Slot it is linked into, as a tick; [`NEVER`] when it is in none.
    linked: u64,
    before: usize,
    after: usize,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Wheel {
    entries: Vec<Entry>,
    free: Vec<usize>,
    heads: Vec<usize>,
    now: u64,
}

/// The wheel of one worker.
#[derive(Debug)]
pub struct Clock {
    wheel: RefCell<Wheel>,
    epoch: Instant,
    ticks: Cell<u64>,
}

impl Clock {
    /// A wheel that starts now. Something must call [`tick`](Self::tick) every [`TICK`].
    pub fn new() -> Rc<Self> {
        let wheel = Wheel {
            entries: Vec::new(),
            free: Vec::new(),
            heads: vec![NONE; SLOTS as usize],
            now: 0,
        };
        Rc::new(Self {
            wheel: RefCell::new(wheel),
            epoch: Instant::now(),
            ticks: Cell::new(0),
        })
    }

    /// Runs what has become due up to `now`.
    pub fn tick(&self, now: Instant) {
        let due = now.saturating_duration_since(self.epoch).as_millis() as u64 / TICK.as_millis() as u64;
        let mut wakers = Vec::new();
        {
            let mut wheel = self.wheel.borrow_mut();
            while wheel.now < due {
                wheel.now += 1;
                wheel.run_slot(&mut wakers);
            }
            self.ticks.set(wheel.now);
        }
        // Woken outside the borrow: a waker may drop a task, and with it timers.
        for waker in wakers {
            waker.wake();
        }
    }

    /// Runs the wheel until the worker ends.
    pub async fn run(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let now = interval.tick().await;
            self.tick(now.into_std());
        }
    }

    /// A timer that is not armed.
    pub fn timer(self: &Rc<Self>) -> Timer {
        let mut wheel = self.wheel.borrow_mut();
        let entry = Entry {
            deadline: NEVER,
            linked: NEVER,
            before: NONE,
            after: NONE,
            waker: None,
        };
        let key = match wheel.free.pop() {
            Some(key) => {
                wheel.entries[key] = entry;
                key
            }
            None => {
                wheel.entries.push(entry);
                wheel.entries.len() - 1
            }
        };
        drop(wheel);
        Timer {
            clock: Rc::clone(self),
            key,
        }
    }
}

impl Wheel {
    fn run_slot(&mut self, wakers: &mut Vec<Waker>) {
        let mut at = self.heads[(self.now % SLOTS) as usize];
        while at != NONE {
            let next = self.entries[at].after;
            if self.entries[at].linked <= self.now {
                self.unlink(at);
                let entry = &mut self.entries[at];
                if entry.deadline <= self.now {
                    wakers.extend(entry.waker.take());
                } else if entry.deadline != NEVER {
                    let deadline = entry.deadline;
                    self.link(at, deadline);
                }
            }
            at = next;
        }
    }

    fn link(&mut self, key: usize, tick: u64) {
        let slot = (tick % SLOTS) as usize;
        let after = self.heads[slot];
        let entry = &mut self.entries[key];
        (entry.linked, entry.before, entry.after) = (tick, NONE, after);
        if after != NONE {
            self.entries[after].before = key;
        }
        self.heads[slot] = key;
    }

    fn unlink(&mut self, key: usize) {
        let Entry {
            linked, before, after, ..
        } = self.entries[key];
        if linked == NEVER {
            return;
        }
        if before == NONE {
            self.heads[(linked % SLOTS) as usize] = after;
        } else {
            self.entries[before].after = after;
        }
        if after != NONE {
            self.entries[after].before = before;
        }
        self.entries[key].linked = NEVER;
    }
}

/// A deadline on the wheel. Dropping it removes it.
#[derive(Debug)]
pub struct Timer {
    clock: Rc<Clock>,
    key: usize,
}

impl Timer {
    /// Expires `after` from now, rounded up to the next tick but one, so never early.
    pub fn arm(&self, after: Duration) {
        let ticks = (after.as_millis() as u64).div_ceil(TICK.as_millis() as u64) + 1;
        let mut wheel = self.clock.wheel.borrow_mut();
        let deadline = wheel.now.saturating_add(ticks);
        let entry = &mut wheel.entries[self.key];
        entry.deadline = deadline;
        if entry.linked > deadline {
            // Not linked, or linked later than it is due now.
            wheel.unlink(self.key);
            wheel.link(self.key, deadline);
        }
    }

    /// Never expires.
    pub fn disarm(&self) {
        self.clock.wheel.borrow_mut().entries[self.key].deadline = NEVER;
    }

    /// Whether its time has come.
    pub fn expired(&self) -> bool {
        let wheel = self.clock.wheel.borrow();
        wheel.entries[self.key].deadline <= wheel.now
    }

    /// Ready when its time has come; otherwise the task is woken then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut wheel = self.clock.wheel.borrow_mut();
        let now = wheel.now;
        let entry = &mut wheel.entries[self.key];
        if entry.deadline <= now {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until its time has come.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut wheel = self.clock.wheel.borrow_mut();
        wheel.unlink(self.key);
        let waker = wheel.entries[self.key].waker.take();
        wheel.free.push(self.key);
        drop(wheel);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired_after(timer: &Timer, clock: &Clock, millis: u64) -> bool {
        clock.tick(clock.epoch + Duration::from_millis(millis));
        timer.expired()
    }

    #[test]
    fn a_timer_expires_after_its_time_and_not_before() {
        for wanted in [0, 1, 49, 50, 51, 999, 60_000, 3_600_000] {
            let clock = Clock::new();
            let timer = clock.timer();
            timer.arm(Duration::from_millis(wanted));
            assert!(
                !expired_after(&timer, &clock, wanted.saturating_sub(1)),
                "{wanted} ms: early"
            );
            assert!(expired_after(&timer, &clock, wanted + 100), "{wanted} ms: late");
        }
    }

    #[test]
    fn a_deadline_moves_both_ways_and_can_be_taken_back() {
        let clock = Clock::new();
        let timer = clock.timer();
        timer.arm(Duration::from_secs(1));
        timer.arm(Duration::from_secs(100));
        assert!(!expired_after(&timer, &clock, 90_000));
        timer.arm(Duration::from_secs(1));
        assert!(expired_after(&timer, &clock, 91_200));
        timer.arm(Duration::from_secs(1));
        timer.disarm();
        assert!(!expired_after(&timer, &clock, 200_000));
    }

    #[test]
    fn only_due_timers_wake_and_dropped_ones_leave_no_trace() {
        let clock = Clock::new();
        let timers: Vec<_> = (0..200).map(|_| clock.timer()).collect();
        for (at, timer) in timers.iter().enumerate() {
            timer.arm(Duration::from_millis(at as u64 * 700));
        }
        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        for millis in (0..150_000).step_by(333) {
            clock.tick(clock.epoch + Duration::from_millis(millis));
            for (at, timer) in timers.iter().enumerate() {
                let due = at as u64 * 700;
                if millis < due {
                    assert!(timer.poll(&cx).is_pending());
                } else if millis >= due + 100 {
                    assert!(timer.poll(&cx).is_ready(), "timer {at} at {millis}");
                }
            }
        }
        drop(timers);
        let wheel = clock.wheel.borrow();
        assert!(wheel.heads.iter().all(|head| *head == NONE));
        assert_eq!(wheel.free.len(), 200);
    }
}
