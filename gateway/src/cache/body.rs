//! A body that is being kept, and read by the client of the call that fetched it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use causeway_protocols::{Code, End, Fields, name};

use crate::payload::{Body, Broken, Chunk, Pump};
use crate::service::lease::Lease;

/// Pieces below this are copied out, so that a small one does not hold the large buffer that it was read into.
const SMALL: usize = 4096;

/// A body on its way into the cache, and to the client of the call that fetched it. Belongs to one worker.
#[derive(Debug, Default)]
pub(super) struct Flow(Rc<RefCell<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// What has come, until it is whole.
    pieces: Vec<Bytes>,
    size: usize,
    stage: Stage,
    reader: Option<Waker>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Flowing,
    /// All of it has come.
    Whole(Bytes, Fields),
    /// It did not come.
    Broken(Broken),
    /// It is not kept: the client reads on by itself.
    HandedOver(Box<Rest>),
}

/// What is left of a reply that turned out not to be kept.
#[derive(Debug)]
pub(super) struct Rest {
    /// The body behind what has been read.
    pub(super) body: Body,
    /// The request, still flowing.
    pub(super) request: Pump,
    /// The endpoint's lease.
    pub(super) lease: Option<Lease>,
}

impl Flow {
    /// The client's side of it. There is one.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            shared: Rc::clone(&self.0),
            piece: 0,
            given: 0,
        }
    }

    /// Whether a client reads it.
    pub(super) fn is_read(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// Bytes that have come.
    pub(super) fn size(&self) -> usize {
        self.0.borrow().size
    }

    /// Takes a piece.
    pub(super) fn push(&self, data: Bytes) {
        let mut shared = self.0.borrow_mut();
        shared.size += data.len();
        let data = if data.len() < SMALL {
            Bytes::copy_from_slice(&data)
        } else {
            data
        };
        shared.pieces.push(data);
        shared.wake();
    }

    /// All of it, as one piece that the client's side reads from here on, too.
    pub(super) fn finish(&self, trailers: &Fields) -> Bytes {
        let mut shared = self.0.borrow_mut();
        // Copied once, so that what is kept holds no buffers that are larger than it is.
        let mut all = BytesMut::with_capacity(shared.size);
        for piece in shared.pieces.drain(..) {
            all.extend_from_slice(&piece);
        }
        let all = all.freeze();
        shared.stage = Stage::Whole(all.clone(), trailers.clone());
        shared.wake();
        all
    }

    /// The rest does not come.
    pub(super) fn fail(&self, broken: Broken) {
        let mut shared = self.0.borrow_mut();
        shared.stage = Stage::Broken(broken);
        shared.wake();
    }

    /// Nobody keeps it: the client, if it is still there, reads the rest.
    pub(super) fn hand_over(&self, rest: Rest) {
        if self.is_read() {
            let mut shared = self.0.borrow_mut();
            shared.stage = Stage::HandedOver(Box::new(rest));
            shared.wake();
        }
    }
}

impl Shared {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The client's side of a [`Flow`].
#[derive(Debug)]
pub struct Reader {
    shared: Rc<RefCell<Shared>>,
    /// The next piece.
    piece: usize,
    /// Bytes that were given.
    given: usize,
}

impl Reader {
    /// The next piece; see [`Body::poll_chunk`].
    ///
    /// # Errors
    /// Those of the body that is being kept.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let mut shared = self.shared.borrow_mut();
        let shared = &mut *shared;
        if let Some(piece) = shared.pieces.get_mut(self.piece) {
            let data = if matches!(shared.stage, Stage::HandedOver(_)) {
                std::mem::take(piece)
            } else {
                piece.clone()
            };
            self.piece += 1;
            self.given += data.len();
            return Poll::Ready(Ok(Chunk::Data(data)));
        }
        match &mut shared.stage {
            Stage::Flowing => {
                shared.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Stage::Whole(all, trailers) => {
                let left = all.slice(self.given..);
                self.given = all.len();
                Poll::Ready(Ok(if left.is_empty() {
                    Chunk::End(End {
                        trailers: std::mem::take(trailers),
                    })
                } else {
                    Chunk::Data(left)
                }))
            }
            Stage::Broken(broken) => Poll::Ready(Err(broken.clone())),
            Stage::HandedOver(rest) => {
                if !rest.request.is_done() {
                    // What it does not take any more, its reply will tell.
                    let _ = rest.request.poll(cx);
                }
                let chunk = rest.body.poll_chunk(cx);
                if let (Some(lease), Poll::Ready(read)) = (&mut rest.lease, &chunk) {
                    match read {
                        Ok(Chunk::Data(_)) => {}
                        Ok(Chunk::End(end)) => lease.ended(end.trailers.get(name::GRPC_STATUS).map(Code::of_text)),
                        Err(broken) => lease.broke(broken),
                    }
                }
                chunk
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that can be read now, and how it ended.
    fn read(reader: &mut Reader) -> (String, &'static str) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut text = String::new();
        loop {
            match reader.poll_chunk(&mut cx) {
                Poll::Pending => return (text, "pending"),
                Poll::Ready(Ok(Chunk::Data(data))) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Poll::Ready(Ok(Chunk::End(_))) => return (text, "end"),
                Poll::Ready(Err(_)) => return (text, "broken"),
            }
        }
    }

    #[test]
    fn a_client_reads_what_comes_wherever_it_is_when_the_body_becomes_whole() {
        for read_before in [false, true] {
            let flow = Flow::default();
            let mut reader = flow.reader();
            flow.push(Bytes::from_static(b"one "));
            flow.push(Bytes::from_static(b"two "));
            if read_before {
                assert_eq!(read(&mut reader), ("one two ".into(), "pending"));
            }
            flow.push(Bytes::from_static(b"three"));
            assert_eq!(flow.finish(&Fields::new()), "one two three");
            let rest = if read_before { "three" } else { "one two three" };
            assert_eq!(read(&mut reader), (rest.into(), "end"));
        }
    }

    #[test]
    fn a_body_that_is_not_kept_goes_on_to_its_client() {
        let flow = Flow::default();
        let mut reader = flow.reader();
        flow.push(Bytes::from_static(b"one "));
        assert!(flow.is_read());
        flow.hand_over(Rest {
            body: Body::Bytes(Bytes::from_static(b"two")),
            request: Pump::done(),
            lease: None,
        });
        assert_eq!(read(&mut reader), ("one two".into(), "end"));
    }

    #[test]
    fn a_body_that_breaks_is_seen_to_break() {
        let flow = Flow::default();
        let mut reader = flow.reader();
        flow.push(Bytes::from_static(b"one"));
        flow.fail(Broken::new(causeway_protocols::FailureKind::Protocol, "gone"));
        assert_eq!(read(&mut reader), ("one".into(), "broken"));
        drop(reader);
        assert!(!flow.is_read());
    }
}
