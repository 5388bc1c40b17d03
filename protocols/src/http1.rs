//! HTTP/1.1 without sockets: heads and bodies from bytes, and back (RFC 9112), for the client and the backend edge.
//!
//! - Strict: what two recipients could read differently is refused, see [`RequestError`] and [`ResponseError`]. Framing
//!   is never forwarded; each hop writes its own from [`Length`](crate::call::Length).
//! - Pure: a parser sees a buffer and says [`Parsed::Partial`] until the head is whole. Where the input was cut changes
//!   nothing, not even which error is reported.
//! - Bounded: a head by [`Limits`], chunk lines and trailers by fixed limits.
//!
//! `httparse` reads whole heads. A head it refuses, and the beginning of one that is still incomplete, is read byte by
//! byte by `lines`, which names the first rule that was broken.

pub mod chunked;
pub mod encode;
pub mod names;
pub mod request;
pub mod response;

mod error;
mod framing;
mod lines;

pub use chunked::{ChunkError, ChunkedDecoder, Decoded};
pub use encode::{Close, ReplyOptions, RequestOptions, Sent};
pub use error::{RequestError, ResponseError};
pub use lines::LineError;
pub use request::{BodyFraming, Request};
pub use response::{Asked, Kind, ReplyFraming, Response};

/// The most fields a head may have, whatever [`Limits::fields`](field@Limits::fields) says.
pub const MAX_FIELDS: usize = 128;

/// The most bytes a head may have, whatever [`Limits::head`](field@Limits::head) says: a value must fit in a `u16`.
pub const MAX_HEAD: usize = 65_535;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the start line, the fields and the empty line together; at most [`MAX_HEAD`].
    pub head: usize,
    /// Number of fields; at most [`MAX_FIELDS`].
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

impl Default for Limits {
    /// 16 KiB, 100 fields, and 8,000 bytes of target, which RFC 9112, section 3, asks every recipient to take.
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            fields: 100,
            target: 8000,
        }
    }
}

impl Limits {
    fn head(&self) -> usize {
        self.head.min(MAX_HEAD)
    }

    fn fields(&self) -> usize {
        self.fields.min(MAX_FIELDS)
    }
}

/// What a parser made of a buffer.
#[derive(Clone, Debug)]
pub enum Parsed<T> {
    /// The head is not whole, and nothing in it is wrong so far. Nothing was consumed.
    Partial,
    /// A whole head.
    Complete {
        /// The head.
        head: T,
        /// Bytes of the buffer it took; what follows is the body or the next head.
        consumed: usize,
    },
}

#[cfg(test)]
mod tests;
