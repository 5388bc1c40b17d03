//! How much may be used in a period of the clock: one counter for each key of a rule.

use std::hash::Hasher as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_config as config;
use causeway_config::{LimitKey, OnError, QuotaAmount};
use causeway_protocols::{FailureKind, Protocol};
use siphasher::sip128::SipHasher13;

use super::{Admit, Counted, Policy, Shape};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;
use crate::limits::quotas::{QuotaRule, Spending};
use crate::limits::shared::{self, Shared, SharedKey};
use crate::limits::spent::Spent;
use crate::limits::store::now;
use crate::limits::{key, period};
use crate::payload::metered::{Meter, Metered, Pass};
use crate::payload::{Body, Broken};

/// One rule of `[routes.quota]`. Calls are counted before they are sent; bytes as they pass, in both directions.
#[derive(Debug)]
pub(super) struct Quota {
    config: config::Quota,
    rule: QuotaRule,
    /// The counters of the site and the rule's name there, if it is counted there: calls only.
    shared: Option<(Arc<Shared>, SharedKey)>,
    /// `RateLimit-Policy`, the same for every call.
    policy: String,
}

impl Quota {
    /// A rule of this route. It goes on with what was spent of the rule that had its name, if its period is the same.
    pub(super) fn new(route: &config::Route, config: &config::Quota, counters: &Counted<'_>) -> Self {
        let unit = match config.amount {
            QuotaAmount::Bytes(_) => "bytes",
            QuotaAmount::Requests(_) => "requests",
        };
        let per = config.per.label();
        let name: &[&str] = match config.key {
            LimitKey::Site => &["site", &config.name, per, unit],
            _ => &["route", &route.name, &config.name, per, unit],
        };
        let rule = counters.here.quotas.rule(name);
        let shared = counters.shared.filter(|_| config.shared);
        let shared = shared.map(|shared| (Arc::clone(shared), SharedKey::of(name)));
        let (name, seconds) = (&config.name, period::length(config.per));
        let policy = match config.amount {
            QuotaAmount::Bytes(most) => format!("\"{name}\";q={most};qu=\"content-bytes\";w={seconds}"),
            QuotaAmount::Requests(most) => format!("\"{name}\";q={most};w={seconds}"),
        };
        Self {
            config: config.clone(),
            rule,
            shared,
            policy,
        }
    }

    fn decide<'a>(&self, spending: Spending, most: u64, left: u64, cx: &CallContext) -> Admit<'a> {
        let full = Duration::from_secs(left);
        if self.config.fields {
            let left = most.saturating_sub(spending.spent);
            cx.spent.note(self.rule.id(), Spent { left, full });
        }
        if spending.granted {
            return Admit::Pass;
        }
        let detail = format!(
            "quota `{}` of this {} is spent",
            self.config.name,
            self.config.per.label()
        );
        Admit::refuse(CallError::new(FailureKind::QuotaExceeded, detail).after(full))
    }

    fn key(&self, call: &Call, cx: &CallContext) -> SipHasher13 {
        let mut hasher = self.rule.hasher();
        key::feed(&mut hasher, &self.config.key, &call.head, cx);
        hasher
    }

    /// Counts the bytes of one direction.
    fn meter(&self, body: &mut Body, key: SipHasher13, most: u64, cx: &CallContext) {
        let meter = ByteMeter {
            rule: self.rule.clone(),
            key,
            most,
            per: self.config.per,
            // A request and its reply end by themselves; what may go on for ever has to be ended.
            endless: cx.protocol != Protocol::Http && !self.config.dry_run,
        };
        Metered::wrap(body, Box::new(meter));
    }
}

impl Policy for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        let now = now();
        let ends = period::end(self.config.per, now);
        if let (Some((shared, rule)), QuotaAmount::Requests(most)) = (&self.shared, self.config.amount) {
            let mut key = rule.clone();
            key.write_u64(ends);
            key::feed(&mut key, &self.config.key, &call.head, cx);
            return Admit::Later(Box::pin(async move {
                let told = match (shared.spend(key, 1, most, ends).await, shared.on_error()) {
                    (Some((granted, spent)), _) => Spending { spent, granted },
                    (None, OnError::Local) => self.rule.spend(&self.key(call, cx), 1, most, now, ends),
                    (None, OnError::Allow) => return Ok(None),
                    (None, OnError::Refuse) => return Err(shared::is_away()),
                };
                match self.decide(told, most, ends - now, cx) {
                    Admit::Refuse(error) => Err(*error),
                    _ => Ok(None),
                }
            }));
        }
        let key = self.key(call, cx);
        let (most, spending) = match self.config.amount {
            QuotaAmount::Requests(most) => (most, self.rule.spend(&key, 1, most, now, ends)),
            // One byte must be left.
            QuotaAmount::Bytes(most) => (most, self.rule.spend(&key, 0, most - 1, now, ends)),
        };
        if let QuotaAmount::Bytes(most) = self.config.amount
            && (spending.granted || self.config.dry_run)
        {
            self.meter(&mut call.body, key, most, cx);
            cx.spent.meter(self.rule.id(), key);
        }
        self.decide(spending, most, ends - now, cx)
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        let id = self.rule.id();
        if let Some(spent) = cx.spent.of(id) {
            spent.tell(&mut reply.head.fields, &self.config.name, &self.policy);
        }
        if let QuotaAmount::Bytes(most) = self.config.amount
            && let Some(key) = cx.spent.metered(id)
        {
            self.meter(&mut reply.body, key, most, cx);
        }
        Shape::Done
    }
}

/// Counts bytes as they pass.
#[derive(Debug)]
struct ByteMeter {
    rule: QuotaRule,
    key: SipHasher13,
    most: u64,
    per: config::Period,
    endless: bool,
}

impl Meter for ByteMeter {
    fn pass(&mut self, data: Bytes) -> Pass {
        let now = now();
        let ends = period::end(self.per, now);
        let spent = self.rule.charge(&self.key, data.len() as u64, now, ends);
        if self.endless && spent > self.most {
            return Pass::Broken(
                data,
                Broken::new(FailureKind::QuotaExceeded, "a quota of bytes is spent"),
            );
        }
        Pass::On(data)
    }
}
