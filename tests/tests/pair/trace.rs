//! One trace over both sites.

use std::time::Duration;

use causeway_tests::client::{Connection, Outcome};
use causeway_tests::otlp::{Collector, Span};
use causeway_tests::python::Python;
use causeway_tests::tools::run;
use causeway_tests::{Pair, SiteSetup, holds_within};

use crate::backends::Running;

#[test]
fn the_receiver_hears_otlp_over_grpc_and_over_http() {
    let Some(python) = Python::find() else { return };
    let collector = Collector::start(&python);
    run(python
        .script("otlp_send.py")
        .args([collector.grpc.to_string(), collector.http.to_string()]));
    let all = holds_within(Duration::from_secs(5), || collector.spans().len() == 2);
    let spans = collector.spans();
    assert!(all.is_some(), "{spans:#?}");
    assert_eq!(
        [spans[0].via.as_str(), spans[1].via.as_str()],
        ["grpc", "http/protobuf"]
    );
    assert_eq!(
        (spans[0].trace.as_str(), spans[0].kind.as_str()),
        ("000102030405060708090a0b0c0d0e0f", "SPAN_KIND_SERVER")
    );
    assert_eq!(spans[1].attributes["http.request.method"], "GET");
}

#[test]
fn one_trace_over_both_sites_arrives_over_grpc() {
    one_trace(|collector, setup| {
        setup.telemetry(&format!(
            "otlp_endpoint = \"http://{}\"\notlp_protocol = \"grpc\"",
            collector.grpc
        ))
    });
}

#[test]
fn one_trace_over_both_sites_arrives_over_http() {
    one_trace(|collector, setup| {
        setup.telemetry(&format!(
            "otlp_endpoint = \"http://{}\"\notlp_protocol = \"http\"",
            collector.http
        ))
    });
}

#[test]
fn the_usual_environment_variables_say_where_traces_go() {
    one_trace(|collector, setup| {
        setup
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", collector.http))
            .environment("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    });
}

/// A call with a `traceparent` makes four spans: edge server, tunnel client, far server, backend client.
fn one_trace(export: impl Fn(&Collector, SiteSetup) -> SiteSetup) {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const CALLER: &str = "b7ad6b7169203331";
    let Some(python) = Python::find() else { return };
    let collector = Collector::start(&python);
    let backends = Running::start("azure");
    let pair = Pair::start_with(&backends.upstreams(), |setup| export(&collector, setup));

    let parent = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: vendor=kept\r\n");
    let mut connection = Connection::open(pair.aws.public()).unwrap();
    let Outcome::Answered(answer) = connection.request("GET", "/traced", &parent, b"").unwrap() else {
        panic!("the connection should be kept");
    };
    assert_eq!(answer.status, 200, "{}", answer.text());

    let spans = collector.trace(TRACE, 4, Duration::from_secs(15));
    let one = |kind: &str, site: &str| -> &Span {
        let ours =
            |span: &&Span| span.kind == kind && span.resource.get("causeway.site").is_some_and(|name| name == site);
        let mut found = spans.iter().filter(ours);
        let first = found
            .next()
            .unwrap_or_else(|| panic!("no {kind} span of {site}: {spans:#?}"));
        assert!(found.next().is_none(), "two {kind} spans of {site}: {spans:#?}");
        first
    };
    let chain = [
        one("SPAN_KIND_SERVER", "aws"),
        one("SPAN_KIND_CLIENT", "aws"),
        one("SPAN_KIND_SERVER", "azure"),
        one("SPAN_KIND_CLIENT", "azure"),
    ];
    let mut above = CALLER;
    for span in chain {
        assert_eq!(
            span.parent, above,
            "{} hangs under the span before it: {spans:#?}",
            span.name
        );
        above = &span.id;
    }
    assert_eq!(spans.len(), 4, "no others: {spans:#?}");

    let told = answer.json();
    let sent = told["headers"]["traceparent"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        sent,
        format!("00-{TRACE}-{}-01", chain[3].id),
        "the backend is told the last span"
    );
    assert_eq!(told["headers"]["tracestate"][0], "vendor=kept");

    for site in [&pair.aws, &pair.azure] {
        let logged = holds_within(Duration::from_secs(5), || {
            site.access_log()
                .iter()
                .any(|line| line.to_string().contains(TRACE) && line["path"] == "/traced")
        });
        assert!(
            logged.is_some(),
            "the access log names the trace: {:?}",
            site.access_log()
        );
    }
}
