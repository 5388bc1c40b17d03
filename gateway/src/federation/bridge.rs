//! The bridge between workers: one that has no tunnel to a site borrows one of a worker that has.
//!
//! In steady state no call comes here, since every worker has tunnels of its own. It is for the time in which they are made
//! one after the other, for a gateway with more workers than tunnels, and for one with so many peers that each has a tunnel
//! at some workers only. Such a call costs two threads and a channel each way, so it is counted.
//!
//! The call stays with its worker: its clock, its record and its policies. Only an [`Order`] goes over, and pieces of bodies.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use causeway_config as config;
use causeway_protocols::tunnel::{OpenHead, Opening};
use causeway_protocols::{End, FailureKind, Protocol, ReplyHead};
use rand::seq::IndexedRandom;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::PollSender;

use super::call::{open_on, poll_reply};
use super::stream::{TunnelBody, TunnelOutlet};
use super::tunnel::Tunnel;
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::{CallError, Retry};
use crate::payload::{Body, Broken, Chunk, Outlet, Pump, PumpError};
use crate::worker::{Command, Permit, Shared, Worker};

/// Pieces on their way over, for each direction of a call.
const PIECES: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 16 * 1024;
/// Calls of the whole gateway that borrow a tunnel; others wait for one of their own.
const BORROWED: usize = 1024;

/// Which workers have tunnels to which site, and how they are asked.
#[derive(Debug, Default)]
pub struct Lenders {
    /// Weak: a worker ends when nobody else can tell it anything.
    workers: OnceLock<Vec<mpsc::WeakSender<Command>>>,
    /// Only looked at where a tunnel comes or goes, or a worker has none.
    having: Mutex<HashMap<config::Name, Vec<usize>>>,
    changed: watch::Sender<()>,
    borrowed: AtomicUsize,
}

impl Lenders {
    /// Makes the workers known, in the order of their numbers.
    pub fn are<'a>(&self, workers: impl Iterator<Item = &'a mpsc::Sender<Command>>) {
        self.workers.set(workers.map(mpsc::Sender::downgrade).collect()).ok();
    }

    /// A worker has tunnels to a site now, or none any more.
    pub fn note(&self, site: &config::Name, worker: usize, has_tunnels: bool) {
        let mut having = self.having.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = having.entry(config::Name::clone(site)).or_default();
        let changed = match (workers.iter().position(|other| *other == worker), has_tunnels) {
            (None, true) => {
                workers.push(worker);
                true
            }
            (Some(at), false) => {
                workers.swap_remove(at);
                true
            }
            (Some(_), true) | (None, false) => false,
        };
        if workers.is_empty() {
            having.remove(site);
        }
        drop(having);
        if changed {
            self.changed.send_replace(());
        }
    }

    /// Sees every change from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether some worker has a tunnel to this site.
    pub fn has(&self, site: &config::Name) -> bool {
        let having = self.having.lock().unwrap_or_else(PoisonError::into_inner);
        having.contains_key(site)
    }

    /// A worker with a tunnel to this site, any of them.
    fn lender(&self, site: &config::Name) -> Option<mpsc::Sender<Command>> {
        let having = self.having.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = having.get(site)?;
        let at = workers.choose(&mut rand::rng())?;
        self.workers.get()?.get(*at)?.upgrade()
    }
}

/// A call for another worker's tunnel.
#[derive(Debug)]
pub struct Order {
    site: config::Name,
    head: OpenHead,
    bodiless: bool,
    up: mpsc::Receiver<Piece>,
    down: mpsc::Sender<Piece>,
    reply: oneshot::Sender<Result<ReplyHead, CallError>>,
    _permit: Permit,
}

type Piece = Result<Chunk, Broken>;

/// Opens a call over the tunnel of another worker, and waits for the head of its reply while its body flows; none, and the
/// body back, when no other worker has one.
///
/// # Errors
/// As for a call on a tunnel of one's own.
pub async fn open(
    site: &config::Name,
    head: &Opening<'_>,
    bodiless: bool,
    body: Body,
    cx: &CallContext,
) -> Result<Result<Reply, CallError>, Body> {
    let shared = &cx.worker.shared;
    let lenders = &shared.federation.lenders;
    let Some(lender) = lenders.lender(site) else {
        return Err(body);
    };
    let Some(permit) = Permit::take(shared, |shared: &Shared| &shared.federation.lenders.borrowed, BORROWED) else {
        cx.worker
            .observer
            .shared()
            .metrics
            .limit_hit
            .with(&["borrowed_tunnels"])
            .inc();
        return Err(body);
    };
    let (up, their_up) = mpsc::channel(PIECES);
    let (their_down, down) = mpsc::channel(PIECES);
    let (reply, answered) = oneshot::channel();
    let order = Order {
        site: config::Name::clone(site),
        head: head.to_owned(),
        bodiless,
        up: their_up,
        down: their_down,
        reply,
        _permit: permit,
    };
    if lender.try_send(Command::Borrow(Box::new(order))).is_err() {
        return Err(body);
    }
    cx.worker.observer.shared().metrics.tunnel_borrowed.with(&[site]).inc();
    let rest = if bodiless {
        Pump::done()
    } else {
        Pump::new(body, Outlet::Bridge(BridgeOutlet::new(up)))
    };
    Ok(reply_of(answered, rest, down, head.call.protocol).await)
}

