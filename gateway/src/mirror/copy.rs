//! A body that is copied as it passes, up to a size.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use crate::payload::{Body, Broken, Chunk};

/// What has passed so far.
#[derive(Debug)]
pub(super) struct Tape {
    heard: BytesMut,
    limit: usize,
    stage: Stage,
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Passing,
    Whole,
    Over,
    Broken,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taped {
    /// The body did not pass to its end.
    Broken,
    /// It is larger than is copied.
    Over,
    /// All of it.
    Whole(Bytes),
}

impl Tape {
    /// One that takes `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            heard: BytesMut::new(),
            limit,
            stage: Stage::Passing,
            waiting: None,
        }
    }

    fn take(&mut self, data: &[u8]) {
        if self.stage != Stage::Passing {
            return;
        }
        if self.heard.len() + data.len() > self.limit {
            self.heard = BytesMut::new();
            self.settle(Stage::Over);
        } else {
            self.heard.extend_from_slice(data);
        }
    }

    /// All has passed.
    pub(super) fn end(&mut self) {
        self.settle(Stage::Whole);
    }

    fn settle(&mut self, stage: Stage) {
        if self.stage == Stage::Passing {
            self.stage = stage;
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
    }

    /// Ready when it is known what became of it. The bytes are given once.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Taped> {
        Poll::Ready(match self.stage {
            Stage::Passing => {
                self.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Stage::Whole => Taped::Whole(self.heard.split().freeze()),
            Stage::Over => Taped::Over,
            Stage::Broken => Taped::Broken,
        })
    }
}

/// The body.
#[derive(Debug)]
pub struct Copied {
    from: Body,
    tape: Rc<RefCell<Tape>>,
}

impl Copied {
    pub(super) fn new(from: Body, tape: Rc<RefCell<Tape>>) -> Self {
        Self { from, tape }
    }

    /// As [`Body::poll_chunk`].
    ///
    /// # Errors
    /// Those of the body that passes.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let chunk = self.from.poll_chunk(cx);
        match &chunk {
            Poll::Ready(Ok(Chunk::Data(data))) => self.tape.borrow_mut().take(data),
            Poll::Ready(Ok(Chunk::End(_))) => self.tape.borrow_mut().end(),
            Poll::Ready(Err(_)) => self.tape.borrow_mut().settle(Stage::Broken),
            Poll::Pending => {}
        }
        chunk
    }

    /// As [`Body::absorb`].
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        self.from.absorb(cx);
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.tape.borrow_mut().settle(Stage::Broken);
    }
}
