//! HTTP/2 with clients and with backends, on the `h2` crate.

mod activity;
mod batch;
mod body;
pub mod client;
pub mod head;
mod outlet;
pub mod server;
mod stream;

pub use self::body::Http2Body;
pub use self::outlet::Http2Outlet;

/// Window of one stream: what a slow reader can make us hold.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
/// Window of one connection: above the sum of its streams in ordinary use, so that slow readers do not stall the others.
pub(crate) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What DATA frames of less than 256 bytes may cost beyond their payload before the connection is closed
/// (RUSTSEC-2026-0258): a frame costs 256 bytes less its length until it is taken. Bodies take them even while nobody
/// reads on, so this bounds what arrives between two turns of a stream. A window of one-byte frames costs 16 MiB.
pub(crate) const SERVER_SMALL_FRAMES: usize = 24 * 1024 * 1024;
/// The same towards a backend, whose connection carries streams of many clients: none of them may cost it the others.
pub(crate) const CLIENT_SMALL_FRAMES: usize = 64 * 1024 * 1024;
/// Bytes of one stream that wait to be sent.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
