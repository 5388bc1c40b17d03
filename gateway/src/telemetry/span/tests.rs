use std::time::Duration;

use causeway_protocols::{Code, FailureKind, Protocol};
use tokio::sync::mpsc;

use super::semconv::Attempt;
use super::*;
use crate::telemetry::metrics::Registry;
use crate::telemetry::record::{CallRecord, Failure};

fn context() -> TraceContext {
    TraceContext::root(&Ids::seeded(1), &Sampler::parent_based(1.0))
}

fn text<'a>(span: &'a SpanRecord, name: &str) -> &'a str {
    match span.attribute(name) {
        Some(Value::Text(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn a_server_span_of_http_has_the_names_of_the_conventions() {
    let context = context();
    let mut call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
    call.method = "GET";
    call.host = "api.acme.example:8080";
    call.path = "/v1/orders/7";
    call.query = Some("a=1&sig=secret&X-Amz-Signature=abc");
    call.pattern = Some("/v1/orders/{rest*}");
    call.route = Some("orders");
    call.status = 200;
    call.duration = Duration::from_millis(12);
    call.client = Some("192.0.2.1:4711".parse().unwrap());
    call.network_peer = Some("10.0.0.1:99".parse().unwrap());
    call.user_agent = Some(b"curl/8 \xff");
    call.parent = Some([1; 8]);
    let span = semconv::server(&call);
    assert_eq!(span.name, "GET /v1/orders/{rest*}");
    assert_eq!(
        (span.kind, span.parent, span.parent_is_remote),
        (Kind::Server, Some([1; 8]), true)
    );
    assert_eq!(span.end, SystemTime::UNIX_EPOCH + Duration::from_millis(12));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/v1/orders/7"),
        ("url.scheme", "http"),
        ("url.query", "a=1&sig=REDACTED&X-Amz-Signature=REDACTED"),
        ("http.route", "/v1/orders/{rest*}"),
        ("server.address", "api.acme.example"),
        ("client.address", "192.0.2.1"),
        ("network.peer.address", "10.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "curl/8 \u{fffd}"),
        ("causeway.route", "orders"),
    ] {
        assert_eq!(text(&span, name), value, "{name}");
    }
    assert_eq!(span.attribute("http.response.status_code"), Some(&Value::Int(200)));
    assert_eq!(span.attribute("server.port"), Some(&Value::Int(8080)));
    assert_eq!(span.attribute("network.peer.port"), Some(&Value::Int(99)));
    assert_eq!(span.status, Status::Unset);
}

#[test]
fn only_a_fault_of_the_server_side_is_an_error_of_a_server_span() {
    use FailureKind as Kind;
    #[rustfmt::skip]
    let table = [
        // protocol            status  grpc                          failure                  error.type
        (Protocol::Http,       200,    None,                         None,                    None),
        (Protocol::Http,       404,    None,                         None,                    None),
        (Protocol::Http,       500,    None,                         None,                    Some("500")),
        (Protocol::Http,       404,    None,                         Some(Kind::NoRoute),     None),
        (Protocol::Http,       503,    None,                         Some(Kind::Tunnel),      Some("tunnel_down")),
        (Protocol::Http,       200,    None,                         Some(Kind::Protocol),    Some("backend_protocol")),
        (Protocol::Http,       499,    None,                         Some(Kind::Cancelled),   None),
        (Protocol::WebSocket,  101,    None,                         None,                    None),
        (Protocol::Grpc,       200,    Some(Code::Ok),               None,                    None),
        (Protocol::Grpc,       200,    Some(Code::NotFound),         None,                    None),
        (Protocol::Grpc,       200,    Some(Code::Unavailable),      None,                    Some("UNAVAILABLE")),
        (Protocol::Grpc,       200,    Some(Code::Unavailable),      Some(Kind::Connect),     Some("connect_failed")),
        (Protocol::Grpc,       200,    Some(Code::PermissionDenied), Some(Kind::Refused),     None),
    ];
    let context = context();
    for (protocol, status, grpc, kind, error) in table {
        let mut call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
        (call.protocol, call.status, call.grpc) = (protocol, status, grpc);
        call.failure = kind.map(|kind| Failure {
            kind,
            reason: "because",
        });
        let span = semconv::server(&call);
        let what = format!("{protocol:?} {status} {grpc:?} {kind:?}");
        assert_eq!(span.attribute("error.type").is_some(), error.is_some(), "{what}");
        if let Some(error) = error {
            assert_eq!(text(&span, "error.type"), error, "{what}");
        }
        assert_eq!(matches!(span.status, Status::Error(_)), error.is_some(), "{what}");
        assert_eq!(span.attribute("causeway.reason").is_some(), kind.is_some(), "{what}");
    }
}

#[test]
fn made_up_methods_do_not_make_names() {
    let context = context();
    let mut call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
    call.method = "BREW";
    let span = semconv::server(&call);
    assert_eq!((&*span.name, text(&span, "http.request.method")), ("HTTP", "_OTHER"));
    assert_eq!(text(&span, "http.request.method_original"), "BREW");

    call.protocol = Protocol::Grpc;
    call.path = "/made.Up/Method";
    call.grpc = Some(Code::Unimplemented);
    let span = semconv::server(&call);
    assert_eq!((&*span.name, text(&span, "rpc.method")), ("grpc", "_OTHER"));

    call.path = "/acme.Orders/Get";
    call.route = Some("orders");
    call.grpc = Some(Code::Ok);
    let span = semconv::server(&call);
    assert_eq!(
        (&*span.name, text(&span, "rpc.method")),
        ("acme.Orders/Get", "acme.Orders/Get")
    );
    assert_eq!(text(&span, "rpc.system.name"), "grpc");
    assert_eq!(text(&span, "rpc.response.status_code"), "OK");
    assert_eq!(span.attribute("http.request.method"), None);
}

#[test]
fn a_client_span_hangs_under_the_call_and_4xx_is_its_error() {
    let call = context();
    let ids = Ids::seeded(2);
    let own = call.child(&ids);
    let attempt = Attempt {
        context: &own,
        started: SystemTime::UNIX_EPOCH,
        ended: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        protocol: Protocol::Http,
        version: "2",
        method: "POST",
        scheme: "https",
        host: "user:password@[2001:db8::1]:8443",
        path: "/x",
        query: Some("Signature=1"),
        address: None,
        service: Some("orders"),
        peer: Some("azure"),
        resend: 1,
        status: Some(404),
        grpc: None,
        failure: None,
    };
    let span = semconv::client(&attempt, &call);
    assert_eq!(
        (&*span.name, span.kind, span.parent),
        ("POST", Kind::Client, Some(call.span_id))
    );
    assert_eq!(span.context.trace_id, call.trace_id);
    assert_eq!(
        text(&span, "url.full"),
        "https://[2001:db8::1]:8443/x?Signature=REDACTED"
    );
    assert_eq!(text(&span, "server.address"), "2001:db8::1");
    assert_eq!(span.attribute("server.port"), Some(&Value::Int(8443)));
    assert_eq!(text(&span, "error.type"), "404");
    assert_eq!(span.attribute("http.request.resend_count"), Some(&Value::Int(1)));
    assert_eq!(text(&span, "service.peer.name"), "orders");
    assert_eq!(text(&span, "causeway.peer.site"), "azure");

    let cancelled = Attempt {
        status: None,
        failure: Some((FailureKind::Cancelled, "")),
        ..attempt
    };
    assert_eq!(semconv::client(&cancelled, &call).status, Status::Unset);
}

#[test]
fn f3_a_full_queue_drops_spans_and_counts_them() {
    let registry = Registry::new(0);
    let dropped = registry.counter("dropped_total", "Dropped.", &[]).with(&[]);
    let (sender, receiver) = mpsc::channel(2);
    let tracer = Tracer::new(
        Sampler::parent_based(1.0),
        Propagators::default(),
        Some(sender),
        dropped.clone(),
    );
    for _ in 0..5 {
        tracer.record(SpanRecord::new(context(), Kind::Internal, "x", SystemTime::UNIX_EPOCH));
    }
    assert_eq!(dropped.value(), 3);
    drop(receiver);
    tracer.record(SpanRecord::new(context(), Kind::Internal, "x", SystemTime::UNIX_EPOCH));
    assert_eq!(dropped.value(), 4, "an exporter that is gone costs spans, nothing else");
}

#[test]
fn without_an_exporter_nothing_is_sampled_and_the_caller_stays_the_parent() {
    let dropped = Registry::new(0).counter("dropped_total", "Dropped.", &[]).with(&[]);
    let tracer = Tracer::new(Sampler::parent_based(1.0), Propagators::default(), None, dropped);
    let ids = Ids::seeded(3);
    let root = tracer.begin(None, &ids);
    assert!(!root.sampled && !tracer.wants(&root));
    let parent = context();
    let begun = tracer.begin(Some(&parent), &ids);
    assert_eq!(begun, parent);
    assert!(!tracer.wants(&begun));
}

#[test]
fn the_memory_keeps_the_last_spans_only() {
    let memory = Memory::new(3);
    for n in 0..5 {
        memory.push(SpanRecord::new(
            context(),
            Kind::Internal,
            format!("{n}"),
            SystemTime::UNIX_EPOCH,
        ));
    }
    let names: Vec<_> = memory.spans().iter().map(|span| span.name.to_string()).collect();
    assert_eq!(names, ["2", "3", "4"]);
}
