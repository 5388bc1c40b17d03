//! Why a gateway does not start or reload.

use std::io;
use std::net::SocketAddr;

use crate::identity::IdentityError;
use crate::limits::store::StoreError;
use crate::snapshot::BuildError;

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
    /// What must survive a restart cannot be read or written.
    #[error(transparent)]
    State(#[from] StoreError),
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
    /// Of one problem or several.
    pub(super) fn of(mut problems: Vec<Self>) -> Self {
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

/// Problems of a step as problems of the whole.
pub(super) fn of<E: Into<AppError>>(errors: Vec<E>) -> impl Iterator<Item = AppError> {
    errors.into_iter().map(Into::into)
}
