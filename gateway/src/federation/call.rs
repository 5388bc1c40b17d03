//! A call to another site: opened on a tunnel, answered over it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use causeway_config as config;
use causeway_protocols::tunnel::{OpenError, OpenHead, TraceParent};
use causeway_protocols::{CallHead, FailureKind, Length, Protocol, ReplyHead, Reset};

use super::stream::{Side, Slot, TunnelBody, TunnelOutlet, Unanswered, broken_by_reset};
use super::tunnel::Tunnel;
use super::{PeerLink, caller};
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
    let tunnel = match link.pick() {
        Some(tunnel) => tunnel,
        None => Box::pin(wait(link, cx)).await?,
    };
    let bodiless = body.is_empty() && head.length == Length::Empty && head.protocol != Protocol::WebSocket;
    let slot = start(&tunnel, export, head, bodiless, trace, cx)?;
    let mut rest = if bodiless {
        Pump::done()
    } else {
        Pump::new(body, Outlet::Tunnel(TunnelOutlet::new(Rc::clone(&slot))))
    };
    // As towards a backend: what a WebSocket client sends too early waits until it has been let in.
    let held = head.protocol == Protocol::WebSocket;
    let reply = std::future::poll_fn(|task| poll_reply(&slot, &mut rest, held, task)).await?;
    if held && reply.status.as_u16() != 101 {
        rest = Pump::done();
    }
    Ok(Reply {
        head: reply,
        body: Body::Tunnel(Box::new(TunnelBody::new(slot, false))),
        rest,
        lease: None,
    })
}

async fn wait(link: &PeerLink, cx: &CallContext) -> Result<Rc<Tunnel>, CallError> {
    let timer = cx.worker.clock.timer();
    timer.arm(TUNNEL_WAIT);
    loop {
        let changed = link.changed();
        if let Some(tunnel) = link.pick() {
            return Ok(tunnel);
        }
        tokio::select! {
            () = changed => {}
            () = timer.wait() => {
                let detail = format!("no tunnel to site `{}`", link.site);
                return Err(CallError::new(FailureKind::Tunnel, detail));
            }
        }
    }
}

fn start(
    tunnel: &Rc<Tunnel>,
    export: &config::Name,
    head: &CallHead,
    bodiless: bool,
    trace: Option<[u8; 55]>,
    cx: &CallContext,
) -> Result<Rc<Slot>, CallError> {
    let mut visited = cx.visited.clone();
    visited.push(cx.world.snapshot.config.site.name.to_string());
    let open = OpenHead {
        call: head.clone(),
        export: export.to_string(),
        left: cx.left(),
        attempts: cx.attempts.get(),
        visited,
        caller: caller::encode(cx.caller.address()),
        trace: trace.and_then(|trace| TraceParent::parse(&trace)),
        request_id: None,
        urgency: None,
    };
    let opened = tunnel.with(|session| session.open(&open, bodiless, Instant::now()));
    match opened {
        Ok(id) => Ok(Slot::new(tunnel, id, Side::Calling)),
        Err(error @ (OpenError::HeadTooLarge | OpenError::Length)) => Err(CallError::new(
            FailureKind::TooLarge,
            format!("opening a call on its tunnel: {error}"),
        )),
        Err(error @ (OpenError::TooManyCalls | OpenError::Stalled)) => {
            let detail = format!("opening a call on its tunnel: {error}");
            Err(CallError::new(FailureKind::Breaker, detail).retry(Retry::Unprocessed))
        }
        Err(error) => {
            let detail = format!("opening a call on its tunnel: {error}");
            Err(CallError::new(FailureKind::Tunnel, detail).retry(Retry::Unprocessed))
        }
    }
}

fn poll_reply(slot: &Slot, rest: &mut Pump, held: bool, cx: &mut Context<'_>) -> Poll<Result<ReplyHead, CallError>> {
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
