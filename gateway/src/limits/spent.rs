//! What a call was told by the limits it passed, until its reply says so.

use std::cell::RefCell;
use std::time::Duration;

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// How much may still be spent.
    pub left: u64,
    /// Until all of it can be spent again.
    pub full: Duration,
}

/// By the id of each rule; takes no memory for a call without limits.
#[derive(Debug, Default)]
pub struct AllSpent(RefCell<Vec<(u64, Spent)>>);

impl AllSpent {
    /// A rule was asked.
    pub fn note(&self, rule: u64, spent: Spent) {
        self.0.borrow_mut().push((rule, spent));
    }

    /// What a rule said.
    pub fn of(&self, rule: u64) -> Option<Spent> {
        let all = self.0.borrow();
        all.iter().find(|(of, _)| *of == rule).map(|(_, spent)| *spent)
    }
}
