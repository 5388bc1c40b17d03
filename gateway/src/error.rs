//! Why a call got no answer from its backend.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use causeway_protocols::{FailureKind, Fields, NameId};

use crate::payload::Broken;

/// Whether trying again can help, and may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would end the same way, or nobody waits any more.
    Never,
    /// The backend has not begun to work on it: any method may be tried again.
    Unprocessed,
    /// The backend may have worked on it: only what is idempotent may be tried again.
    Idempotent,
}

/// The one error of the path. What the client is told follows from `kind` alone; `detail` is for the log.
#[derive(Clone, Debug)]
pub struct CallError {
    /// What the client is told, in whichever protocol it speaks.
    pub kind: FailureKind,
    /// What happened, for the operator.
    pub detail: Cow<'static, str>,
    /// Whether to try again.
    pub retry: Retry,
    /// When the client may come again.
    pub retry_after: Option<Duration>,
    /// Fields for the client's reply, where its protocol has any: `allow`, `www-authenticate` and the like.
    pub fields: Option<Box<Fields>>,
}

impl CallError {
    /// An error after which trying again is no use.
    pub fn new(kind: FailureKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry: Retry::Never,
            retry_after: None,
            fields: None,
        }
    }

    /// The same, with a verdict on trying again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same, with a field for the client's reply. A value that no field can have is left out.
    pub fn field(mut self, name: NameId, value: &str) -> Self {
        let fields = self.fields.get_or_insert_default();
        fields.push_known(name, value.as_bytes()).ok();
        self
    }

    /// The same, with a time after which the client may come again.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the body of the call is told when it breaks after the head.
    pub fn broken(&self) -> Broken {
        Broken {
            kind: self.kind,
            detail: self.detail.clone(),
        }
    }
}

impl From<Broken> for CallError {
    fn from(broken: Broken) -> Self {
        Self::new(broken.kind, broken.detail)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.detail)
    }
}

impl std::error::Error for CallError {}
