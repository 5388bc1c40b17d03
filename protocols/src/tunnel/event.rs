//! What comes out of a session: events of calls, and what ends a tunnel.

use std::time::Duration;

use bytes::Bytes;

use super::calls::CallId;
use super::control::{GoAway, Hello};
use super::frame::Kind;
use super::head::{HeadError, OpenHead};
use super::reply::Ended;
use crate::call::ReplyHead;
use crate::failure::Reset;

/// A side of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This one.
    Here,
    /// The other one.
    Peer,
}

/// What the other side sent.
#[derive(Debug)]
pub enum Incoming {
    /// The tunnel is ready.
    Hello(Hello),
    /// A call was opened. Answer it, and end it with [`Session::finished`](super::Session::finished) in any case.
    Open {
        /// Its id.
        call: CallId,
        /// Its head; `call.hold` says that it has no credit before [`Session::permit`](super::Session::permit).
        head: Box<OpenHead>,
        /// There is no body.
        end: bool,
    },
    /// A head was refused, and the peer told so by a RESET. There is no call; this is for the log.
    Malformed {
        /// The id that it would have had.
        call: CallId,
        /// Why.
        error: HeadError,
    },
    /// An interim head of the reply.
    Info {
        /// A call opened here.
        call: CallId,
        /// The head.
        head: ReplyHead,
    },
    /// The head of the reply.
    Reply {
        /// A call opened here.
        call: CallId,
        /// The head.
        head: ReplyHead,
    },
    /// A part of a body. Give its credit back with [`Session::consumed`](super::Session::consumed) once it has left this process.
    Data {
        /// The call.
        call: CallId,
        /// The bytes; empty only with `end`.
        data: Bytes,
        /// The caller's body ends here. Never so in a reply, which ends by [`Incoming::End`].
        end: bool,
    },
    /// The called side has ended the call, in both directions.
    End {
        /// A call opened here.
        call: CallId,
        /// How.
        outcome: Ended,
    },
    /// The call ended before its end, in both directions.
    Reset {
        /// The call.
        call: CallId,
        /// Why.
        reset: Reset,
        /// Who ended it: the peer, or this session because the peer broke a rule.
        origin: Origin,
    },
    /// A call that had no credit has some.
    Window {
        /// The call.
        call: CallId,
    },
    /// No new calls. Each call opened here that the peer will not process is told next, as [`Reset::Refused`].
    GoAway(GoAway),
    /// A PING was answered.
    Pong {
        /// The round trip time, smoothed.
        rtt: Duration,
    },
}

/// What ends a tunnel: the other side cannot be understood any more. Say GOAWAY and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The first frame is not HELLO.
    #[error("first frame is not HELLO")]
    NoHello,
    /// HELLO came twice.
    #[error("HELLO came twice")]
    SecondHello,
    /// A kind that must be understood is not.
    #[error("frame kind {0:#04x} is unknown")]
    Kind(u8),
    /// A payload has a length that its kind does not have.
    #[error("{kind:?} frame of {length} bytes")]
    Length {
        /// The kind.
        kind: Kind,
        /// Payload bytes.
        length: u16,
    },
    /// A payload of the tunnel itself is malformed.
    #[error("{0:?} frame is malformed")]
    Malformed(Kind),
    /// A frame of a call has call 0, or one of the tunnel has another.
    #[error("{kind:?} frame on call {call}")]
    Call {
        /// The kind.
        kind: Kind,
        /// The call.
        call: u32,
    },
    /// A call is opened with an id of this side, or one that is not above the last.
    #[error("call {0} is opened out of order")]
    Order(u32),
    /// A frame for a call that was never opened.
    #[error("{kind:?} frame for call {call}, which was never opened")]
    Unopened {
        /// The kind.
        kind: Kind,
        /// The call.
        call: u32,
    },
    /// Answers pile up, because the other side sends and does not read.
    #[error("peer does not read the answers to what it sends")]
    Unread,
}

impl Violation {
    /// The word used in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoHello => "no_hello",
            Self::SecondHello => "second_hello",
            Self::Kind(_) => "unknown_kind",
            Self::Length { .. } => "length",
            Self::Malformed(_) => "malformed",
            Self::Call { .. } => "call",
            Self::Order(_) => "order",
            Self::Unopened { .. } => "unopened",
            Self::Unread => "unread",
        }
    }
}
