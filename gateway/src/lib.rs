//! The gateway as a library.

pub mod demo;
pub mod discovery;
pub mod route;
pub mod service;
