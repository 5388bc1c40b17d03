//! From the queue of finished spans to a collector, on the control runtime.
//!
//! One task takes spans off the queue, gathers a batch and exports it; while an export is under way the queue fills, and
//! then spans are dropped and counted. That is all that a slow, dead or wrong collector can do. The operator reads one
//! warning when exporting begins to fail and one line when it works again.

use std::sync::Arc;
use std::time::Duration;

use causeway_config::OtlpProtocol;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status as OtelStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{Compression, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _, SpanLinks};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::collector::{Client, CollectorError, Pems, headers};
use super::lines::{Complain, Lines, Output};
use super::metrics::{Counter, GatewayMetrics};
use super::settings::{Destination, Otlp, TraceSettings};
use super::span::{Kind, Memory, SpanRecord, Status, Tracer, Value, json};

#[cfg(test)]
mod tests;

/// The conventions that our names are from.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// The task that exports. Dropping it leaves the task running; [`shutdown`](Self::shutdown) ends it.
#[derive(Debug)]
pub struct Exporting {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Exporting {
    /// Exports what is queued, at most for `within`, and ends the task. What is left then is dropped and counted.
    pub async fn shutdown(self, within: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task else { return };
        if tokio::time::timeout(within, &mut task).await.is_err() {
            task.abort();
            // Aborted is ended: only then has what was left been counted.
            let _ = task.await;
            tracing::warn!(?within, "spans were left when the time to export them was over");
        }
    }
}

/// Starts exporting on `runtime`, and gives the handle that workers record spans with. Spans are also kept in `memory`.
///
/// # Errors
/// When the collector's endpoint, header fields or certificates make no sense. A collector that is not there is no error.
pub fn start(
    settings: &TraceSettings,
    memory: Option<Arc<Memory>>,
    metrics: &GatewayMetrics,
    runtime: &Handle,
) -> Result<(Tracer, Exporting), CollectorError> {
    // The transport looks for its reactor when it is built.
    let _entered = runtime.enter();
    let sink = match &settings.destination {
        Destination::Nowhere => Sink::Nowhere,
        Destination::Console => {
            Sink::Console(Lines::start(Output::Stdout, Complain::InLog).map_err(CollectorError::invalid)?)
        }
        Destination::Otlp(otlp) => Sink::Otlp(Box::new(exporter(otlp, &settings.resource)?)),
    };
    let stop = CancellationToken::new();
    let dropped = metrics.spans_dropped.with(&["queue"]);
    if matches!(sink, Sink::Nowhere) && memory.is_none() {
        let tracer = Tracer::new(settings.sampler, settings.propagators, None, dropped);
        return Ok((tracer, Exporting { stop, task: None }));
    }
    let (sender, receiver) = mpsc::channel(settings.queue);
    let batcher = Batcher {
        receiver,
        batch: Vec::with_capacity(settings.batch),
        limit: settings.batch,
        delay: settings.delay,
        // A retry policy has its own clock; this one holds whatever the transport does.
        timeout: match &settings.destination {
            Destination::Otlp(otlp) => otlp.timeout,
            Destination::Console | Destination::Nowhere => Duration::from_secs(10),
        },
        value_limit: settings.value_limit,
        scope: InstrumentationScope::builder("causeway")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA)
            .build(),
        sink,
        memory,
        exported: metrics.spans_exported.clone(),
        lost: metrics.spans_dropped.with(&["export"]),
        failing: false,
    };
    let task = runtime.spawn(batcher.run(stop.clone()));
    let tracer = Tracer::new(settings.sampler, settings.propagators, Some(sender), dropped);
    Ok((tracer, Exporting { stop, task: Some(task) }))
}

enum Sink {
    Console(Lines),
    Nowhere,
    Otlp(Box<SpanExporter>),
}

struct Batcher {
    receiver: mpsc::Receiver<SpanRecord>,
    batch: Vec<SpanRecord>,
    limit: usize,
    delay: Duration,
    timeout: Duration,
    value_limit: usize,
    scope: InstrumentationScope,
    sink: Sink,
    memory: Option<Arc<Memory>>,
    exported: Counter,
    lost: Counter,
    failing: bool,
}

