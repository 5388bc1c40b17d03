//! Running a gateway: reload, drain, rotation, revocation, healing and faults, with whole gateways in this process.
//!
//! Names begin with the row of the threat model that they show, where there is one.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod drain;
mod faults;
mod links;
mod reload;
mod support;
mod trust;
