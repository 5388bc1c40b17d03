use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tokio::net::TcpListener;

use super::*;
use crate::telemetry::metrics::Registry;
use crate::telemetry::settings::Propagators;
use crate::telemetry::trace::{Ids, Sampler, TraceContext};

type Received = Arc<Mutex<Vec<(http::HeaderMap, ExportTraceServiceRequest)>>>;

#[derive(Clone, Default)]
struct Receiver(Received);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        self.0.lock().unwrap().push((headers, request.into_inner()));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn grpc_collector() -> (SocketAddr, Receiver) {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(receiver.clone()).accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    Handle::current().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            Handle::current().spawn(async move {
                let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, receiver)
}

/// Answers every request with this status, content type and body; keeps what it could read of the requests.
async fn http_collector(status: u16, kind: &'static str, body: Bytes) -> (SocketAddr, Receiver) {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = receiver.clone();
    Handle::current().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (kept, body) = (kept.clone(), body.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (kept, body) = (kept.clone(), body.clone());
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let headers = request.headers().clone();
                    let bytes = request.into_body().collect().await.unwrap().to_bytes();
                    if let Ok(message) = ExportTraceServiceRequest::decode(bytes) {
                        kept.0.lock().unwrap().push((headers, message));
                    }
                    let answer = http::Response::builder().status(status).header("content-type", kind);
                    Ok::<_, std::convert::Infallible>(answer.body(Full::new(body)).unwrap())
                }
            });
            Handle::current().spawn(async move {
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, receiver)
}

fn settings(address: SocketAddr, protocol: OtlpProtocol) -> TraceSettings {
    let path = if protocol == OtlpProtocol::Http {
        "/v1/traces"
    } else {
        ""
    };
    TraceSettings {
        sampler: Sampler::parent_based(1.0),
        propagators: Propagators::default(),
        destination: Destination::Otlp(Otlp {
            endpoint: format!("http://{address}{path}"),
            protocol,
            headers: vec![("x-token".to_owned(), "abc".to_owned())],
            timeout: Duration::from_millis(200),
            gzip: false,
            certificate: None,
            client: None,
        }),
        queue: 100,
        batch: 10,
        delay: Duration::from_millis(5),
        value_limit: 16,
        resource: vec![("service.name".to_owned(), "causeway".to_owned())],
    }
}

fn span(name: &str) -> SpanRecord {
    let ids = Ids::default();
    let mut context = TraceContext::root(&ids, &Sampler::parent_based(1.0));
    context.state = Some("foo=1".into());
    let mut span = SpanRecord::new(context.clone(), Kind::Server, name.to_owned(), SystemTime::UNIX_EPOCH);
    span.end = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    span.parent = Some([7; 8]);
    span.set("text", "0123456789\u{20ac}bcdefghi".to_owned());
    span.set("number", 42);
    span.status = Status::Error("because".into());
    span.links.push(context.child(&ids));
    span
}

