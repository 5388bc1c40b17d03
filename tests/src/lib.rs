//! The harness: gateways as child processes, and other people's programs to drive them.
//!
//! - [`Site`] is one gateway from its built binary, with a configuration directory of its own; [`Pair`] is two of them
//!   linked. Everything listens on port 0 and is killed by id when dropped.
//! - [`tools`] finds the programs that tests drive (curl, nghttp, dnsmasq), and makes the Python environment. What is
//!   missing makes a test report itself as skipped, by name; with `CI=true` that is a failure.
//! - Nothing here sleeps to let something happen: [`until`] waits for a condition, with a deadline.

pub mod binary;
pub mod client;
pub mod dns;
pub mod load;
pub mod metrics;
pub mod otlp;
pub mod pair;
pub mod process;
pub mod python;
pub mod recorder;
pub mod site;
pub mod tools;
pub mod until;

pub use client::{Answer, Connection};
pub use pair::{Entry, Pair, Upstreams};
pub use process::Process;
pub use site::{Site, SiteSetup};
pub use until::{holds_within, until};
