//! The whole gateway: control runtime, workers, links; start, reload, drain.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use causeway_config::{self as config, Config};
use causeway_pki::tls::TunnelTls;
use causeway_protocols::tunnel::GrowthLedger;
use tokio::runtime::{Handle, Runtime};

use crate::admin::{self, Admin, AdminParts, AdminSettings};
use crate::discovery::{self, Discovery};
use crate::drain::{Drain, Drained, Stage};
use crate::federation::{self, links::Links};
use crate::identity::{self, IdentityError};
use crate::listen::bind;
use crate::memory::Budget;
use crate::reload;
use crate::snapshot::{BuildError, Snapshot};
use crate::status::Status;
use crate::telemetry::metrics::{GatewayMetrics, Registry};
use crate::worker::{Command, Shared, WorkerHandle};

mod telling;

/// Between saying that it stops and closing idle connections, at least: busy clients are told by their next reply to
/// come on another connection, and none sends a request into a connection that is just being closed.
const GRACE: Duration = Duration::from_millis(200);
/// A reload waits so long for the addresses of names that it brings, so that calls find them when it is published.
const WARMING: Duration = Duration::from_secs(3);

/// Why a gateway did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration names files or values that cannot be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Certificate, key or trust bundles.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An address cannot be listened on.
    #[error("listening on {address} for {of}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The listener.
        of: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The collector's address, header fields or certificates.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// A gateway that stops takes no new configuration.
    #[error("the gateway is stopping")]
    Draining,
    /// More than one problem.
    #[error("{}", list(.0))]
    Several(Vec<Self>),
    /// The system gives no thread or runtime.
    #[error("starting: {0}")]
    Start(#[from] io::Error),
}

impl AppError {
    fn of(mut problems: Vec<Self>) -> Self {
        if problems.len() == 1
            && let Some(one) = problems.pop()
        {
            return one;
        }
        Self::Several(problems)
    }

    /// The problems one by one.
    pub fn problems(&self) -> Vec<&Self> {
        match self {
            Self::Several(problems) => problems.iter().collect(),
            one => vec![one],
        }
    }
}

fn list(problems: &[AppError]) -> String {
    let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    format!("{} problems{lines}", problems.len())
}

/// Addresses that a started gateway listens on.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// By the name of the listener.
    pub listeners: HashMap<config::Name, SocketAddr>,
    /// Of tunnels.
    pub federation: Option<SocketAddr>,
    /// Of the operator's port.
    pub admin: Option<SocketAddr>,
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    control: Runtime,
    gateway: Arc<Gateway>,
    _admin: Admin,
}

/// A running gateway, for those on its control runtime: everything but the end.
#[derive(Debug)]
pub struct Gateway {
    control: Handle,
    workers: Mutex<Vec<WorkerHandle>>,
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    /// Held while reloading, which may take a moment; `state` never is.
    turn: Mutex<()>,
}

/// What changes with a reload.
#[derive(Debug)]
pub(crate) struct State {
    config: Config,
    snapshot: Arc<Snapshot>,
    bound: Bound,
    discovery: Arc<Discovery>,
    generation: u64,
    sockets: Vec<Listener>,
    links: Option<Links>,
    /// The configured address of tunnels, and the one it got.
    federation: Option<(SocketAddr, SocketAddr)>,
}

impl State {
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn bound(&self) -> &Bound {
        &self.bound
    }
}

/// A listener with its sockets at the workers. It is known by its address: what it is called may change.
#[derive(Clone, Debug)]
struct Listener {
    name: config::Name,
    bind: SocketAddr,
    bound: SocketAddr,
}

impl Listener {
    /// Whether this address means its sockets: as it was written, or the port that was found for port 0.
    fn is_at(&self, address: SocketAddr) -> bool {
        self.bind == address || self.bound == address
    }
}

/// How the listeners get from what they are to what they should be.
#[derive(Debug, Default)]
struct Relisten {
    stay: Vec<Listener>,
    renamed: Vec<Listener>,
    opened: Vec<(Listener, Vec<std::net::TcpListener>)>,
}

