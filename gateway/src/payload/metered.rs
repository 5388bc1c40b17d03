//! A body that is watched as it passes: for quotas of bytes, and for limits of messages.

use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use causeway_protocols::End;

use super::{Body, Broken, Chunk};

/// What a meter says of bytes that have come.
#[derive(Debug)]
pub enum Pass {
    /// They go on, as they came.
    On(Bytes),
    /// These go on, and then the direction breaks.
    Broken(Bytes, Broken),
    /// These go on, and then the direction ends as if its source had ended it.
    Ended(Bytes),
}

/// Watches one direction of an exchange.
pub trait Meter: fmt::Debug {
    /// Ready when more may come.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Bytes have come; none of them may be gone, but some may be held back.
    fn pass(&mut self, data: Bytes) -> Pass;

    /// What is held back, when the direction ends.
    fn finish(&mut self) -> Bytes {
        Bytes::new()
    }
}

/// A body with its meter.
#[derive(Debug)]
pub struct Metered {
    from: Body,
    meter: Box<dyn Meter>,
    /// What comes instead of everything else.
    last: Option<Result<Chunk, Broken>>,
}

impl Metered {
    /// Watches `body` from here on, unless it is known to be empty.
    pub fn wrap(body: &mut Body, meter: Box<dyn Meter>) {
        if !body.is_empty() {
            let from = std::mem::replace(body, Body::Empty);
            *body = Body::Metered(Box::new(Self {
                from,
                meter,
                last: None,
            }));
        }
    }

    /// As [`Body::poll_chunk`].
    ///
    /// # Errors
    /// Those of the body below, and what the meter says.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(last);
        }
        let (data, last) = loop {
            ready!(self.meter.poll_ready(cx));
            match ready!(self.from.poll_chunk(cx))? {
                Chunk::Data(data) => match self.meter.pass(data) {
                    Pass::On(data) if data.is_empty() => {}
                    Pass::On(data) => return Poll::Ready(Ok(Chunk::Data(data))),
                    Pass::Broken(data, broken) => break (data, Err(broken)),
                    Pass::Ended(data) => break (data, Ok(Chunk::End(End::default()))),
                },
                end @ Chunk::End(_) => break (self.meter.finish(), Ok(end)),
            }
        };
        // Whoever sends is told now, not when the rest has been read.
        self.from = Body::Empty;
        if data.is_empty() {
            return Poll::Ready(last);
        }
        self.last = Some(last);
        Poll::Ready(Ok(Chunk::Data(data)))
    }

    /// As [`Body::absorb`].
    pub(super) fn absorb(&mut self, cx: &mut Context<'_>) {
        self.from.absorb(cx);
    }

    /// As [`Body::is_empty`].
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none() && self.from.is_empty()
    }
}
