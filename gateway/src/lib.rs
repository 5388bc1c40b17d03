//! The gateway as a library.

pub mod admin;
pub mod demo;
pub mod route;
pub mod telemetry;
