//! The gateway as a library: everything of the binary `causeway` but its `main`.
//!
//! `gateway/README.md` tells the life of a call through these modules.

pub mod admin;
pub mod aggregate;
pub mod app;
pub mod authentication;
pub mod cache;
pub mod call;
pub mod calls;
pub mod canary;
pub mod cli;
pub mod clock;
pub mod context;
pub mod demo;
pub mod discovery;
pub mod dispatch;
pub mod drain;
pub mod edge;
pub mod error;
pub mod federation;
pub mod fetch;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod limits;
pub mod listen;
pub mod memory;
pub mod mirror;
pub mod observe;
pub mod payload;
pub mod policy;
pub mod principal;
pub mod refuse;
pub mod reload;
pub mod retry;
pub mod route;
pub mod schema;
pub mod scratch;
pub mod serve;
pub mod service;
pub mod snapshot;
pub mod socket;
pub(crate) mod status;
pub mod telemetry;
pub mod translate;
pub mod worker;
