//! `causeway.mux.v1`: many gRPC calls over one WebSocket.
//!
//! It is opened at the gateway where the client is, since its calls may go to many services and sites. The socket takes the
//! path once, for its route's policies; then each call on it takes the whole path by itself, as a gRPC client's call with
//! JSON inside: with the fields of the handshake, its own metadata, routing by its method, and a record of its own.
//!
//! One call holds up no other: each has credit in messages both ways, and waits by itself where the socket is full.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use causeway_protocols::framing::mux::{After, CallId, Open, Session, Step};
use causeway_protocols::framing::websocket::{self as wire, Form as WireForm, Side as WireSide};
use causeway_protocols::framing::{Decoder, Limits, metadata};
use causeway_protocols::message::{Message, Outcome};
use causeway_protocols::status::Status;
use causeway_protocols::{CallHead, Code, End, FailureKind, Length, Protocol, Target, name};
use futures_util::future::{AbortHandle, Aborted, abortable};
use futures_util::stream::{FuturesUnordered, Stream};
use http::Method;

use super::answer::step;
use super::content::Form;
use super::fault::Fault;
use super::flow::{Socket, UpFlow};
use super::link::Link;
use super::messages::{Messages, Next, Side};
use super::{Flow, grpc, http as plain, websocket};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::{Broken, Chunk, Pump};
use crate::serve::serve_client;

/// The subprotocol.
pub const PROTOCOL: &str = "causeway.mux.v1";

/// Calls that one socket may have open.
const MAX_CALLS: usize = 128;
/// Largest message of a call, either way: what waits is bounded by calls, credit and this.
const MAX_MESSAGE: usize = 1 << 20;
/// Bytes of frames that wait for the socket before calls have to wait.
const WAITING: usize = 64 * 1024;
/// Messages that are taken before the client is allowed as many more.
const ALLOW_AT: u32 = 8;

/// Whether a client asks for it.
pub fn is_asked(head: &CallHead) -> bool {
    head.protocol == Protocol::WebSocket && websocket::offers(&head.fields, PROTOCOL)
}

/// Lets the client in; its calls begin with what it sends.
pub fn open(call: Call, cx: &Rc<CallContext>) -> Reply {
    let limits = Limits {
        message: MAX_MESSAGE,
        ..Limits::default()
    };
    let socket = websocket::socket(WireSide::Server, limits);
    let decoder = Decoder::WebSocket(wire::Decoder::new(Rc::clone(&socket), WireForm::Any));
    let link = Link::new();
    let flow = MuxFlow {
        client: Messages::decoded(Side::Client, call.body, decoder),
        socket,
        shared: Rc::new(Shared {
            session: RefCell::new(Session::new(limits, plain::status_form(None), MAX_CALLS)),
            frames: RefCell::default(),
            waiting: Cell::new(0),
            full: RefCell::default(),
        }),
        calls: HashMap::new(),
        running: FuturesUnordered::new(),
        head: call.head,
        limits,
        link: Rc::clone(&link),
        cx: Rc::clone(cx),
        out: BytesMut::new(),
        ended: false,
    };
    Reply {
        head: websocket::let_in(Some(PROTOCOL)),
        body: Flow::mux(flow),
        rest: Pump::done(),
        lease: None,
        link: Some(link),
    }
}

/// What the calls of a socket share.
struct Shared {
    session: RefCell<Session>,
    /// Frames for the client, each the content of a text.
    frames: RefCell<VecDeque<BytesMut>>,
    waiting: Cell<usize>,
    /// Calls that wait for room.
    full: RefCell<Vec<Waker>>,
}

