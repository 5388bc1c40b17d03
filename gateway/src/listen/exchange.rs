//! The end of the path: a reply that has its head flows to the client, while the request may still flow.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_protocols::websocket::{Direction, TrackerLimits, control, handshake};
use causeway_protocols::{Code, FailureKind, Fields, Protocol, name};

use crate::call::Reply;
use crate::clock::Timer;
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::{Broken, Outlet, Pump, PumpError};
use crate::service::lease::Lease;
use crate::translate::Link;
use crate::worker::DrainWait;

/// After one side of a WebSocket has closed, the other has this long to follow.
const CLOSING: Duration = Duration::from_secs(10);

/// The close codes of RFC 6455, section 7.4.1, and its registry: a message is too big; the server failed; the service is
/// restarting; try again later.
const TOO_BIG: u16 = 1009;
const INTERNAL: u16 = 1011;
const RESTART: u16 = 1012;
const TRY_AGAIN_LATER: u16 = 1013;
/// What the client may not do.
const POLICY: u16 = 1008;

/// How a WebSocket is told that it is over a limit: code and reason; none for what is no limit.
pub fn close_of(kind: FailureKind) -> Option<(u16, &'static str)> {
    match kind {
        FailureKind::QuotaExceeded => Some((TRY_AGAIN_LATER, "quota spent")),
        FailureKind::RateLimited => Some((TRY_AGAIN_LATER, "too fast")),
        FailureKind::TooLarge => Some((TOO_BIG, "message too large")),
        _ => None,
    }
}

/// How a WebSocket is told that it may not go on: code and reason; none where it is cut instead.
fn close_of_stopped(kind: FailureKind) -> Option<(u16, &'static str)> {
    match kind {
        FailureKind::Draining => Some((RESTART, "service restart")),
        FailureKind::Refused => Some((POLICY, "not allowed any more")),
        FailureKind::Unauthenticated => Some((4000 + u16::from(Code::Unauthenticated.number()), "credentials expired")),
        _ => None,
    }
}

/// Server-sent events (HTML Standard, section 9.2).
fn is_event_stream(fields: &Fields) -> bool {
    fields
        .text(name::CONTENT_TYPE)
        .is_some_and(|of| of.starts_with("text/event-stream"))
}

/// Both directions of an exchange whose reply has begun. Dropping it cancels what has not been moved.
#[derive(Debug)]
pub struct Exchange {
    rest: Pump,
    down: Pump,
    context: Rc<CallContext>,
    websocket: bool,
    /// The end of the reply is the end of the whole call: so it is on a tunnel.
    ends_both: bool,
    /// Nobody takes what is left of the request.
    unwanted: bool,
    closing: Option<Timer>,
    /// Of a translated exchange: it ends by what its reply says, not by being cut.
    link: Option<Rc<Link>>,
    /// Wakes a WebSocket when the gateway goes away.
    waiting: Option<DrainWait>,
    lease: Option<Lease>,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The reply is whole.
    Whole {
        /// Whether the request was too, or does not matter any more.
        request: RequestLeft,
    },
    /// The reply was cut short; the client has been shown that, as far as its protocol can.
    Cut(Broken),
}

/// What is left of the request when the reply is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestLeft {
    /// Nothing.
    Nothing,
    /// The client is still sending, and nobody listens.
    Some,
}

impl Exchange {
    /// Begins to move the body of a reply into `outlet`, which has been given the head.
    pub fn new(reply: Reply, outlet: Outlet, context: Rc<CallContext>) -> Self {
        let upgraded = context.protocol == Protocol::WebSocket && reply.head.status.as_u16() == 101;
        // A translated socket is read frame by frame as it is.
        let websocket = upgraded && reply.link.is_none();
        let ends_both = matches!(outlet, Outlet::Tunnel(_));
        // The service's clock was for the head. What the client itself asked for goes on.
        context.arm(context.left());
        context
            .streams
            .set(upgraded || context.protocol == Protocol::Grpc || is_event_stream(&reply.head.fields));
        let mut rest = reply.rest;
        let mut down = Pump::new(reply.body, outlet);
        if websocket {
            let limits = &context.world.snapshot.config.limits;
            let limits = TrackerLimits {
                frame: limits.websocket_frame,
                fragments: limits.websocket_fragments,
                // Nothing holds a message here, so there is no reason to limit it.
                message: u64::MAX,
                rsv1: handshake::uses_rsv1(&reply.head.fields),
            };
            rest.track(Direction::Client, limits);
            down.track(Direction::Server, limits);
        }
        let waiting = upgraded.then(|| context.worker.wait_for_drain());
        Self {
            rest,
            down,
            waiting,
            context,
            websocket,
            ends_both,
            unwanted: false,
            closing: None,
            lease: reply.lease,
            link: reply.link,
        }
    }