fn metrics() -> GatewayMetrics {
    GatewayMetrics::new(&Registry::new(0))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn check(received: &Received, count: usize) {
    let received = received.lock().unwrap();
    let mut names = Vec::new();
    for (headers, request) in received.iter() {
        assert_eq!(headers["x-token"], "abc");
        let resource = &request.resource_spans[0];
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert!(attributes.iter().any(|pair| pair.key == "service.name"));
        assert!(attributes.iter().any(|pair| pair.key == "telemetry.sdk.name"));
        assert_eq!(resource.schema_url, SCHEMA);
        for span in &resource.scope_spans[0].spans {
            assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
            assert_eq!(span.parent_span_id, [7; 8]);
            assert_eq!((span.kind, span.end_time_unix_nano), (2, 1_000_000_000));
            assert_eq!(span.trace_state, "foo=1");
            assert_eq!(
                span.status
                    .as_ref()
                    .map(|status| (status.code, status.message.as_str())),
                Some((2, "because"))
            );
            assert_eq!(span.links[0].trace_id, span.trace_id);
            let text = format!("{:?}", span.attributes);
            assert!(
                text.contains("0123456789\u{20ac}bcdef\"") && text.contains("42"),
                "cut to 16 characters: {text}"
            );
            names.push(span.name.clone());
        }
    }
    names.sort();
    let wanted: Vec<_> = (0..count).map(|n| format!("span {n:03}")).collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn spans_arrive_over_grpc_and_over_http_in_batches() {
    for (protocol, gzip) in [
        (OtlpProtocol::Grpc, false),
        (OtlpProtocol::Grpc, true),
        (OtlpProtocol::Http, false),
    ] {
        let (address, received) = match protocol {
            OtlpProtocol::Grpc => grpc_collector().await,
            OtlpProtocol::Http => http_collector(200, "application/x-protobuf", Bytes::new()).await,
        };
        let mut settings = settings(address, protocol);
        if let Destination::Otlp(otlp) = &mut settings.destination {
            otlp.gzip = gzip;
            otlp.timeout = Duration::from_secs(10);
        }
        let metrics = metrics();
        let memory = Memory::new(20);
        let (tracer, exporting) = start(&settings, Some(Arc::clone(&memory)), &metrics, &Handle::current()).unwrap();
        (0..35).for_each(|n| tracer.record(span(&format!("span {n:03}"))));
        exporting.shutdown(Duration::from_secs(10)).await;
        check(&received.0, 35);
        assert_eq!(metrics.spans_exported.value(), 35, "{protocol:?}");
        assert_eq!(memory.spans().len(), 20);
        assert!(received.0.lock().unwrap().len() >= 4, "at most ten spans a batch");
    }
}

#[tokio::test]
async fn a_span_does_not_wait_for_a_whole_batch() {
    let (address, received) = grpc_collector().await;
    let metrics = metrics();
    let (tracer, _exporting) = start(
        &settings(address, OtlpProtocol::Grpc),
        None,
        &metrics,
        &Handle::current(),
    )
    .unwrap();
    tracer.record(span("span 000"));
    until("the span arrives", || metrics.spans_exported.value() == 1).await;
    check(&received.0, 1);
}

#[tokio::test]
async fn f3_a_collector_that_is_dead_slow_or_wrong_costs_spans_and_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_address = closed.local_addr().unwrap();
    drop(closed);
    let html = http_collector(200, "text/html; charset=utf-8", "<html>login</html>".into())
        .await
        .0;
    let refusing = http_collector(403, "application/json", "{}".into()).await.0;
    let huge = http_collector(200, "application/x-protobuf", vec![0; 1 << 20].into())
        .await
        .0;
    let broken = http_collector(503, "text/plain", Bytes::new()).await.0;
    for (what, address) in [
        ("silent", silent_address),
        ("closed", closed_address),
        ("html", html),
        ("refusing", refusing),
        ("huge", huge),
        ("broken", broken),
    ] {
        // A gRPC client at an HTTP server meets something that is not HTTP/2 at all.
        for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
            let metrics = metrics();
            let settings = settings(address, protocol);
            let (tracer, exporting) = start(&settings, None, &metrics, &Handle::current()).unwrap();
            let before = Instant::now();
            (0..1000).for_each(|_| tracer.record(span("x")));
            assert!(before.elapsed() < Duration::from_secs(1), "recording waits for nobody");
            let lost =
                || metrics.spans_dropped.with(&["queue"]).value() + metrics.spans_dropped.with(&["export"]).value();
            assert!(lost() >= 800, "{what} {protocol:?}: the queue is bounded");
            exporting.shutdown(Duration::from_millis(300)).await;
            assert_eq!(
                lost() + metrics.spans_exported.value(),
                1000,
                "{what} {protocol:?}: every span is accounted for"
            );
            assert_eq!(metrics.spans_exported.value(), 0, "{what} {protocol:?}");
        }
    }
}

#[tokio::test]
async fn f3_exporting_goes_on_when_the_collector_comes_back() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let metrics = metrics();
    let (tracer, _exporting) = start(
        &settings(address, OtlpProtocol::Http),
        None,
        &metrics,
        &Handle::current(),
    )
    .unwrap();
    tracer.record(span("lost"));
    let lost = metrics.spans_dropped.with(&["export"]);
    until("the span is given up", || lost.value() == 1).await;

    let listener = TcpListener::bind(address).await.unwrap();
    Handle::current().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::new())))
            });
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    until("a span arrives", || {
        tracer.record(span("found"));
        metrics.spans_exported.value() > 0
    })
    .await;
}