impl Shared {
    /// Lets the session write a frame.
    fn write<T>(&self, write: impl FnOnce(&mut Session, &mut BytesMut) -> T) -> T {
        let mut frame = BytesMut::new();
        let written = write(&mut self.session.borrow_mut(), &mut frame);
        if !frame.is_empty() {
            self.waiting.set(self.waiting.get() + frame.len());
            self.frames.borrow_mut().push_back(frame);
        }
        written
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.waiting.get() < WAITING {
            return Poll::Ready(());
        }
        self.full.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn take(&self) -> Option<BytesMut> {
        let frame = self.frames.borrow_mut().pop_front()?;
        self.waiting.set(self.waiting.get() - frame.len());
        if self.waiting.get() < WAITING {
            for waker in self.full.borrow_mut().drain(..) {
                waker.wake();
            }
        }
        Some(frame)
    }
}

/// What the client has sent for one call.
pub struct Inbox {
    id: CallId,
    shared: Rc<Shared>,
    messages: RefCell<VecDeque<Message>>,
    ended: Cell<bool>,
    /// Taken since the client was last allowed more.
    taken: Cell<u32>,
    reader: RefCell<Option<Waker>>,
    /// Waits until the client takes more.
    sender: RefCell<Option<Waker>>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("id", &self.id).finish_non_exhaustive()
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = place.borrow_mut().take() {
        waker.wake();
    }
}

impl Inbox {
    fn new(id: CallId, shared: &Rc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            id,
            shared: Rc::clone(shared),
            messages: RefCell::default(),
            ended: Cell::new(false),
            taken: Cell::new(0),
            reader: RefCell::default(),
            sender: RefCell::default(),
        })
    }

    fn put(&self, message: Option<Message>, after: After) {
        // Bounded by the credit that the session gives.
        self.messages.borrow_mut().extend(message);
        if after == After::End {
            self.ended.set(true);
        }
        wake(&self.reader);
    }

    /// The next message; none after the last.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.messages.borrow_mut().pop_front() {
            self.taken.set(self.taken.get() + 1);
            if self.taken.get() >= ALLOW_AT {
                let credit = self.taken.take();
                self.shared.write(|session, out| session.allow(&self.id, credit, out));
            }
            return Poll::Ready(Some(message));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the client takes one more message.
    fn poll_credit(&self, cx: &Context<'_>) -> Poll<()> {
        if self.shared.session.borrow().credit(&self.id) > 0 {
            return Poll::Ready(());
        }
        *self.sender.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

type Running = Pin<Box<dyn Future<Output = Result<(), Aborted>>>>;

/// The reply of a multiplexed socket: what all its calls have to say.
pub struct MuxFlow {
    client: Messages,
    socket: Socket,
    shared: Rc<Shared>,
    calls: HashMap<CallId, (Rc<Inbox>, AbortHandle)>,
    running: FuturesUnordered<Running>,
    /// Of the handshake.
    head: CallHead,
    limits: Limits,
    link: Rc<Link>,
    cx: Rc<CallContext>,
    out: BytesMut,
    ended: bool,
}

impl fmt::Debug for MuxFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxFlow")
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}

impl MuxFlow {
    /// The next piece; see [`Body::poll_chunk`](crate::payload::Body::poll_chunk).
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        loop {
            self.write();
            if self.out.len() >= super::flow::PIECE || (self.ended && !self.out.is_empty()) {
                return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
            }
            if self.ended {
                return Poll::Ready(Ok(Chunk::End(End::default())));
            }
            if let Some(fault) = self.link.fault() {
                self.finish(&fault);
                continue;
            }
            // Calls first: what they end makes room for what the client wants next.
            let worked = matches!(Pin::new(&mut self.running).poll_next(cx), Poll::Ready(Some(_)));
            let heard = self.hear(cx);
            if !worked && !heard && self.shared.frames.borrow().is_empty() {
                if !self.out.is_empty() {
                    return Poll::Ready(Ok(Chunk::Data(self.out.split().freeze())));
                }
                self.link.watch(cx.waker());
                return Poll::Pending;
            }
        }
    }

    /// Frames to the socket, as far as one piece goes.
    fn write(&mut self) {
        while self.out.len() < super::flow::PIECE
            && let Some(frame) = self.shared.take()
        {
            // A socket that is closed has no use for it.
            let _ = self.socket.borrow_mut().send(&Message::text(frame.freeze()));
            self.socket.borrow_mut().write_output(&mut self.out);
        }
        self.socket.borrow_mut().write_output(&mut self.out);
    }

    /// Takes one frame of the client. Says whether there was one.
    fn hear(&mut self, cx: &mut Context<'_>) -> bool {
        match self.client.poll_next(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(Next::Message(frame))) => {
                self.take(&frame);
                true
            }
            Poll::Ready(Ok(Next::End(outcome))) => {
                self.finish(&Fault::new(FailureKind::Cancelled, outcome.status.message));
                true
            }
            Poll::Ready(Err(fault)) => {
                self.finish(&fault);
                true
            }
        }
    }

    fn take(&mut self, frame: &Message) {
        match self.shared.write(|session, out| session.receive(frame, out)) {
            Ok(Step::Nothing) => self.calls.values().for_each(|(inbox, _)| wake(&inbox.sender)),
            Ok(Step::Open {
                id,
                open,
                message,
                after,
            }) => {
                let inbox = Inbox::new(id.clone(), &self.shared);
                inbox.put(message, after);
                let call = drive(
                    open,
                    Rc::clone(&inbox),
                    self.head.clone(),
                    self.limits,
                    Rc::clone(&self.cx),
                );
                let (call, abort) = abortable(call);
                self.calls.retain(|_, (_, abort)| !abort.is_aborted());
                self.calls.insert(id, (inbox, abort));
                self.running.push(Box::pin(call));
            }
            Ok(Step::More { id, message, after }) => {
                if after == After::Cancel {
                    self.drop_call(&id);
                } else if let Some((inbox, _)) = self.calls.get(&id) {
                    inbox.put(message, after);
                    wake(&inbox.sender);
                }
            }
            Ok(Step::Failed { id, .. }) => self.drop_call(&id),
            Err(error) => {
                let fault = Fault::of_client(&error);
                self.finish(&fault);
            }
        }
        let session = self.shared.session.borrow();
        if self.calls.len() > session.open_calls() {
            self.calls.retain(|id, _| session.is_open(id));
        }
    }

    /// Dropping what makes the call cancels it everywhere.
    fn drop_call(&mut self, id: &CallId) {
        if let Some((_, abort)) = self.calls.remove(id) {
            abort.abort();
        }
    }

    fn finish(&mut self, fault: &Fault) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.cx.record.borrow_mut().failed(&CallError::from(fault.clone()));
        let outcome = fault.outcome();
        let code = fault.close.unwrap_or_else(|| outcome.status.code.close());
        self.socket.borrow_mut().close(code, &outcome.status.message);
        self.socket.borrow_mut().write_output(&mut self.out);
        self.calls.clear();
        self.running = FuturesUnordered::new();
        self.link.reply_is_over();
    }
}