impl Batcher {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                count = self.receiver.recv_many(&mut self.batch, self.limit) => count,
                () = stop.cancelled() => break,
            };
            if first == 0 {
                return;
            }
            let due = tokio::time::sleep(self.delay);
            tokio::pin!(due);
            while self.batch.len() < self.limit {
                let room = self.limit - self.batch.len();
                tokio::select! {
                    count = self.receiver.recv_many(&mut self.batch, room) => if count == 0 { break },
                    () = &mut due => break,
                    () = stop.cancelled() => break,
                }
            }
            self.export().await;
        }
        self.receiver.close();
        while self.receiver.recv_many(&mut self.batch, self.limit).await > 0 {
            self.export().await;
        }
        if let Sink::Console(lines) = &self.sink {
            // At the end of the process: there is nothing else to do for this thread.
            lines.flush(Duration::from_secs(1));
        }
    }

    async fn export(&mut self) {
        let count = self.batch.len() as u64;
        if let Some(memory) = &self.memory {
            self.batch.iter().for_each(|span| memory.push(span.clone()));
        }
        let result = match &self.sink {
            Sink::Nowhere => Ok(()),
            Sink::Console(lines) => {
                for span in &self.batch {
                    lines.push(format!("{}\n", json::span(span)).into_bytes());
                }
                Ok(())
            }
            Sink::Otlp(exporter) => {
                let convert = |span: &SpanRecord| span_data(span, &self.scope, self.value_limit);
                let spans = self.batch.iter().map(convert).collect();
                match tokio::time::timeout(self.timeout, exporter.export(spans)).await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {:?}", self.timeout)),
                }
            }
        };
        // Only now: until here they count as lost when the task is ended.
        self.batch.clear();
        match result {
            Ok(()) => {
                self.exported.add(count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("exporting spans works again");
                }
            }
            Err(problem) => {
                self.lost.add(count);
                if !std::mem::replace(&mut self.failing, true) {
                    let problem: String = problem.chars().take(300).collect();
                    tracing::warn!(%problem, "exporting spans fails: they are dropped and counted until it works again");
                }
            }
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.lost.add((self.batch.len() + self.receiver.len()) as u64);
    }
}

fn exporter(otlp: &Otlp, attributes: &[(String, String)]) -> Result<SpanExporter, CollectorError> {
    let uri: http::Uri = otlp
        .endpoint
        .parse()
        .map_err(|_| CollectorError::Invalid(format!("`{}` is not a URL", otlp.endpoint)))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(CollectorError::Invalid(format!(
            "`{}` is not an http or https URL",
            otlp.endpoint
        )));
    }
    let mut exporter = match otlp.protocol {
        OtlpProtocol::Grpc => grpc(otlp, uri.scheme_str() == Some("https"))?,
        OtlpProtocol::Http => {
            let builder = SpanExporter::builder()
                .with_http()
                .with_http_client(Client::new(otlp)?)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&otlp.endpoint)
                .with_timeout(otlp.timeout);
            let builder = if otlp.gzip {
                builder.with_compression(Compression::Gzip)
            } else {
                builder
            };
            builder.build().map_err(CollectorError::invalid)?
        }
    };
    let attributes = attributes
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_schema_url(attributes, SCHEMA)
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

fn grpc(otlp: &Otlp, secure: bool) -> Result<SpanExporter, CollectorError> {
    let fields = headers(otlp)?;
    // After the library's own reading of the environment, so that the configuration has the last word.
    let interceptor = move |mut request: tonic::Request<()>| {
        let mut map = std::mem::take(request.metadata_mut()).into_headers();
        for (name, value) in &fields {
            map.insert(name.clone(), value.clone());
        }
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(map);
        Ok(request)
    };
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&otlp.endpoint)
        .with_timeout(otlp.timeout)
        .with_interceptor(interceptor);
    if otlp.gzip {
        builder = builder.with_compression(Compression::Gzip);
    }
    if secure {
        let pems = Pems::read(otlp)?;
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pems.roots));
        if let Some((certificate, key)) = pems.client {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        builder = builder.with_tls_config(tls);
    }
    builder.build().map_err(CollectorError::invalid)
}

fn span_data(span: &SpanRecord, scope: &InstrumentationScope, limit: usize) -> SpanData {
    let mut links = SpanLinks::default();
    links.links = span
        .links
        .iter()
        .map(|link| Link::new(span_context(link), Vec::new(), 0))
        .collect();
    SpanData {
        span_context: span_context(&span.context),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
        },
        name: span.name.clone(),
        start_time: span.start,
        end_time: span.end,
        attributes: span
            .attributes
            .iter()
            .map(|(name, value)| KeyValue::new(*name, attribute(value, limit)))
            .collect(),
        dropped_attributes_count: 0,
        events: opentelemetry_sdk::trace::SpanEvents::default(),
        links,
        status: match &span.status {
            Status::Error(text) => OtelStatus::error(text.clone()),
            Status::Unset => OtelStatus::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}

fn attribute(value: &Value, limit: usize) -> opentelemetry::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        // The limit counts characters (OpenTelemetry, attribute limits).
        Value::Text(text) => match text.char_indices().nth(limit) {
            Some((end, _)) => text[..end].to_owned().into(),
            None => text.clone().into_owned().into(),
        },
    }
}

fn span_context(context: &super::trace::TraceContext) -> SpanContext {
    let flags = if context.sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    let state: TraceState = context
        .state
        .as_deref()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    SpanContext::new(
        TraceId::from_bytes(context.trace_id),
        SpanId::from_bytes(context.span_id),
        flags,
        false,
        state,
    )
}
