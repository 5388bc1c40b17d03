//! Errors of the command line: one line that says what, one that says how to go on, and an exit code.

use std::io;
use std::path::PathBuf;

use crate::authority::AuthorityError;
use crate::bundle::{BundleError, BundleProblem};
use crate::credentials::CredentialsError;
use crate::identity::IdentityError;
use crate::store::StoreError;
use crate::verify::VerifyError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A bundle file.
    #[error("trust bundle `{}`: {source}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BundleError,
    },
    /// A file of a directory of bundles.
    #[error("{0}")]
    Bundles(BundleProblem),
    /// A certificate or key file.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A name.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Something else about the input.
    #[error("{what}")]
    Input {
        /// What is wrong.
        what: String,
        /// How to go on.
        hint: &'static str,
    },
    /// Standard output is gone or full.
    #[error("writing the result: {0}")]
    Output(#[from] io::Error),
    /// What a gateway would say.
    #[error("{} refused: {}", .0.peer, .0.fault)]
    Refused(VerifyError),
    /// A file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PkiError {
    /// How to go on, to be printed as a line of its own after `hint: `.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Authority(error) => error.hint(),
            Self::Bundle { source, .. } => source.hint(),
            Self::Bundles(problem) => problem.hint(),
            Self::Credentials(error) => error.hint(),
            Self::Identity(_) => "names are made of letters, digits, `.`, `-` and `_`; trust domains are in lower case",
            Self::Input { hint, .. } => hint,
            Self::Output(_) => "check what standard output is connected to",
            Self::Refused(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
    }

    /// 1 when the work failed or a certificate was refused, 2 when the input was wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bundle { .. } | Self::Bundles(_) | Self::Credentials(_) | Self::Identity(_) | Self::Input { .. } => 2,
            Self::Authority(AuthorityError::Store(StoreError::Io { .. })) | Self::Store(StoreError::Io { .. }) => 1,
            Self::Authority(AuthorityError::SelfCheck(_)) | Self::Output(_) | Self::Refused(_) => 1,
            Self::Authority(_) | Self::Store(_) => 2,
        }
    }
}