fn poisoned<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl App {
    /// Starts a gateway. When it returns, every listener is bound and accepts.
    ///
    /// # Errors
    /// See [`AppError`]; nothing is left running.
    pub fn start(config: Config) -> Result<Self, AppError> {
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()?;
        let discovery = Arc::new(Discovery::new(&config.dns, control.handle().clone()));
        let count = config
            .workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, Into::into);
        let telemetry = Arc::new(telling::telemetry(&config, count, control.handle())?);
        let metrics = &telemetry.metrics;
        let mut problems = Vec::new();
        let material = identity::load(&config, None).map_err(|errors| problems.extend(of(errors)));
        let snapshot =
            Snapshot::build(config.clone(), &discovery, metrics, 1).map_err(|errors| problems.extend(of(errors)));
        let (Ok(material), Ok(snapshot)) = (material, snapshot) else {
            return Err(AppError::of(problems));
        };
        let tls = OnceLock::new();
        if let Some(material) = material {
            tls.set(identity::tls(material, metrics)).ok();
        }
        let shared = Arc::new(Shared {
            telemetry: Arc::clone(&telemetry),
            memory: Budget::default(),
            drain: Drain::default(),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            federation: federation::Shared {
                ledger: Arc::new(GrowthLedger::new(config.limits.memory / 2)),
                tls,
                workers: count,
            },
        });
        let (watched, limit) = (Arc::clone(&shared), config.limits.memory);
        control.spawn(async move { watched.memory.watch(limit).await });
        let snapshot = Arc::new(snapshot);
        let workers: io::Result<Vec<_>> = (0..count)
            .map(|index| WorkerHandle::start(index, Arc::clone(&snapshot), Arc::clone(&shared)))
            .collect();
        let state = State {
            config: config.clone(),
            snapshot: Arc::clone(&snapshot),
            bound: Bound::default(),
            discovery,
            generation: 0,
            sockets: Vec::new(),
            links: None,
            federation: None,
        };
        let gateway = Gateway {
            control: control.handle().clone(),
            workers: Mutex::new(workers?),
            shared,
            state: Arc::new(Mutex::new(state)),
            turn: Mutex::default(),
        };
        gateway.publish(&mut poisoned(&gateway.state), config, snapshot, None, None)?;
        let admin = gateway.administer()?;
        let gateway = Arc::new(gateway);
        telling::tell_lookups(&gateway);
        Ok(Self {
            control,
            gateway,
            _admin: admin,
        })
    }

    /// Does everything of a start that can fail but listening.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn check(config: Config) -> Result<(), AppError> {
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let discovery = Discovery::new(&config.dns, control.handle().clone());
        let mut problems = Vec::new();
        if let Err(errors) = identity::load(&config, None) {
            problems.extend(of(errors));
        }
        let metrics = GatewayMetrics::new(&Registry::new(0));
        if let Err(errors) = Snapshot::build(config, &discovery, &metrics, 0) {
            problems.extend(of(errors));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(AppError::of(problems))
        }
    }

    /// What it listens on.
    pub fn bound(&self) -> Bound {
        self.gateway.bound()
    }

    /// The runtime for everything but traffic.
    pub fn control(&self) -> &Runtime {
        &self.control
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.gateway.shared
    }

    /// The names under watch.
    pub fn discovery(&self) -> Arc<Discovery> {
        self.gateway.discovery()
    }

    /// For those who watch, show or reload it while it runs.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// See [`Gateway::reload`].
    ///
    /// # Errors
    /// See [`AppError`]; then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<u64, AppError> {
        self.gateway.reload(config)
    }

    /// Stops in order: says so, takes nothing new, finishes what has begun, cuts what is late.
    pub fn drain(self) -> Drained {
        let settings = poisoned(&self.gateway.state).config.drain;
        let drain = &self.gateway.shared.drain;
        drain.enter(Stage::Announced);
        let pause = tokio::time::sleep;
        self.control.block_on(async { pause(settings.delay.max(GRACE)).await });
        if let Some(links) = &mut poisoned(&self.gateway.state).links {
            links.stop();
        }
        drain.enter(Stage::Draining);
        let drained = self.control.block_on(drain.finished(settings.deadline));
        if let Drained::Cut { left } = drained {
            tracing::warn!(left, deadline = ?settings.deadline, "cutting what is left");
        }
        drain.enter(Stage::Cutting);
        for worker in std::mem::take(&mut *poisoned(&self.gateway.workers)) {
            worker.join();
        }
        telling::flush(&self.gateway.shared.telemetry, &self.control);
        self.control.shutdown_timeout(Duration::from_secs(2));
        drained
    }
}

