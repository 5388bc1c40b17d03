//! WebSocket without sockets (RFC 6455): the handshake over HTTP/1.1, and how frames lie in a stream of bytes that is
//! passed through.

pub mod control;
pub mod handshake;
pub mod tracker;

mod violation;

pub use control::{encode_close, encode_ping, encode_pong};
pub use handshake::{Accept, ClientKey, HandshakeError};
pub use tracker::{Counts, Direction, Passed, Tracker, TrackerLimits, Violation};
pub use violation::WsViolation;
