//! A traffic thread: one current-thread runtime with its own connections, pools and tunnels.
//!
//! Nothing of a worker is shared with another; what it is told comes over one bounded channel.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use causeway_config::{self as config, Destination};
use causeway_pki::Identity;
use causeway_protocols::{CallHead, FailureKind, Fields, Length, ReplyHead, name};
use http::StatusCode;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, watch};

use crate::call::Reply;
use crate::calls::OpenCalls;
use crate::clock::Clock;
use crate::dispatch::{Aim, Upstream, Way};
use crate::drain::{Drain, Guard, Stage};
use crate::error::CallError;
use crate::federation::tunnel::Tunnel;
use crate::federation::{self, Established, PeerLink};
use crate::listen::{self, Listening, Origin};
use crate::memory::Budget;
use crate::observe::{Observer, Telemetry};
use crate::payload::Body;
use crate::policy;
use crate::route::{self, Found};
use crate::service::Service;
use crate::snapshot::{Snapshot, Target};

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// A new configuration.
    Publish(Arc<Snapshot>),
    /// Accept connections on this socket, which is bound to this address, for the listener of this name.
    Listen(std::net::TcpListener, SocketAddr, config::Name),
    /// The listener of this bound address has this name now.
    Rename(SocketAddr, config::Name),
    /// Stop accepting on the socket that is bound to this address.
    Unlisten(SocketAddr),
    /// A tunnel that has been shaken hands on.
    Tunnel(Box<Established>),
    /// Look at the certificates of all tunnels again, and close those that are trusted no more.
    Recheck,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Stops the gateway in order.
    pub drain: Drain,
    /// Client connections of the gateway.
    pub connections: AtomicUsize,
    /// TLS handshakes of clients under way.
    pub handshakes: AtomicUsize,
    /// Links to the other sites.
    pub federation: federation::Shared,
    /// Whether there is memory for new calls.
    pub memory: Budget,
    /// Counts, logs and traces.
    pub telemetry: Arc<Telemetry>,
}

/// What a worker serves with: its snapshot and what it keeps of its own for it.
#[derive(Debug)]
pub struct World {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    services: Vec<Rc<Service>>,
    links: Vec<Rc<PeerLink>>,
}

/// A socket that is accepted on, and what ends that when it is dropped.
type Accepting = (Rc<Listening>, watch::Sender<bool>);

/// One traffic thread.
#[derive(Debug)]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// Drives all timeouts.
    pub clock: Rc<Clock>,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Counts, logs and traces calls.
    pub observer: Observer,
    world: RefCell<Rc<World>>,
    /// The calls it has open.
    pub calls: OpenCalls,
    listening: RefCell<HashMap<SocketAddr, Accepting>>,
    tunnels: RefCell<Vec<Weak<Tunnel>>>,
    guard: RefCell<Option<Guard>>,
    ids: Cell<u64>,
    /// Tasks that want to know when the worker begins to drain.
    drain_waits: RefCell<HashMap<u64, Waker>>,
}

/// A worker as seen from the control runtime.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Where it is told what to do.
    pub commands: mpsc::Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts a worker. It serves nothing until it is told to.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(index: usize, snapshot: Arc<Snapshot>, shared: Arc<Shared>) -> std::io::Result<Self> {
        // More than a whole configuration with 1,000 listeners would need at once.
        let (commands, receiver) = mpsc::channel(1024);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let runtime = LocalRuntime::new();
                match runtime {
                    Ok(runtime) => runtime.block_on(Worker::run(index, snapshot, shared, receiver)),
                    Err(error) => tracing::error!(%error, "a worker got no runtime"),
                }
            })?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Waits for its thread. The command channel must be closed or the drain be cutting.
    pub fn join(mut self) {
        drop(self.commands);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker panicked");
        }
    }
}

