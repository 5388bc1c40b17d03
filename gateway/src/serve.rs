//! The straight path: every call, from any listener or tunnel, in any protocol.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use causeway_protocols::{FailureKind, Protocol};

use crate::call::{Call, Reply};
use crate::context::{CallContext, Caller};
use crate::dispatch::{self, Way, dispatch};
use crate::error::CallError;
use crate::refuse::refuse;
use crate::{aggregate, cache, canary, edge, mirror, policy, translate};

/// What a client is told to wait when there is no memory for its call.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Serves one call up to the head of its reply.
///
/// # Errors
/// What went wrong; [`refuse`](crate::refuse) makes the client's reply of it, at the site where the client is.
pub async fn serve(call: Call, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    if cx.worker.shared.memory.is_full() {
        cx.worker.observer.shared().metrics.limit_hit.with(&["memory"]).inc();
        let error = CallError::new(
            FailureKind::Overload,
            "the process uses more than 80 percent of limits.memory",
        );
        let error = error.after(COME_AGAIN);
        cx.record.borrow_mut().failed(&error);
        return Err(error);
    }
    let served = within_deadline(pin!(answer(call, cx)), cx).await;
    if let Err(error) = &served {
        cx.record.borrow_mut().failed(error);
    }
    served
}

/// Serves one call of a client of ours. Whatever goes wrong before its reply has a head becomes a reply here.
pub async fn serve_client(call: Call, cx: &Rc<CallContext>) -> Reply {
    let refused = |error: &CallError| {
        if let Some(reply) = translate::refuse(cx.dialect, error) {
            return reply;
        }
        let trace_id = cx.record.borrow().trace_id();
        let mut reply = refuse(cx.protocol, error, Some(&trace_id));
        if cx.protocol != Protocol::Grpc {
            edge::refused(&mut reply.head, error, cx);
        }
        reply
    };
    let mut reply = match serve(call, cx).await {
        Ok(reply) => reply,
        Err(error) => refused(&error),
    };
    if let Err(error) = policy::shape(&mut reply, cx).await {
        cx.record.borrow_mut().failed(&error);
        reply = refused(&error);
    }
    reply
}

async fn answer(mut call: Call, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    #[cfg(test)]
    tests::panic_if_asked(&call.head);
    let world = Rc::clone(&cx.world);
    let mut keeping = None;
    let mut way = match &cx.caller {
        // For a call from a site the named export is the route: host and path never choose it there.
        Caller::Site { identity, export, .. } => {
            world.exported(export, identity, cx.principal.get().map(|principal| &**principal))?
        }
        Caller::Client { .. } => {
            let found = match policy::cors::route_of_preflight(&world.snapshot, &call.head) {
                Some(found) => found,
                None => world
                    .snapshot
                    .routes
                    .find(&call.head)
                    .map_err(|missed| dispatch::missed(&missed, &call.head))?,
            };
            cx.record.borrow_mut().routed(found.index);
            cx.route.set(Some(found.index));
            policy::remember(&found, &call.head, cx);
            cx.priority.set(found.route.priority);
            keeping = cache::Keeping::begin(found.index, &call.head, cx);
            let (way, target) = world.way(&found, &call.head)?;
            if let Some(target) = target {
                call.head.target = target;
            }
            way
        }
    };
    if let Some(reply) = policy::admit(&mut call, &way, cx).await? {
        return Ok(*reply);
    }
    if translate::mux::is_asked(&call.head) && matches!(way, Way::Service(_)) {
        // The socket is ours; each call on it takes this path by itself.
        return Ok(translate::mux::open(call, cx));
    }
    let stay = canary::aim(&mut way, &call.head, cx)?;
    edge::send(&mut call.head, cx);
    let mirroring = mirror::begin(&mut call, cx);
    let mut reply = match way {
        Way::Aggregate(ask) => Box::pin(aggregate::answer(&ask, call, cx)).await?,
        Way::Fixed(reply) => *reply,
        Way::Service(aim) => match keeping {
            // Boxed, so that other calls do not hold its room.
            Some(keeping) => Box::pin(keeping.answer(call, aim, cx)).await?,
            None => dispatch(call, &aim, cx).await?,
        },
    };
    if let Some(mirroring) = mirroring {
        mirroring.watch(&mut reply);
    }
    if let Some(stay) = stay {
        stay.tell(&mut reply.head);
    }
    Ok(reply)
}

/// Runs the path up to the reply's head, until the client's deadline or the one of the service, or until the proof of who
/// makes the call ends.
pub(crate) async fn within_deadline(
    mut path: Pin<&mut impl Future<Output = Result<Reply, CallError>>>,
    cx: &CallContext,
) -> Result<Reply, CallError> {
    std::future::poll_fn(|task| {
        if let Poll::Ready(done) = path.as_mut().poll(task) {
            return Poll::Ready(done);
        }
        if cx.timer.poll(task).is_ready() {
            return Poll::Ready(Err(cx.rang().into()));
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
