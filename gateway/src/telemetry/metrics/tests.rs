use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use causeway_protocols::{FailureKind, Protocol};
use proptest::prelude::*;

use super::*;

/// A strict reader of the Prometheus text format: samples by name and label text.
fn parse(text: &str, open: bool) -> BTreeMap<(String, Vec<(String, String)>), f64> {
    let mut samples = BTreeMap::new();
    let mut lines = text.lines().peekable();
    let mut typed = HashSet::new();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "{name} is typed twice");
            continue;
        }
        if line == "# EOF" {
            assert!(open && lines.peek().is_none(), "the end is at the end");
            return samples;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, quoted) = rest.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut letters = quoted.char_indices();
                let end = loop {
                    match letters.next().unwrap() {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match letters.next().unwrap().1 {
                            'n' => '\n',
                            other => other,
                        }),
                        (_, letter) => value.push(letter),
                    }
                };
                labels.push((label.to_owned(), value));
                rest = &quoted[end + 1..];
                if let Some(more) = rest.strip_prefix(',') {
                    rest = more;
                } else {
                    rest = rest.strip_prefix('}').unwrap();
                    break;
                }
            }
        }
        let value = rest.trim().replace("+Inf", "inf").parse().unwrap();
        assert!(
            samples.insert((name.to_owned(), labels), value).is_none(),
            "twice: {line}"
        );
    }
    assert!(!open, "no # EOF");
    samples
}

fn scrape(registry: &Registry) -> BTreeMap<(String, Vec<(String, String)>), f64> {
    parse(&registry.render(Format::Prometheus, Instant::now()), false)
}

fn key(name: &str, labels: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    let own = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    (name.to_owned(), labels.iter().map(own).collect())
}

#[test]
fn what_workers_and_other_threads_count_is_summed_when_scraped() {
    let registry = Registry::new(2);
    let counter = registry.counter("calls_total", "Calls.", &[]).with(&[]);
    let level = registry.level("open", "Open.", &[]).with(&[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Two of the four get a shard; the others count in the shared one. All are counted.
                let _shard = registry.claim_shard();
                for _ in 0..10_000 {
                    counter.inc();
                    level.inc();
                    level.inc();
                    level.dec();
                }
            });
        }
    });
    level.dec();
    assert_eq!(counter.value(), 40_000);
    assert_eq!(level.value(), 39_999);
    assert_eq!(scrape(&registry)[&key("open", &[])], 39_999.0);
}

#[test]
fn a_worker_of_one_gateway_counts_rightly_in_the_metrics_of_another() {
    let (ours, theirs) = (Registry::new(1), Registry::new(1));
    let counter = theirs.counter("calls_total", "Calls.", &[]).with(&[]);
    let _shard = ours.claim_shard();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _shard = theirs.claim_shard();
            (0..50_000).for_each(|_| counter.inc());
        });
        (0..50_000).for_each(|_| counter.inc());
    });
    assert_eq!(counter.value(), 100_000);
}

#[test]
fn a_shard_is_free_again_when_its_worker_ends() {
    let registry = Registry::new(1);
    for _ in 0..3 {
        let shard = registry.claim_shard();
        assert!(shard.is_some());
        assert!(registry.claim_shard().is_none());
    }
}

#[test]
fn counters_survive_a_reload_and_those_of_removed_routes_expire() {
    let registry = Registry::new(1);
    let start = Instant::now();
    let family = registry.counter("calls_total", "Calls.", &["route"]);
    let kept = family.with(&["kept"]);
    let removed = family.with(&["removed"]);
    kept.add(3);
    removed.add(5);
    drop(removed);
    let kept_again = registry.counter("calls_total", "Calls.", &["route"]).with(&["kept"]);
    drop(kept);
    kept_again.inc();

    let at = |after: Duration| parse(&registry.render(Format::Prometheus, start + after), false);
    let gone = key("calls_total", &[("route", "removed")]);
    assert_eq!(at(Duration::ZERO)[&key("calls_total", &[("route", "kept")])], 4.0);
    assert_eq!(
        at(GRACE / 2).get(&gone),
        Some(&5.0),
        "the last value is still there to be scraped"
    );
    assert_eq!(at(GRACE).get(&gone), None);

    // The cells are used again, and begin at zero.
    assert_eq!(family.with(&["new"]).value(), 0);
    assert_eq!(family.with(&["removed"]).value(), 0);
}

