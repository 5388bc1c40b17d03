//! How many calls may be open at once: one count for each key.

use std::cell::RefCell;
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use causeway_config as config;
use causeway_config::LimitKey;
use causeway_protocols::FailureKind;

use super::{Admit, Policy, State};
use crate::call::Call;
use crate::context::CallContext;
use crate::error::CallError;
use crate::limits::counters::Rule;
use crate::limits::holds::{Hold, Holds};
use crate::limits::key;

/// Nobody knows when a call of the client ends; this keeps it from asking again at once.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// One rule of `[routes.concurrency]`. A call counts from here until its exchange has ended, whatever it is: a reply that
/// is read slowly, a stream, a WebSocket.
#[derive(Debug)]
pub(super) struct Concurrency {
    config: config::Concurrency,
    rule: Rule,
    holds: Arc<Holds>,
}

impl Concurrency {
    /// A rule of this route. It goes on with what is open by the rule that had its name.
    pub(super) fn new(route: &config::Route, config: &config::Concurrency, state: &State) -> Self {
        let rule = match config.key {
            LimitKey::Site => state.counters.rule(("open at site", &*config.name)),
            _ => state.counters.rule(("open", &*route.name, &*config.name)),
        };
        Self {
            config: config.clone(),
            rule,
            holds: Arc::clone(&state.holds),
        }
    }
}

impl Policy for Concurrency {
    fn name(&self) -> &'static str {
        "concurrency"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        let mut hasher = self.rule.hasher();
        key::feed(&mut hasher, &self.config.key, &call.head, cx);
        match self.holds.take(hasher.finish(), self.config.calls) {
            Some(hold) => {
                cx.held.keep(hold);
                Admit::Pass
            }
            None => {
                let detail = format!("{} calls of rule `{}` are open", self.config.calls, self.config.name);
                Admit::refuse(CallError::new(FailureKind::RateLimited, detail).after(COME_AGAIN))
            }
        }
    }
}

/// What a call holds until it ends.
#[derive(Debug, Default)]
pub struct Held(RefCell<Vec<Hold>>);

impl Held {
    fn keep(&self, hold: Hold) {
        self.0.borrow_mut().push(hold);
    }
}
