//! `causeway/1`, the wire form between two gateways, on a byte stream (TLS over TCP).
//!
//! Many calls share one connection. Every frame is an 8-byte [`frame`] header and a payload: the [`head`] of a call, the
//! parts of its [`reply`], or a [`control`] message. A [`Session`] is one tunnel: bytes in, [`Incoming`] events out;
//! calls in, bytes out. It opens no socket, reads no clock and wakes nobody, so every cut of its input can be tested.
//!
//! - Credit is per call; there is no window per tunnel, so a slow reader stalls itself only. Windows grow while they
//!   are drained quickly, as far as the process's [`GrowthLedger`] allows.
//! - Control frames are always written; DATA waits for its turn when 64 KiB are waiting for the socket: first each
//!   call's first 16 KiB, then one quantum per call and turn.
//! - Kinds and keys from 0x40 up are ignored where they are unknown. An unknown kind below ends the tunnel, an unknown
//!   key below refuses the call.
//!
//! Posture: robust against an authenticated peer that misbehaves. What it can make us hold is bounded by
//! `max_calls` x window, plus the ledger, plus 64 KiB of answers it does not read.

pub mod control;
pub mod frame;
pub mod head;
pub mod reply;

mod calls;
mod credit;
mod event;
mod inbox;
mod ledger;
mod liveness;
mod reader;
mod receive;
mod send;
mod session;
mod turns;

pub use calls::CallId;
pub use control::{GoAway, GoAwayReason, Hello};
pub use event::{Incoming, Origin, Violation};
pub use head::{HeadError, MAX_CALLER, OpenHead, Opening, TraceParent};
pub use inbox::Inbox;
pub use ledger::GrowthLedger;
pub use liveness::Tick;
pub use reply::{Ended, Failure};
pub use send::{OpenError, SendError, Sent};
pub use session::{Counts, Role, Session, Settings};

#[cfg(test)]
mod tests;
