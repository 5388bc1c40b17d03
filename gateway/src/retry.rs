//! Trying again: a body whose beginning is remembered, so that a failed attempt can be followed by another; below it
//! what is tried again ([`rule`]), how often ([`budget`]), and what becomes of a reply that is not passed on.

pub mod budget;
pub mod discard;
pub mod hedge;
pub mod rule;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use causeway_protocols::End;

use crate::payload::{Body, Broken, Chunk};

/// What is remembered of one body at most; beyond it there is no second attempt.
pub const REPLAY_LIMIT: usize = 64 * 1024;

#[derive(Debug)]
struct Tape {
    source: Body,
    heard: Vec<Bytes>,
    size: usize,
    end: Option<Result<End, Broken>>,
    /// Too much has passed to remember.
    overrun: bool,
}

/// A body that can be had again while no more than [`REPLAY_LIMIT`] bytes of it have passed.
#[derive(Debug)]
pub struct ReplayBody {
    tape: Rc<RefCell<Tape>>,
    at: usize,
}

/// Keeps the tape between attempts.
#[derive(Debug)]
pub struct Replay(Rc<RefCell<Tape>>);

impl Replay {
    /// Takes a body over.
    pub fn new(source: Body) -> Self {
        Self(Rc::new(RefCell::new(Tape {
            source,
            heard: Vec::new(),
            size: 0,
            end: None,
            overrun: false,
        })))
    }

    /// The body from its beginning, or none when too much of it is gone. The one handed out before must be dropped.
    pub fn body(&self) -> Option<Body> {
        (!self.0.borrow().overrun).then(|| {
            Body::Replay(ReplayBody {
                tape: Rc::clone(&self.0),
                at: 0,
            })
        })
    }

    /// Whether all of it has come and is remembered, so that several can read it at a time.
    pub fn is_complete(&self) -> bool {
        let tape = self.0.borrow();
        !tape.overrun && matches!(tape.end, Some(Ok(_)))
    }

    /// Whether it can be had from its beginning.
    pub fn is_whole(&self) -> bool {
        !self.0.borrow().overrun
    }
}

impl ReplayBody {
    /// The next piece, from the tape or from the source.
    ///
    /// # Errors
    /// Those of the source.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let mut tape = self.tape.borrow_mut();
        if let Some(data) = tape.heard.get(self.at) {
            self.at += 1;
            return Poll::Ready(Ok(Chunk::Data(data.clone())));
        }
        if let Some(end) = &tape.end {
            return Poll::Ready(end.clone().map(Chunk::End));
        }
        let chunk = ready!(tape.source.poll_chunk(cx));
        match &chunk {
            Ok(Chunk::Data(data)) if tape.overrun || tape.size + data.len() > REPLAY_LIMIT => {
                tape.overrun = true;
                tape.heard = Vec::new();
                self.at = 0;
            }
            Ok(Chunk::Data(data)) => {
                tape.size += data.len();
                tape.heard.push(data.clone());
                self.at += 1;
            }
            Ok(Chunk::End(end)) => tape.end = Some(Ok(end.clone())),
            Err(broken) => tape.end = Some(Err(broken.clone())),
        }
        Poll::Ready(chunk)
    }

    /// Takes in what has arrived at the source; see [`Body::absorb`].
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        self.tape.borrow_mut().source.absorb(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(body: &mut Body) -> Vec<u8> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Ok(Chunk::Data(data))) = body.poll_chunk(&mut cx) {
            all.extend_from_slice(&data);
        }
        all
    }

    #[test]
    fn a_short_body_can_be_had_again_and_a_long_one_not() {
        for (size, again) in [(0, true), (1, true), (REPLAY_LIMIT, true), (REPLAY_LIMIT + 1, false)] {
            let data = Bytes::from(vec![7; size]);
            let replay = Replay::new(Body::Bytes(data.clone()));
            let mut first = replay.body().unwrap();
            assert_eq!(drain(&mut first), data);
            drop(first);
            let second = replay.body().map(|mut body| drain(&mut body));
            assert_eq!(second.is_some(), again, "{size} bytes");
            assert!(second.is_none_or(|second| second == data));
        }
    }
}