#[tokio::test]
async fn without_a_destination_there_is_no_task_and_with_a_memory_there_is() {
    let mut settings = settings("127.0.0.1:1".parse().unwrap(), OtlpProtocol::Grpc);
    settings.destination = Destination::Nowhere;
    let (tracer, exporting) = start(&settings, None, &metrics(), &Handle::current()).unwrap();
    assert!(exporting.task.is_none());
    assert!(!tracer.begin(None, &Ids::default()).sampled);

    let memory = Memory::new(5);
    let (tracer, exporting) = start(&settings, Some(Arc::clone(&memory)), &metrics(), &Handle::current()).unwrap();
    assert!(tracer.begin(None, &Ids::default()).sampled);
    tracer.record(span("kept"));
    exporting.shutdown(Duration::from_secs(10)).await;
    assert_eq!(memory.spans()[0].name, "kept");
    let shown = json::span(&memory.spans()[0]);
    assert_eq!(
        (&shown["parent_span_id"], &shown["status"]),
        (&"0707070707070707".into(), &"error".into())
    );
}

#[tokio::test]
async fn endpoints_headers_and_certificates_that_make_no_sense_are_named() {
    let change = |edit: &dyn Fn(&mut Otlp)| {
        let mut settings = settings("127.0.0.1:1".parse().unwrap(), OtlpProtocol::Http);
        let Destination::Otlp(otlp) = &mut settings.destination else {
            unreachable!()
        };
        edit(otlp);
        start(&settings, None, &metrics(), &Handle::current())
            .unwrap_err()
            .to_string()
    };
    assert!(change(&|otlp| otlp.endpoint = "ftp://c".to_owned()).contains("ftp://c"));
    assert!(change(&|otlp| otlp.endpoint = "http://".to_owned()).contains("http://"));
    let problem = change(&|otlp| otlp.headers = vec![("x-token".to_owned(), "secret\n".to_owned())]);
    assert!(problem.contains("x-token") && !problem.contains("secret"), "{problem}");
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let problem = change(&|otlp| {
            otlp.protocol = protocol;
            otlp.endpoint = "https://c".to_owned();
            otlp.certificate = Some("/nonexistent/ca.pem".into());
        });
        assert!(problem.contains("/nonexistent/ca.pem"), "{problem}");
    }
}

/// Ends TLS that asks for a client certificate, and passes the bytes on to a collector without TLS.
async fn tls_front(collector: SocketAddr, own: &rcgen::CertifiedKey<rcgen::KeyPair>, client: &[u8]) -> SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(client).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(
            vec![own.cert.der().clone()],
            PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Handle::current().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            Handle::current().spawn(async move {
                let mut onward = tokio::net::TcpStream::connect(collector).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_of_the_settings_are_used_and_an_unknown_collector_gets_no_span() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["causeway".to_owned()]).unwrap();
    std::fs::write(path("ca.pem"), server.cert.pem()).unwrap();
    std::fs::write(path("client.pem"), client.cert.pem()).unwrap();
    std::fs::write(path("client.key"), client.signing_key.serialize_pem()).unwrap();
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
        let (collector, received) = match protocol {
            OtlpProtocol::Grpc => grpc_collector().await,
            OtlpProtocol::Http => http_collector(200, "application/x-protobuf", Bytes::new()).await,
        };
        let front = tls_front(collector, &server, client.cert.pem().as_bytes()).await;
        for (authority, arrives) in [("ca.pem", true), ("client.pem", false)] {
            let mut settings = settings(front, protocol);
            if let Destination::Otlp(otlp) = &mut settings.destination {
                let tail = if protocol == OtlpProtocol::Http {
                    "/v1/traces"
                } else {
                    ""
                };
                otlp.endpoint = format!("https://localhost:{}{tail}", front.port());
                otlp.timeout = Duration::from_secs(if arrives { 10 } else { 1 });
                otlp.certificate = Some(path(authority));
                otlp.client = Some((path("client.pem"), path("client.key")));
            }
            let metrics = metrics();
            let (tracer, exporting) = start(&settings, None, &metrics, &Handle::current()).unwrap();
            tracer.record(span("span 000"));
            exporting.shutdown(Duration::from_secs(20)).await;
            assert_eq!(
                metrics.spans_exported.value(),
                u64::from(arrives),
                "{protocol:?} {authority}"
            );
            check(&received.0, 1);
        }
    }
}
