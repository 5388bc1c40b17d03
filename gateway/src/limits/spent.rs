//! What a call was told by the limits it passed, until its reply says so.

use std::cell::RefCell;
use std::time::Duration;

use causeway_protocols::Fields;
use siphasher::sip128::SipHasher13;

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// How much may still be spent.
    pub left: u64,
    /// Until all of it can be spent again.
    pub full: Duration,
}

impl Spent {
    /// Says it in the form with two fields of draft-ietf-httpapi-ratelimit-headers. Both are lists: every limit adds its own.
    pub fn tell(self, fields: &mut Fields, name: &str, policy: &str) {
        let now = format!("\"{name}\";r={};t={}", self.left, seconds(self.full));
        // A name of the configuration and numbers: always legal as a value.
        fields.push(b"ratelimit-policy", policy.as_bytes()).ok();
        fields.push(b"ratelimit", now.as_bytes()).ok();
    }
}

/// Whole seconds, rounded up: who comes back then comes in time.
pub fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// By the id of each rule; takes no memory for a call without limits.
#[derive(Debug, Default)]
pub struct AllSpent {
    told: RefCell<Vec<(u64, Spent)>>,
    metered: RefCell<Vec<(u64, SipHasher13)>>,
}

impl AllSpent {
    /// A rule was asked.
    pub fn note(&self, rule: u64, spent: Spent) {
        self.told.borrow_mut().push((rule, spent));
    }

    /// What a rule said.
    pub fn of(&self, rule: u64) -> Option<Spent> {
        find(&self.told.borrow(), rule)
    }

    /// What passes of the call is counted under this key of a rule.
    pub fn meter(&self, rule: u64, key: SipHasher13) {
        self.metered.borrow_mut().push((rule, key));
    }

    /// The key of a rule that what passes is counted under.
    pub fn metered(&self, rule: u64) -> Option<SipHasher13> {
        find(&self.metered.borrow(), rule)
    }
}

fn find<T: Copy>(all: &[(u64, T)], rule: u64) -> Option<T> {
    all.iter().find(|(of, _)| *of == rule).map(|(_, found)| *found)
}