impl Worker {
    async fn run(index: usize, snapshot: Arc<Snapshot>, shared: Arc<Shared>, mut commands: mpsc::Receiver<Command>) {
        let clock = Clock::new();
        tokio::task::spawn_local(Rc::clone(&clock).run());
        let guard = shared.drain.guard();
        let observer = Observer::new(Arc::clone(&shared.telemetry), &snapshot.config);
        let world = Rc::new(World::build(snapshot, None, &clock));
        let worker = Rc::new(Self {
            index,
            clock,
            shared,
            observer,
            world: RefCell::new(world),
            calls: OpenCalls::default(),
            listening: RefCell::default(),
            tunnels: RefCell::default(),
            guard: RefCell::new(Some(guard.clone())),
            ids: Cell::new(rand::random()),
            drain_waits: RefCell::default(),
        });
        tokio::task::spawn_local(sweep(Rc::downgrade(&worker)));
        let draining = guard.reached(Stage::Draining);
        let cutting = guard.reached(Stage::Cutting);
        // This one would keep the drain from ever finishing.
        drop(guard);
        tokio::pin!(draining, cutting);
        let mut serving = true;
        loop {
            tokio::select! {
                () = &mut cutting => break,
                () = &mut draining, if serving => {
                    serving = false;
                    worker.listening.borrow_mut().clear();
                    worker.guard.borrow_mut().take();
                    let waits: Vec<_> = worker.drain_waits.borrow_mut().drain().collect();
                    for (_, waker) in waits {
                        waker.wake();
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => worker.obey(command),
                    None => break,
                },
            }
        }
        // Everything that is left ends with this runtime.
        worker.calls.name_late();
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Publish(snapshot) => {
                let before = self.world();
                let world = Rc::new(World::build(snapshot, Some(&before), &self.clock));
                *self.world.borrow_mut() = Rc::clone(&world);
                for (listening, _) in self.listening.borrow().values() {
                    listening.renew(&world.snapshot);
                }
                // What guards an open call is the configuration of now, not the one that let it in.
                for tunnel in self.tunnels() {
                    tunnel.revoke(&world);
                }
            }
            Command::Listen(socket, address, name) => {
                let (stop, stopped) = watch::channel(false);
                let listening = Rc::new(Listening::new(address, &name, &self.world().snapshot));
                self.listening
                    .borrow_mut()
                    .insert(address, (Rc::clone(&listening), stop));
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => {
                        let accepting = listen::accept_loop(socket, listening, Rc::clone(self), stopped);
                        tokio::task::spawn_local(accepting);
                    }
                    Err(error) => tracing::error!(%error, %address, "a listener could not be taken over"),
                }
            }
            Command::Rename(address, name) => {
                if let Some((listening, _)) = self.listening.borrow().get(&address) {
                    listening.rename(&name, &self.world().snapshot);
                }
            }
            Command::Unlisten(address) => drop(self.listening.borrow_mut().remove(&address)),
            Command::Tunnel(established) => federation::tunnel::start(*established, self),
            Command::Recheck => {
                for tunnel in self.tunnels() {
                    tunnel.recheck(self);
                }
            }
        }
    }

    /// All tunnels of this worker, also those that take no new calls or whose peer was removed.
    fn tunnels(&self) -> Vec<Rc<Tunnel>> {
        let mut tunnels = self.tunnels.borrow_mut();
        tunnels.retain(|tunnel| tunnel.strong_count() > 0);
        tunnels.iter().filter_map(Weak::upgrade).collect()
    }

    /// A tunnel has been started here.
    pub fn has_tunnel(&self, tunnel: &Rc<Tunnel>) {
        let mut tunnels = self.tunnels.borrow_mut();
        tunnels.retain(|tunnel| tunnel.strong_count() > 0);
        tunnels.push(Rc::downgrade(tunnel));
    }

    /// The current configuration.
    pub fn world(&self) -> Rc<World> {
        Rc::clone(&self.world.borrow())
    }

    /// A guard to wait for stages with; it must not be kept while work goes on.
    pub fn guard(&self) -> Option<Guard> {
        self.guard.borrow().clone()
    }

    /// A guard for a piece of work; none when no new work is taken.
    pub fn guard_for_work(&self) -> Option<Guard> {
        self.guard()
    }

    /// The address of the client: that of the connection, or what trusted proxies say it is. They append, so the last
    /// address that is not one of theirs counts.
    pub fn client_address(&self, origin: &Origin, fields: &Fields) -> Option<IpAddr> {
        let peer = origin.peer.ip();
        let world = self.world();
        let listener = world
            .snapshot
            .config
            .listeners
            .iter()
            .find(|listener| *listener.name == *origin.listener);
        let Some(proxies) = listener
            .map(|listener| &listener.trusted_proxies)
            .filter(|proxies| !proxies.is_empty())
        else {
            return Some(peer);
        };
        let trusted = |address: IpAddr| {
            proxies
                .iter()
                .any(|network| listen::address::contains(network, address))
        };
        if !trusted(peer) {
            return Some(peer);
        }
        let stated = fields.all(name::X_FORWARDED_FOR).collect::<Vec<_>>();
        let mut client = peer;
        for text in stated.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
            let parsed = std::str::from_utf8(text.trim_ascii())
                .ok()
                .and_then(|text| text.parse().ok());
            let Some(address) = parsed else { break };
            client = address;
            if !trusted(address) {
                break;
            }
        }
        Some(client)
    }

    /// Something that is ready when the worker begins to drain.
    pub fn wait_for_drain(self: &Rc<Self>) -> DrainWait {
        DrainWait {
            worker: Rc::clone(self),
            id: self.next_id(),
        }
    }

    /// A number that no other call of this worker has.
    pub fn next_id(&self) -> u64 {
        self.ids.set(self.ids.get().wrapping_add(1));
        self.ids.get()
    }
}

