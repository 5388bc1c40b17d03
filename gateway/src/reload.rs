//! Reading the configuration again: on a signal, by the operator's port, and when a file of it changes.
//!
//! Whatever asks for it, a [`Reloader`] does it, one at a time. A configuration with any problem changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use causeway_config::{Config, ConfigProblems, IssuerKeys, Schema};

use crate::app::{AppError, Gateway};

mod watch;

pub use watch::Watch;

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(ConfigProblems),
    /// What it names cannot be used.
    #[error(transparent)]
    App(#[from] AppError),
    /// The gateway has stopped.
    #[error("the gateway has stopped")]
    Stopped,
}

impl ReloadError {
    /// The problems one by one.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Config(problems) => vec![problems.to_string()],
            Self::App(error) => error.problems().iter().map(ToString::to_string).collect(),
            Self::Stopped => vec![self.to_string()],
        }
    }
}

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The operator's port.
    Admin,
    /// A file changed.
    Files,
    /// SIGHUP.
    Signal,
}

impl Trigger {
    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Files => "files",
            Self::Signal => "signal",
        }
    }
}

/// How the last reloads went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Those that were taken over.
    pub good: u64,
    /// Those that changed nothing.
    pub bad: u64,
    /// Problems of the last one; empty if it was good.
    pub problems: Vec<String>,
}

type Load = Box<dyn Fn() -> Result<Config, ConfigProblems> + Send + Sync>;

/// Loads the configuration of a gateway again.
pub struct Reloader {
    gateway: Weak<Gateway>,
    load: Load,
    reloads: Mutex<Reloads>,
    /// Held while reloading.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader")
            .field("reloads", &self.reloads)
            .finish_non_exhaustive()
    }
}

impl Reloader {
    /// Reloads this gateway from what `load` reads.
    pub fn new(
        gateway: &Arc<Gateway>,
        load: impl Fn() -> Result<Config, ConfigProblems> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            gateway: Arc::downgrade(gateway),
            load: Box::new(load),
            reloads: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    /// Reads the configuration and takes it over; the number of the configuration that is in use then. Blocks, for
    /// files and for look-ups of new names: use `spawn_blocking` from a task.
    ///
    /// # Errors
    /// Every problem, which is also in the log; then nothing has changed.
    pub fn reload(&self, trigger: Trigger) -> Result<u64, ReloadError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.try_reload();
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        match &reloaded {
            Ok(generation) => {
                reloads.good += 1;
                reloads.problems.clear();
                tracing::info!(generation, trigger = trigger.label(), "configuration reloaded");
            }
            Err(error) => {
                reloads.bad += 1;
                reloads.problems = error.problems();
                let trigger = trigger.label();
                tracing::error!(%error, trigger, "the configuration was not reloaded: nothing has changed");
            }
        }
        reloaded
    }

    fn try_reload(&self) -> Result<u64, ReloadError> {
        let gateway = self.gateway.upgrade().ok_or(ReloadError::Stopped)?;
        let config = (self.load)().map_err(ReloadError::Config)?;
        Ok(gateway.reload(config)?)
    }

    /// How reloads went so far.
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files to watch; none when the gateway has stopped.
    fn files(&self) -> Option<Vec<PathBuf>> {
        Some(self.gateway.upgrade()?.files())
    }
}

/// The files and directories that a configuration is made of: its own, and those it names.
pub fn files_of(config: &Config) -> Vec<PathBuf> {
    let mut files = config.sources.clone();
    if let Some(folder) = config.sources.first().and_then(|first| first.parent()) {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        files.extend([folder.join("conf.d"), folder.join("peers.d")]);
    }
    if let Some(identity) = &config.identity {
        files.extend([
            identity.certificate.clone(),
            identity.private_key.clone(),
            identity.trust_bundles.clone(),
        ]);
        files.extend(identity.revocations.clone());
    }
    let pairs = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    files.extend(pairs.clone().filter_map(|tls| Some(tls.clients.as_ref()?.ca.clone())));
    for pair in pairs.flat_map(|tls| &tls.certificates) {
        files.extend([pair.certificate.clone(), pair.private_key.clone()]);
    }
    for one in &config.introspectors {
        files.push(one.client_secret.clone());
        files.extend(one.roots.clone());
    }
    for issuer in &config.issuers {
        match &issuer.keys {
            IssuerKeys::File(path) | IssuerKeys::Secret(path) => files.push(path.clone()),
            IssuerKeys::Url { roots, .. } => files.extend(roots.clone()),
            IssuerKeys::Inline(_) => {}
        }
    }
    for service in &config.services {
        if let Some(tls) = &service.tls {
            files.extend(tls.roots.clone());
            if let Some(pair) = &tls.client {
                files.extend([pair.certificate.clone(), pair.private_key.clone()]);
            }
        }
        if let Some(Schema::Directory(path) | Schema::Descriptors(path)) = &service.schema {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    files
}
