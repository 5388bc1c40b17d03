//! A traffic thread: one current-thread runtime with its own connections, pools and tunnels.
//!
//! Nothing of a worker is shared with another; what it is told comes over one bounded channel.

mod drain_wait;
mod permit;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::time::Duration;

use causeway_config as config;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, watch};

use crate::calls::OpenCalls;
use crate::clock::Clock;
use crate::drain::{Drain, Guard, Stage};
use crate::federation::bridge::Order;
use crate::federation::tunnel::Tunnel;
use crate::federation::{self, Established, PeerLink};
use crate::listen::shares::Shares;
use crate::listen::{self, Listening};
use crate::memory::Budget;
use crate::observe::{Observer, Telemetry};
use crate::policy;
use crate::schema::Schemas;
use crate::service::state::ServiceStates;
use crate::snapshot::Snapshot;

pub use drain_wait::DrainWait;
pub use permit::Permit;
pub use world::{Wanted, World};

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
    /// A call of a worker that has no tunnel to its site.
    Borrow(Box<Order>),
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
    /// Of those, each client address's share.
    pub shaking: Arc<Shares>,
    /// Links to the other sites.
    pub federation: federation::Shared,
    /// Whether there is memory for new calls.
    pub memory: Budget,
    /// What policies keep over reloads.
    pub policies: policy::State,
    /// What is known of services and their endpoints, also over reloads.
    pub services: ServiceStates,
    /// Schemas that backends are asked for.
    pub schemas: Schemas,
    /// Counts, logs and traces.
    pub telemetry: Arc<Telemetry>,
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
        let lenders = Arc::clone(&shared.federation.lenders);
        let new_link = |site: &config::Name| PeerLink::new(config::Name::clone(site), index, Arc::clone(&lenders));
        let world = Rc::new(World::build(snapshot, None, &clock, new_link));
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
                let lenders = &self.shared.federation.lenders;
                let new_link =
                    |site: &config::Name| PeerLink::new(config::Name::clone(site), self.index, Arc::clone(lenders));
                let world = Rc::new(World::build(snapshot, Some(&before), &self.clock, new_link));
                *self.world.borrow_mut() = Rc::clone(&world);
                for (listening, _) in self.listening.borrow().values() {
                    listening.renew(&world.snapshot);
                }
                // What guards an open call is the configuration of now, not the one that let it in.
                self.calls.recheck(&world);
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
            Command::Borrow(order) => federation::bridge::lend(*order, self),
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
