//! What may be spent, and what has been: the counters behind rate limits, quotas and concurrency limits.
//!
//! All workers count together, so a limit is exact for the whole gateway. Counters are found by a keyed hash of the rule's
//! name and of what the call is counted under; they are no part of a snapshot, so a reload changes rules and keeps debts.

pub mod bucket;
pub mod counters;
pub mod holds;
pub mod key;
pub mod period;
pub mod prefixes;
pub mod quotas;
pub mod shared;
pub mod spent;
pub mod store;

pub use bucket::{Bucket, Taken};
pub use counters::Counters;
