//! A fetch for the cache: a task that asks the service, gives the reply to the client that caused it, and keeps it.
//!
//! It is the one task of the path that a call owns besides its own (design.md, section 4), so that others who wait are not
//! at the mercy of the client that happened to be first: neither its departure nor its slowness matters to them. What it
//! holds is bounded by the largest entry, and all fills together by a quarter of the cache's memory; beyond either the
//! body goes on to its client as if there were no cache.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use causeway_protocols::{Code, End, FailureKind, Fields, Length, Protocol, ReplyHead, name};
use http::StatusCode;
use tokio::sync::oneshot;

use super::Caching;
use super::body::{Flow, Rest};
use super::directives::RequestDirectives;
use super::entry::{State, Stored, dated, tags};
use super::freshness::{Asked, Terms, Unkept, Validator, terms, validator};
use super::key::Vary;
use super::status::Told;
use super::store::Ticket;
use crate::call::{Call, Reply};
use crate::clock::Timer;
use crate::context::CallContext;
use crate::dispatch::{Aim, dispatch};
use crate::error::CallError;
use crate::payload::{Body, Broken, Chunk, Pump, PumpError};
use crate::serve::within_deadline;

/// A body that takes longer to arrive is not kept: those who wait should not wait for it.
const WITHIN: Duration = Duration::from_secs(60);

/// What the client that caused the fetch gets.
#[derive(Debug)]
pub(super) enum Given {
    /// None.
    Failed(CallError),
    /// A kept reply.
    Kept(Arc<Stored>, Told),
    /// The service's reply, which is not kept.
    Passing(Box<Reply>),
    /// The service's reply, which is being kept.
    Streaming(Box<Reply>),
}

/// Where it goes; none for a refresh that nobody waits for.
type Give = Option<oneshot::Sender<Given>>;

/// A fetch.
#[derive(Debug)]
pub(super) struct Fill {
    caching: Arc<Caching>,
    ticket: Ticket,
    stale: Option<Arc<Stored>>,
    call: Call,
    aim: Aim,
    credentials: bool,
    cx: Rc<CallContext>,
}

impl Fill {
    /// A fetch of what the ticket is for. With a stale reply the service is asked whether that is still right.
    pub(super) fn new(
        caching: Arc<Caching>,
        ticket: Ticket,
        stale: Option<Arc<Stored>>,
        mut call: Call,
        aim: Aim,
        credentials: bool,
        cx: Rc<CallContext>,
    ) -> Self {
        let fields = &mut call.head.fields;
        for id in [
            name::IF_NONE_MATCH,
            name::IF_MODIFIED_SINCE,
            name::RANGE,
            name::IF_RANGE,
        ] {
            fields.remove(id);
        }
        // A value that was a field's is one again.
        match stale.as_deref().and_then(|stale| validator(&stale.fields)) {
            Some(Validator::Tag(tag)) => fields.push_known(name::IF_NONE_MATCH, tag).ok(),
            Some(Validator::Date(date)) => fields.push_known(name::IF_MODIFIED_SINCE, date).ok(),
            None => None,
        };
        Self {
            caching,
            ticket,
            stale,
            call,
            aim,
            credentials,
            cx,
        }
    }

    /// Starts it. The gateway does not stop before it has ended.
    pub(super) fn start(self, give: Give) {
        let guard = self.cx.worker.guard_for_work();
        tokio::task::spawn_local(async move {
            self.run(give).await;
            drop(guard);
        });
    }

