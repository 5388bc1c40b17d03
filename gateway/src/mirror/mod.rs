//! Copies of calls to a second service, and the comparison of its answers with those that clients get.
//!
//! A step of the path around dispatch. The client's call is never slowed down or failed by it: what it sends and gets is
//! copied as it passes, up to a size, and the copy is sent by a task of its own, of which there are only so many. What
//! does not fit is dropped and counted. Differences are counted, and some kept as samples for `/mirrors` of the admin port.

pub mod compare;
mod copy;
pub mod report;

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use causeway_config as config;
use causeway_protocols::{CallHead, Length, Protocol};
use tokio::sync::oneshot;

use self::compare::Answer;
pub use self::copy::Copied;
use self::copy::{Tape, Taped};
use self::report::{Outcome, Place, Report, Reports};
use crate::call::{Call, Reply};
use crate::clock::Timer;
use crate::context::CallContext;
use crate::dispatch::{Aim, dispatch};
use crate::error::CallError;
use crate::payload::{Body, collect};
use crate::serve::within_deadline;
use crate::telemetry::metrics::GatewayMetrics;

/// The largest request that is copied: what is remembered of a call for any purpose (design.md, section 4).
const REQUEST: usize = 64 * 1024;
/// The largest reply that is compared.
const REPLY: usize = 256 * 1024;

/// What a route copies, and what came of it.
#[derive(Debug)]
pub struct Mirror {
    rules: config::Mirror,
    report: Arc<Report>,
}

impl Mirror {
    /// What a route has configured; none where it copies nothing. Its report outlives a reload.
    pub fn build(route: &config::Route, reports: &Reports, metrics: &GatewayMetrics) -> Option<Self> {
        let rules = route.policies.mirror.clone()?;
        let report = reports.of(&route.name, &metrics.mirror_calls);
        Some(Self { rules, report })
    }
}

/// The client's side of a copied call: gets to know its reply.
#[derive(Debug)]
pub struct Mirroring {
    main: oneshot::Sender<Main>,
}

/// What the client gets.
#[derive(Debug)]
struct Main {
    head: causeway_protocols::ReplyHead,
    body: Rc<RefCell<Tape>>,
}

/// Begins to copy a call, if its route wants that and there is room.
pub fn begin(call: &mut Call, cx: &Rc<CallContext>) -> Option<Mirroring> {
    let mirror = cx.world.snapshot.mirrors.get(cx.route.get()?)?.as_ref()?;
    if call.head.protocol == Protocol::WebSocket || rand::random_range(0..100) >= mirror.rules.percent {
        return None;
    }
    // A gateway that is going away begins nothing.
    let guard = cx.worker.guard_for_work()?;
    if matches!(call.head.length, Length::Exactly(length) if length > REQUEST as u64) {
        mirror.report.count(Outcome::TooLarge);
        return None;
    }
    let Some(place) = mirror.report.place(mirror.rules.calls) else {
        mirror.report.count(Outcome::Busy);
        return None;
    };
    let to = cx.world.upstream(&mirror.rules.to)?;
    let tape = Rc::new(RefCell::new(Tape::new(REQUEST)));
    if call.body.is_empty() {
        tape.borrow_mut().end();
    } else {
        let body = std::mem::replace(&mut call.body, Body::Empty);
        call.body = Body::Copied(Box::new(Copied::new(body, Rc::clone(&tape))));
    }
    let aim = Aim {
        to,
        others: Vec::new(),
        total: Some(mirror.rules.timeout),
        max_body: REQUEST as u64,
        // The retries of the route are for its own service.
        route: None,
    };
    let (main, reply) = oneshot::channel();
    let copy = Copy {
        mirror: Arc::clone(mirror),
        head: call.head.clone(),
        tape,
        aim,
        cx: cx.inner(&call.head),
        reply,
        _place: place,
    };
    tokio::task::spawn_local(async move {
        let mirror = Arc::clone(&copy.mirror);
        let outcome = copy.run().await;
        mirror.report.count(outcome);
        drop(guard);
    });
    Some(Mirroring { main })
}

