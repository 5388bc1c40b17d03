//! Pure protocol code of causeway: calls and replies, how they are framed, and the wire form between two sites.
//!
//! Nothing here opens a socket, reads a clock or knows the configuration, so that every part can be tested and fuzzed
//! alone. What needs a socket lives in the gateway, behind the small types of this crate.

pub mod call;
pub mod deadline;
pub mod failure;
pub mod fields;
pub mod framing;
pub mod http1;
pub mod message;
pub mod name;
pub mod plan;
pub mod status;
pub mod target;
pub mod transcode;
pub mod tunnel;
pub mod websocket;

pub use call::{CallHead, End, Length, Protocol, ReplyHead, Scheme};
pub use failure::{FailureKind, Reset};
pub use fields::{Field, FieldError, FieldName, Fields};
pub use message::{Event, Kind, Message, Outcome};
pub use name::NameId;
pub use status::{Code, Status};
pub use target::{Authority, Target, TargetError};
