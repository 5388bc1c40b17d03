//! Sending a call: pick an endpoint or a tunnel, try, and try again where that is safe.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use causeway_config as config;
use causeway_protocols::plan::{Needs, Plan};
use causeway_protocols::{CallHead, FailureKind, Protocol, name};

use crate::aggregate::Ask;
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::{CallError, Retry};
use crate::federation::PeerLink;
use crate::observe::Version;
use crate::payload::Body;
use crate::retry::Replay;
use crate::retry::budget::Budget;
use crate::retry::discard::discard;
use crate::retry::hedge;
use crate::retry::rule::{Rule, Safe, Verdict};
use crate::service::Service;
use crate::service::breaker::COME_AGAIN;
use crate::{edge, federation, service, translate};

/// What the route, or the export, decided.
#[derive(Debug)]
pub enum Way {
    /// Several are asked, and their results become one answer.
    Aggregate(Ask),
    /// The answer is known.
    Fixed(Box<Reply>),
    /// Somebody has to be asked.
    Service(Aim),
}

/// Where a call goes and how hard it is tried.
#[derive(Clone, Debug)]
pub struct Aim {
    /// Who answers.
    pub to: Upstream,
    /// Who is asked, one after the other, when nobody there takes the call.
    pub others: Vec<Upstream>,
    /// Up to the reply's head.
    pub total: Option<Duration>,
    /// Largest request body in bytes.
    pub max_body: u64,
    /// Index of the route in the snapshot; none for a call from a site.
    pub route: Option<usize>,
}

impl Aim {
    /// Attempts and their budget: those of the route, or else of the service. A service of another site has retries of its
    /// own there; here they are for tunnels that are lost.
    fn retry<'a>(&'a self, cx: &'a CallContext) -> &'a config::Retry {
        let route = self.route.and_then(|route| cx.world.snapshot.config.routes.get(route));
        let of_route = route.and_then(|route| route.retry.as_ref());
        of_route.unwrap_or_else(|| match &self.to {
            Upstream::Local(service) => &service.config().retry,
            Upstream::Remote { .. } => &config::Retry::DEFAULT,
        })
    }
}

/// Who answers a call.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A service of this site.
    Local(Rc<Service>),
    /// A service of another site.
    Remote {
        /// The tunnels to it.
        link: Rc<PeerLink>,
        /// What it calls the service.
        export: config::Name,
    },
}

impl Upstream {
    /// The service, if it is of this site.
    fn service(&self) -> Option<&Rc<Service>> {
        match self {
            Self::Local(service) => Some(service),
            Self::Remote { .. } => None,
        }
    }

    fn budget(&self) -> &Budget {
        match self {
            Self::Local(service) => service.budget(),
            Self::Remote { link, .. } => &link.budget,
        }
    }

    fn version(&self) -> Version {
        match self {
            Self::Remote { .. } => Version::Tunnel,
            Self::Local(service) if service.config().version == config::HttpVersion::Http2 => Version::Http2,
            Self::Local(_) => Version::Http1,
        }
    }
}