    /// Moves both directions on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.context.timer.poll(cx).is_ready() {
            self.context.timer.disarm();
            let broken = self.context.rang();
            match close_of_stopped(broken.kind) {
                // The client learns why by a close frame, and so goes on to read for a moment.
                Some((code, reason)) if self.websocket && !self.down.is_done() => {
                    self.refuse_frames(code, reason, &broken);
                }
                _ => {
                    if let Some(ended) = self.end_early(broken) {
                        return Poll::Ready(ended);
                    }
                }
            }
        }
        if let Some(closing) = &self.closing
            && !self.websocket
            && closing.poll(cx).is_ready()
        {
            let broken = Broken::new(FailureKind::Cancelled, "the client did not read the end of its reply");
            return Poll::Ready(self.cut(broken));
        }
        if let Some(waiting) = &self.waiting
            && waiting.poll(cx).is_ready()
        {
            self.waiting = None;
            if self.link.is_some() {
                let broken = Broken::new(FailureKind::Draining, "service restart");
                if let Some(ended) = self.end_early(broken) {
                    return Poll::Ready(ended);
                }
            } else {
                self.down
                    .finish_with(control::encode_close(RESTART, "service restart", None));
                self.half_closed();
            }
        }
        if !self.rest.is_done() {
            match self.rest.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.half_closed(),
                Poll::Ready(Err(PumpError::Source(broken))) => {
                    let limit = close_of(broken.kind).filter(|_| self.websocket && self.link.is_none());
                    match (self.rest.violation(), limit) {
                        (Some(rule), _) => self.refuse_frames(rule.close_code(), rule.label(), &broken),
                        (None, Some((code, reason))) => self.refuse_frames(code, reason, &broken),
                        (None, None) => {
                            if let Some(ended) = self.end_early(broken) {
                                return Poll::Ready(ended);
                            }
                        }
                    }
                }
                // The backend wants no more of the request: its reply, or its close, tells why.
                Poll::Ready(Err(PumpError::Sink(_))) => {
                    self.rest = Pump::stuck();
                    self.unwanted = true;
                    self.half_closed();
                }
            }
        }
        if !self.down.is_done() {
            match self.down.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.half_closed(),
                Poll::Ready(Err(PumpError::Source(broken))) => match self.down.violation() {
                    // It is not the client's fault: 1011, whatever the rule.
                    Some(rule) => {
                        self.refuse_frames(INTERNAL, rule.label(), &broken);
                        cx.waker().wake_by_ref();
                    }
                    None => return Poll::Ready(self.cut(broken)),
                },
                Poll::Ready(Err(PumpError::Sink(broken))) => {
                    let broken = Broken {
                        kind: FailureKind::Cancelled,
                        ..broken
                    };
                    return Poll::Ready(self.cut(broken));
                }
            }
        }
        let over = if self.websocket {
            let closed = self.closing.as_ref().is_some_and(|closing| closing.poll(cx).is_ready());
            closed || (self.down.is_done() && (self.ends_both || self.unwanted || self.rest.is_done()))
        } else {
            self.down.is_done()
        };
        if !over {
            return Poll::Pending;
        }
        let request = if self.rest.is_done() {
            RequestLeft::Nothing
        } else {
            RequestLeft::Some
        };
        self.count();
        Poll::Ready(Ended::Whole { request })
    }

    /// Ends the exchange before its end: a translated one by what its reply says of it, in a bounded time, any other by
    /// cutting it.
    fn end_early(&mut self, broken: Broken) -> Option<Ended> {
        let Some(link) = &self.link else {
            return Some(self.cut(broken));
        };
        link.fail(broken.clone().into());
        self.rest.abort(&broken);
        self.unwanted = true;
        if self.closing.is_none() {
            let timer = self.context.worker.clock.timer();
            timer.arm(CLOSING);
            self.closing = Some(timer);
        }
        None
    }

    /// Ends a WebSocket whose frames break the rules: the client is told by a close frame, the backend by the end.
    fn refuse_frames(&mut self, code: u16, reason: &str, broken: &Broken) {
        self.context
            .record
            .borrow_mut()
            .failed(&CallError::from(broken.clone()));
        self.rest.abort(broken);
        self.unwanted = true;
        self.down.finish_with(control::encode_close(code, reason, None));
        self.half_closed();
    }

    fn half_closed(&mut self) {
        if self.websocket && self.closing.is_none() {
            let timer = self.context.worker.clock.timer();
            timer.arm(CLOSING);
            self.closing = Some(timer);
        }
    }

    /// Ends the exchange short; the client sees that.
    pub fn cut(&mut self, broken: Broken) -> Ended {
        self.down.abort(&broken);
        self.rest.abort(&broken);
        if let Some(lease) = &mut self.lease {
            lease.broke(&broken);
        }
        self.count();
        self.context
            .record
            .borrow_mut()
            .failed(&CallError::from(broken.clone()));
        Ended::Cut(broken)
    }

    fn count(&mut self) {
        let (up, down) = (self.rest.moved(), self.down.moved());
        if let Some(lease) = &mut self.lease {
            lease.ended(self.down.grpc_status());
        }
        self.context
            .record
            .borrow_mut()
            .ended(self.down.grpc_status(), up, down);
    }
}