fn of<E: Into<AppError>>(errors: Vec<E>) -> impl Iterator<Item = AppError> {
    errors.into_iter().map(Into::into)
}

impl Gateway {
    /// What it listens on.
    pub fn bound(&self) -> Bound {
        poisoned(&self.state).bound.clone()
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The names under watch.
    pub fn discovery(&self) -> Arc<Discovery> {
        Arc::clone(&poisoned(&self.state).discovery)
    }

    /// The configuration in use.
    pub fn config(&self) -> Config {
        poisoned(&self.state).config.clone()
    }

    /// Counts the configurations, from 1.
    pub fn generation(&self) -> u64 {
        poisoned(&self.state).generation
    }

    /// Whether it wants more traffic.
    pub fn is_ready(&self) -> bool {
        self.shared.drain.stage() == Stage::Serving
    }

    /// The files that the configuration in use was made of.
    pub fn files(&self) -> Vec<PathBuf> {
        reload::files_of(&poisoned(&self.state).config)
    }

    /// Takes a new configuration over: load, check, build, publish, retire. In-flight calls finish on the old one.
    ///
    /// Blocks for a moment while new names are looked up: not for tasks of the control runtime.
    ///
    /// # Errors
    /// Every problem, see [`AppError`]; then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<u64, AppError> {
        let _turn = poisoned(&self.turn);
        let metrics = &self.shared.telemetry.metrics;
        let reloaded = self.try_reload(config);
        let result = if reloaded.is_ok() { "success" } else { "failure" };
        metrics.reloads.with(&[result]).inc();
        reloaded
    }

    fn try_reload(&self, config: Config) -> Result<u64, AppError> {
        if self.shared.drain.stage() != Stage::Serving {
            return Err(AppError::Draining);
        }
        // Only reloads change it, and this is the only one.
        let (current, generation, before) = {
            let state = poisoned(&self.state);
            (Arc::clone(&state.discovery), state.generation + 1, state.config.clone())
        };
        let discovery = if before.dns == config.dns {
            None
        } else {
            Some(Arc::new(current.renewed(&config.dns)))
        };
        let tls = &self.shared.federation.tls;
        let metrics = &self.shared.telemetry.metrics;
        let trust = tls.get().map(TunnelTls::trust);
        let mut problems = Vec::new();
        let material = identity::load(&config, trust.as_ref()).map_err(|errors| problems.extend(of(errors)));
        let looking = discovery.as_ref().unwrap_or(&current);
        let snapshot =
            Snapshot::build(config.clone(), looking, metrics, generation).map_err(|errors| problems.extend(of(errors)));
        let (Ok(material), Ok(snapshot)) = (material, snapshot) else {
            // Opened and closed again, so that all problems are told at once.
            if let Err(errors) = self.relisten(&poisoned(&self.state), &config) {
                problems.extend(errors);
            }
            return Err(AppError::of(problems));
        };
        self.warm(&snapshot);
        let admin = poisoned(&self.state).bound.admin;
        for what in needs_restart(&before, &config, admin) {
            tracing::warn!("`{what}` has changed: restart the gateway for that");
        }
        let material = match (material, tls.get()) {
            (Some(material), None) => {
                tls.set(identity::tls(material, metrics)).ok();
                None
            }
            (material, _) => material,
        };
        let mut state = poisoned(&self.state);
        self.publish(&mut state, config, Arc::new(snapshot), material, discovery)?;
        Ok(state.generation)
    }