/// Sends the call, again where the outcome and the request allow it, and on to the next tier where nobody takes it.
///
/// # Errors
/// That of the last attempt.
pub async fn dispatch(call: Call, aim: &Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    shed(cx)?;
    arm(aim, cx)?;
    let Call { mut head, body } = call;
    let retry = aim.retry(cx);
    let mut payload = Payload::new(body, Again::of(retry, aim), head.protocol);
    let (mut to, mut others) = (&aim.to, aim.others.iter());
    to.budget().count_call(cx.started);
    let tried = RefCell::default();
    let mut attempt = 0u8;
    let outcome = loop {
        attempt = attempt.saturating_add(1);
        let Some(body) = payload.body() else {
            return Err(CallError::new(FailureKind::Internal, "the body of the call is gone"));
        };
        let trace = cx.record.borrow_mut().attempt(&cx.worker.observer, to.version());
        if let (Some(trace), Upstream::Local(_)) = (&trace, to) {
            // Hexadecimal digits and dashes are always taken.
            head.fields.set(name::TRACEPARENT, trace).ok();
        }
        let rule = Rule {
            retry,
            safe: Safe::of(&head, to.service().map(|service| service.config())),
        };
        let hedge = to.service().filter(|_| rule.safe == Safe::Idempotent);
        let outcome = match hedge.and_then(|service| service.hedge()) {
            None => try_once(&head, body, to, retry.per_try, trace, &tried, cx).await,
            Some((after, mut left)) => {
                let begin = |body| try_once(&head, body, to, retry.per_try, trace, &tried, cx);
                let more = || {
                    left = left.checked_sub(1)?;
                    let body = payload.complete()?;
                    may_hedge(to, retry.budget_percent, cx).then(|| Box::pin(begin(body)) as hedge::Attempt<'_, _, _>)
                };
                let outcome = hedge::race(Box::pin(begin(body)), after, more).await;
                if let Ok(Reply { lease: Some(lease), .. }) = &outcome {
                    cx.record.borrow_mut().won_at(lease.endpoint().address);
                }
                outcome
            }
        };
        if !payload.is_there() {
            break outcome;
        }
        let verdict = match &outcome {
            Ok(reply) => rule.of_reply(&reply.head),
            Err(error) => rule.of_error(error),
        };
        if let Verdict::Again(asked) = verdict
            && attempt < retry.attempts
            && may_retry(&outcome, to, retry.budget_percent, cx)
        {
            give_up(outcome, cx).await;
            pause(
                asked.unwrap_or_else(|| rule.pause(attempt, rand::random_range(0.0..1.0))),
                cx,
            )
            .await;
        } else if let Err(error) = &outcome
            && is_untaken(error)
            && cx.attempts.get() > 0
            && let Some(next) = others.next()
        {
            cx.attempts.set(cx.attempts.get() - 1);
            cx.worker.shared.services.metrics().failovers.inc();
            give_up(outcome, cx).await;
            (to, attempt) = (next, 0);
            tried.borrow_mut().clear();
        } else {
            break outcome;
        }
    };
    outcome.map(|mut reply| {
        edge::receive(&mut reply.head, to.version(), cx);
        reply
    })
}

/// Puts the outcome of an attempt aside that another follows.
async fn give_up(outcome: Result<Reply, CallError>, cx: &Rc<CallContext>) {
    match outcome {
        Err(error) => {
            tracing::debug!(%error, "trying again");
            cx.record.borrow_mut().attempt_failed(&error);
        }
        Ok(reply) => {
            let told = format!("answered {}", reply.head.status.as_u16());
            tracing::debug!(told, "trying again");
            cx.record
                .borrow_mut()
                .attempt_failed(&CallError::new(FailureKind::Protocol, told));
            discard(reply, cx).await;
        }
    }
}

/// Refuses calls that come first when there is too much: those of low priority while memory is getting short.
fn shed(cx: &CallContext) -> Result<(), CallError> {
    if cx.priority.get() != config::Priority::Low || !cx.worker.shared.memory.is_near() {
        return Ok(());
    }
    cx.worker
        .observer
        .shared()
        .metrics
        .limit_hit
        .with(&["memory_low_priority"])
        .inc();
    let error = CallError::new(
        FailureKind::Overload,
        "the process uses more than 70 percent of limits.memory, and the call is of low priority",
    );
    Err(CallError {
        retry_after: Some(COME_AGAIN),
        ..error
    })
}

/// Starts the clock of the call: the client's deadline or the service's, whichever comes first.
///
/// # Errors
/// When it has passed already.
pub fn arm(aim: &Aim, cx: &CallContext) -> Result<(), CallError> {
    let left = cx.left();
    if left == Some(Duration::ZERO) {
        return Err(CallError::new(
            FailureKind::Deadline,
            "the deadline of the call has passed",
        ));
    }
    cx.arm(left.into_iter().chain(aim.total).min());
    Ok(())
}

/// Whether a call may be sent more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    Perhaps,
}

impl Again {
    fn of(retry: &config::Retry, aim: &Aim) -> Self {
        let hedged = aim.to.service().is_some_and(|service| service.config().hedge.is_some());
        if retry.attempts <= 1 && aim.others.is_empty() && !hedged {
            Self::Never
        } else {
            Self::Perhaps
        }
    }
}

#[derive(Debug)]
enum Payload {
    Empty,
    Once(Option<Body>),
    Replay(Replay),
}

impl Payload {
    /// The body from its beginning beside one that is under way, if all of it has come.
    fn complete(&self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::Empty),
            Self::Once(_) => None,
            Self::Replay(replay) => replay.is_complete().then(|| replay.body()).flatten(),
        }
    }

    fn new(body: Body, again: Again, protocol: Protocol) -> Self {
        if again == Again::Never || protocol == Protocol::WebSocket {
            Self::Once(Some(body))
        } else if body.is_empty() {
            Self::Empty
        } else {
            Self::Replay(Replay::new(body))
        }
    }

    fn body(&mut self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::Empty),
            Self::Once(body) => body.take(),
            Self::Replay(replay) => replay.body(),
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(body) => body.is_some(),
            Self::Replay(replay) => replay.is_whole(),
        }
    }
}

