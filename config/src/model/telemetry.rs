//! Traces and logs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::secret::Secret;

/// `[telemetry]`. The usual `OTEL_*` variables are read by the gateway and lie under these.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Where OTLP traces go; none: no traces (unless `OTEL_EXPORTER_OTLP_ENDPOINT` says so).
    pub otlp_endpoint: Option<String>,
    /// Header fields sent to it, names in lower case.
    pub otlp_headers: Vec<(String, Secret)>,
    /// `grpc` or `http`.
    pub otlp_protocol: OtlpProtocol,
    /// Share of new traces that are sampled, 0.0 to 1.0. Default 1.0; a parent's decision is followed.
    pub sample_ratio: f64,
    /// Whether clients' `traceparent` is continued. Default: `Accept`.
    pub trace_context: TraceContext,
    /// One JSON line per call.
    pub access_log: AccessLog,
    /// Spans kept in the process for `/traces`; none: no trace view.
    pub keep_spans: Option<NonZeroUsize>,
    /// Spans waiting for export. Default 2048; more are dropped and counted.
    pub queue: usize,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Port 4317 by convention.
    Grpc,
    /// Port 4318 by convention, protobuf.
    Http,
}

/// What to do with a client's `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceContext {
    /// Continue it.
    Accept,
    /// Start a new trace.
    Restart,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output. The default.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}
