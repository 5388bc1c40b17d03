//! A body seen through something: what was read of it already, or a content coding.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_protocols::End;

use super::{Body, Broken, Chunk, Compressed};

/// What stands between a carrier's body and who reads it.
#[derive(Debug)]
pub enum Coded {
    /// What was read already, then the rest.
    Again(VecDeque<Bytes>, Body),
    /// All there is, and an end with trailers.
    Ended(Bytes, End),
    /// A body that is compressed while it flows.
    Compressed(Compressed),
}

impl Coded {
    /// `heard`, then what is left in `rest`.
    pub fn again(heard: Vec<Bytes>, rest: Body) -> Body {
        Body::Coded(Box::new(Self::Again(heard.into(), rest)))
    }

    /// These bytes and this end.
    pub fn ended(data: Bytes, end: End) -> Body {
        Body::Coded(Box::new(Self::Ended(data, end)))
    }

    /// A body that is compressed while it flows.
    pub fn compressed(body: Compressed) -> Body {
        Body::Coded(Box::new(Self::Compressed(body)))
    }

    /// As [`Body::poll_chunk`].
    ///
    /// # Errors
    /// Those of the body below.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        match self {
            Self::Again(heard, rest) => match heard.pop_front() {
                Some(data) => Poll::Ready(Ok(Chunk::Data(data))),
                None => rest.poll_chunk(cx),
            },
            Self::Compressed(body) => body.poll_chunk(cx),
            Self::Ended(data, end) => Poll::Ready(Ok(if data.is_empty() {
                Chunk::End(std::mem::take(end))
            } else {
                Chunk::Data(std::mem::take(data))
            })),
        }
    }

    /// As [`Body::absorb`].
    pub(super) fn absorb(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Again(_, rest) => rest.absorb(cx),
            Self::Compressed(body) => body.absorb(cx),
            Self::Ended(..) => {}
        }
    }
}
