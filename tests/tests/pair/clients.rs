//! What other people's clients do, wherever they are aimed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use causeway_gateway::demo::backend::{crc32, pattern};
use causeway_tests::pair::EntryKind;
use causeway_tests::python::Python;
use causeway_tests::tools::{program, run};
use serde_json::Value;
use tempfile::TempDir;

use crate::Place;

/// gRPC by grpcio.
pub(crate) fn python_grpc_calls(place: &Place) {
    python(place, "grpc_calls.py", place.entry.grpc);
}

/// HTTP by httpx and h2.
pub(crate) fn python_http_calls(place: &Place) {
    python(place, "http_calls.py", place.entry.http);
}

/// WebSocket by websockets.
pub(crate) fn python_websocket_calls(place: &Place) {
    python(place, "websocket_calls.py", place.entry.websocket);
}

/// WebSocket over HTTP/2 (RFC 8441) by h2 and websockets.
pub(crate) fn python_websocket_over_http2(place: &Place) {
    python(place, "websocket_over_http2.py", place.entry.websocket);
}

fn python(place: &Place, script: &str, entry: SocketAddr) {
    let Some(python) = Python::find() else { return };
    let kind = match place.entry.kind {
        EntryKind::Direct => "direct",
        EntryKind::Local => "local",
        EntryKind::Tunnel => "tunnel",
    };
    let (entry, counters) = (entry.to_string(), place.backends.upstreams().http.to_string());
    python.cases(script, &["--entry", &entry, "--counters", &counters, "--kind", kind]);
}

/// A curl that reads no configuration and no proxy variables.
fn curl(program: &Path, arguments: &[&str], url: &str) -> String {
    run(Command::new(program)
        .args([
            "--disable",
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "30",
        ])
        .args(arguments)
        .arg(url))
}

/// Methods, statuses, headers, connection reuse and server-sent events, over HTTP/1.1 and HTTP/2.
pub(crate) fn curl_speaks_both_versions_of_http(place: &Place) {
    let Some(program) = program("curl") else { return };
    let base = format!("http://{}", place.entry.http);
    for (version, told) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let at = |path: &str, arguments: &[&str]| {
            let arguments = [&[version], arguments].concat();
            curl(&program, &arguments, &format!("{base}{path}"))
        };

        let echo: Value = serde_json::from_str(&at(
            "/some/path?q=1",
            &["-H", "x-custom: seen", "-X", "PUT", "-d", "body"],
        ))
        .unwrap();
        assert_eq!(
            (&echo["method"], &echo["path"], &echo["query"]),
            (&"PUT".into(), &"/some/path".into(), &"q=1".into())
        );
        assert_eq!(
            (&echo["headers"]["x-custom"][0], &echo["body"]),
            (&"seen".into(), &"body".into()),
            "{version}"
        );

        let written = at(
            "/status/503",
            &["-o", "/dev/null", "-w", "%{http_code} %{http_version}"],
        );
        assert_eq!(written, format!("503 {told}"));
        let head = at("/bytes/1234", &["--head"]);
        assert!(
            head.to_lowercase().contains("content-length: 1234"),
            "{version}: {head}"
        );

        let times = at(
            "/events?n=3&ms=200",
            &["-N", "-o", "/dev/null", "-w", "%{time_starttransfer} %{time_total}"],
        );
        let times = times
            .split(' ')
            .map(|time| time.parse::<f64>().unwrap())
            .collect::<Vec<_>>();
        assert!(times[1] - times[0] > 0.25, "{version}: events came at once: {times:?}");
    }

    // Two URLs by one curl: the second on the first's connection. Debian 12's curl 7.88 fails at that over HTTP/2 by prior
    // knowledge with any server (status 16), so that nghttp and httpx are the ones who try it.
    let second = format!("{base}/two");
    let kept = [
        "--http1.1",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{num_connects}\n",
        &second,
    ];
    assert_eq!(
        curl(&program, &kept, &format!("{base}/one")),
        "1\n0\n",
        "the connection is kept"
    );
}

/// Bodies in both directions, with a length, chunked, and after `100-continue`.
pub(crate) fn curl_uploads_and_downloads(place: &Place) {
    let Some(program) = program("curl") else { return };
    let folder = TempDir::new().unwrap();
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let body = pattern(5_000_003);
    fs::write(&up, &body).unwrap();
    let (up, down) = (up.to_str().unwrap(), down.to_str().unwrap());
    let base = format!("http://{}", place.entry.http);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for how in [
            &["-T", up][..],
            &["-T", up, "-H", "transfer-encoding: chunked"],
            &["-T", up, "-H", "expect: 100-continue"],
        ] {
            // HTTP/2 has no chunks to ask for.
            if version != "--http1.1" && how.len() == 4 && how[3].starts_with("transfer") {
                continue;
            }
            let told = curl(
                &program,
                &[&[version, "-X", "POST"], how].concat(),
                &format!("{base}/upload"),
            );
            let told: Value =
                serde_json::from_str(&told).unwrap_or_else(|error| panic!("{version} {how:?}: {error}: {told}"));
            assert_eq!(told["bytes"], 5_000_003, "{version} {how:?}");
            assert_eq!(told["crc32"], format!("{:08x}", crc32(0, &body)), "{version} {how:?}");
        }
        curl(&program, &[version, "-o", down], &format!("{base}/bytes/5000003"));
        assert!(fs::read(down).unwrap() == body, "{version}: the body is whole");
    }
}

/// Several streams on one connection.
pub(crate) fn nghttp_speaks_http2(place: &Place) {
    let Some(program) = program("nghttp") else { return };
    let base = format!("http://{}", place.entry.http);
    let urls = ["/bytes/100000", "/stream?n=3&ms=20", "/status/404"].map(|path| format!("{base}{path}"));
    let said = run(Command::new(program)
        .args(["-nv", "--timeout=20", "-m", "3"])
        .args(urls));
    assert_eq!(
        said.matches(":status: 200").count(),
        6,
        "three repeats of two good URLs: {said}"
    );
    assert_eq!(
        said.matches(":status: 404").count(),
        3,
        "three repeats of one bad URL: {said}"
    );
    assert!(!said.contains("RST_STREAM"), "{said}");
    assert!(
        !said.contains(
            "GOAWAY frame <length=8, flags=0x00, stream_id=0>\n          (last_stream_id=0, error_code=PROTOCOL"
        ),
        "{said}"
    );
}

/// A thousand requests over HTTP/2, and over HTTP/1.1.
pub(crate) fn h2load_fails_no_request(place: &Place) {
    let Some(program) = program("h2load") else { return };
    for arguments in [
        &["-n", "1000", "-c", "4", "-m", "16"][..],
        &["--h1", "-n", "1000", "-c", "8"],
    ] {
        let url = format!("http://{}/bytes/1000", place.entry.http);
        let said = run(Command::new(&program).args(arguments).arg(url));
        assert!(
            said.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{arguments:?}: {said}"
        );
        assert!(said.contains("status codes: 1000 2xx"), "{arguments:?}: {said}");
    }
}
