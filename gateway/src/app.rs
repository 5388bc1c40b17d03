//! The whole gateway: control runtime, workers, links; start, reload, drain.

mod listeners;
mod problem;
mod publish;
mod telling;
mod wishes;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use causeway_config::{self as config, Config};
use causeway_protocols::tunnel::GrowthLedger;
use tokio::runtime::{Handle, Runtime};

use crate::admin::{self, Admin, AdminParts, AdminSettings, Control};
use crate::cache;
use crate::discovery::Discovery;
use crate::drain::{Drain, Drained, Stage};
use crate::federation::{self, links::Links};
use crate::identity;
use crate::limits::store;
use crate::memory::Budget;
use crate::policy;
use crate::reload;
use crate::schema::Schemas;
use crate::service::keeper::Keepers;
use crate::service::state::ServiceStates;
use crate::snapshot::{Kept, Snapshot};
use crate::status::Status;
use crate::telemetry::metrics::{GatewayMetrics, Registry};
use crate::worker::{Command, Shared, WorkerHandle};

use listeners::Listener;
pub use problem::AppError;
use problem::of;
pub use wishes::Wishes;

/// Between saying that it stops and closing idle connections, at least: busy clients are told by their next reply to
/// come on another connection, and none sends a request into a connection that is just being closed.
const GRACE: Duration = Duration::from_millis(200);

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
    wishes: Arc<Wishes>,
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
    /// Look after the endpoints of services.
    keepers: Keepers,
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
        let policies = policy::State::open(config.state_dir.as_deref(), control.handle().clone())
            .map_err(|error| problems.push(error.into()));
        let Ok(policies) = policies else {
            return Err(AppError::of(problems));
        };
        let services = ServiceStates::new(&telemetry.registry);
        let schemas = Schemas::new(control.handle().clone());
        let kept = Kept {
            discovery: &discovery,
            metrics,
            policies: &policies,
            services: &services,
            schemas: &schemas,
        };
        let snapshot = Snapshot::build(config.clone(), kept, 1).map_err(|errors| problems.extend(of(errors)));
        let (Ok(material), Ok(snapshot)) = (material, snapshot) else {
            return Err(AppError::of(problems));
        };
        let tls = OnceLock::new();
        if let Some(material) = material {
            tls.set(identity::tls(material, metrics)).ok();
        }
        cache::show(&policies.cache, &telemetry.registry);
        let shared = Arc::new(Shared {
            telemetry: Arc::clone(&telemetry),
            memory: Budget::default(),
            policies,
            services,
            schemas,
            drain: Drain::default(),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            shaking: Arc::default(),
            federation: federation::Shared {
                ledger: Arc::new(GrowthLedger::new(config.limits.memory / 2)),
                tls,
                lenders: Arc::default(),
                workers: count,
            },
        });
        let (watched, limit) = (Arc::clone(&shared), config.limits.memory);
        control.spawn(async move { watched.memory.watch(limit).await });
        let snapshot = Arc::new(snapshot);
        let workers: io::Result<Vec<_>> = (0..count)
            .map(|index| WorkerHandle::start(index, Arc::clone(&snapshot), Arc::clone(&shared)))
            .collect();
        let workers = workers?;
        let lenders = &shared.federation.lenders;
        lenders.are(workers.iter().map(|worker| &worker.commands));
        let state = State {
            config: config.clone(),
            snapshot: Arc::clone(&snapshot),
            bound: Bound::default(),
            discovery,
            generation: 0,
            sockets: Vec::new(),
            links: None,
            federation: None,
            keepers: Keepers::new(control.handle().clone()),
        };
        let gateway = Gateway {
            control: control.handle().clone(),
            workers: Mutex::new(workers),
            shared,
            state: Arc::new(Mutex::new(state)),
            turn: Mutex::default(),
            wishes: Arc::default(),
        };
        gateway.publish(&mut poisoned(&gateway.state), config, snapshot, None, None)?;
        let admin = gateway.administer()?;
        let gateway = Arc::new(gateway);
        telling::tell_lookups(&gateway);
        telling::tell_limits(&gateway.shared);
        telling::warn_of_memory(&gateway.config());
        if let Some(store) = &gateway.shared.policies.store {
            let failures = gateway.shared.telemetry.metrics.state_failures.clone();
            gateway.control.spawn(store::keep(Arc::downgrade(store), failures));
        }
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
        let registry = Registry::new(0);
        let metrics = GatewayMetrics::new(&registry);
        let kept = Kept {
            discovery: &discovery,
            metrics: &metrics,
            services: &ServiceStates::new(&registry),
            policies: &policy::State::new(control.handle().clone()),
            schemas: &Schemas::new(control.handle().clone()),
        };
        if let Err(errors) = Snapshot::build(config, kept, 0) {
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
        // No worker is left that could spend anything.
        if let Some(store) = &self.gateway.shared.policies.store {
            store::save(store, &self.gateway.shared.telemetry.metrics.state_failures);
        }
        telling::flush(&self.gateway.shared.telemetry, &self.control);
        self.control.shutdown_timeout(Duration::from_secs(2));
        drained
    }
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

    /// What the operator asks for at the admin port.
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// The files that the configuration in use was made of.
    pub fn files(&self) -> Vec<PathBuf> {
        reload::files_of(&poisoned(&self.state).config)
    }

    /// Opens the operator's port.
    fn administer(&self) -> Result<Admin, AppError> {
        let config = self.config().admin;
        let telemetry = &self.shared.telemetry;
        let settings = AdminSettings {
            bind: config.bind,
            metrics_bind: config.metrics_bind,
            socket: config.socket,
            token: config.token,
            hosts: config.hosts,
        };
        self.wishes.purge_from(&self.shared.policies.cache);
        let parts = AdminParts {
            registry: telemetry.registry.clone(),
            source: Arc::new(Status {
                shared: Arc::clone(&self.shared),
                state: Arc::clone(&self.state),
            }),
            control: Some(Arc::clone(&self.wishes) as Arc<dyn Control>),
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
