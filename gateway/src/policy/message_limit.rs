//! How much may pass while a call is open: messages and bytes in a time, and the size of a message, in each direction.
//!
//! Nothing is held or copied for it: bodies are watched where they pass (see [`Meter`](crate::payload::metered::Meter)), and
//! a body without a limit is not watched at all.

mod follow;
mod meter;

use std::rc::Rc;

use causeway_config as config;
use causeway_protocols::Protocol;
use http::StatusCode;

use self::follow::Follow;
use self::meter::{Counts, MessageMeter, Way};
use super::{Admit, Mode, Policy, Shape};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::payload::metered::Metered;
use crate::snapshot::Kept;

/// `[routes.message_limit]`.
#[derive(Debug)]
pub(super) struct MessageLimit {
    config: config::MessageLimit,
    counts: Counts,
}

impl MessageLimit {
    /// The limit of this route.
    pub(super) fn new(route: &config::Route, config: config::MessageLimit, kept: Kept<'_>) -> Self {
        let refusals = |mode: Mode| {
            let refusals = &kept.metrics.policy_refusals;
            refusals.with(&[&*route.name, "message_limit", mode.label()])
        };
        let counts = Counts {
            refused: refusals(Mode::Enforce),
            would_be_refused: refusals(Mode::DryRun),
            paused: kept.metrics.limit_hit.with(&["message_rate"]),
        };
        Self { config, counts }
    }

    fn meter(&self, follow: Follow, way: Way, cx: &Rc<CallContext>) -> Box<MessageMeter> {
        Box::new(MessageMeter::new(self.config, self.counts.clone(), follow, way, cx))
    }
}

impl Policy for MessageLimit {
    fn name(&self) -> &'static str {
        "message_limit"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        if self.config.up {
            let follow = Follow::of(cx.protocol, Way::Up);
            Metered::wrap(&mut call.body, self.meter(follow, Way::Up, cx));
        }
        Admit::Pass
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        if self.config.down {
            // A WebSocket that was refused is answered by a page.
            let protocol = match cx.protocol {
                Protocol::WebSocket if reply.head.status != StatusCode::SWITCHING_PROTOCOLS => Protocol::Http,
                protocol => protocol,
            };
            let follow = Follow::of(protocol, Way::Down);
            Metered::wrap(&mut reply.body, self.meter(follow, Way::Down, cx));
        }
        Shape::Done
    }
}