    /// The last things that can fail, and then those that cannot.
    fn publish(
        &self,
        state: &mut State,
        config: Config,
        snapshot: Arc<Snapshot>,
        material: Option<identity::Material>,
        discovery: Option<Arc<Discovery>>,
    ) -> Result<(), AppError> {
        let mut problems = Vec::new();
        let listeners = self.relisten(state, &config).map_err(|errors| problems.extend(errors));
        let tunnels = bind_federation(state, &config).map_err(|error| problems.push(error));
        let (Ok(listeners), Ok(tunnels)) = (listeners, tunnels) else {
            return Err(AppError::of(problems));
        };
        if state.links.is_none()
            && let Some(tls) = self.shared.federation.tls.get()
        {
            let commands = poisoned(&self.workers)
                .iter()
                .map(|worker| worker.commands.clone())
                .collect();
            let settings = config.federation.clone();
            state.links = Some(Links::new(tls.clone(), commands, settings, self.control.clone()));
        }
        if let (Some(links), Some((socket, bind, bound))) = (&mut state.links, tunnels) {
            links.accept(socket).map_err(|source| AppError::Bind {
                address: bind,
                of: "tunnels".to_owned(),
                source,
            })?;
            state.federation = Some((bind, bound));
        }
        // From here on nothing fails.
        if let Some(discovery) = discovery {
            state.discovery = discovery;
            if let Some(links) = &mut state.links {
                links.forget_addresses();
            }
        }
        self.tell_listeners(state, &snapshot, listeners);
        let tls = self.shared.federation.tls.get();
        if let Some(tls) = tls {
            match material {
                Some(material) => tls.publish(material.trust, material.credentials),
                // Without an identity there are no peers.
                None if config.identity.is_none() => tls.publish_trust(identity::nobody()),
                None => {}
            }
            self.tell_all(|| Command::Recheck);
        }
        if let Some(links) = &mut state.links {
            if config.federation.bind.is_none() {
                links.stop_accepting();
                state.federation = None;
            }
            links.update(&config, &state.discovery);
        }
        telling::tell_metrics(&self.shared, &config);
        state.generation = snapshot.generation;
        state.bound.listeners = state
            .sockets
            .iter()
            .map(|listener| (config::Name::clone(&listener.name), listener.bound))
            .collect();
        state.bound.federation = state.federation.map(|(_, bound)| bound);
        state.snapshot = snapshot;
        state.config = config;
        Ok(())
    }

