//! Limits as clients meet them: in all three protocols, at one site and through a tunnel between two.
//!
//! Names begin with the row of the threat model that they show, where there is one.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::print_stdout, reason = "the error of each limiter is told")]

mod clients;
mod concurrency;
mod messages;
mod place;
mod quota;
mod rate;
mod shared;
