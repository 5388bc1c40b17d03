//! A call from another site: authenticated by its tunnel, then served on the same path as every other.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use causeway_protocols::tunnel::{CallId, Ended, Failure, OpenHead};
use causeway_protocols::{FailureKind, Protocol, Reset};
use futures_util::FutureExt;

use super::caller;
use super::stream::{Side, Slot, TunnelBody, TunnelOutlet};
use super::tunnel::Tunnel;
use crate::call::{Call, Reply};
use crate::context::{Arrival, CallContext, Caller};
use crate::edge;
use crate::error::CallError;
use crate::listen::exchange::Exchange;
use crate::observe::Version;
use crate::payload::{Body, Outlet};
use crate::serve::serve;
use crate::worker::Worker;

/// Serves a call in a task of its own.
pub fn start(tunnel: &Rc<Tunnel>, id: CallId, head: OpenHead, end: bool, worker: &Rc<Worker>) {
    let slot = Slot::new(tunnel, id, Side::Called);
    // A tunnel that is going away still serves what was sent before its peer knew.
    let Some(guard) = tunnel.work() else {
        tunnel.with(|session| session.reset(id, Reset::Refused));
        return;
    };
    let export: Rc<str> = Rc::from(head.export.as_str());
    slot.of_export(Rc::clone(&export));
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let call = AssertUnwindSafe(answer(&slot, head, export, end, &worker));
        if call.catch_unwind().await.is_err() {
            tracing::error!(peer = %slot.tunnel().peer.identity(), "a call panicked");
            slot.tunnel().with(|session| session.reset(slot.id(), Reset::Internal));
        }
        drop(guard);
    });
}

async fn answer(slot: &Rc<Slot>, head: OpenHead, export: Rc<str>, end: bool, worker: &Rc<Worker>) {
    let started = Instant::now();
    let OpenHead {
        call: mut head,
        left,
        attempts,
        mut visited,
        caller,
        trace,
        request_id,
        urgency,
        ..
    } = head;
    let tunnel = slot.tunnel();
    // What a site says of a caller counts on the first hop only: another's word would be hearsay.
    let first_hop = visited.iter().all(|site| **site == *tunnel.site);
    let told = caller.as_deref().map(caller::decode).unwrap_or_default();
    let principal = told.principal.filter(|_| first_hop).map(Arc::new);
    // The receiver itself says who called it.
    if visited.last().is_none_or(|site| **site != *tunnel.site) {
        visited.push(tunnel.site.to_string());
    }
    edge::strip_request(&mut head.fields);
    if let Some(id) = &request_id {
        edge::request_id::put(&mut head.fields, id);
    }
    let record = worker.observer.begin_from_site(&mut head, trace);
    let caller = Caller::Site {
        identity: tunnel.peer.identity().clone(),
        export,
        address: told.address,
    };
    let arrival = Arrival {
        head: &head,
        caller,
        version: Version::Tunnel,
        request_id: request_id.map(String::into_boxed_str),
        started,
        left,
        attempts,
        visited,
        record,
    };
    let context = CallContext::new(worker, worker.world(), arrival);
    if let Some(principal) = principal {
        slot.of_principal(Arc::clone(&principal));
        context.principal.set(principal).ok();
        context.arm(context.left());
    }
    context.priority.set(super::call::priority(urgency));
    let body = if end && head.protocol != Protocol::WebSocket {
        Body::Empty
    } else {
        Body::Tunnel(Box::new(TunnelBody::new(Rc::clone(slot), head.hold)))
    };
    // Boxed by itself, so that the room of the path is given back before the body flows: that may take hours.
    let Some(served) = until_given_up(slot, Box::pin(serve(Call { head, body }, &context)).as_mut()).await else {
        let error = CallError::new(FailureKind::Cancelled, "the other site gave the call up");
        context.record.borrow_mut().failed(&error);
        return;
    };
    let mut reply = match served {
        Ok(reply) => reply,
        Err(error) => {
            // The kind crosses, not a page: the entry site speaks the client's protocol.
            let failure = Failure {
                retry_after: error.retry_after,
                ..Failure::new(error.kind, error.detail)
            };
            if tunnel
                .with(|session| session.end(slot.id(), &Ended::Failed(failure)))
                .is_err()
            {
                tunnel.with(|session| session.reset(slot.id(), Reset::Internal));
            }
            return;
        }
    };
    edge::strip_reply(&mut reply.head);
    context
        .record
        .borrow_mut()
        .answered(reply.head.status, &reply.head.fields);
    if let Err(error) = tunnel.with(|session| session.reply(slot.id(), &reply.head)) {
        let error = CallError::new(
            FailureKind::Protocol,
            format!("the head of the reply does not cross: {error}"),
        );
        let failure = Failure::new(error.kind, error.detail.clone());
        context.record.borrow_mut().failed(&error);
        // If the call is gone already, nobody waits for this.
        tunnel
            .with(|session| session.end(slot.id(), &Ended::Failed(failure)))
            .ok();
        return;
    }
    let outlet = Outlet::Tunnel(TunnelOutlet::new(Rc::clone(slot)));
    let mut exchange = Exchange::new(reply, outlet, context);
    std::future::poll_fn(|cx| {
        if exchange.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        slot.poll_given_up(cx).map(|broken| drop(exchange.cut(broken)))
    })
    .await;
}

/// Runs the call unless the calling side gives up first; then dropping it cancels it at the backend.
async fn until_given_up(
    slot: &Slot,
    mut call: Pin<&mut impl Future<Output = Result<Reply, CallError>>>,
) -> Option<Result<Reply, CallError>> {
    std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(served) => Poll::Ready(Some(served)),
        Poll::Pending => slot.poll_given_up(cx).map(|_| None),
    })
    .await
}
