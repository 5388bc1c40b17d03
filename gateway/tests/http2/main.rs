//! HTTP/2 at a running gateway: attacks by raw frames, semantics by real clients and backends.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "these are tests: their tasks end with their runtime"
)]

mod attacks;
mod backend;
mod exchange;
mod floods;
mod goaway;
mod grpc;
mod rules;
mod site;
mod wire;
