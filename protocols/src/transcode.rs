//! Message content: JSON to protobuf and back by the descriptor of a method, and `google.api.http` rules.
//!
//! [`Schema`] holds what a descriptor set says, compiled once; nothing here reads a file or opens a socket. A request
//! is looked up with [`Schema::find`], or [`Schema::method`] where the gRPC path is known; what they return translates
//! messages one by one, without a tree of values in between.
//!
//! - JSON is the canonical form of proto3: 64-bit numbers are strings, bytes base64, enums names, names are
//!   lowerCamelCase, defaults are left out. Reading accepts names of the `.proto` file and numbers of enums too.
//! - Strict: unknown fields and parameters, keys given twice, two fields of a oneof, a body that contradicts the path
//!   are refused, with their place.
//! - Bounded: JSON nests 128 deep, messages 64 deep in JSON and 100 on the wire; numbers have at most 1024 bytes.
//!   Working memory is a small multiple of the message; how large that may be is the caller's to say.

mod active;
mod collect;
mod error;
mod found;
mod from_json;
mod json;
mod load;
mod method;
mod names;
mod number;
mod reverse;
mod rule;
mod schema;
pub mod status_json;
mod template;
mod text;
mod to_json;
mod trie;
mod types;
mod values;
mod wellknown;
mod wire;

pub use error::{Place, SchemaError, TranscodeError};
pub use found::{BodyRule, Found, ReplyContent};
pub use load::{WELL_KNOWN, compile};
pub use method::{Method, Plan, Shape};
pub use reverse::{HttpBody, HttpCall};
pub use schema::Schema;
pub use trie::Missed;

#[cfg(test)]
mod tests;
