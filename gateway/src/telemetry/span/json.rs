//! Spans as JSON: for the console exporter and the trace view.

use std::time::SystemTime;

use serde_json::{Map, Value as Json, json};

use super::{SpanRecord, Status, Value};
use crate::telemetry::access;
use crate::telemetry::trace::to_hex;

/// One span. Times are RFC 3339, `duration_ms` has microseconds.
pub fn span(span: &SpanRecord) -> Json {
    let attributes: Map<String, Json> = span
        .attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), attribute(value)))
        .collect();
    let links: Vec<Json> = span
        .links
        .iter()
        .map(|link| json!({ "trace_id": hex(&link.trace_id), "span_id": hex(&link.span_id) }))
        .collect();
    let took = span.end.duration_since(span.start).unwrap_or_default();
    json!({
        "trace_id": hex(&span.context.trace_id),
        "span_id": hex(&span.context.span_id),
        "parent_span_id": span.parent.map(|id| hex(&id)),
        "kind": span.kind.label(),
        "name": span.name,
        "start": time(span.start),
        "end": time(span.end),
        "duration_ms": took.as_micros() as f64 / 1000.0,
        "status": match &span.status { Status::Error(_) => "error", Status::Unset => "unset" },
        "message": match &span.status { Status::Error(text) if !text.is_empty() => Some(text), _ => None },
        "attributes": attributes,
        "links": links,
    })
}

fn attribute(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Text(text) => text.as_ref().into(),
    }
}

fn hex(id: &[u8]) -> String {
    let mut text = vec![0; id.len() * 2];
    to_hex(id, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn time(at: SystemTime) -> String {
    let mut text = Vec::with_capacity(27);
    access::time(&mut text, at);
    String::from_utf8_lossy(&text).into_owned()
}