/// One call from its opening to its end.
async fn drive(open: Open, inbox: Rc<Inbox>, base: CallHead, limits: Limits, cx: Rc<CallContext>) {
    let outcome = match run(open, &inbox, base, limits, &cx).await {
        Ok(outcome) => outcome,
        Err(error) => Fault::from(error).outcome(),
    };
    inbox.shared.write(|session, out| session.end(&inbox.id, &outcome, out));
}

async fn run(
    open: Open,
    inbox: &Rc<Inbox>,
    base: CallHead,
    limits: Limits,
    session: &Rc<CallContext>,
) -> Result<Outcome, CallError> {
    let head = head_of(&open, base)?;
    let left = open.timeout_ms.map(Duration::from_millis);
    let (head, cx) = session.carried(head, left, open.traceparent.as_deref());
    let up = Rc::new(RefCell::new(Messages::queued(Rc::clone(inbox))));
    let body = Flow::up(UpFlow::new(up, grpc::encoder(), Link::new()));
    let reply = serve_client(Call { head, body }, &cx).await;
    cx.record.borrow_mut().answered(reply.head.status, &reply.head.fields);
    cx.arm(cx.left());
    let is_json = grpc::form(reply.head.fields.get(name::CONTENT_TYPE)) == Form::Json;
    let mut rest = reply.rest;
    let mut down = grpc::replies(&reply.head, reply.body, limits)?;
    let _lease = reply.lease;
    let outcome = loop {
        match next(&mut down, &mut rest, &cx).await? {
            Next::End(outcome) => break outcome,
            Next::Message(_) if !is_json => {
                break Outcome::new(Status::new(
                    Code::Unimplemented,
                    "the service has no schema, which JSON for gRPC needs",
                ));
            }
            Next::Message(message) => {
                std::future::poll_fn(|task| {
                    if inbox.shared.poll_room(task).is_pending() {
                        return Poll::Pending;
                    }
                    inbox.poll_credit(task)
                })
                .await;
                let message = Message::text(message.data);
                let written = inbox
                    .shared
                    .write(|session, out| session.message(&inbox.id, &message, out));
                written.map_err(|error| Fault::of_backend(&error))?;
            }
        }
    };
    cx.record
        .borrow_mut()
        .ended(Some(outcome.status.code), rest.moved(), down.count());
    Ok(outcome)
}

/// The next step of the reply, until the deadline of the call.
async fn next(down: &mut Messages, rest: &mut Pump, cx: &CallContext) -> Result<Next, CallError> {
    let mut step = std::pin::pin!(step(down, rest));
    std::future::poll_fn(|task| match step.as_mut().poll(task) {
        Poll::Pending => cx.timer.poll(task).map(|()| Err(cx.rang().into())),
        done => done,
    })
    .await
}

/// The head of a call: that of the handshake, with the call's method and metadata.
fn head_of(open: &Open, base: CallHead) -> Result<CallHead, CallError> {
    let path = format!("/{}", open.method);
    let target = Target::parse(base.target.authority.clone(), path.as_bytes())
        .map_err(|error| CallError::new(FailureKind::BadRequest, error.to_string()))?;
    let mut fields = metadata::to_grpc(&base.fields);
    for field in &metadata::to_grpc(&open.metadata) {
        fields.push(field.name.as_str().as_bytes(), field.value).ok();
    }
    crate::edge::strip_request(&mut fields);
    fields.set(name::CONTENT_TYPE, b"application/grpc+json").ok();
    Ok(CallHead {
        protocol: Protocol::Grpc,
        method: Method::POST,
        scheme: base.scheme,
        target,
        fields,
        length: Length::Streamed,
        hold: false,
    })
}