#[test]
fn a_route_that_comes_back_in_time_goes_on_counting() {
    let registry = Registry::new(1);
    let start = Instant::now();
    let family = registry.counter("calls_total", "Calls.", &["route"]);
    family.with(&["a"]).add(2);
    registry.render(Format::Prometheus, start);
    let again = family.with(&["a"]);
    registry.render(Format::Prometheus, start + GRACE * 2);
    assert_eq!(again.value(), 2);
}

#[test]
fn histograms_are_cumulative_and_in_seconds() {
    let registry = Registry::new(1);
    let histogram = registry
        .histogram("took_seconds", "Took.", &["who"], SECONDS)
        .with(&["me"]);
    for millis in [1, 5, 6, 300, 60_000] {
        histogram.observe(Duration::from_millis(millis));
    }
    let samples = scrape(&registry);
    let bucket = |le: &str| samples[&key("took_seconds_bucket", &[("who", "me"), ("le", le)])];
    assert_eq!(bucket("0.005"), 2.0, "a bound is part of its bucket");
    assert_eq!(bucket("0.01"), 3.0);
    assert_eq!(bucket("0.5"), 4.0);
    assert_eq!(bucket("10.0"), 4.0);
    assert_eq!(bucket("+Inf"), 5.0);
    assert_eq!(samples[&key("took_seconds_count", &[("who", "me")])], 5.0);
    assert_eq!(samples[&key("took_seconds_sum", &[("who", "me")])], 60.312);
    assert_eq!(histogram.count(), 5);
}

#[test]
fn open_metrics_names_the_counter_without_its_suffix_and_ends() {
    let registry = Registry::new(1);
    registry.counter("calls_total", "Calls \"made\".", &[]).with(&[]).inc();
    let text = registry.render(Format::OpenMetrics, Instant::now());
    assert!(
        text.contains("# HELP calls Calls \\\"made\\\".\n# TYPE calls counter\ncalls_total 1\n"),
        "{text}"
    );
    assert!(text.ends_with("\n# EOF\n"));
    parse(&text, true);
    let text = registry.render(Format::Prometheus, Instant::now());
    assert!(
        text.contains("# HELP calls_total Calls \"made\".\n# TYPE calls_total counter\ncalls_total 1\n"),
        "{text}"
    );
}

#[test]
fn the_format_follows_accept() {
    #[rustfmt::skip]
    let table = [
        ("",                                                                              Format::Prometheus),
        ("*/*",                                                                           Format::Prometheus),
        ("text/plain",                                                                    Format::Prometheus),
        ("application/openmetrics-text",                                                  Format::OpenMetrics),
        ("application/openmetrics-text;version=1.0.0",                                    Format::OpenMetrics),
        ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",                Format::OpenMetrics),
        ("application/openmetrics-text;version=2.0.0",                                    Format::Prometheus),
        ("application/openmetrics-text;q=0",                                              Format::Prometheus),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4", Format::OpenMetrics),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.4",                           Format::Prometheus),
        (";;;q=,,=", Format::Prometheus),
    ];
    for (accept, format) in table {
        assert_eq!(Format::of_accept(accept), format, "{accept}");
    }
}

#[test]
fn the_number_of_series_of_a_family_is_bounded() {
    let registry = Registry::new(1);
    let family = registry.counter("calls_total", "Calls.", &["path"]);
    let kept: Vec<_> = (0..20_100).map(|n| family.with(&[&n.to_string()])).collect();
    kept.iter().for_each(Counter::inc);
    let samples = scrape(&registry);
    assert_eq!(samples.keys().filter(|(name, _)| name == "calls_total").count(), 20_000);
    assert_eq!(samples[&key("causeway_metrics_series_refused_total", &[])], 100.0);
}

