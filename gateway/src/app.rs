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

use crate::discovery::Discovery;
use crate::drain::{Drain, Drained, Stage};
use crate::federation::{self, links::Links};
use crate::listen::bind;
use crate::snapshot::{BuildError, Snapshot};
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
    /// The system gives no thread or runtime.
    #[error("starting: {0}")]
    Start(#[from] io::Error),
}

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
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    generation: u64,
    bound: Bound,
    /// Configured bind address of each listener, and the address it got.
    sockets: HashMap<config::Name, (SocketAddr, SocketAddr)>,
    links: Option<Links>,
    federation_bind: Option<SocketAddr>,
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
        let tls = config
            .identity
            .as_ref()
            .map(|files| identity(files, &config))
            .transpose()?;
        let gateway = tls
            .as_ref()
            .and_then(|tls| tls.credentials().identity().gateway().map(str::to_owned));
        let shared = Arc::new(Shared {
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
        let snapshot = Arc::new(build(config.clone(), &discovery, 1)?);
        let workers: io::Result<Vec<_>> = (0..count)
            .map(|index| WorkerHandle::start(index, Arc::clone(&snapshot), Arc::clone(&shared)))
            .collect();
        let workers = workers?;
        let links = tls.map(|tls| {
            let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
            Links::new(tls, commands, config.federation.clone(), control.handle().clone())
        });
        let state = State {
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
            state: Mutex::new(state),
        };
        {
            let mut state = app.lock();
            app.listen(&mut state, &config)?;
            app.federate(&mut state, &config)?;
        }
        Ok(app)
    }

    /// Does everything of a start that can fail but listening.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn check(config: Config) -> Result<(), AppError> {
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let discovery = Discovery::new(&config.dns, control.handle().clone());
        config
            .identity
            .as_ref()
            .map(|files| identity(files, &config))
            .transpose()?;
        build(config, &discovery, 0).map(drop)
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
        let snapshot = Arc::new(build(config.clone(), &self.discovery, generation)?);
        let fresh = config
            .identity
            .as_ref()
            .map(|files| identity(files, &config))
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
        state.generation = generation;
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
        self.control.shutdown_timeout(Duration::from_secs(2));
        drained
    }
}

fn build(config: Config, discovery: &Discovery, generation: u64) -> Result<Snapshot, AppError> {
    Snapshot::build(config, discovery, generation).map_err(AppError::Build)
}

/// Reads credentials and trust.
fn identity(files: &config::IdentityFiles, config: &Config) -> Result<TunnelTls, AppError> {
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
    let tls = TunnelTls::new(provider, trust, credentials).on_refusal(Arc::new(|error| {
        tracing::warn!(reason = error.reason(), %error, "peer refused");
    }));
    Ok(tls)
}