async fn reply_of(
    mut answered: oneshot::Receiver<Result<ReplyHead, CallError>>,
    mut rest: Pump,
    down: mpsc::Receiver<Piece>,
    protocol: Protocol,
) -> Result<Reply, CallError> {
    // As on a tunnel: what a WebSocket client sends too early waits until it has been let in.
    let held = protocol == Protocol::WebSocket;
    let head = std::future::poll_fn(|cx| {
        if !held && !rest.is_done() {
            match rest.poll(cx) {
                Poll::Ready(Err(PumpError::Source(broken))) => return Poll::Ready(Err(broken.into())),
                Poll::Ready(Err(PumpError::Sink(_))) => rest = Pump::stuck(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        std::pin::Pin::new(&mut answered).poll(cx).map(|answered| {
            let gone = || CallError::new(FailureKind::Tunnel, "the worker with the tunnel is gone");
            answered.unwrap_or_else(|_| Err(gone().retry(Retry::Idempotent)))
        })
    })
    .await?;
    if held && head.status.as_u16() != 101 {
        rest = Pump::done();
    }
    Ok(Reply {
        head,
        body: Body::Bridge(BridgeBody { pieces: down }),
        rest,
        lease: None,
        link: None,
    })
}

/// Serves an order of another worker on a tunnel of this one.
pub fn lend(order: Order, worker: &Rc<Worker>) {
    let world = worker.world();
    let tunnel = world.link(&order.site).and_then(|link| link.pick());
    let guard = tunnel.as_ref().and_then(|tunnel| tunnel.work());
    let (Some(tunnel), Some(guard)) = (tunnel, guard) else {
        let error = CallError::new(
            FailureKind::Tunnel,
            format!("the tunnel to site `{}` is gone", order.site),
        );
        order.reply.send(Err(error.retry(Retry::Unprocessed))).ok();
        return;
    };
    tokio::task::spawn_local(async move {
        let gone = order.down.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = carry(order, tunnel) => {}
        }
        drop(guard);
    });
}

/// Moves a call between the bridge and its tunnel. Dropped when the call's own worker has given it up, which resets it.
async fn carry(order: Order, tunnel: Rc<Tunnel>) {
    let slot = match open_on(&tunnel, (&order.head).into(), order.bodiless) {
        Ok(slot) => slot,
        Err(error) => return drop(order.reply.send(Err(error))),
    };
    let mut rest = if order.bodiless {
        Pump::done()
    } else {
        let body = Body::Bridge(BridgeBody { pieces: order.up });
        Pump::new(body, Outlet::Tunnel(TunnelOutlet::new(Rc::clone(&slot))))
    };
    let answered = std::future::poll_fn(|cx| poll_reply(&slot, &mut rest, false, cx)).await;
    let over = answered.is_err();
    if order.reply.send(answered).is_err() || over {
        return;
    }
    let body = Body::Tunnel(Box::new(TunnelBody::new(slot, false)));
    let mut down = Pump::new(body, Outlet::Bridge(BridgeOutlet::new(order.down)));
    std::future::poll_fn(|cx| {
        if !rest.is_done() {
            match rest.poll(cx) {
                Poll::Ready(Err(PumpError::Source(broken))) => {
                    down.abort(&broken);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(PumpError::Sink(_))) => rest = Pump::stuck(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        // The end of the reply is the end of the call, and what broke the reply has been passed on.
        down.poll(cx).map(drop)
    })
    .await;
}

/// A body that comes over the bridge.
#[derive(Debug)]
pub struct BridgeBody {
    pieces: mpsc::Receiver<Piece>,
}

impl BridgeBody {
    /// The next piece.
    ///
    /// # Errors
    /// What broke the body at the other worker, or that the other worker let go of it.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        self.pieces
            .poll_recv(cx)
            .map(|piece| piece.unwrap_or_else(|| Err(Broken::new(FailureKind::Cancelled, "the call was given up"))))
    }
}

/// A body that goes over the bridge.
#[derive(Debug)]
pub struct BridgeOutlet {
    pieces: PollSender<Piece>,
}

impl BridgeOutlet {
    fn new(pieces: mpsc::Sender<Piece>) -> Self {
        Self {
            pieces: PollSender::new(pieces),
        }
    }

    /// Takes bytes from the front of `data`.
    ///
    /// # Errors
    /// When nobody takes them any more.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<(), Broken>> {
        while !data.is_empty() {
            ready!(self.poll_room(cx))?;
            let piece = data.split_to(data.len().min(PIECE));
            self.put(Ok(Chunk::Data(piece)))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the direction.
    ///
    /// # Errors
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_end(&mut self, cx: &mut Context<'_>, end: &mut Option<End>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_room(cx))?;
        Poll::Ready(self.put(Ok(Chunk::End(end.take().unwrap_or_default()))))
    }

    /// Ends the direction short. Where there is no room to say why, the other side sees that the end is missing.
    pub fn abort(&mut self, broken: &Broken) {
        if let Some(pieces) = self.pieces.get_ref() {
            pieces.try_send(Err(broken.clone())).ok();
        }
        self.pieces.close();
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.pieces.poll_reserve(cx).map_err(|_| gone())
    }

    fn put(&mut self, piece: Piece) -> Result<(), Broken> {
        self.pieces.send_item(piece).map_err(|_| gone())
    }
}

fn gone() -> Broken {
    Broken::new(FailureKind::Tunnel, "the call is gone from the other worker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenders_are_those_with_tunnels() {
        let lenders = Lenders::default();
        let (first, _first) = mpsc::channel(1);
        let (second, _second) = mpsc::channel(1);
        lenders.are([&first, &second].into_iter());
        let site = config::Name::from("azure");
        // A link that never had a tunnel.
        lenders.note(&site, 0, false);
        assert!(lenders.lender(&site).is_none());
        lenders.note(&site, 1, true);
        lenders.note(&site, 1, true);
        assert!(lenders.lender(&site).unwrap().same_channel(&second));
        assert!(lenders.lender(&config::Name::from("aws")).is_none());
        lenders.note(&site, 0, true);
        lenders.note(&site, 0, false);
        assert!(lenders.lender(&site).unwrap().same_channel(&second));
        lenders.note(&site, 1, false);
        assert!(lenders.lender(&site).is_none());
        // A worker that has stopped in the meantime.
        lenders.note(&site, 7, true);
        assert!(lenders.lender(&site).is_none());
    }

    #[tokio::test]
    async fn a_slow_reader_stops_the_sender_and_the_end_comes_whole() {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (mut outlet, mut body) = (BridgeOutlet::new(sender), BridgeBody { pieces: receiver });
        let mut data = Bytes::from(vec![7; (PIECES + 2) * PIECE]);
        let stopped = std::future::poll_fn(|cx| Poll::Ready(outlet.poll_send(cx, &mut data))).await;
        assert!(stopped.is_pending(), "nothing is queued without bound");
        assert_eq!(data.len(), 2 * PIECE);
        let mut got = 0;
        while got < PIECES * PIECE {
            let Ok(Chunk::Data(piece)) = std::future::poll_fn(|cx| body.poll_chunk(cx)).await else {
                panic!("data first");
            };
            got += piece.len();
        }
        std::future::poll_fn(|cx| outlet.poll_send(cx, &mut data))
            .await
            .unwrap();
        std::future::poll_fn(|cx| outlet.poll_end(cx, &mut None)).await.unwrap();
        for _ in 0..2 {
            let piece = std::future::poll_fn(|cx| body.poll_chunk(cx)).await.unwrap();
            assert!(matches!(piece, Chunk::Data(piece) if piece.len() == PIECE));
        }
        let end = std::future::poll_fn(|cx| body.poll_chunk(cx)).await.unwrap();
        assert!(matches!(end, Chunk::End(_)));
        drop(outlet);
        let broken = std::future::poll_fn(|cx| body.poll_chunk(cx)).await.unwrap_err();
        assert_eq!(broken.kind, FailureKind::Cancelled, "no end is not an end");
    }

    #[tokio::test]
    async fn what_broke_a_body_is_told_over_the_bridge() {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (mut outlet, mut body) = (BridgeOutlet::new(sender), BridgeBody { pieces: receiver });
        outlet.abort(&Broken::new(FailureKind::TooLarge, "too large"));
        let broken = std::future::poll_fn(|cx| body.poll_chunk(cx)).await.unwrap_err();
        assert_eq!(broken.kind, FailureKind::TooLarge);
        drop(body);
        let mut data = Bytes::from_static(b"x");
        let refused = std::future::poll_fn(|cx| outlet.poll_send(cx, &mut data)).await;
        assert_eq!(refused.unwrap_err().kind, FailureKind::Tunnel);
    }
}
