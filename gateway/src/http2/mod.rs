//! HTTP/2 with clients and with backends, on the `h2` crate.

mod batch;
mod body;
pub mod client;
pub mod head;
mod outlet;
pub mod server;

pub use self::body::Http2Body;
pub use self::outlet::Http2Outlet;

/// Window of one stream: what a slow reader can make us hold.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
/// Window of one connection: above the sum of its streams in ordinary use, and large enough for the budget that `h2`
/// gives to small DATA frames (RUSTSEC-2026-0258).
pub(crate) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of one stream that wait to be sent.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
