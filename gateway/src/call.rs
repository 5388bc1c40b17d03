//! A call and its reply as they travel through the gateway: head and payload.

use causeway_protocols::{CallHead, ReplyHead};

use std::rc::Rc;

use crate::payload::{Body, Pump};
use crate::service::lease::Lease;
use crate::translate::Link;

/// What a client asks.
#[derive(Debug)]
pub struct Call {
    /// Method, target, fields.
    pub head: CallHead,
    /// What follows; for a WebSocket, raw frames.
    pub body: Body,
}

/// What comes back.
#[derive(Debug)]
pub struct Reply {
    /// Status and fields.
    pub head: ReplyHead,
    /// What follows; for a WebSocket that was let in, raw frames.
    pub body: Body,
    /// The request, still flowing. Dropping it cancels what has not been sent.
    pub rest: Pump,
    /// The endpoint's lease, returned when the exchange is over.
    pub lease: Option<Lease>,
    /// What the two directions tell each other where they are translated.
    pub link: Option<Rc<Link>>,
}

impl Reply {
    /// A whole reply that needs nothing more from the client.
    pub fn whole(head: ReplyHead, body: Body) -> Self {
        Self {
            head,
            body,
            rest: Pump::done(),
            lease: None,
            link: None,
        }
    }
}
