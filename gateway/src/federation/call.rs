//! A call to another site: opened on a tunnel, answered over it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use causeway_config as config;
use causeway_protocols::tunnel::{OpenError, Opening, TraceParent};
use causeway_protocols::{CallHead, FailureKind, Length, Protocol, ReplyHead, Reset};

use super::stream::{Side, Slot, TunnelBody, TunnelOutlet, Unanswered, broken_by_reset};
use super::tunnel::Tunnel;
use super::{PeerLink, bridge, caller};
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::{CallError, Retry};
use crate::payload::{Body, Outlet, Pump, PumpError};

/// A call waits this long for a tunnel that is being made.
const TUNNEL_WAIT: Duration = Duration::from_secs(3);

/// Opens the call at the other site and waits for the head of its reply, while its body flows.
///
/// # Errors
/// What the other site says went wrong, or that it could not be reached.
pub async fn open(
    link: &Rc<PeerLink>,
    export: &config::Name,
    head: &CallHead,
    body: Body,
    trace: Option<[u8; 55]>,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    cx.record.borrow_mut().at_site(&link.site, export);
    let caller = caller::encode(
        cx.caller.address(),
        cx.principal.get().map(|principal| &**principal),
        &cx.world.snapshot.config.federation.claims,
    );
    let head = Opening {
        call: head,
        export,
        left: cx.left(),
        attempts: cx.attempts.get(),
        visited: &cx.visited,
        here: Some(&cx.world.snapshot.config.site.name),
        caller: caller.as_deref(),
        trace: trace.and_then(|trace| TraceParent::parse(&trace)),
        request_id: cx.request_id.as_deref(),
        urgency: urgency(cx.priority.get()),
    };
    match link.pick() {
        Some(tunnel) => over(&tunnel, head, body).await,
        None => Box::pin(without_tunnel(link, head, body, cx)).await,
    }
}

/// A priority as it goes over a tunnel: on the scale of RFC 9218, where 0 is the most urgent and 3 needs no word.
fn urgency(priority: config::Priority) -> Option<u8> {
    match priority {
        config::Priority::High => Some(1),
        config::Priority::Normal => None,
        config::Priority::Low => Some(6),
    }
}

/// The same at the other end.
pub(super) fn priority(urgency: Option<u8>) -> config::Priority {
    match urgency {
        Some(0..=2) => config::Priority::High,
        Some(4..) => config::Priority::Low,
        Some(3) | None => config::Priority::Normal,
    }
}

/// Whether it is known that no body follows the head.
fn is_bodiless(call: &CallHead, body: &Body) -> bool {
    body.is_empty() && call.length == Length::Empty && call.protocol != Protocol::WebSocket
}

async fn over(tunnel: &Rc<Tunnel>, head: Opening<'_>, body: Body) -> Result<Reply, CallError> {
    let bodiless = is_bodiless(head.call, &body);
    let slot = open_on(tunnel, head, bodiless)?;
    let mut rest = if bodiless {
        Pump::done()
    } else {
        Pump::new(body, Outlet::Tunnel(TunnelOutlet::new(Rc::clone(&slot))))
    };
    // As towards a backend: what a WebSocket client sends too early waits until it has been let in.
    let held = head.call.protocol == Protocol::WebSocket;
    let reply = std::future::poll_fn(|task| poll_reply(&slot, &mut rest, held, task)).await?;
    if held && reply.status.as_u16() != 101 {
        rest = Pump::done();
    }
    Ok(Reply {
        head: reply,
        body: Body::Tunnel(Box::new(TunnelBody::new(slot, false))),
        rest,
        lease: None,
        link: None,
    })
}

/// Borrows a tunnel of another worker, or waits until some worker has one.
async fn without_tunnel(
    link: &Rc<PeerLink>,
    mut head: Opening<'_>,
    mut body: Body,
    cx: &CallContext,
) -> Result<Reply, CallError> {
    let bodiless = is_bodiless(head.call, &body);
    let timer = cx.worker.clock.timer();
    timer.arm(TUNNEL_WAIT);
    let mut elsewhere = link.lenders().changes();
    loop {
        elsewhere.mark_unchanged();
        let here = link.changed();
        if let Some(tunnel) = link.pick() {
            return over(&tunnel, head, body).await;
        }
        body = match bridge::open(&link.site, &head, bodiless, body, cx).await {
            Ok(reply) => return reply,
            Err(body) => body,
        };
        tokio::select! {
            () = here => {}
            _ = elsewhere.changed() => {}
            () = timer.wait() => {
                let detail = format!("no tunnel to site `{}`", link.site);
                return Err(CallError::new(FailureKind::Tunnel, detail));
            }
        }
        head.left = cx.left();
    }
}

/// Opens a call on this tunnel.
pub(super) fn open_on(tunnel: &Rc<Tunnel>, head: Opening<'_>, bodiless: bool) -> Result<Rc<Slot>, CallError> {
    let opened = tunnel.with(|session| session.open(head, bodiless, Instant::now()));
    opened
        .map(|id| Slot::new(tunnel, id, Side::Calling))
        .map_err(|error| unopened(&error))
}

fn unopened(error: &OpenError) -> CallError {
    let (kind, retry) = match error {
        // Of the call itself: it would not fit anywhere.
        OpenError::HeadTooLarge | OpenError::Length => (FailureKind::TooLarge, Retry::Never),
        OpenError::TooManyCalls | OpenError::Stalled => (FailureKind::Breaker, Retry::Unprocessed),
        OpenError::NotReady | OpenError::GoingAway | OpenError::IdsExhausted => {
            (FailureKind::Tunnel, Retry::Unprocessed)
        }
    };
    CallError::new(kind, format!("opening a call on its tunnel: {error}")).retry(retry)
}

/// Moves the body on, and looks for the head of the reply.
pub(super) fn poll_reply(
    slot: &Slot,
    rest: &mut Pump,
    held: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<ReplyHead, CallError>> {
    if !held && !rest.is_done() {
        match rest.poll(cx) {
            // The client broke its request. The sink has been told.
            Poll::Ready(Err(PumpError::Source(broken))) => return Poll::Ready(Err(broken.into())),
            // The call is over; the slot says how.
            Poll::Ready(Err(PumpError::Sink(_))) => *rest = Pump::stuck(),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }
    slot.poll_reply(cx).map_err(unanswered)
}

fn unanswered(why: Unanswered) -> CallError {
    match why {
        Unanswered::Failed(failure) => {
            let mut error = CallError::new(failure.kind, failure.detail);
            error.retry_after = failure.retry_after;
            error
        }
        Unanswered::Reset(Reset::Refused) => {
            CallError::new(FailureKind::Overload, "the other site refused the call").retry(Retry::Unprocessed)
        }
        Unanswered::Reset(reset) => broken_by_reset(reset).into(),
        Unanswered::Lost => {
            CallError::new(FailureKind::Tunnel, "the tunnel was lost before the reply").retry(Retry::Idempotent)
        }
    }
}
