//! One call on a tunnel: what has arrived for it, and the two ends that the path sees.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use causeway_protocols::tunnel::{CallId, Ended, Failure, Inbox, Sent};
use causeway_protocols::{End, FailureKind, ReplyHead, Reset};

use super::tunnel::Tunnel;
use crate::payload::{Broken, Chunk};
use crate::principal::Principal;

/// Which side of a call this gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It made the call.
    Calling,
    /// It was called.
    Called,
}

#[derive(Debug)]
enum Over {
    End(Ended),
    Reset(Reset),
    Lost,
}

/// What has arrived for a call. The call is over for the tunnel when the last holder lets go of it.
#[derive(Debug)]
pub struct Slot {
    tunnel: Rc<Tunnel>,
    id: CallId,
    side: Side,
    /// Which service the other site called; none for a call of ours.
    export: OnceCell<Rc<str>>,
    /// For whom the other site called it, as far as that was proven there.
    principal: OnceCell<Arc<Principal>>,
    inbox: RefCell<Inbox>,
    reply: RefCell<Option<ReplyHead>>,
    half_closed: Cell<bool>,
    over: RefCell<Option<Over>>,
    reader: RefCell<Option<Waker>>,
    sender: RefCell<Option<Waker>>,
}

fn keep(place: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut waker = place.borrow_mut();
    match &*waker {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *waker = Some(cx.waker().clone()),
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    let waker = place.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Slot {
    /// The slot of a call that was opened on this tunnel.
    pub fn new(tunnel: &Rc<Tunnel>, id: CallId, side: Side) -> Rc<Self> {
        let slot = Rc::new(Self {
            tunnel: Rc::clone(tunnel),
            id,
            side,
            export: OnceCell::new(),
            principal: OnceCell::new(),
            inbox: RefCell::new(Inbox::new()),
            reply: RefCell::new(None),
            half_closed: Cell::new(false),
            over: RefCell::new(None),
            reader: RefCell::new(None),
            sender: RefCell::new(None),
        });
        tunnel.register(id, &slot);
        slot
    }

    /// The other site called this service.
    pub fn of_export(&self, export: Rc<str>) {
        self.export.set(export).ok();
    }

    /// The other site calls for this principal.
    pub fn of_principal(&self, principal: Arc<Principal>) {
        self.principal.set(principal).ok();
    }

    /// For whom the other site called.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.get().map(|principal| &**principal)
    }

    /// Which service the other site called; none for a call of ours.
    pub fn export(&self) -> Option<&Rc<str>> {
        self.export.get()
    }

    /// Ends the call here and at the other side.
    pub fn revoke(&self) {
        self.tunnel.with(|session| session.reset(self.id, Reset::Revoked));
        self.set_over(Over::Reset(Reset::Revoked));
    }

    /// Its tunnel.
    pub fn tunnel(&self) -> &Rc<Tunnel> {
        &self.tunnel
    }

    /// Its id.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The head of the reply has come.
    pub fn replied(&self, head: ReplyHead) {
        *self.reply.borrow_mut() = Some(head);
        wake(&self.reader);
    }

    /// A part of the body has come.
    pub fn received(&self, data: Bytes, end: bool) {
        if !data.is_empty() {
            self.inbox.borrow_mut().push(data);
        }
        if end {
            self.half_closed.set(true);
        }
        wake(&self.reader);
    }

    /// The called side has ended the call.
    pub fn ended(&self, ended: Ended) {
        self.set_over(Over::End(ended));
    }

    /// The call was ended short.
    pub fn reset(&self, reset: Reset) {
        self.set_over(Over::Reset(reset));
    }

    /// The tunnel is gone.
    pub fn lost(&self) {
        self.set_over(Over::Lost);
    }

    fn set_over(&self, over: Over) {
        let mut place = self.over.borrow_mut();
        if place.is_none() {
            *place = Some(over);
        }
        drop(place);
        wake(&self.reader);
        wake(&self.sender);
    }

    /// There may be credit, or room.
    pub fn may_send(&self) {
        wake(&self.sender);
    }

    /// The head of the reply, once it is there.
    ///
    /// # Errors
    /// [`Unanswered`] when none will come.
    pub fn poll_reply(&self, cx: &Context<'_>) -> Poll<Result<ReplyHead, Unanswered>> {
        if let Some(head) = self.reply.borrow_mut().take() {
            return Poll::Ready(Ok(head));
        }
        match &*self.over.borrow() {
            None => {
                keep(&self.reader, cx);
                Poll::Pending
            }
            Some(Over::End(Ended::Failed(failure))) => Poll::Ready(Err(Unanswered::Failed(failure.clone()))),
            Some(Over::End(Ended::Trailers(_))) => Poll::Ready(Err(Unanswered::Reset(Reset::Protocol))),
            Some(Over::Reset(reset)) => Poll::Ready(Err(Unanswered::Reset(*reset))),
            Some(Over::Lost) => Poll::Ready(Err(Unanswered::Lost)),
        }
    }

    /// Ready when the calling side has given the call up.
    pub fn poll_given_up(&self, cx: &Context<'_>) -> Poll<Broken> {
        match &*self.over.borrow() {
            Some(over) => Poll::Ready(broken_by(over)),
            None => {
                keep(&self.sender, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.tunnel.finished(self.id);
    }
}

/// Why a call got no reply over its tunnel.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// The other site says what went wrong.
    Failed(Failure),
    /// The other side ended the call.
    Reset(Reset),
    /// The tunnel was lost.
    Lost,
}

fn broken_by(over: &Over) -> Broken {
    match over {
        Over::End(Ended::Failed(failure)) => Broken::new(failure.kind, failure.detail.clone()),
        Over::End(Ended::Trailers(_)) => Broken::new(FailureKind::Protocol, "the call ended before its end"),
        Over::Reset(reset) => broken_by_reset(*reset),
        Over::Lost => Broken::new(FailureKind::Tunnel, "the tunnel was lost"),
    }
}

/// What a RESET of the other side means here.
pub fn broken_by_reset(reset: Reset) -> Broken {
    let kind = match reset {
        Reset::Cancel => FailureKind::Cancelled,
        Reset::Deadline => FailureKind::Deadline,
        Reset::TooLarge => FailureKind::TooLarge,
        Reset::Refused => FailureKind::Overload,
        Reset::Revoked => FailureKind::Refused,
        Reset::Moved => FailureKind::Draining,
        Reset::Protocol => FailureKind::Protocol,
        _ => FailureKind::Internal,
    };
    Broken::new(kind, format!("the other site ended the call: {}", reset.label()))
}

/// The body that arrives.
#[derive(Debug)]
pub struct TunnelBody {
    slot: Rc<Slot>,
    /// Bytes that were handed out and are counted as gone when the next are asked for.
    taken: usize,
    permitted: bool,
}

impl TunnelBody {
    /// The body of a call; `hold`: the other side waits to be asked for it.
    pub fn new(slot: Rc<Slot>, hold: bool) -> Self {
        Self {
            slot,
            taken: 0,
            permitted: !hold,
        }
    }

    /// The next piece.
    ///
    /// # Errors
    /// When the other side gives up, or the tunnel is lost.
    pub fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let slot = &self.slot;
        if !std::mem::replace(&mut self.permitted, true) {
            slot.tunnel.with(|session| session.permit(slot.id));
        }
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            slot.tunnel
                .with(|session| session.consumed(slot.id, taken, Instant::now()));
        }
        if let Some(data) = slot.inbox.borrow_mut().pop() {
            self.taken = data.len();
            return Poll::Ready(Ok(Chunk::Data(data)));
        }
        if slot.half_closed.get() {
            return Poll::Ready(Ok(Chunk::End(End::default())));
        }
        let mut over = slot.over.borrow_mut();
        match &mut *over {
            None => {
                drop(over);
                keep(&slot.reader, cx);
                Poll::Pending
            }
            Some(Over::End(Ended::Trailers(trailers))) if slot.side == Side::Calling => {
                Poll::Ready(Ok(Chunk::End(End {
                    trailers: std::mem::take(trailers),
                })))
            }
            Some(over) => Poll::Ready(Err(broken_by(over))),
        }
    }
}

/// Where the body that leaves goes.
#[derive(Debug)]
pub struct TunnelOutlet {
    slot: Rc<Slot>,
}

impl TunnelOutlet {
    /// The outlet of a call.
    pub fn new(slot: Rc<Slot>) -> Self {
        Self { slot }
    }

    /// Takes bytes from the front of `data`.
    ///
    /// # Errors
    /// When the call is over.
    pub fn poll_send(&mut self, cx: &Context<'_>, data: &mut Bytes) -> Poll<Result<(), Broken>> {
        self.send(cx, data, false)
    }

    fn send(&self, cx: &Context<'_>, data: &mut Bytes, end: bool) -> Poll<Result<(), Broken>> {
        let slot = &self.slot;
        match slot.tunnel.with(|session| session.send(slot.id, data, end)) {
            Sent::All => Poll::Ready(Ok(())),
            Sent::NoCredit | Sent::NoRoom if !slot.tunnel.is_closed() => {
                keep(&slot.sender, cx);
                Poll::Pending
            }
            _ => Poll::Ready(Err(self.gone())),
        }
    }

    /// Ends the direction: half-close from the calling side, the end of the call from the called side.
    ///
    /// # Errors
    /// When the call is over.
    pub fn poll_end(&mut self, cx: &Context<'_>, end: &mut Option<End>) -> Poll<Result<(), Broken>> {
        let slot = &self.slot;
        if slot.side == Side::Calling {
            return self.send(cx, &mut Bytes::new(), true);
        }
        let trailers = end.take().unwrap_or_default().trailers;
        let ended = Ended::Trailers(trailers);
        Poll::Ready(
            slot.tunnel
                .with(|session| session.end(slot.id, &ended))
                .map_err(|error| {
                    slot.tunnel.with(|session| session.reset(slot.id, Reset::TooLarge));
                    Broken::new(FailureKind::Protocol, format!("ending a call on its tunnel: {error}"))
                }),
        )
    }

    /// Ends the call short, and says why.
    pub fn abort(&mut self, broken: &Broken) {
        let slot = &self.slot;
        match slot.side {
            Side::Calling => slot.tunnel.with(|session| session.reset(slot.id, broken.reset())),
            Side::Called => {
                let ended = Ended::Failed(Failure::new(broken.kind, broken.detail.clone()));
                if slot.tunnel.with(|session| session.end(slot.id, &ended)).is_err() {
                    slot.tunnel.with(|session| session.reset(slot.id, broken.reset()));
                }
            }
        }
    }

    fn gone(&self) -> Broken {
        self.slot.over.borrow().as_ref().map_or_else(
            || Broken::new(FailureKind::Tunnel, "the call is gone from its tunnel"),
            broken_by,
        )
    }
}
