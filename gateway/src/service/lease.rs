//! The right to use an endpoint for one attempt; returning it reports the outcome.

use std::rc::Rc;
use std::time::Instant;

use causeway_config as config;
use causeway_protocols::{Code, FailureKind, ReplyHead, name};

use super::endpoint::Endpoint;
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::Broken;

/// The right to use an endpoint for one attempt. Dropping it returns it.
#[derive(Debug)]
pub struct Lease {
    endpoint: Rc<Endpoint>,
    /// Only where somebody wants to know how attempts end.
    report: Option<Report>,
}

/// How an attempt went, as far as it is known.
#[derive(Debug)]
struct Report {
    since: Instant,
    context: Rc<CallContext>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No answer yet.
    Open,
    /// The endpoint did what it should.
    Good,
    /// It did not.
    Bad,
    /// What happened says nothing about the endpoint.
    Silent,
}

impl Lease {
    /// Counts an attempt at this endpoint until it is dropped.
    pub fn new(endpoint: Rc<Endpoint>, cx: &Rc<CallContext>) -> Self {
        endpoint.began();
        let report = endpoint.spec().config.outlier.is_some().then(|| Report {
            since: Instant::now(),
            context: Rc::clone(cx),
            verdict: Verdict::Open,
        });
        Self { endpoint, report }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// Takes in how the attempt went up to the head of its reply, which then keeps the lease.
    ///
    /// # Errors
    /// That of the attempt.
    pub fn settle(mut self, sent: Result<Reply, CallError>) -> Result<Reply, CallError> {
        let spec = &self.endpoint.spec().config;
        let verdict = match &sent {
            Ok(reply) => of_head(&reply.head, spec),
            Err(error) => of_failure(error.kind),
        };
        self.judge(verdict);
        sent.map(|mut reply| {
            reply.lease = Some(self);
            reply
        })
    }

    /// Takes in how the reply ended: with this gRPC status, if it had one.
    pub fn ended(&mut self, code: Option<Code>) {
        let Some(rule) = &self.endpoint.spec().config.outlier else {
            return;
        };
        if code.is_some_and(|code| rule.codes.has(code.number())) {
            self.judge(Verdict::Bad);
        }
    }

    /// Takes in that the reply, or the request, broke.
    pub fn broke(&mut self, broken: &Broken) {
        if of_failure(broken.kind) == Verdict::Bad {
            self.judge(Verdict::Bad);
        }
    }

    fn judge(&mut self, verdict: Verdict) {
        if let Some(report) = &mut self.report {
            report.verdict = verdict;
        }
    }
}

fn of_head(head: &ReplyHead, spec: &config::Service) -> Verdict {
    if head.status.is_server_error() {
        return Verdict::Bad;
    }
    let code = head.fields.get(name::GRPC_STATUS).map(Code::of_text);
    let bad = spec.protocol == config::Protocol::Grpc
        && code.is_some_and(|code| {
            let rule = spec.outlier.as_ref();
            rule.is_some_and(|rule| rule.codes.has(code.number()))
        });
    if bad { Verdict::Bad } else { Verdict::Good }
}

fn of_failure(kind: FailureKind) -> Verdict {
    match kind {
        FailureKind::Connect | FailureKind::Protocol => Verdict::Bad,
        _ => Verdict::Silent,
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.ended();
        let (Some(report), Some(rule)) = (&self.report, &self.endpoint.spec().config.outlier) else {
            return;
        };
        let state = self.endpoint.state();
        match report.verdict {
            Verdict::Good => state.succeeded(rule),
            Verdict::Bad => state.failed(rule),
            Verdict::Silent => {}
            // Given up: because its time was up, or because the client went away, which is not the endpoint's fault.
            Verdict::Open => {
                let per_try = self.endpoint.spec().config.timeouts.per_try;
                let late = per_try.is_some_and(|limit| report.since.elapsed() >= limit);
                if late || report.context.timer.expired() {
                    state.failed(rule);
                }
            }
        }
    }
}
