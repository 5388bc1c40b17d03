//! The names of what goes wrong with a look-up.

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;

/// Why a look-up gave no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The name does not exist (NXDOMAIN).
    #[error("no such name")]
    NxDomain,
    /// The server failed (SERVFAIL, and codes without a name here).
    #[error("the DNS server failed")]
    ServFail,
    /// The server does not answer us (REFUSED).
    #[error("the DNS server refused to answer")]
    Refused,
    /// No valid answer in time; answers with a wrong id or question do not count.
    #[error("no answer in time")]
    Timeout,
    /// The name exists, without records of the kind asked for, or ends in a loop of aliases.
    #[error("no records")]
    Empty,
    /// An answer that cannot be read, or a name that cannot be asked for.
    #[error("malformed name or answer")]
    Malformed,
    /// An answer that does not fit, over TCP neither.
    #[error("answer too long")]
    Truncated,
    /// Only addresses that an answer must not hold.
    #[error("only link-local, multicast or unspecified addresses")]
    Forbidden,
    /// No server is known, or none could be reached.
    #[error("no DNS server could be reached")]
    Unreachable,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NxDomain,
        Self::ServFail,
        Self::Refused,
        Self::Timeout,
        Self::Empty,
        Self::Malformed,
        Self::Truncated,
        Self::Forbidden,
        Self::Unreachable,
    ];

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NxDomain => "nxdomain",
            Self::ServFail => "servfail",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether it is an answer: the server says that there is nothing, instead of not saying.
    pub(super) fn is_answer(self) -> bool {
        matches!(self, Self::NxDomain | Self::Empty | Self::Forbidden)
    }

    pub(super) fn of(error: &NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            NetError::Dns(DnsError::NoRecordsFound(none)) => Self::of_code(none.response_code),
            NetError::Dns(DnsError::ResponseCode(code)) => Self::of_code(*code),
            NetError::Truncated => Self::Truncated,
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => Self::Unreachable,
            _ => Self::Malformed,
        }
    }

    fn of_code(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NoError => Self::Empty,
            ResponseCode::NXDomain => Self::NxDomain,
            ResponseCode::Refused => Self::Refused,
            _ => Self::ServFail,
        }
    }
}
