//! What flows after a head: bytes that are pulled, and where they go.
//!
//! Both are closed enums over the carriers, and both take `&mut self` and a task context: a [`Pump`] is all there is
//! between them. Nothing is queued here, so backpressure is the chain of polls from the slow reader to the far sender.

mod coded;
pub mod collect;
mod compress;
pub mod metered;

use std::borrow::Cow;
use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use causeway_protocols::websocket::{Direction, Tracker, TrackerLimits, WsViolation};
use causeway_protocols::{Code, End, FailureKind, Reset, name};

pub use self::coded::Coded;
pub use self::compress::Compressed;
pub use self::metered::Metered;
use crate::cache::Reader;
use crate::federation::bridge::{BridgeBody, BridgeOutlet};
use crate::federation::stream::{TunnelBody, TunnelOutlet};
use crate::http1::{Http1Body, Http1Outlet};
use crate::http2::{Http2Body, Http2Outlet};
use crate::mirror::Copied;
use crate::retry::ReplayBody;
use crate::translate::Flow;

/// A piece of a body.
#[derive(Debug)]
pub enum Chunk {
    /// Some bytes, never none.
    Data(Bytes),
    /// The one end.
    End(End),
}

/// Why a body ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What kind of failure this is, for the client and the counters.
    pub kind: FailureKind,
    /// What happened, for the log.
    pub detail: Cow<'static, str>,
}

impl Broken {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// What the other direction, or the next hop, is told.
    pub fn reset(&self) -> Reset {
        match self.kind {
            FailureKind::Cancelled => Reset::Cancel,
            FailureKind::Deadline | FailureKind::ClientTimeout => Reset::Deadline,
            FailureKind::TooLarge => Reset::TooLarge,
            FailureKind::Refused => Reset::Revoked,
            FailureKind::Draining => Reset::Moved,
            FailureKind::Protocol | FailureKind::BadRequest => Reset::Protocol,
            _ => Reset::Internal,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.detail)
    }
}

impl std::error::Error for Broken {}

/// Bytes to be pulled, from any carrier.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// All there is.
    Bytes(Bytes),
    /// A client's or backend's HTTP/1.1 connection.
    Http1(Http1Body),
    /// A stream of an HTTP/2 connection.
    Http2(Box<Http2Body>),
    /// A call of a tunnel.
    Tunnel(Box<TunnelBody>),
    /// What another worker's tunnel brings.
    Bridge(BridgeBody),
    /// Messages of another body, translated.
    Translated(Flow),
    /// Another body whose beginning is remembered, so that it can be sent again.
    Replay(ReplayBody),
    /// Another body seen through something.
    Coded(Box<Coded>),
    /// Another body that is watched as it passes.
    Metered(Box<Metered>),
    /// Another body that is copied as it passes.
    Copied(Box<Copied>),
    /// What the cache is keeping, as it comes.
    Filling(Reader),
}

impl Body {
    /// The next piece. After [`Chunk::End`] or an error it must not be polled again.
    ///
    /// # Errors
    /// [`Broken`] when the rest will not come.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        match self {
            Self::Empty => Poll::Ready(Ok(Chunk::End(End::default()))),
            Self::Bytes(bytes) => {
                let data = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Ok(if data.is_empty() {
                    Chunk::End(End::default())
                } else {
                    Chunk::Data(data)
                }))
            }
            Self::Http1(body) => body.poll_chunk(cx),
            Self::Http2(body) => body.poll_chunk(cx),
            Self::Tunnel(body) => body.poll_chunk(cx),
            Self::Bridge(body) => body.poll_chunk(cx),
            Self::Translated(flow) => flow.poll_chunk(cx),
            Self::Replay(body) => body.poll_chunk(cx),
            Self::Coded(body) => body.poll_chunk(cx),
            Self::Metered(body) => body.poll_chunk(cx),
            Self::Copied(body) => body.poll_chunk(cx),
            Self::Filling(body) => body.poll_chunk(cx),
        }
    }

    /// Takes in what has arrived while nobody wants it yet, where leaving it costs more than its size. Windows bound it.
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http2(body) => body.absorb(cx),
            Self::Replay(body) => body.absorb(cx),
            Self::Coded(body) => body.absorb(cx),
            Self::Copied(body) => body.absorb(cx),
            Self::Metered(body) => body.absorb(cx),
            Self::Translated(flow) => flow.absorb(cx),
            _ => {}
        }
    }

    /// Whether it is known that nothing follows.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Metered(body) => body.is_empty(),
            _ => false,
        }
    }
}