    async fn run(self, give: Give) {
        let Self {
            caching,
            ticket,
            stale,
            call,
            aim,
            credentials,
            cx,
        } = self;
        let began = Instant::now();
        let request = call.head.clone();
        let sent = within_deadline(pin!(dispatch(call, &aim, &cx)), &cx).await;
        let usable = stale.filter(|stale| {
            let state = stale.state(Instant::now(), &RequestDirectives::default());
            !matches!(state, State::Stale)
                || matches!(&sent, Ok(reply) if reply.head.status == StatusCode::NOT_MODIFIED)
        });
        let reply = match sent {
            Ok(reply) => reply,
            Err(error) => return fail(error, ticket, usable, give),
        };
        let asked = Asked {
            credentials,
            cookies: request.fields.has(name::COOKIE),
            no_store: false,
            took: began.elapsed(),
        };
        match (usable, reply.head.status.as_u16()) {
            (Some(stale), 304) => return confirm(&caching, &stale, &reply.head, asked, &request.fields, ticket, give),
            (Some(stale), 500 | 502..=504) => {
                ticket.serve(&stale);
                return hand(give, Given::Kept(stale, Told::Stale(0)));
            }
            _ => {}
        }
        let judged = judge(&caching, &request.fields, request.protocol, asked, &reply.head);
        match judged {
            Err(why) => {
                let lasting = reply.head.status.is_success() || reply.head.status == StatusCode::NOT_FOUND;
                if lasting && why != Unkept::Asked {
                    ticket.pass(&request.fields);
                }
                hand(give, Given::Passing(Box::new(reply)));
            }
            Ok((terms, vary)) => {
                let clock = cx.worker.clock.timer();
                // What the call's context tells is told when the head is there.
                drop(cx);
                let keep = Keep {
                    caching,
                    ticket,
                    terms,
                    vary,
                    request: request.fields,
                    grpc: request.protocol == Protocol::Grpc,
                };
                keep.run(reply, give, clock).await;
            }
        }
    }
}

/// Gives it to the client, if it is still there.
fn hand(give: Give, given: Given) {
    if let Some(give) = give {
        give.send(given).ok();
    }
}

/// No reply: a stale one, where that is allowed, else the failure for all.
fn fail(error: CallError, ticket: Ticket, stale: Option<Arc<Stored>>, give: Give) {
    let of_service = matches!(
        error.kind,
        FailureKind::Breaker
            | FailureKind::Connect
            | FailureKind::Deadline
            | FailureKind::NoEndpoint
            | FailureKind::Protocol
            | FailureKind::Tunnel
    );
    match stale {
        Some(stale) if of_service => {
            ticket.serve(&stale);
            hand(give, Given::Kept(stale, Told::Stale(0)));
        }
        _ => {
            if of_service {
                ticket.fail(&error);
            }
            hand(give, Given::Failed(error));
        }
    }
}

/// The service says that the stale reply is right.
fn confirm(
    caching: &Caching,
    stale: &Stored,
    by: &ReplyHead,
    asked: Asked,
    request: &Fields,
    ticket: Ticket,
    give: Give,
) {
    // What the 304 does not say holds as it was said.
    let fresh = stale.confirmed(&by.fields, stale.terms, Vary::default());
    let mut head = ReplyHead::new(fresh.status, Length::Empty);
    head.fields = fresh.fields.clone();
    if let Some(age) = by.fields.get(name::AGE) {
        head.fields.push_known(name::AGE, age).ok();
    }
    let judged = judge(caching, request, Protocol::Http, asked, &head);
    let kept = match judged {
        Ok((terms, vary)) => {
            let kept = stale.confirmed(&by.fields, terms, vary);
            ticket.reply(&kept, request);
            kept
        }
        Err(_) => {
            ticket.pass(request);
            fresh
        }
    };
    hand(give, Given::Kept(kept, Told::Revalidated));
}

/// Whether a reply may be kept, and what it varies on.
fn judge(
    caching: &Caching,
    request: &Fields,
    protocol: Protocol,
    asked: Asked,
    reply: &ReplyHead,
) -> Result<(Terms, Vary), Unkept> {
    if matches!(reply.length, Length::Exactly(length) if length > caching.limit as u64) {
        return Err(Unkept::Vary);
    }
    let vary = Vary::of(&reply.fields, request).ok_or(Unkept::Vary)?;
    let terms = match protocol {
        Protocol::Grpc => grpc_terms(caching, asked, reply)?,
        _ => terms(&caching.rules, asked, reply, SystemTime::now())?,
    };
    Ok((terms, vary))
}

