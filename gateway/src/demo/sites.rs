//! Both sites and their backends, running in this process.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use causeway_config::{Config, ConfigProblems};
use causeway_pki::TrustDomain;
use causeway_pki::cli::{PkiError, bootstrap};
use causeway_pki::issue::LEAF_LIFETIME;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::backend::{BackendError, Backends};
use super::places::{self, LOOPBACK, Places};
use crate::app::{App, AppError};
use crate::cli::probe;
use crate::drain::Drained;

/// Calls under way when the demo ends get this long, at each site.
const DRAIN: &str = "\n[drain]\ndeadline = \"1500ms\"\n";
/// One line per call would hide the lines to copy; spans are kept for those who ask.
const TELEMETRY: &str = "\n[telemetry]\naccess_log = \"off\"\nkeep_spans = 1000\n";
/// Enough to see that there are several, without many threads on a large machine.
const WORKERS: &str = "workers = 2\n";
/// Backends have little left to do when both sites are gone.
const BACKENDS: Duration = Duration::from_millis(500);
/// The tunnel takes milliseconds.
const TUNNEL: Duration = Duration::from_secs(10);

/// Why the demo did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Ports that others have.
    #[error("{}", taken(.0))]
    Taken(Vec<(&'static str, SocketAddr)>),
    /// A site.
    #[error("site `{site}`: {source}")]
    Site {
        /// Its name.
        site: &'static str,
        /// What went wrong.
        #[source]
        source: AppError,
    },
    /// The backends.
    #[error("{0}: {cause}", cause = .0.source().map(ToString::to_string).unwrap_or_default())]
    Backends(#[from] BackendError),
    /// Certificates of the sites.
    #[error("making the certificates: {0}")]
    Pki(#[from] PkiError),
    /// A directory or file.
    #[error("{what}: {source}")]
    File {
        /// What was being done.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Our own configuration is wrong: this is a bug, or the name of a directory is no text.
    #[error("{0}")]
    Config(#[from] ConfigProblems),
    /// A directory to write into has something in it.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// No threads.
    #[error("starting: {0}")]
    Start(#[from] io::Error),
    /// The sites do not find each other.
    #[error("no answer from azure through aws within {TUNNEL:?}: {0}")]
    Tunnel(String),
}

fn taken(of: &[(&'static str, SocketAddr)]) -> String {
    let list: Vec<_> = of.iter().map(|(what, at)| format!("{at} ({what})")).collect();
    let are = if of.len() == 1 { "is" } else { "are" };
    format!("{} {are} in use", list.join(", "))
}

impl DemoError {
    /// How to go on.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Taken(_) => {
                Some("try `causeway demo --port-offset 100`, or `--free-ports`; is another demo running?")
            }
            Self::Pki(error) => Some(error.hint()),
            Self::File { .. } => Some("is the directory there, and may you write to it?"),
            Self::NotEmpty(_) => Some("name a directory that is empty or not there yet"),
            Self::Tunnel(_) => Some("the lines above say what keeps the sites apart"),
            Self::Site { .. } | Self::Backends(_) | Self::Config(_) | Self::Start(_) => None,
        }
    }

    /// 2 when other arguments would help, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotEmpty(_) | Self::Taken(_) => 2,
            _ => 1,
        }
    }
}

/// Both sites, running. Dropping it stops them without waiting and removes their directory.
#[derive(Debug)]
pub struct Sites {
    aws: App,
    azure: App,
    backends: Backends,
    runtime: Runtime,
    places: Places,
    folder: TempDir,
}

impl Sites {
    /// Starts everything; when it returns, calls pass from aws to azure. `runtime` is for the backends.
    ///
    /// # Errors
    /// [`DemoError`]; then nothing is left.
    pub fn start(places: &Places, runtime: Runtime) -> Result<Self, DemoError> {
        check_free(places)?;
        let mut places = *places;
        let folder = TempDir::with_prefix("causeway-demo-").map_err(|source| DemoError::File {
            what: format!("making a directory in {}", std::env::temp_dir().display()),
            source,
        })?;
        certificates(folder.path())?;
        let backends = runtime.block_on(Backends::start("azure", LOOPBACK, places.backend_ports()))?;
        places.backends = backends.addresses();

        let azure = start("azure", &places::azure(&places, &folder.path().join("azure")))?;
        let bound = azure.bound();
        places.tunnel = bound.federation.unwrap_or(places.tunnel);
        places.azure.edge = bound.listeners.values().copied().next().unwrap_or(places.azure.edge);
        places.azure.admin = bound.admin.unwrap_or(places.azure.admin);

        let aws = start("aws", &places::aws(&places, &folder.path().join("aws")))?;
        let bound = aws.bound();
        places.aws.edge = bound.listeners.values().copied().next().unwrap_or(places.aws.edge);
        places.aws.admin = bound.admin.unwrap_or(places.aws.admin);

        let sites = Self {
            aws,
            azure,
            backends,
            runtime,
            places,
            folder,
        };
        sites.wait_for_tunnel()?;
        Ok(sites)
    }

    fn wait_for_tunnel(&self) -> Result<(), DemoError> {
        let deadline = Instant::now() + TUNNEL;
        loop {
            let why = match probe::get(self.places.aws.edge, "/", Duration::from_secs(2)) {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("status {}", answer.status),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(DemoError::Tunnel(why));
            }
            // Each round is a call, and the tunnel comes up by itself.
            self.runtime.block_on(tokio::time::sleep(Duration::from_millis(10)));
        }
    }

    /// Where everything listens.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Where the certificates are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The runtime of the backends.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Stops in order: calls under way are finished for a short while, then cut. Nothing is left.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub fn stop(self) -> Result<Drained, DemoError> {
        // From the client to the backend, so that nothing is taken away from under a call.
        let first = self.aws.drain();
        let second = self.azure.drain();
        self.runtime.block_on(self.backends.stop(BACKENDS));
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|source| DemoError::File {
            what: format!("removing {}", path.display()),
            source,
        })?;
        Ok(if first == Drained::Clean { second } else { first })
    }
}

/// All ports that are in use, not only the first.
fn check_free(places: &Places) -> Result<(), DemoError> {
    let taken: Vec<_> = places
        .known()
        .into_iter()
        .filter(|(_, at)| std::net::TcpListener::bind(at).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse))
        .collect();
    if taken.is_empty() {
        Ok(())
    } else {
        Err(DemoError::Taken(taken))
    }
}

/// Authorities, certificates and bundles of both sites, in `folder/aws` and `folder/azure`.
///
/// # Errors
/// When something is there already, or cannot be written.
pub(crate) fn certificates(folder: &Path) -> Result<(), PkiError> {
    let sites = ["aws", "azure"]
        .into_iter()
        .map(|site| Ok((site.to_owned(), TrustDomain::parse(&format!("{site}.acme.example"))?)))
        .collect::<Result<Vec<_>, PkiError>>()?;
    let now = time::OffsetDateTime::now_utc();
    bootstrap(&sites, &["gw-1".to_owned()], LEAF_LIFETIME, folder, now)
}

fn start(site: &'static str, text: &str) -> Result<App, DemoError> {
    let text = format!("{WORKERS}{text}{DRAIN}{TELEMETRY}");
    // From a text: neither the environment nor files of the working directory change the demo.
    let config: Config = causeway_config::load_str(&format!("demo/{site}.toml"), &text)?;
    App::start(config).map_err(|source| DemoError::Site { site, source })
}