/// Where the bytes of one direction go. Dropping it before its end aborts the direction.
#[derive(Debug)]
pub enum Outlet {
    /// Nobody wants them.
    Discard,
    /// An HTTP/1.1 connection.
    Http1(Http1Outlet),
    /// A stream of an HTTP/2 connection.
    Http2(Http2Outlet),
    /// A call of a tunnel.
    Tunnel(TunnelOutlet),
    /// A call of another worker's tunnel.
    Bridge(BridgeOutlet),
}

impl Outlet {
    /// Takes bytes from the front of `data`; ready when all are taken.
    ///
    /// # Errors
    /// [`Broken`] when the other end does not take more.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<(), Broken>> {
        match self {
            Self::Discard => {
                data.clear();
                Poll::Ready(Ok(()))
            }
            Self::Http1(outlet) => outlet.poll_send(cx, data),
            Self::Http2(outlet) => outlet.poll_send(cx, data),
            Self::Tunnel(outlet) => outlet.poll_send(cx, data),
            Self::Bridge(outlet) => outlet.poll_send(cx, data),
        }
    }

    /// Pushes out what was taken. Called when the source has nothing more for now.
    ///
    /// # Errors
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Discard | Self::Tunnel(_) | Self::Bridge(_) => Poll::Ready(Ok(())),
            Self::Http1(outlet) => outlet.poll_flush(cx),
            // Nothing is held back; this is where a client that goes away while the source is silent is noticed.
            Self::Http2(outlet) => match outlet.poll_left(cx) {
                Poll::Ready(broken) => Poll::Ready(Err(broken)),
                Poll::Pending => Poll::Ready(Ok(())),
            },
        }
    }

    /// Ends the direction; ready when all is on its way. Called again with the same end until it is ready.
    ///
    /// # Errors
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_end(&mut self, cx: &mut Context<'_>, end: &mut Option<End>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Discard => Poll::Ready(Ok(())),
            Self::Http1(outlet) => outlet.poll_end(cx, end),
            Self::Http2(outlet) => outlet.poll_end(cx, end),
            Self::Tunnel(outlet) => outlet.poll_end(cx, end),
            Self::Bridge(outlet) => outlet.poll_end(cx, end),
        }
    }

    /// Ends the direction short, so that the other side sees that it is not whole.
    pub fn abort(&mut self, broken: &Broken) {
        match self {
            Self::Discard => {}
            Self::Http1(outlet) => outlet.abort(),
            Self::Http2(outlet) => outlet.abort(broken),
            Self::Tunnel(outlet) => outlet.abort(broken),
            Self::Bridge(outlet) => outlet.abort(broken),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Flowing,
    Ending,
    Done,
    Stuck,
}

/// Which side of a pump failed.
#[derive(Clone, Debug)]
pub enum PumpError {
    /// The body it reads from broke.
    Source(Broken),
    /// The outlet takes no more.
    Sink(Broken),
}

impl PumpError {
    /// What broke, whichever side it was.
    pub fn broken(&self) -> &Broken {
        match self {
            Self::Source(broken) | Self::Sink(broken) => broken,
        }
    }
}

/// Moves one direction of an exchange.
#[derive(Debug)]
pub struct Pump {
    from: Body,
    to: Outlet,
    data: Bytes,
    end: Option<End>,
    stage: Stage,
    moved: u64,
    grpc: Option<Code>,
    /// Follows the frames of a WebSocket.
    track: Option<Box<Tracker>>,
    /// A rule of WebSocket that what came from the source has broken.
    violated: Option<WsViolation>,
    /// Sent at the next frame boundary in place of what the source has, and then nothing more.
    last: Option<Bytes>,
}

impl Pump {
    /// A pump that has not moved anything yet.
    pub fn new(from: Body, to: Outlet) -> Self {
        Self {
            from,
            to,
            data: Bytes::new(),
            end: None,
            stage: Stage::Flowing,
            moved: 0,
            grpc: None,
            track: None,
            violated: None,
            last: None,
        }
    }

    /// Holds the bytes to the rules of WebSocket frames.
    pub fn track(&mut self, direction: Direction, limits: TrackerLimits) {
        self.track = Some(Box::new(Tracker::new(direction, limits)));
    }

    /// The rule that the source has broken. What came before was passed on, up to a frame boundary.
    pub fn violation(&self) -> Option<WsViolation> {
        self.violated
    }

    /// Ends the direction at the next frame boundary with this frame, unless it has been closed by its source.
    pub fn finish_with(&mut self, frame: Bytes) {
        let closed = self.track.as_ref().is_some_and(|track| track.state().closed);
        if self.stage == Stage::Flowing && self.last.is_none() && !closed {
            self.last = Some(frame);
        }
    }

    /// One that has nothing to move.
    pub fn done() -> Self {
        Self {
            stage: Stage::Done,
            ..Self::new(Body::Empty, Outlet::Discard)
        }
    }

    /// One whose sink takes no more: it is never done.
    pub fn stuck() -> Self {
        Self {
            stage: Stage::Stuck,
            ..Self::done()
        }
    }

    /// Ends the direction short at its sink, if it has not ended.
    pub fn abort(&mut self, broken: &Broken) {
        if self.stage != Stage::Done {
            self.to.abort(broken);
            *self = Self {
                moved: self.moved,
                ..Self::stuck()
            };
        }
    }

    /// The `grpc-status` of the trailers that have passed.
    pub fn grpc_status(&self) -> Option<Code> {
        self.grpc
    }

    /// Bytes that left the source so far.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether all is moved.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Pushes out what the sink holds back, a head for instance, without pulling anything.
    ///
    /// # Errors
    /// When the sink breaks.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.to.poll_flush(cx)
    }

    /// Moves what can be moved now; ready when the end has been passed on.
    ///
    /// # Errors
    /// Says which side broke. The sink has then been aborted where the source was at fault.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        loop {
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Stuck => return Poll::Pending,
                Stage::Ending => {
                    ready!(self.to.poll_end(cx, &mut self.end)).map_err(PumpError::Sink)?;
                    self.stage = Stage::Done;
                    // Carriers let go of their connection as soon as their direction is over.
                    (self.from, self.to) = (Body::Empty, Outlet::Discard);
                }
                Stage::Flowing => {
                    if !self.data.is_empty() {
                        let Poll::Ready(sent) = self.to.poll_send(cx, &mut self.data) else {
                            self.from.absorb(cx);
                            return Poll::Pending;
                        };
                        sent.map_err(PumpError::Sink)?;
                    }
                    if self
                        .track
                        .as_ref()
                        .is_none_or(|track| track.state().frame_boundary || self.violated.is_some())
                        && let Some(last) = self.last.take()
                    {
                        self.data = last;
                        self.from = Body::Empty;
                        self.track = None;
                        continue;
                    }
                    if let Some(rule) = self.violated.filter(|_| self.track.is_some()) {
                        ready!(self.to.poll_flush(cx)).map_err(PumpError::Sink)?;
                        let broken = Broken::new(FailureKind::BadRequest, rule.to_string());
                        return Poll::Ready(Err(PumpError::Source(broken)));
                    }
                    match self.from.poll_chunk(cx) {
                        Poll::Ready(Ok(Chunk::Data(data))) => {
                            self.moved += data.len() as u64;
                            self.data = data;
                            if let Some(track) = &mut self.track
                                && let Err(violation) = track.pass(&self.data)
                            {
                                self.data.truncate(violation.good);
                                // What follows a close is discarded, as the peer would (RFC 6455, section 1.4).
                                if violation.rule != WsViolation::AfterClose {
                                    self.violated = Some(violation.rule);
                                }
                            }
                        }
                        Poll::Ready(Ok(Chunk::End(end))) => {
                            self.grpc = end.trailers.get(name::GRPC_STATUS).map(Code::of_text);
                            self.end = Some(end);
                            self.stage = Stage::Ending;
                        }
                        Poll::Ready(Err(broken)) => {
                            self.to.abort(&broken);
                            return Poll::Ready(Err(PumpError::Source(broken)));
                        }
                        Poll::Pending => {
                            ready!(self.to.poll_flush(cx)).map_err(PumpError::Sink)?;
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }
}
