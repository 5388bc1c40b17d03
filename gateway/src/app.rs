//! The whole gateway: control runtime, workers, links; start, reload, drain.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_config::{self as config, Config};
use causeway_pki::bundle::TrustBundles;
use causeway_pki::credentials::Credentials;
use causeway_pki::tls::{TunnelTls, provider};
use causeway_pki::verify::Trust;
use causeway_protocols::tunnel::GrowthLedger;
use tokio::runtime::Runtime;

use crate::admin::{self, Admin, AdminParts, AdminSettings};
use crate::discovery::Discovery;
use crate::drain::{Drain, Drained, Stage};
use crate::federation::{self, links::Links};
use crate::listen::bind;
use crate::observe::Telemetry;
use crate::snapshot::{BuildError, Snapshot};
use crate::status::Status;
use crate::telemetry::export;
use crate::telemetry::lines::{Complain, Lines, Output};
use crate::telemetry::metrics::{GatewayMetrics, Registry};
use crate::telemetry::settings::TraceSettings;
use crate::telemetry::span::Memory;
use crate::worker::{Command, Shared, WorkerHandle};

/// Why a gateway did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration names files or values that cannot be used.
    #[error("{}", list(.0))]
    Build(Vec<BuildError>),
    /// Certificate, key or trust bundles.
    #[error("{what}: {why}")]
    Identity {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
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
    /// The system gives no thread or runtime.
    #[error("starting: {0}")]
    Start(#[from] io::Error),
}

/// What telemetry may take to be flushed at the end.
const FLUSH: Duration = Duration::from_secs(2);

fn list(problems: &[BuildError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
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
    workers: Vec<WorkerHandle>,
    shared: Arc<Shared>,
    discovery: Arc<Discovery>,
    state: Arc<Mutex<State>>,
    admin: Mutex<Option<Admin>>,
}

/// What changes with a reload.
#[derive(Debug)]
pub(crate) struct State {
    config: Config,
    snapshot: Arc<Snapshot>,
    generation: u64,
    bound: Bound,
    /// Configured bind address of each listener, and the address it got.
    sockets: HashMap<config::Name, (SocketAddr, SocketAddr)>,
    links: Option<Links>,
    federation_bind: Option<SocketAddr>,
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
        let telemetry = Arc::new(telemetry(&config, count, control.handle())?);
        let tls = config
            .identity
            .as_ref()
            .map(|files| identity(files, &config, &telemetry.metrics))
            .transpose()?;
        let gateway = tls
            .as_ref()
            .and_then(|tls| tls.credentials().identity().gateway().map(str::to_owned));
        let shared = Arc::new(Shared {
            telemetry: Arc::clone(&telemetry),
            drain: Drain::default(),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            federation: federation::Shared {
                ledger: Arc::new(GrowthLedger::new(config.limits.memory / 2)),
                tls: tls.clone(),
                workers: count,
                gateway: gateway.unwrap_or_else(|| "gateway".to_owned()),
            },
        });
        let snapshot = Arc::new(build(config.clone(), &discovery, &telemetry.metrics, 1)?);
        let workers: io::Result<Vec<_>> = (0..count)
            .map(|index| WorkerHandle::start(index, Arc::clone(&snapshot), Arc::clone(&shared)))
            .collect();
        let workers = workers?;
        let links = tls.map(|tls| {
            let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
            Links::new(tls, commands, config.federation.clone(), control.handle().clone())
        });
        let state = State {
            snapshot,
            config: config.clone(),
            generation: 1,
            bound: Bound::default(),
            sockets: HashMap::new(),
            links,
            federation_bind: None,
        };
        let app = Self {
            control,
            workers,
            shared,
            discovery,
            state: Arc::new(Mutex::new(state)),
            admin: Mutex::new(None),
        };
        {
            let mut state = app.lock();
            app.listen(&mut state, &config)?;
            app.federate(&mut state, &config)?;
        }
        app.administer(&config)?;
        app.tell_metrics(&config);
        Ok(app)
    }

    /// Does everything of a start that can fail but listening.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn check(config: Config) -> Result<(), AppError> {
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let discovery = Discovery::new(&config.dns, control.handle().clone());
        let metrics = GatewayMetrics::new(&Registry::new(0));
        config
            .identity
            .as_ref()
            .map(|files| identity(files, &config, &metrics))
            .transpose()?;
        build(config, &discovery, &metrics, 0).map(drop)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What it listens on.
    pub fn bound(&self) -> Bound {
        self.lock().bound.clone()
    }

    /// The runtime for everything but traffic.
    pub fn control(&self) -> &Runtime {
        &self.control
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The names under watch.
    pub fn discovery(&self) -> &Arc<Discovery> {
        &self.discovery
    }

    /// Opens the sockets of new listeners and closes those of removed ones. Sockets are known by their address.
    fn listen(&self, state: &mut State, config: &Config) -> Result<(), AppError> {
        let mut opened = Vec::new();
        for listener in &config.listeners {
            if state
                .sockets
                .get(&listener.name)
                .is_some_and(|(bind, _)| *bind == listener.bind)
            {
                continue;
            }
            let (sockets, address) =
                bind::sockets(listener.bind, self.workers.len()).map_err(|source| AppError::Bind {
                    address: listener.bind,
                    of: format!("listener `{}`", listener.name),
                    source,
                })?;
            opened.push((listener, sockets, address));
        }
        // From here on nothing fails.
        let gone: Vec<_> = state
            .sockets
            .iter()
            .filter(|(name, (bind, _))| {
                !config
                    .listeners
                    .iter()
                    .any(|now| now.name == **name && now.bind == *bind)
            })
            .map(|(name, (bind, _))| (config::Name::clone(name), *bind))
            .collect();
        for (name, bind) in gone {
            state.sockets.remove(&name);
            state.bound.listeners.remove(&name);
            for worker in &self.workers {
                self.tell(worker, Command::Unlisten(bind));
            }
        }
        for (listener, sockets, address) in opened {
            state
                .sockets
                .insert(config::Name::clone(&listener.name), (listener.bind, address));
            state
                .bound
                .listeners
                .insert(config::Name::clone(&listener.name), address);
            for (worker, socket) in self.workers.iter().zip(sockets) {
                self.tell(
                    worker,
                    Command::Listen(socket, listener.bind, config::Name::clone(&listener.name)),
                );
            }
        }
        Ok(())
    }

    /// Accepts tunnels and dials peers.
    fn federate(&self, state: &mut State, config: &Config) -> Result<(), AppError> {
        let Some(links) = &mut state.links else { return Ok(()) };
        if let Some(address) = config.federation.bind
            && state.federation_bind != Some(address)
        {
            let failed = |source| AppError::Bind {
                address,
                of: "tunnels".to_owned(),
                source,
            };
            let (sockets, bound) = bind::sockets(address, 1).map_err(failed)?;
            for socket in sockets {
                links.accept(socket, address).map_err(failed)?;
            }
            state.federation_bind = Some(address);
            state.bound.federation = Some(bound);
        }
        links.update(config, &self.discovery);
        Ok(())
    }

    /// Opens the operator's port.
    fn administer(&self, config: &Config) -> Result<(), AppError> {
        let telemetry = &self.shared.telemetry;
        let settings = AdminSettings {
            bind: config.admin.bind,
            metrics_bind: config.admin.metrics_bind,
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
        let handle = self.control.handle();
        let admin = handle.block_on(admin::start(&settings, parts, handle));
        let admin = admin.map_err(|source| AppError::Bind {
            address: config.admin.bind,
            of: "admin".to_owned(),
            source,
        })?;
        self.lock().bound.admin = Some(admin.address);
        *self.admin.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(admin);
        Ok(())
    }

    /// Sets what the metrics say of the configuration in use.
    fn tell_metrics(&self, config: &Config) {
        let metrics = &self.shared.telemetry.metrics;
        if let Some(tls) = &self.shared.federation.tls {
            let credentials = tls.credentials();
            let expiry = credentials.not_after().unix_timestamp();
            metrics
                .certificate_expiry
                .with(&[credentials.identity().as_str()])
                .set(expiry as f64);
        }
        metrics
            .reload_success
            .set(rustls_pki_types::UnixTime::now().as_secs() as f64);
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&format!("{config:?}"), &mut hasher);
        // 48 bits, which a float holds exactly.
        metrics
            .config_hash
            .set((std::hash::Hasher::finish(&hasher) >> 16) as f64);
    }

    fn tell(&self, worker: &WorkerHandle, command: Command) {
        // Bounded; a worker that does not empty its channel is stuck, and that is worth knowing.
        if let Err(error) = worker.commands.try_send(command) {
            tracing::error!(%error, "a worker does not take commands");
        }
    }

    /// Takes a new configuration over: load, check, build, publish, retire. In-flight calls finish on the old one.
    ///
    /// # Errors
    /// See [`AppError`]; then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<u64, AppError> {
        let mut state = self.lock();
        let generation = state.generation + 1;
        let snapshot = Arc::new(build(
            config.clone(),
            &self.discovery,
            &self.shared.telemetry.metrics,
            generation,
        )?);
        let fresh = config
            .identity
            .as_ref()
            .map(|files| identity(files, &config, &self.shared.telemetry.metrics))
            .transpose()?;
        self.listen(&mut state, &config)?;
        for worker in &self.workers {
            self.tell(worker, Command::Publish(Arc::clone(&snapshot)));
        }
        if let (Some(tls), Some(fresh)) = (&self.shared.federation.tls, fresh) {
            tls.publish(fresh.trust(), fresh.credentials());
            for worker in &self.workers {
                self.tell(worker, Command::Recheck);
            }
        }
        self.federate(&mut state, &config)?;
        state.config = config;
        state.snapshot = snapshot;
        state.generation = generation;
        self.tell_metrics(&state.config);
        Ok(generation)
    }

    /// Stops in order: no new connections, what has begun is finished, what is late is cut.
    pub fn drain(self) -> Drained {
        let config = self.lock().config.drain;
        if let Some(links) = &mut self.lock().links {
            links.stop();
        }
        self.shared.drain.enter(Stage::Draining);
        let drained = self.control.block_on(self.shared.drain.finished(config.deadline));
        if let Drained::Cut { left } = drained {
            tracing::warn!(left, deadline = ?config.deadline, "cutting what is left");
        }
        self.shared.drain.enter(Stage::Cutting);
        for worker in self.workers {
            worker.join();
        }
        let exporting = self
            .shared
            .telemetry
            .exporting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(exporting) = exporting {
            self.control.block_on(exporting.shutdown(FLUSH));
        }
        if let Some(lines) = &self.shared.telemetry.lines {
            lines.flush(FLUSH);
        }
        self.control.shutdown_timeout(Duration::from_secs(2));
        drained
    }
}

fn build(
    config: Config,
    discovery: &Discovery,
    metrics: &GatewayMetrics,
    generation: u64,
) -> Result<Snapshot, AppError> {
    Snapshot::build(config, discovery, metrics, generation).map_err(AppError::Build)
}

/// Starts what tells of calls.
fn telemetry(config: &Config, workers: usize, control: &tokio::runtime::Handle) -> Result<Telemetry, AppError> {
    let failed = |error: &dyn std::fmt::Display| AppError::Telemetry(error.to_string());
    let registry = Registry::new(workers);
    let metrics = GatewayMetrics::new(&registry);
    let instance = format!("{}-{}", config.site.name, std::process::id());
    let variable = |name: &str| std::env::var(name).ok();
    let (settings, problems) = TraceSettings::read(&config.telemetry, &config.site.name, &instance, variable);
    for problem in problems {
        tracing::warn!(%problem, "telemetry");
    }
    let memory = config.telemetry.keep_spans.map(|count| Memory::new(count.get()));
    let started = export::start(&settings, memory.clone(), &metrics, control);
    let (tracer, exporting) = started.map_err(|error| failed(&error))?;
    let lines = match &config.telemetry.access_log {
        config::AccessLog::Off => None,
        config::AccessLog::Stdout => {
            Some(Lines::start(Output::Stdout, Complain::InLog).map_err(|error| failed(&error))?)
        }
        config::AccessLog::File(path) => {
            let started = Lines::start(Output::File(path.clone()), Complain::InLog);
            Some(started.map_err(|error| failed(&format!("access log `{}`: {error}", path.display())))?)
        }
    };
    if let Some(lines) = &lines {
        lines.count_in(metrics.access_lines_dropped.clone());
    }
    let unrouted = metrics.route("none", "none");
    Ok(Telemetry {
        registry,
        metrics,
        unrouted,
        tracer,
        lines,
        memory,
        exporting: Mutex::new(Some(exporting)),
    })
}

/// Reads credentials and trust.
fn identity(files: &config::IdentityFiles, config: &Config, metrics: &GatewayMetrics) -> Result<TunnelTls, AppError> {
    let provider = provider();
    let failed = |what: &'static str| {
        move |error: &dyn std::fmt::Display| AppError::Identity {
            what,
            why: error.to_string(),
        }
    };
    let credentials = Credentials::load(&files.certificate, &files.private_key, &provider)
        .map_err(|error| failed("identity")(&error))?;
    let loaded = TrustBundles::load(&files.trust_bundles);
    if !loaded.problems.is_empty() {
        let why = loaded
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        return Err(AppError::Identity {
            what: "trust bundles",
            why,
        });
    }
    let bundles = loaded.bundles;
    let sites = config
        .peers
        .iter()
        .map(|peer| (peer.site.to_string(), peer.trust_domain.clone()));
    let trust = Trust::of_sites(bundles, sites);
    let refused = metrics.peer_refused.clone();
    let tls = TunnelTls::new(provider, trust, credentials).on_refusal(Arc::new(move |error| {
        refused.with(&[error.reason()]).inc();
        tracing::warn!(reason = error.reason(), %error, "peer refused");
    }));
    Ok(tls)
}