impl Mirroring {
    /// The reply that the client gets; its body is copied as it passes.
    pub fn watch(self, reply: &mut Reply) {
        let tape = Rc::new(RefCell::new(Tape::new(REPLY)));
        let main = Main {
            head: reply.head.clone(),
            body: Rc::clone(&tape),
        };
        if self.main.send(main).is_err() {
            return;
        }
        if reply.body.is_empty() {
            tape.borrow_mut().end();
        } else {
            let body = std::mem::replace(&mut reply.body, Body::Empty);
            reply.body = Body::Copied(Box::new(Copied::new(body, tape)));
        }
    }
}

/// A copy on its way.
struct Copy {
    mirror: Arc<Mirror>,
    head: CallHead,
    tape: Rc<RefCell<Tape>>,
    aim: Aim,
    cx: Rc<CallContext>,
    reply: oneshot::Receiver<Main>,
    _place: Place,
}

impl Copy {
    async fn run(mut self) -> Outcome {
        let timer = self.cx.worker.clock.timer();
        timer.arm(self.mirror.rules.timeout);
        let body = match taped(&self.tape, &timer).await {
            Some(Taped::Whole(body)) => body,
            Some(Taped::Over) => return Outcome::TooLarge,
            Some(Taped::Broken) | None => return Outcome::Incomplete,
        };
        self.head.length = Length::Exactly(body.len() as u64);
        let body = if body.is_empty() {
            self.head.length = Length::Empty;
            Body::Empty
        } else {
            Body::Bytes(body)
        };
        self.head.hold = false;
        let call = Call {
            head: self.head.clone(),
            body,
        };
        let sent = pin!(send(call, &self.aim, &self.cx));
        let second = match within_deadline(sent, &self.cx).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, path = self.head.target.path(), "the copy of a call failed");
                return Outcome::Failed;
            }
        };
        let Some(rules) = &self.mirror.rules.compare else {
            return Outcome::Sent;
        };
        timer.arm(self.mirror.rules.timeout);
        let main = tokio::select! {
            main = &mut self.reply => main.ok(),
            () = timer.wait() => None,
        };
        // The client's call failed, or its client went away: there is nothing to compare with.
        let Some(main) = main else { return Outcome::Incomplete };
        let Body::Bytes(second_body) = &second.body else {
            return Outcome::TooLarge;
        };
        let first_body = match taped(&main.body, &timer).await {
            Some(Taped::Whole(body)) => body,
            Some(Taped::Over) => return Outcome::TooLarge,
            Some(Taped::Broken) | None => return Outcome::Incomplete,
        };
        let first = Answer {
            head: &main.head,
            body: &first_body,
        };
        let second = Answer {
            head: &second.head,
            body: second_body,
        };
        let differences = compare::compare(rules, &first, &second);
        if differences.is_empty() {
            return Outcome::Same;
        }
        self.mirror.report.differ(
            self.head.method.as_str(),
            self.head.target.path(),
            differences,
            rules.values,
        );
        Outcome::Different
    }
}

/// Sends the copy and reads its reply whole; a body that is too large to be compared is none.
async fn send(call: Call, aim: &Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    let mut reply = dispatch(call, aim, cx).await?;
    let body = collect::reply(&mut reply, REPLY, cx).await?;
    reply.body = match body {
        Some(body) => Body::Bytes(body),
        None => Body::Empty,
    };
    Ok(reply)
}

/// What was copied, when it is whole, over its limit or broken; none when that takes too long.
async fn taped(tape: &Rc<RefCell<Tape>>, timer: &Timer) -> Option<Taped> {
    tokio::select! {
        taped = std::future::poll_fn(|task| tape.borrow_mut().poll(task)) => Some(taped),
        () = timer.wait() => None,
    }
}

#[cfg(test)]
mod tests;
