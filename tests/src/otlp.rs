//! A receiver of traces: the Python package `opentelemetry-proto` behind a gRPC and an HTTP port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Process;
use crate::python::Python;
use crate::until::holds_within;

/// A running receiver; both ports answer OTLP.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    /// Port of OTLP over gRPC.
    pub grpc: SocketAddr,
    /// Port of OTLP over HTTP.
    pub http: SocketAddr,
}

/// One span as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// 16 hex digits, or empty for a root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `SPAN_KIND_SERVER` and the like.
    pub kind: String,
    /// `grpc` or `http/protobuf`: how it arrived.
    pub via: String,
    /// Attributes of the span.
    pub attributes: BTreeMap<String, Value>,
    /// Attributes of its resource.
    pub resource: BTreeMap<String, Value>,
}

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(python: &Python) -> Self {
        let process = Process::start("the OTLP receiver", &mut python.script("otlp_receiver.py"));
        let ready = process.ready(Duration::from_secs(20));
        let address = |key: &str| -> SocketAddr {
            ready[key]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("odd ready line: {ready}"))
        };
        Self {
            grpc: address("grpc"),
            http: address("http"),
            process,
        }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.process
            .stdout
            .all()
            .iter()
            .filter_map(|line| Span::parse(line))
            .collect()
    }

    /// The spans of one trace, once there are at least `count` of them and no more came for a while.
    ///
    /// # Panics
    /// When there are fewer within `limit`.
    pub fn trace(&self, trace: &str, count: usize, limit: Duration) -> Vec<Span> {
        let ours = || {
            self.spans()
                .into_iter()
                .filter(|span| span.trace == trace)
                .collect::<Vec<_>>()
        };
        let deadline = Instant::now() + limit;
        let enough = holds_within(limit, || ours().len() >= count);
        assert!(
            enough.is_some(),
            "trace {trace} has not {count} spans: {:#?}",
            self.spans()
        );
        // One export interval more, in case there are spans that should not be.
        let late = Duration::from_millis(1500).min(deadline.saturating_duration_since(Instant::now()));
        let _ = holds_within(late, || ours().len() > count);
        ours()
    }
}

impl Span {
    fn parse(line: &str) -> Option<Self> {
        let value = serde_json::from_str::<Value>(line).ok()?;
        let span = value.get("span")?;
        let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let map = |key: &str| span[key].as_object().cloned().unwrap_or_default().into_iter().collect();
        Some(Self {
            trace: text("trace_id"),
            id: text("span_id"),
            parent: text("parent_span_id"),
            name: text("name"),
            kind: text("kind"),
            via: text("via"),
            attributes: map("attributes"),
            resource: map("resource"),
        })
    }
}
