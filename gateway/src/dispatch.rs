//! Sending a call: pick an endpoint or a tunnel, try, and try again where that is safe.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use causeway_config as config;
use causeway_protocols::plan::{Needs, Plan};
use causeway_protocols::{CallHead, FailureKind, Protocol, name};
use http::Method;

use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::{CallError, Retry};
use crate::federation::PeerLink;
use crate::observe::Version;
use crate::payload::Body;
use crate::retry::Replay;
use crate::service::Service;
use crate::{edge, federation, http2, service};

/// What the route, or the export, decided.
#[derive(Debug)]
pub enum Way {
    /// The answer is known.
    Fixed(Box<Reply>),
    /// Somebody has to be asked.
    Service(Aim),
}

/// Where a call goes and how hard it is tried.
#[derive(Debug)]
pub struct Aim {
    /// Who answers.
    pub to: Upstream,
    /// Attempts and their budget.
    pub retry: config::Retry,
    /// Up to the reply's head.
    pub total: Option<Duration>,
    /// Largest request body in bytes.
    pub max_body: u64,
    /// Index of the route in the snapshot; none for a call from a site.
    pub route: Option<usize>,
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

/// Pauses between attempts grow from here, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Sends the call, again where the error and the request allow it.
///
/// # Errors
/// That of the last attempt.
pub async fn dispatch(call: Call, aim: &Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    arm(aim, cx)?;
    let Call { mut head, body } = call;
    let once = aim.retry.attempts <= 1 || head.protocol == Protocol::WebSocket;
    let mut payload = if once {
        Payload::Once(Some(body))
    } else if body.is_empty() {
        Payload::Empty
    } else {
        Payload::Replay(Replay::new(body))
    };
    if let Upstream::Local(service) = &aim.to {
        service.count_call();
    }
    let mut tried = Vec::new();
    let mut attempt = 0u8;
    loop {
        attempt += 1;
        let Some(body) = payload.body() else {
            return Err(CallError::new(FailureKind::Internal, "the body of the call is gone"));
        };
        let version = match &aim.to {
            Upstream::Remote { .. } => Version::Tunnel,
            Upstream::Local(service) if service.config().version == config::HttpVersion::Http2 => Version::Http2,
            Upstream::Local(_) => Version::Http1,
        };
        let trace = cx.record.borrow_mut().attempt(&cx.worker.observer, version);
        if let (Some(trace), Upstream::Local(_)) = (&trace, &aim.to) {
            // Hexadecimal digits and dashes are always taken.
            head.fields.set(name::TRACEPARENT, trace).ok();
        }
        let error = match try_once(&head, body, aim, trace, &mut tried, cx).await {
            Ok(mut reply) => {
                edge::receive(&mut reply.head, version, cx);
                return Ok(reply);
            }
            Err(error) => error,
        };
        if !may_retry(&error, &head, attempt, aim, cx) || !payload.is_there() {
            return Err(error);
        }
        tracing::debug!(error = %error, attempt, "trying again");
        cx.record.borrow_mut().attempt_failed(&error);
        pause(attempt, cx).await;
    }
}

/// Starts the clock of the call: the client's deadline or the service's, whichever comes first.
fn arm(aim: &Aim, cx: &CallContext) -> Result<(), CallError> {
    let left = cx.left();
    if left == Some(Duration::ZERO) {
        return Err(CallError::new(
            FailureKind::Deadline,
            "the deadline of the call has passed",
        ));
    }
    match (left, aim.total) {
        (Some(left), Some(total)) => cx.timer.arm(left.min(total)),
        (Some(limit), None) | (None, Some(limit)) => cx.timer.arm(limit),
        (None, None) => cx.timer.disarm(),
    }
    Ok(())
}

#[derive(Debug)]
enum Payload {
    Empty,
    Once(Option<Body>),
    Replay(Replay),
}

impl Payload {
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

fn may_retry(error: &CallError, head: &CallHead, attempt: u8, aim: &Aim, cx: &CallContext) -> bool {
    let safe = match error.retry {
        Retry::Never => false,
        Retry::Unprocessed => true,
        Retry::Idempotent => head.protocol == Protocol::Http && is_idempotent(&head.method),
    };
    if !safe || attempt >= aim.retry.attempts || cx.attempts.get() == 0 {
        return false;
    }
    let budget = match &aim.to {
        Upstream::Local(service) => service.may_retry(aim.retry.budget_percent),
        // The site that owns the service has the budget; a tunnel that was lost is another matter.
        Upstream::Remote { .. } => true,
    };
    if budget {
        cx.attempts.set(cx.attempts.get() - 1);
    }
    budget
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

async fn pause(attempt: u8, cx: &CallContext) {
    let most = FIRST_PAUSE.saturating_mul(1 << attempt.min(6)).min(MAX_PAUSE);
    let pause = most.mul_f64(rand::random_range(0.5..1.0));
    let timer = cx.worker.clock.timer();
    timer.arm(pause);
    timer.wait().await;
}

async fn try_once(
    head: &CallHead,
    body: Body,
    aim: &Aim,
    trace: Option<[u8; 55]>,
    tried: &mut Vec<u64>,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    match &aim.to {
        Upstream::Remote { link, export } => federation::call::open(link, export, head, body, trace, cx).await,
        Upstream::Local(service) => {
            let per_try = service.config().timeouts.per_try;
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
    tried: &mut Vec<u64>,
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
    let plan = Plan::choose(head.protocol, backend, Needs::Heads)
        .map_err(|error| CallError::new(FailureKind::Untranslatable, error.to_string()))?;
    let lease = service.pick(tried, head, cx)?;
    let endpoint = Rc::clone(lease.endpoint());
    tried.push(endpoint.key);
    cx.record.borrow_mut().at_endpoint(spec, endpoint.address, plan.rung);
    let sent = match spec.version {
        config::HttpVersion::Http1 => {
            let limits = &cx.world.snapshot.http1_limits;
            let clock = &cx.worker.clock;
            match endpoint.connection().await {
                Ok((connection, used)) => {
                    service::http1::send(connection, used, head, service.host(), body, clock, limits).await
                }
                Err(error) => Err(error),
            }
        }
        config::HttpVersion::Http2 => http2::client::send(&endpoint, head, service.host(), body, cx).await,
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
