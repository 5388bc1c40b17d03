//! Finished spans, and the handle that hands them over.
//!
//! A span is built when its call ends, and only when the call is sampled. Handing it over is one push on a bounded queue;
//! what does not fit is counted and gone. Everything else happens on the control runtime ([`export`](super::export)).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::metrics::Counter;
use super::settings::Propagators;
use super::trace::{Ids, Sampler, TraceContext};

pub mod json;
pub mod semconv;
#[cfg(test)]
mod tests;

/// Which end of a call a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// We made the call.
    Client,
    /// Neither: work inside the gateway, and long-lived sessions.
    Internal,
    /// We were called.
    Server,
}

impl Kind {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Internal => "internal",
            Self::Server => "server",
        }
    }
}

/// Whether what the span tells of failed. A call that the client gave up is not an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It failed; a sentence, or empty where the attributes say it all.
    Error(Cow<'static, str>),
    /// Nothing to say.
    #[default]
    Unset,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text, at most [`semconv::TEXT`] bytes.
    Text(Cow<'static, str>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

/// One finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRecord {
    /// Its place in the trace.
    pub context: TraceContext,
    /// The span it is part of; none at the root.
    pub parent: Option<[u8; 8]>,
    /// Whether that span is another process's.
    pub parent_is_remote: bool,
    /// Which end of the call.
    pub kind: Kind,
    /// Few different names: `{method} {route}`, never a raw path.
    pub name: Cow<'static, str>,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Whether it failed.
    pub status: Status,
    /// By the names of the conventions; see [`semconv`].
    pub attributes: Vec<(&'static str, Value)>,
    /// Spans of other traces that this one has to do with.
    pub links: Vec<TraceContext>,
}

impl SpanRecord {
    /// A span without attributes.
    pub fn new(context: TraceContext, kind: Kind, name: impl Into<Cow<'static, str>>, start: SystemTime) -> Self {
        Self {
            context,
            parent: None,
            parent_is_remote: false,
            kind,
            name: name.into(),
            start,
            end: start,
            status: Status::Unset,
            attributes: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// What a worker needs to trace calls. Cheap to clone; one for all workers.
#[derive(Clone, Debug)]
pub struct Tracer {
    sampler: Sampler,
    propagators: Propagators,
    sender: Option<mpsc::Sender<SpanRecord>>,
    dropped: Counter,
}

impl Tracer {
    /// A tracer that puts spans on `sender`; without one nothing is sampled. `dropped` counts what does not fit.
    pub fn new(
        sampler: Sampler,
        propagators: Propagators,
        sender: Option<mpsc::Sender<SpanRecord>>,
        dropped: Counter,
    ) -> Self {
        Self {
            sampler,
            propagators,
            sender,
            dropped,
        }
    }

    /// The context of a call that came with these fields; none of ours when nobody propagates.
    pub fn extract<'a>(
        &self,
        traceparent: impl IntoIterator<Item = &'a [u8]>,
        tracestate: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<TraceContext> {
        if self.propagators.trace_context {
            TraceContext::extract(traceparent, tracestate)
        } else {
            None
        }
    }

    /// The span of a call that has just arrived. A parent's decision to sample is followed when the sampler says so;
    /// with nowhere to send spans a call is never sampled here, and a caller's own decision goes on to the next hop
    /// untouched (see [`Self::injects`]).
    pub fn begin(&self, parent: Option<&TraceContext>, ids: &Ids) -> TraceContext {
        if self.sender.is_some() {
            return TraceContext::begin(parent, ids, &self.sampler);
        }
        match parent {
            // Not recorded here: the caller stays the parent of whatever comes after us.
            Some(parent) => parent.clone(),
            None => TraceContext::root(ids, &Sampler::off()),
        }
    }

    /// Whether `traceparent` is to be set on calls that go out.
    pub fn injects(&self) -> bool {
        self.propagators.trace_context
    }

    /// Whether `baggage` may go on.
    pub fn passes_baggage(&self) -> bool {
        self.propagators.baggage
    }

    /// Whether a span in this context is wanted. Ask before building one.
    pub fn wants(&self, context: &TraceContext) -> bool {
        context.sampled && self.sender.is_some()
    }

    /// Hands a span over. Never waits; a full queue drops and counts it.
    pub fn record(&self, span: SpanRecord) {
        if let Some(sender) = &self.sender
            && sender.try_send(span).is_err()
        {
            self.dropped.inc();
        }
    }
}

/// The last spans, kept in the process: for the trace view of the demo, the console and tests.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    spans: Mutex<VecDeque<Arc<SpanRecord>>>,
}

impl Memory {
    /// Keeps this many.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            spans: Mutex::default(),
        })
    }

    /// Adds one; the oldest goes when there is no room.
    pub fn push(&self, span: SpanRecord) {
        let mut spans = self.lock();
        if spans.len() == self.limit {
            spans.pop_front();
        }
        spans.push_back(Arc::new(span));
    }

    /// What is kept now, oldest first.
    pub fn spans(&self) -> Vec<Arc<SpanRecord>> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<SpanRecord>>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
