//! How often calls may come: one token bucket for each key of a rule.

use std::hash::Hasher;
use std::rc::Rc;
use std::time::Instant;

use causeway_config as config;
use causeway_config::LimitKey;
use causeway_protocols::FailureKind;

use super::{Admit, Policy, Shape};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;
use crate::limits::counters::{Counters, Rule};
use crate::limits::spent::{Spent, seconds};
use crate::limits::{Bucket, Taken, key};

/// One rule of `[routes.rate_limit]`.
///
/// Runs after authentication, so that the key may be the identity, and needs the head only. All workers take out of the
/// same buckets, so the limit holds for the gateway and not for each of its cores.
#[derive(Debug)]
pub(super) struct RateLimit {
    config: config::RateLimit,
    bucket: Bucket,
    rule: Rule,
    /// `RateLimit-Policy`, the same for every call.
    policy: String,
}

impl RateLimit {
    /// A rule of this route. It goes on with the debts of the rule that had its name.
    pub(super) fn new(route: &config::Route, config: &config::RateLimit, counters: &std::sync::Arc<Counters>) -> Self {
        let bucket = Bucket::new(config.rate, config.burst);
        let rule = match config.key {
            LimitKey::Site => counters.rule(("site", &*config.name)),
            _ => counters.rule(("route", &*route.name, &*config.name)),
        };
        let policy = format!(
            "\"{}\";q={};w={}",
            config.name,
            bucket.burst(),
            seconds(bucket.window()).max(1)
        );
        Self {
            config: config.clone(),
            bucket,
            rule,
            policy,
        }
    }
}

impl Policy for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        let mut hasher = self.rule.hasher();
        key::feed(&mut hasher, &self.config.key, &call.head, cx);
        // Not when the call began: it may have waited for a policy before this one.
        let taken = self
            .rule
            .take(hasher.finish(), &self.bucket, self.config.cost, Instant::now());
        let (Taken::Granted { left, full } | Taken::Refused { left, full, .. }) = taken;
        if self.config.fields {
            cx.spent.note(self.rule.id(), Spent { left, full });
        }
        match taken {
            Taken::Granted { .. } => Admit::Pass,
            Taken::Refused { after, .. } => {
                let detail = format!("over the rate of rule `{}`", self.config.name);
                let error = CallError::new(FailureKind::RateLimited, detail);
                Admit::refuse(match after {
                    Some(after) => error.after(after),
                    None => error,
                })
            }
        }
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        if let Some(spent) = cx.spent.of(self.rule.id()) {
            spent.tell(&mut reply.head.fields, &self.config.name, &self.policy);
        }
        Shape::Done
    }
}