#[test]
fn a_route_has_bounded_labels_whatever_clients_and_backends_say() {
    let registry = Registry::new(1);
    let metrics = GatewayMetrics::new(&registry);
    let route = metrics.route("orders", "/v1/orders/{rest*}");
    let tick = Duration::from_millis(3);
    for status in 0..1200 {
        route.observe(Protocol::Http, Outcome::Ok, "GET", status, tick, None);
        route.observe(Protocol::Http, Outcome::Failed, &format!("M{status}"), 503, tick, None);
    }
    metrics.failure(FailureKind::Tunnel);
    let samples = scrape(&registry);
    let count = |method: &str, status: &str| {
        let labels = [
            ("http_request_method", method),
            ("http_route", "/v1/orders/{rest*}"),
            ("http_response_status_code", status),
        ];
        samples[&key("http_server_request_duration_seconds_count", &labels)]
    };
    assert_eq!(count("GET", "200"), 1.0);
    assert_eq!(count("GET", "4xx"), 77.0, "those that have no label of their own");
    assert_eq!(count("_OTHER", "503"), 1200.0);
    let ok = [("route", "orders"), ("protocol", "http"), ("outcome", "ok")];
    assert_eq!(samples[&key("causeway_calls_total", &ok)], 1200.0);
    assert_eq!(
        samples[&key("causeway_failures_total", &[("kind", "tunnel_down")])],
        1.0
    );
    assert_eq!(samples[&key("causeway_failures_total", &[("kind", "other")])], 0.0);
    assert!(
        registry
            .render(Format::Prometheus, Instant::now())
            .contains("causeway_build_info{version=")
    );
}

#[test]
fn the_tables_of_labels_are_sorted_and_say_what_they_stand_for() {
    assert!(gateway::statuses().is_sorted_by(|a, b| a.0 < b.0));
    for (code, text) in gateway::statuses() {
        assert_eq!(code.to_string(), *text);
    }
    for (place, protocol) in Protocol::ALL.into_iter().enumerate() {
        let registry = Registry::new(0);
        let route = GatewayMetrics::new(&registry).route("r", "/");
        route.observe(protocol, Outcome::Ok, "GET", 200, Duration::ZERO, None);
        let ok = [("route", "r"), ("protocol", protocol.label()), ("outcome", "ok")];
        assert_eq!(scrape(&registry)[&key("causeway_calls_total", &ok)], 1.0, "row {place}");
    }
    for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, place);
    }
    for kind in FailureKind::ALL {
        assert!(usize::from(kind.wire()) < 32, "{kind:?} would not be counted");
    }
}

proptest! {
    #[test]
    fn s13_label_values_come_back_as_they_were_in_both_formats(value in "\\PC{0,40}|[\\\\\"\n\r{},= ]{0,20}") {
        let registry = Registry::new(0);
        registry.counter("calls_total", "Calls.", &["route", "peer"]).with(&[&value, "x"]).inc();
        for (format, open) in [(Format::Prometheus, false), (Format::OpenMetrics, true)] {
            // `lines` would also split at a carriage return before a line feed; the format has line feeds only.
            let text = registry.render(format, Instant::now());
            let samples = parse(&text, open);
            prop_assert_eq!(samples.get(&key("calls_total", &[("route", &value), ("peer", "x")])), Some(&1.0));
        }
    }
}

#[test]
fn a_sampled_call_is_the_exemplar_of_its_bucket_for_those_who_ask_for_openmetrics() {
    let registry = Registry::new(1);
    let route = GatewayMetrics::new(&registry).route("orders", "/orders");
    let observe = |millis, trace| {
        let duration = Duration::from_millis(millis);
        route.observe(Protocol::Http, Outcome::Ok, "GET", 200, duration, trace);
    };
    observe(20, Some([b'a'; 32]));
    observe(20, Some([b'b'; 32]));
    observe(20, None);
    let text = registry.render(Format::OpenMetrics, Instant::now());
    let lines: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    let (sample, exemplar) = line.split_once(" # ").unwrap();
    assert!(
        sample.starts_with("http_server_request_duration_seconds_bucket{") && sample.ends_with(" 3"),
        "{line}"
    );
    let wanted = format!("{{trace_id=\"{}\"}} 0.02 ", "b".repeat(32));
    assert!(exemplar.starts_with(&wanted), "{line}");
    let at: f64 = exemplar[wanted.len()..].parse().unwrap();
    assert!(at > 1.7e9, "{line}");
    let plain = registry.render(Format::Prometheus, Instant::now());
    assert!(!plain.contains("trace_id"), "the old format has none");
}