/// Waits for the drain of a worker. Cheaper than a [`Guard`] where there are many: nothing until it is polled.
#[derive(Debug)]
pub struct DrainWait {
    worker: Rc<Worker>,
    id: u64,
}

impl DrainWait {
    /// Ready once the worker drains.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.worker.guard.borrow().is_none() {
            return Poll::Ready(());
        }
        let mut waits = self.worker.drain_waits.borrow_mut();
        match waits.get_mut(&self.id) {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            Some(waker) => *waker = cx.waker().clone(),
            None => drop(waits.insert(self.id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for DrainWait {
    fn drop(&mut self) {
        self.worker.drain_waits.borrow_mut().remove(&self.id);
    }
}

/// Closes idle backend connections, once a second.
async fn sweep(worker: Weak<Worker>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        let Some(worker) = worker.upgrade() else { return };
        worker.observer.flush();
        for service in &worker.world().services {
            service.sweep();
        }
    }
}

impl World {
    fn build(snapshot: Arc<Snapshot>, before: Option<&Self>, clock: &Rc<Clock>) -> Self {
        let kept = |name: &str| {
            before.and_then(|before| before.services.iter().find(|service| *service.config().name == *name))
        };
        let services = snapshot
            .services
            .iter()
            .map(|spec| match kept(&spec.config.name) {
                Some(old) => Rc::new(Service::renewed(Arc::clone(spec), Rc::clone(clock), old)),
                None => Rc::new(Service::new(Arc::clone(spec), Rc::clone(clock))),
            })
            .collect();
        let linked =
            |peer: &config::Peer| before.and_then(|before| before.links.iter().find(|link| link.site == peer.site));
        let links = snapshot
            .config
            .peers
            .iter()
            .map(|peer| {
                linked(peer)
                    .cloned()
                    .unwrap_or_else(|| Rc::new(PeerLink::new(config::Name::clone(&peer.site))))
            })
            .collect();
        Self {
            snapshot,
            services,
            links,
        }
    }

    /// The tunnels to a site.
    pub fn link(&self, site: &str) -> Option<&Rc<PeerLink>> {
        self.links.iter().find(|link| *link.site == *site)
    }

    /// Where the route of a client's call leads; the head then says what is forwarded.
    ///
    /// # Errors
    /// When a rewrite makes a path that no client could ask for.
    pub fn way(
        &self,
        found: &Found<'_>,
        head: &CallHead,
    ) -> Result<(Way, Option<causeway_protocols::Target>), CallError> {
        let route = found.route;
        let bad = |error: causeway_protocols::TargetError| CallError::new(FailureKind::BadRequest, error.to_string());
        let split = match &route.to {
            Destination::Redirect { status, location } => {
                let location = route::location(location, route, &found.captures, &head.target).map_err(bad)?;
                return Ok((Way::Fixed(Box::new(redirect(*status, &location))), None));
            }
            Destination::Fixed { status, headers, body } => {
                return Ok((Way::Fixed(Box::new(fixed(*status, headers, body))), None));
            }
            Destination::Split(split) => split,
        };
        let target = match route.rewrite {
            Some(_) => Some(route::rewrite(route, &found.captures, &head.target).map_err(bad)?),
            None => None,
        };
        let chosen = match split.as_slice() {
            [_] => 0,
            _ => {
                let picked = route::pick(split, rand::random());
                picked
                    .and_then(|picked| {
                        split
                            .iter()
                            .position(|target| std::ptr::eq(&raw const target.service, picked))
                    })
                    .unwrap_or(0)
            }
        };
        let nothing = || CallError::new(FailureKind::Internal, "the route leads nowhere");
        let leads = self
            .snapshot
            .targets
            .get(found.index)
            .and_then(|targets| targets.get(chosen))
            .ok_or_else(nothing)?;
        let export = &split.get(chosen).ok_or_else(nothing)?.service.service;
        let max_body = policy::max_body(Some(route), &self.snapshot.config.limits);
        let aim = match leads {
            Target::Local(at) => {
                let service = self.services.get(*at).ok_or_else(nothing)?;
                let spec = service.config();
                Aim {
                    to: Upstream::Local(Rc::clone(service)),
                    retry: route.retry.unwrap_or(spec.retry),
                    total: route.timeout.or(spec.timeouts.total),
                    max_body,
                    route: Some(found.index),
                }
            }
            Target::Remote(at) => {
                let link = self.links.get(*at).ok_or_else(nothing)?;
                Aim {
                    to: Upstream::Remote {
                        link: Rc::clone(link),
                        export: config::Name::clone(export),
                    },
                    retry: route.retry.unwrap_or(REMOTE_RETRY),
                    total: Some(route.timeout.unwrap_or(REMOTE_TOTAL)),
                    max_body,
                    route: Some(found.index),
                }
            }
        };
        Ok((Way::Service(aim), target))
    }

    /// Whether a site may use a service, so that what it has open may go on.
    pub fn exports(&self, export: &str, site: &str) -> bool {
        let index = self.snapshot.service_index.get(export);
        let service = index.and_then(|at| self.snapshot.config.services.get(*at));
        service.is_some_and(|service| federation::export::allows(&service.export_to, site))
    }

    /// Where an export leads, for a call from another site.
    ///
    /// # Errors
    /// [`FailureKind::Refused`] when it is not exported to that site, also when there is no such service: a peer does
    /// not learn what it may not use.
    pub fn exported(&self, export: &str, identity: &Identity) -> Result<Way, CallError> {
        let site = identity.site().unwrap_or_default();
        let refused = || {
            let detail = format!("`{}` is not exported to site `{site}`", export.escape_debug());
            CallError::new(FailureKind::Refused, detail)
        };
        let service = self
            .snapshot
            .service_index
            .get(export)
            .and_then(|at| self.services.get(*at))
            .ok_or_else(refused)?;
        let spec = service.config();
        if !federation::export::allows(&spec.export_to, site) {
            return Err(refused());
        }
        Ok(Way::Service(Aim {
            to: Upstream::Local(Rc::clone(service)),
            retry: spec.retry,
            total: spec.timeouts.total,
            max_body: policy::max_body(None, &self.snapshot.config.limits),
            route: None,
        }))
    }
}

/// Of a call to another site, where that site's service has retries of its own: only for a tunnel that is lost.
const REMOTE_RETRY: config::Retry = config::Retry {
    attempts: 2,
    budget_percent: 20,
};
/// Up to the reply's head, where the route says nothing.
const REMOTE_TOTAL: Duration = Duration::from_secs(30);

fn redirect(status: u16, location: &str) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    let mut head = ReplyHead::new(status, Length::Exactly(0));
    head.fields.push_known(name::LOCATION, location.as_bytes()).ok();
    Reply::whole(head, Body::Empty)
}

fn fixed(status: u16, headers: &std::collections::BTreeMap<String, String>, body: &str) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut head = ReplyHead::new(status, Length::Exactly(body.len() as u64));
    for (name, value) in headers {
        head.fields.push(name.as_bytes(), value.as_bytes()).ok();
    }
    let empty = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    Reply::whole(
        head,
        if empty {
            Body::Empty
        } else {
            Body::Bytes(bytes::Bytes::copy_from_slice(body.as_bytes()))
        },
    )
}

/// Counts one of a bounded number; given back on drop.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    of: fn(&Shared) -> &AtomicUsize,
}

impl Permit {
    /// One more, unless `limit` are counted already.
    pub fn take(shared: &Arc<Shared>, of: fn(&Shared) -> &AtomicUsize, limit: usize) -> Option<Self> {
        let counted = of(shared).fetch_add(1, Ordering::Relaxed);
        let permit = Self {
            shared: Arc::clone(shared),
            of,
        };
        (counted < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.of)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}
