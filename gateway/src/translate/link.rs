//! What the two directions of a translated exchange tell each other.
//!
//! Both are polled by one task, the request first. A mistake in the request must reach the client as an end of its reply
//! that says so, and what ends an exchange from outside (a deadline, a drain) must not cut a format short of its terminal
//! record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::fault::Fault;

/// Shared by the two directions of one exchange.
#[derive(Debug, Default)]
pub struct Link {
    fault: RefCell<Option<Fault>>,
    waker: RefCell<Option<Waker>>,
    replied: Cell<bool>,
}

impl Link {
    /// A link of an exchange that goes well.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Ends the exchange; the first reason stays. The reply ends with it at its next message boundary.
    pub fn fail(&self, fault: Fault) {
        self.fault.borrow_mut().get_or_insert(fault);
        self.wake();
    }

    /// Why the exchange ends, if it does.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// The reply is whole: a request that is still open for its carrier's sake may end.
    pub fn reply_is_over(&self) {
        self.replied.set(true);
        self.wake();
    }

    /// Whether the reply is whole.
    pub fn is_reply_over(&self) -> bool {
        self.replied.get()
    }

    /// Remembers the task to wake when something here changes.
    pub fn watch(&self, waker: &Waker) {
        let mut place = self.waker.borrow_mut();
        match &*place {
            Some(before) if before.will_wake(waker) => {}
            _ => *place = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
