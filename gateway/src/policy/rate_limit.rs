//! How often calls may come: one token bucket for each key of a rule.

use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use causeway_config as config;
use causeway_config::{LimitKey, OnError};
use causeway_protocols::{CallHead, FailureKind};

use super::{Admit, Counted, Policy, Shape};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;
use crate::limits::counters::Rule;
use crate::limits::shared::{self, Shared, SharedKey};
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
    /// The counters of the site and the rule's name there, if it is counted there.
    shared: Option<(Arc<Shared>, SharedKey)>,
    /// `RateLimit-Policy`, the same for every call.
    policy: String,
}

impl RateLimit {
    /// A rule of this route. It goes on with the debts of the rule that had its name.
    pub(super) fn new(route: &config::Route, config: &config::RateLimit, counters: &Counted<'_>) -> Self {
        let bucket = Bucket::new(config.rate, config.burst);
        let name: &[&str] = match config.key {
            LimitKey::Site => &["rate of site", &config.name],
            _ => &["rate", &route.name, &config.name],
        };
        let rule = counters.here.counters.rule(name);
        let shared = counters.shared.filter(|_| config.shared);
        let shared = shared.map(|shared| (Arc::clone(shared), SharedKey::of(name)));
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
            shared,
            policy,
        }
    }
}

impl RateLimit {
    /// Asks this gateway's own counters.
    fn take(&self, head: &CallHead, cx: &CallContext) -> Taken {
        let mut hasher = self.rule.hasher();
        key::feed(&mut hasher, &self.config.key, head, cx);
        // Not when the call began: it may have waited for a policy before this one.
        let now = Instant::now();
        self.rule.take(hasher.finish(), &self.bucket, self.config.cost, now)
    }

    fn decide<'a>(&self, taken: Taken, cx: &CallContext) -> Admit<'a> {
        let (Taken::Granted { left, full } | Taken::Refused { left, full, .. }) = taken;
        if self.config.fields {
            cx.spent.note(self.rule.id(), Spent { left, full });
        }
        let Taken::Refused { after, .. } = taken else {
            return Admit::Pass;
        };
        let detail = format!("over the rate of rule `{}`", self.config.name);
        let error = CallError::new(FailureKind::RateLimited, detail);
        Admit::refuse(match after {
            Some(after) => error.after(after),
            None => error,
        })
    }
}

impl Policy for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        let Some((shared, rule)) = &self.shared else {
            return self.decide(self.take(&call.head, cx), cx);
        };
        let mut key = rule.clone();
        key::feed(&mut key, &self.config.key, &call.head, cx);
        Admit::Later(Box::pin(async move {
            let taken = match (
                shared.take(key, &self.bucket, self.config.cost).await,
                shared.on_error(),
            ) {
                (Some(taken), _) => taken,
                (None, OnError::Local) => self.take(&call.head, cx),
                (None, OnError::Allow) => return Ok(None),
                (None, OnError::Refuse) => return Err(shared::is_away()),
            };
            match self.decide(taken, cx) {
                Admit::Refuse(error) => Err(*error),
                _ => Ok(None),
            }
        }))
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        if let Some(spent) = cx.spent.of(self.rule.id()) {
            spent.tell(&mut reply.head.fields, &self.config.name, &self.policy);
        }
        Shape::Done
    }
}
