//! The gateway as a library.

pub mod telemetry;