/// Of gRPC the route says all. A reply whose status is in its head has none of the messages that are worth keeping.
fn grpc_terms(caching: &Caching, asked: Asked, reply: &ReplyHead) -> Result<Terms, Unkept> {
    let rules = &caching.rules;
    if asked.credentials {
        return Err(Unkept::Forbidden);
    }
    if reply.status != StatusCode::OK || reply.fields.has(name::GRPC_STATUS) {
        return Err(Unkept::Status);
    }
    Ok(Terms {
        age: asked.took,
        lifetime: rules.ttl.ok_or(Unkept::NotFresh)?,
        while_revalidate: rules.stale_while_revalidate,
        if_error: rules.stale_if_error,
    })
}

/// A reply that is being kept.
struct Keep {
    caching: Arc<Caching>,
    ticket: Ticket,
    terms: Terms,
    vary: Vary,
    request: Fields,
    grpc: bool,
}

/// How its body ended, as far as the cache is concerned.
enum Came {
    Whole(End),
    /// It is too much, or took too long.
    Over,
}

impl Keep {
    async fn run(self, reply: Reply, give: Give, timer: Timer) {
        let Reply {
            head,
            body,
            rest,
            lease,
            // A cached exchange has no client of its own to tell.
            link: _,
        } = reply;
        let since = Instant::now();
        let flow = Flow::default();
        let client = Reply::whole(head.clone(), Body::Filling(flow.reader()));
        hand(give, Given::Streaming(Box::new(client)));
        timer.arm(WITHIN);
        let mut arriving = Arriving {
            body,
            rest,
            flow: &flow,
            limit: self.caching.limit,
            ticket: &self.ticket,
            taken: 0,
        };
        let came = std::future::poll_fn(|task| match arriving.poll(task) {
            Poll::Pending => timer.poll(task).map(|()| Ok(Came::Over)),
            done => done,
        });
        let came = came.await;
        let mut lease = lease;
        match came {
            Ok(Came::Whole(end)) => {
                let code = end.trailers.get(name::GRPC_STATUS).map(Code::of_text);
                if let Some(lease) = &mut lease {
                    lease.ended(code);
                }
                drop(arriving);
                let body = flow.finish(&end.trailers);
                if !self.grpc || code == Some(Code::Ok) {
                    let tags = tags(&head.fields);
                    let stored = Arc::new(Stored {
                        status: head.status,
                        fields: dated(head.fields),
                        body,
                        trailers: end.trailers,
                        terms: self.terms,
                        since,
                        vary: self.vary,
                        tags,
                    });
                    self.ticket.reply(&stored, &self.request);
                }
            }
            Ok(Came::Over) => {
                let body = std::mem::replace(&mut arriving.body, Body::Empty);
                let request = std::mem::replace(&mut arriving.rest, Pump::done());
                drop(arriving);
                self.ticket.pass(&self.request);
                flow.hand_over(Rest { body, request, lease });
            }
            Err(broken) => {
                if let Some(lease) = &mut lease {
                    lease.broke(&broken);
                }
                drop(arriving);
                flow.fail(broken);
            }
        }
    }
}

/// A body on its way in.
struct Arriving<'a> {
    body: Body,
    /// The request, still flowing.
    rest: Pump,
    flow: &'a Flow,
    limit: usize,
    ticket: &'a Ticket,
    /// What was taken of the store's room for bodies on their way.
    taken: usize,
}

impl Arriving<'_> {
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<Came, Broken>> {
        if !self.rest.is_done()
            && let Poll::Ready(Err(error)) = self.rest.poll(task)
        {
            match error {
                PumpError::Source(broken) => return Poll::Ready(Err(broken)),
                PumpError::Sink(_) => self.rest = Pump::stuck(),
            }
        }
        loop {
            match self.body.poll_chunk(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Ready(Ok(Chunk::End(end))) => return Poll::Ready(Ok(Came::Whole(end))),
                Poll::Ready(Ok(Chunk::Data(data))) => {
                    let fits = self.fits(&data);
                    self.flow.push(data);
                    if !fits {
                        return Poll::Ready(Ok(Came::Over));
                    }
                }
            }
        }
    }

    fn fits(&mut self, data: &Bytes) -> bool {
        let fits = self.flow.size() + data.len() <= self.limit && self.ticket.store().arrive(data.len());
        if fits {
            self.taken += data.len();
        }
        fits
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.ticket.store().arrived(self.taken);
    }
}
