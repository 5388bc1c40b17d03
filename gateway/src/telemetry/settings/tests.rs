use causeway_config::{AccessLog, TraceContext};

use super::*;

fn configured() -> Telemetry {
    Telemetry {
        keep_spans: None,
        otlp_endpoint: None,
        otlp_headers: Vec::new(),
        otlp_protocol: OtlpProtocol::Grpc,
        sample_ratio: 1.0,
        trace_context: TraceContext::Accept,
        access_log: AccessLog::Off,
        queue: 2048,
    }
}

fn read(configured: &Telemetry, variables: &[(&str, &str)]) -> (TraceSettings, Vec<String>) {
    TraceSettings::read(configured, "aws", "gw-1", |name| {
        let found = variables.iter().find(|(known, _)| *known == name)?;
        Some(found.1.to_owned())
    })
}

fn otlp(configured: &Telemetry, variables: &[(&str, &str)]) -> Otlp {
    match read(configured, variables).0.destination {
        Destination::Otlp(otlp) => otlp,
        other => panic!("{variables:?}: {other:?}"),
    }
}

#[test]
fn endpoints_follow_the_specification() {
    let base = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    #[rustfmt::skip]
    let table: [(&[(&str, &str)], &str); 9] = [
        (&[(base, "http://c:4317")],                                "http://c:4317"),
        (&[(base, "c:4317")],                                       "http://c:4317"),
        (&[(base, "http://c:4318"), http],                          "http://c:4318/v1/traces"),
        (&[(base, "http://c:4318/otlp/"), http],                    "http://c:4318/otlp/v1/traces"),
        (&[(traces, "http://c:4318/mine"), http],                   "http://c:4318/mine"),
        (&[(traces, "http://t:1"), (base, "http://b:2")],           "http://t:1"),
        (&[("OTEL_TRACES_EXPORTER", "otlp")],                       "http://localhost:4317"),
        (&[("OTEL_TRACES_EXPORTER", "otlp"), http],                 "http://localhost:4318/v1/traces"),
        (&[(base, "https://c")],                                    "https://c"),
    ];
    for (variables, endpoint) in table {
        assert_eq!(otlp(&configured(), variables).endpoint, endpoint, "{variables:?}");
    }
}

#[test]
fn the_configuration_lies_over_the_environment() {
    let mut file = configured();
    file.otlp_endpoint = Some("http://file:4318".to_owned());
    file.otlp_protocol = OtlpProtocol::Http;
    file.sample_ratio = 0.25;
    file.queue = 100;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
    ];
    let (settings, problems) = read(&file, &variables);
    assert_eq!(problems, Vec::<String>::new());
    let collector = otlp(&file, &variables);
    assert_eq!(
        (collector.endpoint.as_str(), collector.protocol),
        ("http://file:4318/v1/traces", OtlpProtocol::Http)
    );
    assert_eq!((settings.sampler, settings.queue), (Sampler::parent_based(0.25), 100));

    let (settings, _) = read(&configured(), &variables);
    assert_eq!(
        (settings.sampler, settings.queue, settings.batch),
        (Sampler::off(), 7, 7)
    );
    assert_eq!(settings.destination, Destination::Nowhere);
}

#[test]
fn exporters_can_be_turned_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
    for (variables, wanted) in [
        (vec![], Destination::Nowhere),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "none")], Destination::Nowhere),
        (
            vec![endpoint, ("OTEL_TRACES_EXPORTER", "console")],
            Destination::Console,
        ),
        (vec![endpoint, ("OTEL_SDK_DISABLED", "TRUE")], Destination::Nowhere),
    ] {
        assert_eq!(read(&configured(), &variables).0.destination, wanted, "{variables:?}");
    }
}

#[test]
fn headers_timeouts_certificates_and_compression_are_read() {
    let collector = otlp(
        &configured(),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%20b, authorization=Basic%20eA=="),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
        ],
    );
    let headers: Vec<_> = collector
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(headers, [("x-key", "a b"), ("authorization", "Basic eA==")]);
    assert_eq!((collector.timeout, collector.gzip), (Duration::from_millis(2500), true));
    assert_eq!(collector.certificate, Some("/ca.pem".into()));
    assert_eq!(collector.client, Some(("/c.pem".into(), "/k.pem".into())));
    assert!(
        !format!("{collector:?}").contains("Basic"),
        "values of header fields are secrets"
    );
}

#[test]
fn the_resource_says_which_gateway_it_is() {
    let (settings, _) = read(
        &configured(),
        &[
            ("OTEL_SERVICE_NAME", "edge"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=no,cloud.region=eu%2Dwest,service.instance.id=i-7",
            ),
        ],
    );
    let of = |name: &str| {
        settings
            .resource
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(of("service.name"), Some("edge"));
    assert_eq!(of("service.instance.id"), Some("i-7"));
    assert_eq!(of("causeway.site"), Some("aws"));
    assert_eq!(of("cloud.region"), Some("eu-west"));
    assert_eq!(of("service.version"), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn variables_that_make_no_sense_are_named_and_ignored() {
    let (settings, problems) = read(
        &configured(),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "token,secret=%zz"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_PROPAGATORS", "b3,baggage"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ],
    );
    assert_eq!(problems.len(), 9, "{problems:#?}");
    for name in [
        "PROTOCOL",
        "COMPRESSION",
        "TIMEOUT",
        "HEADERS",
        "CLIENT_KEY",
        "SAMPLER",
        "PROPAGATORS",
        "DELAY",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(name)),
            "{name}: {problems:#?}"
        );
    }
    assert!(!problems.concat().contains("secret"), "a header may hold a token");
    assert_eq!(settings.sampler, Sampler::parent_based(1.0));
    assert_eq!(
        settings.propagators,
        Propagators {
            trace_context: false,
            baggage: true
        }
    );
    assert_eq!(settings.delay, Duration::from_secs(1));
}
