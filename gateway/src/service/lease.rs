//! The right to use an endpoint for one attempt; returning it reports the outcome.

use std::rc::Rc;
use std::time::Instant;

use causeway_config as config;
use causeway_protocols::{Code, FailureKind, ReplyHead, name};

use super::Service;
use super::breaker::Permit;
use super::endpoint::Endpoint;
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::Broken;

/// The right to use an endpoint for one attempt. Dropping it returns it.
#[derive(Debug)]
pub struct Lease {
    endpoint: Rc<Endpoint>,
    /// Its place among the calls under way, where these are limited.
    _permit: Option<Permit>,
    /// Only where somebody wants to know how attempts end.
    report: Option<Report>,
}

/// How an attempt went, as far as it is known.
#[derive(Debug)]
struct Report {
    /// Whose rules count: those of now, while the endpoint may be older.
    service: Rc<Service>,
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
    pub fn new(endpoint: Rc<Endpoint>, service: &Rc<Service>, permit: Option<Permit>, cx: &Rc<CallContext>) -> Self {
        endpoint.began();
        let config = service.config();
        let wanted = config.outlier.is_some()
            || config.adaptive.is_some()
            || config.hedge.is_some()
            || config.balance == config::Balance::PeakEwma;
        let report = wanted.then(|| Report {
            service: Rc::clone(service),
            since: Instant::now(),
            context: Rc::clone(cx),
            verdict: Verdict::Open,
        });
        Self {
            endpoint,
            _permit: permit,
            report,
        }
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
        if let Some(report) = &mut self.report {
            let service = report.service.config();
            report.verdict = match &sent {
                Ok(reply) => of_head(&reply.head, service),
                Err(error) => of_failure(error.kind),
            };
            report.time(&self.endpoint);
        }
        sent.map(|mut reply| {
            reply.lease = Some(self);
            reply
        })
    }

    /// Takes in how the reply ended: with this gRPC status, if it had one.
    pub fn ended(&mut self, code: Option<Code>) {
        let Some(report) = &mut self.report else { return };
        let rule = report.service.config().outlier.as_ref();
        if code.is_some_and(|code| rule.is_some_and(|rule| rule.codes.has(code.number()))) {
            report.verdict = Verdict::Bad;
        }
    }

    /// Takes in that the reply, or the request, broke.
    pub fn broke(&mut self, broken: &Broken) {
        if let Some(report) = &mut self.report
            && of_failure(broken.kind) == Verdict::Bad
        {
            report.verdict = Verdict::Bad;
        }
    }
}

impl Report {
    /// Tells how long the answer took, or how long it was waited for.
    fn time(&self, endpoint: &Endpoint) {
        let spec = self.service.spec();
        let config = &spec.config;
        let took = self.since.elapsed();
        if self.verdict != Verdict::Silent {
            if config.adaptive.is_some() {
                spec.state.seen.took(took);
            }
            if config.hedge.is_some() {
                spec.state.times.took(took);
            }
        }
        if config.balance == config::Balance::PeakEwma {
            let (latency, now) = (&endpoint.state().latency, spec.state.now());
            match self.verdict {
                Verdict::Good => latency.answered(took, now),
                Verdict::Bad => latency.failed(took, now),
                Verdict::Open | Verdict::Silent => {}
            }
        }
    }

    /// An attempt without an answer was given up: because its time was up, or because the client went away, which is
    /// not the endpoint's fault.
    fn is_late(&self) -> bool {
        let config = self.service.config();
        let per_try = config.retry.per_try.or(config.timeouts.per_try);
        per_try.is_some_and(|limit| self.since.elapsed() >= limit) || self.context.timer.expired()
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
        let Some(report) = &mut self.report else { return };
        if report.verdict == Verdict::Open {
            if report.is_late() {
                report.verdict = Verdict::Bad;
            }
            report.time(&self.endpoint);
        }
        let Some(rule) = &report.service.config().outlier else {
            return;
        };
        match report.verdict {
            Verdict::Good => self.endpoint.state().succeeded(rule),
            Verdict::Bad => self.endpoint.state().failed(rule),
            Verdict::Open | Verdict::Silent => {}
        }
    }
}
