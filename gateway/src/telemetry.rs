//! What an operator sees of the traffic: traces, metrics, the access log and the log.
//!
//! All of it is fed at the end of a call and handed over through bounded queues. A collector, a disk or a terminal that
//! is slow, gone or wrong costs dropped lines and spans, which are counted, and never a call.

pub mod access;
mod collector;
pub mod export;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod record;
pub mod settings;
pub mod span;
pub mod trace;
