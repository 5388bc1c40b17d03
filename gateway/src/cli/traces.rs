//! `causeway traces`: the last calls as spans, put together from the gateways that they went through.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Mistake, fail, print, probe};

/// Columns of the bars.
const BAR: usize = 32;
/// A span whose parents go deeper is shown at this depth; what a gateway tells is not to be trusted with a loop.
const DEEPEST: usize = 16;
/// For one question to one gateway.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct TracesArgs {
    /// Admin address of a gateway; given once for each.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    admin: Vec<SocketAddr>,
    /// How many traces to show, the newest last.
    #[arg(long, value_name = "N", default_value_t = 5)]
    last: usize,
}

/// A span, as far as it is shown.
#[derive(Clone, Debug)]
struct Span {
    site: String,
    id: String,
    parent: Option<String>,
    kind: String,
    name: String,
    failed: bool,
    start: OffsetDateTime,
    took: Duration,
}

pub(super) fn traces(args: &TracesArgs) -> ExitCode {
    let mut traces = BTreeMap::<String, Vec<Span>>::new();
    for admin in &args.admin {
        if let Err(mistake) = collect(*admin, &mut traces) {
            return fail(&mistake);
        }
    }
    print(&shown(traces, args.last))
}

fn collect(admin: SocketAddr, traces: &mut BTreeMap<String, Vec<Span>>) -> Result<(), Mistake> {
    let ask = |path: &str| -> Result<Value, Mistake> {
        let hint = "is the gateway running, and is this its `admin.bind`?";
        let answer = probe::get(admin, path, WITHIN)
            .map_err(|error| Mistake::run(format!("asking {admin}: {error}")).hint(hint))?;
        match answer.status {
            200 => serde_json::from_str(&answer.body)
                .map_err(|error| Mistake::run(format!("what {admin} says of {path}: {error}"))),
            404 => Err(Mistake::run(format!("{admin}: {}", answer.body.trim_end()))
                .hint("set `telemetry.keep_spans` in its configuration, e.g. to 1000")),
            status => Err(Mistake::run(format!("{admin} answers {path} with {status}"))),
        }
    };
    let site = ask("/status")?["site"].as_str().unwrap_or("?").to_owned();
    for span in ask("/traces")?["spans"].as_array().into_iter().flatten() {
        if let (Some(trace), Some(span)) = (span["trace_id"].as_str(), read(span, &site)) {
            traces.entry(trace.to_owned()).or_default().push(span);
        }
    }
    Ok(())
}

fn read(span: &Value, site: &str) -> Option<Span> {
    let text = |key: &str| span[key].as_str().map(plain);
    Some(Span {
        site: plain(site),
        id: text("span_id")?,
        parent: text("parent_span_id"),
        kind: text("kind")?,
        name: text("name")?,
        failed: span["status"] == "error",
        start: OffsetDateTime::parse(span["start"].as_str()?, &Rfc3339).ok()?,
        took: Duration::try_from_secs_f64(span["duration_ms"].as_f64()? / 1000.0).ok()?,
    })
}

/// Names come from clients; none of them moves the cursor of this terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(120).collect()
}

fn shown(traces: BTreeMap<String, Vec<Span>>, last: usize) -> String {
    let mut traces: Vec<_> = traces.into_iter().collect();
    for (_, spans) in &mut traces {
        // What begins at the same microsecond: the parent lasts longer.
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.took)));
    }
    traces.sort_by_key(|(_, spans)| spans.first().map(|span| span.start));
    let mut out = String::new();
    for (id, spans) in traces.iter().skip(traces.len().saturating_sub(last)) {
        let Some(first) = spans.first() else { continue };
        let end = spans
            .iter()
            .map(|span| span.start + span.took)
            .max()
            .unwrap_or(first.start);
        let whole = (end - first.start).as_seconds_f64().max(1e-6);
        let _ = writeln!(out, "trace {}", plain(id));
        for span in spans {
            let indent = depth(span, spans) * 2;
            let column = |seconds: f64| ((seconds / whole * BAR as f64) as usize).min(BAR);
            let from = column((span.start - first.start).as_seconds_f64()).min(BAR - 1);
            let to = column((span.start + span.took - first.start).as_seconds_f64()).clamp(from + 1, BAR);
            let bar = [" ".repeat(from), "=".repeat(to - from), " ".repeat(BAR - to)].concat();
            let failed = if span.failed { "  failed" } else { "" };
            let name = format!("{:indent$}{}", "", span.name);
            let took = span.took.as_secs_f64() * 1000.0;
            let _ = writeln!(
                out,
                "  {:8} {:7} {name:40} |{bar}| {took:.2} ms{failed}",
                span.site, span.kind
            );
        }
        out.push('\n');
    }
    if out.is_empty() {
        out.push_str("no spans yet; they come up to a second after their call\n");
    }
    out
}

/// How many of a span's ancestors are here.
fn depth(span: &Span, spans: &[Span]) -> usize {
    let mut depth = 0;
    let mut parent = span.parent.as_ref();
    while let Some(found) = parent.and_then(|parent| spans.iter().find(|span| span.id == *parent)) {
        depth += 1;
        if depth == DEEPEST {
            break;
        }
        parent = found.parent.as_ref();
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>, start: &str, took: f64) -> Span {
        let span = serde_json::json!({
            "span_id": id, "parent_span_id": parent, "kind": "server", "name": format!("GET\u{1b} {id}"),
            "start": start, "duration_ms": took, "status": "unset",
        });
        read(&span, "aws").unwrap()
    }

    #[test]
    fn a_trace_is_shown_from_the_client_to_the_backend() {
        let spans = vec![
            span("c", Some("b"), "2026-01-01T00:00:00.002000Z", 4.0),
            span("b", Some("a"), "2026-01-01T00:00:00.000000Z", 9.0),
            span("a", None, "2026-01-01T00:00:00.000000Z", 10.0),
        ];
        let text = shown(BTreeMap::from([("t".to_owned(), spans)]), 5);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "trace t");
        assert!(
            lines[1].contains(" GET a ") && lines[2].contains("   GET b ") && lines[3].contains("     GET c "),
            "{text}"
        );
        assert!(
            !text.contains('\u{1b}') && lines[3].contains("|      ============"),
            "{text}"
        );
    }

    #[test]
    fn spans_that_are_their_own_ancestors_end() {
        let spans = vec![
            span("a", Some("b"), "2026-01-01T00:00:00Z", 0.0),
            span("b", Some("a"), "2026-01-01T00:00:00Z", 1e9),
        ];
        assert!(shown(BTreeMap::from([("t".to_owned(), spans)]), 5).contains("GET b"));
        assert!(shown(BTreeMap::new(), 5).contains("no spans"));
    }
}
