//! Why a translated exchange ends before its end, in the terms of every protocol at once.

use causeway_protocols::framing::FramingError;
use causeway_protocols::message::Outcome;
use causeway_protocols::status::Status;
use causeway_protocols::transcode::TranscodeError;
use causeway_protocols::{Code, FailureKind};

use crate::error::CallError;
use crate::payload::Broken;
use crate::refuse;

/// A failure of either side, or of the gateway between them.
#[derive(Clone, Debug)]
pub struct Fault {
    /// For counters, the log, and clients that are told kinds.
    pub broken: Broken,
    /// The close code of WebSocket's own for it, where 4000 + status would not do.
    pub close: Option<u16>,
}

impl Fault {
    /// The client sent what cannot be cut into messages.
    pub fn of_client(error: &FramingError) -> Self {
        let kind = match error.fault.code() {
            Code::ResourceExhausted => FailureKind::TooLarge,
            Code::Cancelled => FailureKind::Cancelled,
            Code::Internal => FailureKind::Internal,
            _ => FailureKind::BadRequest,
        };
        Self {
            broken: Broken::new(kind, error.to_string()),
            close: Some(error.fault.close()),
        }
    }

    /// The backend sent what cannot be cut into messages.
    pub fn of_backend(error: &FramingError) -> Self {
        let kind = FailureKind::Protocol;
        Self::new(kind, format!("reply: {error}"))
    }

    /// The client sent a message that is not what its schema says.
    pub fn of_request(error: &TranscodeError) -> Self {
        Self {
            broken: Broken::new(FailureKind::BadRequest, error.to_string()),
            // RFC 6455, section 7.4.1: data that is not consistent with the type of the message.
            close: Some(1007),
        }
    }

    /// The backend sent a message that is not what its schema says.
    pub fn of_reply(error: &TranscodeError) -> Self {
        Self::new(FailureKind::Protocol, format!("reply: {error}"))
    }

    /// Any other failure.
    pub fn new(kind: FailureKind, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self {
            broken: Broken::new(kind, detail),
            close: match kind {
                FailureKind::Draining => Some(1012),
                FailureKind::Internal => Some(1011),
                _ => None,
            },
        }
    }

    /// What a client is told as a status: the detail only of its own mistakes.
    pub fn outcome(&self) -> Outcome {
        Outcome::new(Status::new(
            self.broken.kind.code(),
            refuse::told(self.broken.kind, &self.broken.detail),
        ))
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::new(broken.kind, broken.detail)
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        Self::new(error.kind, error.detail)
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        fault.broken.into()
    }
}