    /// Finds out which listeners stay, and opens the sockets of new ones.
    fn relisten(&self, state: &State, config: &Config) -> Result<Relisten, Vec<AppError>> {
        let workers = poisoned(&self.workers).len();
        let mut left = state.sockets.clone();
        let mut plan = Relisten::default();
        let mut new: Vec<&config::Listener> = Vec::new();
        for listener in &config.listeners {
            let same = |old: &Listener| old.is_at(listener.bind) && old.name == listener.name;
            match left.iter().position(same) {
                Some(at) => plan.stay.push(Listener {
                    bind: listener.bind,
                    ..left.swap_remove(at)
                }),
                None => new.push(listener),
            }
        }
        let mut problems = Vec::new();
        for listener in new {
            // Port 0 is another port each time: there the name says which is which.
            let same = |old: &Listener| old.is_at(listener.bind) && listener.bind.port() != 0;
            let name = config::Name::clone(&listener.name);
            if let Some(at) = left.iter().position(same) {
                plan.renamed.push(Listener {
                    name,
                    bind: listener.bind,
                    ..left.swap_remove(at)
                });
                continue;
            }
            match bind::sockets(listener.bind, workers) {
                Ok((sockets, bound)) => {
                    let bind = listener.bind;
                    plan.opened.push((Listener { name, bind, bound }, sockets));
                }
                Err(source) => problems.push(AppError::Bind {
                    address: listener.bind,
                    of: format!("listener `{name}`"),
                    source,
                }),
            }
        }
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    /// Closes the sockets of removed listeners and opens new ones. The configuration comes before the connections that
    /// need it.
    fn tell_listeners(&self, state: &mut State, snapshot: &Arc<Snapshot>, plan: Relisten) {
        let kept = |old: &Listener| {
            let mut kept = plan.stay.iter().chain(&plan.renamed);
            kept.any(|listener| listener.bound == old.bound)
        };
        for gone in state.sockets.iter().filter(|old| !kept(old)) {
            tracing::info!(listener = %gone.name, address = %gone.bound, "listener closed");
            self.tell_all(|| Command::Unlisten(gone.bound));
        }
        self.tell_all(|| Command::Publish(Arc::clone(snapshot)));
        for listener in &plan.renamed {
            self.tell_all(|| Command::Rename(listener.bound, config::Name::clone(&listener.name)));
        }
        state.sockets = plan.stay;
        state.sockets.extend(plan.renamed);
        for (listener, sockets) in plan.opened {
            for (worker, socket) in poisoned(&self.workers).iter().zip(sockets) {
                let name = config::Name::clone(&listener.name);
                tell(worker, Command::Listen(socket, listener.bound, name));
            }
            state.sockets.push(listener);
        }
    }

    /// Waits for the first answers of names that nobody has looked up before.
    fn warm(&self, snapshot: &Snapshot) {
        let services = snapshot.services.iter();
        let mut pending: Vec<_> = services
            .map(|service| service.watched.changes.clone())
            .filter(|changes| changes.borrow().state == discovery::State::Pending)
            .collect();
        if pending.is_empty() {
            return;
        }
        let (done, waiting) = std::sync::mpsc::sync_channel(1);
        self.control.spawn(async move {
            for changes in &mut pending {
                let is_known = changes.wait_for(|answer| answer.state != discovery::State::Pending);
                is_known.await.ok();
            }
            done.try_send(()).ok();
        });
        // Late names are late: calls to them are refused until they come.
        waiting.recv_timeout(WARMING).ok();
    }

    /// Opens the operator's port.
    fn administer(&self) -> Result<Admin, AppError> {
        let config = self.config().admin;
        let telemetry = &self.shared.telemetry;
        let settings = AdminSettings {
            bind: config.bind,
            metrics_bind: config.metrics_bind,
            socket: None,
            hosts: Vec::new(),
        };
        let parts = AdminParts {
            registry: telemetry.registry.clone(),
            source: Arc::new(Status {
                shared: Arc::clone(&self.shared),
                state: Arc::clone(&self.state),
            }),
            control: None,
            memory: telemetry.memory.clone(),
        };
        let admin = self.control.block_on(admin::start(&settings, parts, &self.control));
        let admin = admin.map_err(|source| AppError::Bind {
            address: config.bind,
            of: "admin".to_owned(),
            source,
        })?;
        poisoned(&self.state).bound.admin = Some(admin.address);
        Ok(admin)
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in poisoned(&self.workers).iter() {
            tell(worker, command());
        }
    }
}

fn tell(worker: &WorkerHandle, command: Command) {
    // Bounded; a worker that does not empty its channel is stuck, and that is worth knowing.
    if let Err(error) = worker.commands.try_send(command) {
        tracing::error!(%error, "a worker does not take commands");
    }
}

/// A socket, its configured address, and the one it got.
type FederationSocket = (std::net::TcpListener, SocketAddr, SocketAddr);

/// Opens the port of tunnels if it is new or another one.
fn bind_federation(state: &State, config: &Config) -> Result<Option<FederationSocket>, AppError> {
    let Some(address) = config.federation.bind else {
        return Ok(None);
    };
    if state
        .federation
        .is_some_and(|(bind, bound)| bind == address || bound == address)
    {
        return Ok(None);
    }
    let failed = |source| AppError::Bind {
        address,
        of: "tunnels".to_owned(),
        source,
    };
    let (mut sockets, bound) = bind::sockets(address, 1).map_err(failed)?;
    let socket = sockets.pop();
    Ok(socket.map(|socket| (socket, address, bound)))
}

/// What cannot be changed while the gateway runs.
fn needs_restart(before: &Config, now: &Config, admin: Option<SocketAddr>) -> Vec<&'static str> {
    let mut changed = Vec::new();
    if before.workers != now.workers {
        changed.push("workers");
    }
    let same_port = before.admin.bind == now.admin.bind || admin == Some(now.admin.bind);
    if !same_port || before.admin.metrics_bind != now.admin.metrics_bind {
        changed.push("admin");
    }
    if before.telemetry != now.telemetry {
        changed.push("telemetry");
    }
    if before.limits.memory != now.limits.memory {
        changed.push("limits.memory");
    }
    changed
}
