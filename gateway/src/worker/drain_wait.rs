//! Waiting for the drain of a worker.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::Worker;

/// Waits for the drain of a worker. Cheaper than a [`Guard`](crate::drain::Guard) where there are many: nothing until it is polled.
#[derive(Debug)]
pub struct DrainWait {
    pub(super) worker: Rc<Worker>,
    pub(super) id: u64,
}

impl DrainWait {
    /// Ready once the worker drains.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.worker.guard.borrow().is_none() {
            return Poll::Ready(());
        }
        let mut waits = self.worker.drain_waits.borrow_mut();
        match waits.get_mut(&self.id) {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            Some(waker) => *waker = cx.waker().clone(),
            None => drop(waits.insert(self.id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for DrainWait {
    fn drop(&mut self) {
        self.worker.drain_waits.borrow_mut().remove(&self.id);
    }
}