/// Whether the budgets, of the call and of whom it goes to, have something left; takes from both.
fn may_retry(outcome: &Result<Reply, CallError>, to: &Upstream, percent: u8, cx: &CallContext) -> bool {
    if cx.attempts.get() == 0 {
        return false;
    }
    // The site that owns the service has the budget of its own attempts; a tunnel that was lost is another matter.
    let lost = outcome.is_err() && matches!(to, Upstream::Remote { .. });
    let granted = lost || to.budget().take(percent, cx.started);
    if let Some(service) = to.service() {
        service.spec().state.count_retry(granted);
    }
    if granted {
        cx.attempts.set(cx.attempts.get() - 1);
    }
    granted
}

/// Whether there may be one more attempt beside one that takes long; takes from the budgets as a retry does.
fn may_hedge(to: &Upstream, percent: u8, cx: &CallContext) -> bool {
    let granted = cx.attempts.get() > 0 && to.budget().take(percent, cx.started);
    if let Some(service) = to.service() {
        service.spec().state.count_hedge(granted);
    }
    if granted {
        cx.attempts.set(cx.attempts.get() - 1);
        cx.record.borrow_mut().hedged();
    }
    granted
}

/// Whether nobody has worked on the call, so that it may be made elsewhere whatever it is. What another site says of its
/// backends is believed: it tells of a connection that failed only where no attempt before it counts.
fn is_untaken(error: &CallError) -> bool {
    error.retry == Retry::Unprocessed
        || matches!(
            error.kind,
            FailureKind::Connect | FailureKind::NoEndpoint | FailureKind::Breaker | FailureKind::Draining
        )
}

async fn pause(pause: Duration, cx: &CallContext) {
    let timer = cx.worker.clock.timer();
    timer.arm(pause);
    timer.wait().await;
}

async fn try_once(
    head: &CallHead,
    body: Body,
    to: &Upstream,
    per_try: Option<Duration>,
    trace: Option<[u8; 55]>,
    tried: &RefCell<Vec<u64>>,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    match to {
        Upstream::Remote { link, export } => {
            let attempt = federation::call::open(link, export, head, body, trace, cx);
            match per_try {
                None => attempt.await,
                Some(limit) => within(limit, std::pin::pin!(attempt), cx).await,
            }
        }
        Upstream::Local(service) => {
            let per_try = per_try.or_else(|| service.config().timeouts.per_try);
            let attempt = try_endpoint(head, body, service, tried, cx);
            match per_try {
                None => attempt.await,
                Some(limit) => within(limit, std::pin::pin!(attempt), cx).await,
            }
        }
    }
}

async fn within(
    limit: Duration,
    mut attempt: Pin<&mut impl Future<Output = Result<Reply, CallError>>>,
    cx: &CallContext,
) -> Result<Reply, CallError> {
    let timer = cx.worker.clock.timer();
    timer.arm(limit);
    std::future::poll_fn(|task| match attempt.as_mut().poll(task) {
        std::task::Poll::Pending => timer.poll(task).map(|()| {
            let error = CallError::new(
                FailureKind::Deadline,
                format!("no reply within {limit:?} in one attempt"),
            );
            Err(error.retry(Retry::Idempotent))
        }),
        done => done,
    })
    .await
}

async fn try_endpoint(
    head: &CallHead,
    body: Body,
    service: &Rc<Service>,
    tried: &RefCell<Vec<u64>>,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    let spec = service.config();
    let backend = match spec.protocol {
        config::Protocol::Grpc => Protocol::Grpc,
        config::Protocol::Http => Protocol::Http,
        config::Protocol::WebSocket => Protocol::WebSocket,
    };
    // An HTTP backend may speak WebSocket, too: one server usually does both.
    let backend = if head.protocol == Protocol::WebSocket && backend == Protocol::Http {
        head.protocol
    } else {
        backend
    };
    let translated = translate::is_needed(head, spec);
    let needs = if translated { Needs::Messages } else { Needs::Heads };
    let plan = Plan::choose(head.protocol, backend, needs);
    let lease = service.pick(&tried.borrow(), head, cx)?;
    let endpoint = Rc::clone(lease.endpoint());
    tried.borrow_mut().push(endpoint.key);
    cx.record.borrow_mut().at_endpoint(spec, endpoint.address, plan.rung);
    let sent = if translated {
        // Boxed, so that calls that pass through do not carry its room.
        Box::pin(translate::send(head, body, service, &endpoint, cx)).await
    } else {
        service::forward(head, body, &endpoint, service, cx).await
    };
    lease.settle(sent)
}

/// No route: not found, or not with this method.
pub fn missed(missed: &crate::route::Missed, head: &CallHead) -> CallError {
    match missed {
        crate::route::Missed::NotFound => CallError::new(FailureKind::NoRoute, format!("no route for {}", head.target)),
        crate::route::Missed::Method { allow } => {
            let detail = format!("{} has no {}", head.target, head.method);
            CallError::new(FailureKind::Method, detail).field(name::ALLOW, allow)
        }
    }
}
