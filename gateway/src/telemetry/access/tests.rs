use causeway_protocols::{Code, FailureKind, Protocol};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::telemetry::lines::{Complain, Output};
use crate::telemetry::record::Failure;
use crate::telemetry::trace::{Ids, Sampler, TraceContext};

fn context() -> TraceContext {
    TraceContext::root(&Ids::seeded(1), &Sampler::off())
}

fn written(call: &CallRecord<'_>) -> (String, Value) {
    let mut out = Vec::new();
    line(&mut out, "aws", call);
    let text = String::from_utf8(out).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

#[test]
fn a_line_has_everything_that_is_known_of_the_call() {
    let context = context();
    let mut call = CallRecord::new(
        &context,
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_226_400_000_042),
    );
    call.listener = "public";
    call.protocol = Protocol::Grpc;
    call.method = "POST";
    call.host = "api.acme.example";
    call.path = "/acme.Orders/Get";
    call.route = Some("orders");
    call.service = Some("orders@azure");
    call.endpoint = Some("10.0.0.1:50051");
    call.peer = Some("azure");
    call.status = 200;
    call.grpc = Some(Code::Unavailable);
    call.bytes_in = 5;
    call.bytes_out = 70_000;
    call.duration = Duration::from_micros(12_034);
    call.attempts = 2;
    call.failure = Some(Failure {
        kind: FailureKind::Tunnel,
        reason: "no tunnel to `azure`",
    });
    call.request_id = Some("r-1");
    call.client = Some("192.0.2.1:4711".parse().unwrap());
    call.user_agent = Some(b"grpc-python/1.70");
    let (_, value) = written(&call);
    assert_eq!(
        value,
        json!({
            "time": "2026-11-21T02:00:00.000042Z", "site": "aws", "listener": "public", "protocol": "grpc",
            "method": "POST", "host": "api.acme.example", "path": "/acme.Orders/Get", "route": "orders",
            "service": "orders@azure", "endpoint": "10.0.0.1:50051", "peer": "azure", "status": 200, "grpc_status": 14,
            "bytes_in": 5, "bytes_out": 70_000, "duration_ms": 12.034, "attempts": 2, "failure": "tunnel_down",
            "reason": "no tunnel to `azure`", "trace_id": String::from_utf8(context.trace_id_hex().to_vec()).unwrap(),
            "request_id": "r-1", "client": "192.0.2.1:4711", "user_agent": "grpc-python/1.70",
        })
    );
}

#[test]
fn s13_a_call_is_one_line_whatever_it_holds() {
    let nasty = "a\r\nHTTP/1.1 200\u{1b}[31m\"}\\\u{0}\u{85}\u{9b}31m\u{2028}\u{202e}{\"status\":0}\n";
    let context = context();
    let mut call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
    (call.path, call.host, call.method) = (nasty, nasty, nasty);
    call.request_id = Some(nasty);
    call.route = Some(nasty);
    call.failure = Some(Failure {
        kind: FailureKind::Protocol,
        reason: nasty,
    });
    let agent = [nasty.as_bytes(), b"\xff\xfe"].concat();
    call.user_agent = Some(&agent);
    let (text, value) = written(&call);
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(
        text.trim_end_matches('\n').chars().all(|letter| !letter.is_control()),
        "{text}"
    );
    for name in ["path", "host", "method", "request_id", "route", "reason"] {
        assert_eq!(value[name], nasty, "{name} comes back as it was");
    }
    assert_eq!(value["user_agent"], format!("{nasty}\u{fffd}\u{fffd}"));
    assert_eq!(value["status"], 0);
}

#[test]
fn s13_long_values_are_cut_and_marked() {
    let context = context();
    let long = "\u{20ac}".repeat(1000);
    let mut call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
    call.path = &long;
    call.user_agent = Some(&[b'x'; 5000]);
    let (text, value) = written(&call);
    assert!(text.len() < 2000);
    assert!(value["path"].as_str().unwrap().ends_with('\u{2026}'));
    assert_eq!(value["user_agent"].as_str().unwrap().chars().count(), 257);
}

#[test]
fn times_are_those_of_the_calendar() {
    for (seconds, wanted) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_399, "2000-02-28T23:59:59.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
    ] {
        let mut out = Vec::new();
        time(&mut out, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}

#[test]
fn lines_are_gathered_and_handed_over_on_a_tick_and_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let lines = Lines::start(Output::File(path.clone()), Complain::Never).unwrap();
    let log = AccessLog::new(Some(lines.clone()), "aws");
    let context = context();
    let call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
    let seen = || {
        assert!(lines.flush(Duration::from_secs(10)));
        std::fs::read_to_string(&path).unwrap().lines().count()
    };
    log.write(&call);
    assert_eq!(seen(), 0);
    log.flush();
    assert_eq!(seen(), 1);
    (0..200).for_each(|_| log.write(&call));
    assert!(seen() > 1, "a full buffer does not wait for the tick");
    drop(log);
    assert_eq!(seen(), 201);
}

proptest! {
    #[test]
    fn s13_any_bytes_make_one_line_of_json(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in "\\PC*|[\\s\\S]{0,300}") {
        let context = context();
        let mut call = CallRecord::new(&context, SystemTime::UNIX_EPOCH);
        call.user_agent = Some(&bytes);
        call.path = &text;
        let (line, value) = written(&call);
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(line.trim_end_matches('\n').chars().all(|letter| !letter.is_control()));
        if text.len() <= TEXT {
            prop_assert_eq!(value["path"].as_str(), Some(&*text));
        }
    }
}
