//! A body read whole, for what has to see all of it at once. Bounded in size and in time.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causeway_protocols::{End, FailureKind, Length};

use super::{Body, Broken, Chunk, Coded, Pump, PumpError};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;

/// How long a client may take to send a body that is read whole. Pauses are bounded elsewhere; this bounds drops.
const WITHIN: Duration = Duration::from_secs(60);

/// What came of reading a body.
#[derive(Debug)]
pub enum Collected {
    /// All of it, and its end.
    Whole(Bytes, End),
    /// It is larger than it may be. This is the body from its beginning: what was read comes first.
    Over(Body),
}

/// A body while it is read.
#[derive(Debug)]
struct Collector {
    from: Body,
    pieces: Vec<Bytes>,
    size: usize,
    limit: usize,
}

impl Collector {
    fn new(from: Body, limit: usize) -> Self {
        Self {
            from,
            pieces: Vec::new(),
            size: 0,
            limit,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Collected, Broken>> {
        loop {
            match ready!(self.from.poll_chunk(cx))? {
                Chunk::Data(data) => {
                    self.size = self.size.saturating_add(data.len());
                    self.pieces.push(data);
                    if self.size > self.limit {
                        let from = std::mem::replace(&mut self.from, Body::Empty);
                        let pieces = std::mem::take(&mut self.pieces);
                        return Poll::Ready(Ok(Collected::Over(Coded::again(pieces, from))));
                    }
                }
                Chunk::End(end) => return Poll::Ready(Ok(Collected::Whole(self.joined(), end))),
            }
        }
    }

    /// One piece, without a copy where there is only one.
    fn joined(&mut self) -> Bytes {
        match std::mem::take(&mut self.pieces).as_mut_slice() {
            [] => Bytes::new(),
            [only] => std::mem::take(only),
            pieces => {
                let mut whole = BytesMut::with_capacity(self.size);
                pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                whole.freeze()
            }
        }
    }
}

/// Reads the body of a call whole, and leaves it in its place to be sent on.
///
/// # Errors
/// [`FailureKind::TooLarge`] above `limit` bytes, [`FailureKind::ClientTimeout`] where it takes longer than a minute, or
/// what broke it.
pub async fn request(call: &mut Call, limit: usize, cx: &Rc<CallContext>) -> Result<Bytes, CallError> {
    let too_large = || {
        let detail = format!("the body is over the {limit} bytes that a policy of the route reads");
        CallError::new(FailureKind::TooLarge, detail)
    };
    if let Length::Exactly(length) = call.head.length
        && length > limit as u64
    {
        return Err(too_large());
    }
    match read(call, limit, cx).await? {
        Collected::Over(_) => Err(too_large()),
        Collected::Whole(data, end) => {
            put_request(call, data.clone(), end);
            Ok(data)
        }
    }
}

/// As [`request`], but a body that is over `limit` is no mistake. None: it is left as it came.
///
/// # Errors
/// As [`request`], its size aside.
pub async fn small_request(call: &mut Call, limit: usize, cx: &Rc<CallContext>) -> Result<Option<Bytes>, CallError> {
    match read(call, limit, cx).await? {
        Collected::Over(body) => {
            call.body = body;
            Ok(None)
        }
        Collected::Whole(data, end) => {
            put_request(call, data.clone(), end);
            Ok(Some(data))
        }
    }
}

async fn read(call: &mut Call, limit: usize, cx: &Rc<CallContext>) -> Result<Collected, CallError> {
    let mut collector = Collector::new(std::mem::replace(&mut call.body, Body::Empty), limit);
    let timer = cx.worker.clock.timer();
    timer.arm(WITHIN);
    let collected = std::future::poll_fn(|task| match collector.poll(task) {
        Poll::Pending => timer.poll(task).map(|()| {
            let detail = format!("the body did not arrive within {WITHIN:?}");
            Err(Broken::new(FailureKind::ClientTimeout, detail))
        }),
        done => done,
    });
    collected.await.map_err(CallError::from)
}

/// Gives a call this body. Its client need not be told to go on any more.
pub fn put_request(call: &mut Call, data: Bytes, end: End) {
    call.head.length = length(&data, &end);
    call.head.hold = false;
    call.body = whole(data, end);
}

/// Reads the body of a reply whole while its request may still flow, and leaves it in its place to be sent on. None: it
/// is over `limit` bytes, and is left as it came.
///
/// # Errors
/// What broke either body, or the deadline of the call.
pub async fn reply(reply: &mut Reply, limit: usize, cx: &Rc<CallContext>) -> Result<Option<Bytes>, CallError> {
    if let Length::Exactly(length) = reply.head.length
        && length > limit as u64
    {
        return Ok(None);
    }
    let mut collector = Collector::new(std::mem::replace(&mut reply.body, Body::Empty), limit);
    let rest = &mut reply.rest;
    let collected = std::future::poll_fn(|task| {
        if cx.timer.poll(task).is_ready() {
            return Poll::Ready(Err(cx.rang()));
        }
        // A backend may wait for the rest of the request before it goes on.
        if !rest.is_done()
            && let Poll::Ready(Err(error)) = rest.poll(task)
        {
            match error {
                PumpError::Source(broken) => return Poll::Ready(Err(broken)),
                // It wants no more of the request; its reply tells why.
                PumpError::Sink(_) => *rest = Pump::stuck(),
            }
        }
        collector.poll(task)
    })
    .await?;
    match collected {
        Collected::Over(body) => {
            reply.body = body;
            Ok(None)
        }
        Collected::Whole(data, end) => {
            put_reply(reply, data.clone(), end);
            Ok(Some(data))
        }
    }
}

/// Gives a reply this body.
pub fn put_reply(reply: &mut Reply, data: Bytes, end: End) {
    reply.head.length = length(&data, &end);
    reply.body = whole(data, end);
}

/// Trailers need a body that is framed by its end.
fn length(data: &Bytes, end: &End) -> Length {
    match (data.len(), end.trailers.is_empty()) {
        (_, false) => Length::Streamed,
        (0, true) => Length::Empty,
        (length, true) => Length::Exactly(length as u64),
    }
}

fn whole(data: Bytes, end: End) -> Body {
    if !end.trailers.is_empty() {
        return Coded::ended(data, end);
    }
    if data.is_empty() {
        Body::Empty
    } else {
        Body::Bytes(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(collector: &mut Collector) -> Collected {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match collector.poll(&mut cx) {
            Poll::Ready(done) => done.unwrap(),
            Poll::Pending => panic!("all of it is there"),
        }
    }

    fn pieces(texts: &[&'static str], rest: Body) -> Body {
        let pieces = texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        Coded::again(pieces, rest)
    }

    #[test]
    fn pieces_become_one_and_trailers_stay() {
        let mut end = End::default();
        end.trailers.push(b"x-sum", b"7").unwrap();
        let body = pieces(&["ab", "cd"], Coded::ended(Bytes::from_static(b"ef"), end));
        let Collected::Whole(data, end) = poll(&mut Collector::new(body, 6)) else {
            panic!("six bytes are not over six")
        };
        assert_eq!(data, "abcdef");
        assert_eq!(end.trailers.get_named("x-sum"), Some(&b"7"[..]));
    }

    #[test]
    fn a_body_over_its_limit_is_given_back_whole() {
        let body = pieces(&["ab", "cd"], Body::Bytes(Bytes::from_static(b"efgh")));
        let Collected::Over(body) = poll(&mut Collector::new(body, 3)) else {
            panic!("eight bytes are over three")
        };
        let Collected::Whole(data, _) = poll(&mut Collector::new(body, 8)) else {
            panic!("eight bytes are not over eight")
        };
        assert_eq!(data, "abcdefgh");
    }
}
