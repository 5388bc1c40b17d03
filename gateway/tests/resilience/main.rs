//! Services whose backends fail: checks, ejection, breakers, retries, failover, with whole gateways in this process and
//! backends that fail when they are told to.
//!
//! Names begin with the row of the threat model that they show, where there is one.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod adaptive;
mod backend;
mod balance;
mod breaker;
mod failover;
mod health;
mod hedge;
mod outlier;
mod retry;
mod support;
