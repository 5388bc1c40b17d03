//! Compression, method override, versions, and changes of calls and replies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::super::testing::{Answer, Sites, http, upgrade};
use super::CATCH_ALL;

const COUNT: &str = "/causeway.demo.v1.Chat/Count";

/// The catch-all routes with this policy on each.
fn with(policy: &str) -> String {
    CATCH_ALL.replace("to = ", &format!("{policy}\nto = "))
}

fn expand(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    match answer.header("content-encoding").as_deref() {
        Some("gzip") => flate2::read::GzDecoder::new(&*answer.body)
            .read_to_end(&mut out)
            .unwrap(),
        Some("br") => brotli::Decompressor::new(&*answer.body, 4096)
            .read_to_end(&mut out)
            .unwrap(),
        _ => return answer.body.clone(),
    };
    out
}

#[test]
fn replies_are_compressed_for_clients_that_take_it_and_only_where_that_is_right() {
    let sites = Sites::start("", &with("compression = { min_size = '1B' }"));
    for (place, at) in sites.entries() {
        for (accept, coding) in [
            ("gzip", Some("gzip")),
            ("br, gzip;q=0.9", Some("br")),
            ("", None),
            ("zstd", None),
        ] {
            let answer = http(at, "GET", "/some/path", &format!("accept-encoding: {accept}\r\n"), b"");
            assert_eq!(
                answer.header("content-encoding").as_deref(),
                coding,
                "{place} {accept}: {answer:?}"
            );
            assert_eq!(
                answer.header("vary").as_deref(),
                Some("accept-encoding"),
                "{place} {accept}"
            );
            let told: serde_json::Value = serde_json::from_slice(&expand(&answer)).unwrap();
            assert_eq!(told["path"], "/some/path", "{place} {accept}");
        }
        let takes = "accept-encoding: gzip\r\n";
        let plain = |method: &str, target: &str, lines: &str| {
            let answer = http(at, method, target, &format!("{takes}{lines}"), b"");
            assert_eq!(
                answer.header("content-encoding"),
                None,
                "{place} {method} {target}: {answer:?}"
            );
        };
        plain("HEAD", "/x", "");
        plain("GET", "/x", "cache-control: no-transform\r\n");
        plain("GET", "/bytes/5000", "");
        plain("GET", "/status/204", "");
        assert_eq!(upgrade(at, "/echo", takes).header("content-encoding"), None, "{place}");
        let answer = sites.grpc(at, COUNT, b"", &[("accept-encoding", "gzip")]);
        assert_eq!(
            (
                answer.header("content-encoding"),
                answer.header("grpc-status").as_deref()
            ),
            (None, Some("0")),
            "{place}"
        );
        let answer = http(at, "GET", "/stream?n=3&ms=1", takes, b"");
        assert_eq!(
            answer.header("content-encoding").as_deref(),
            Some("gzip"),
            "{place}: {answer:?}"
        );
        assert!(
            expand(&answer).ends_with(b"tick 3\n") || expand(&answer).ends_with(b"tick 2\n"),
            "{place}"
        );
    }
}

/// The time until the first byte of a body, and until its end.
fn times(at: SocketAddr, target: &str) -> (Duration, Duration) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let began = Instant::now();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nhost: t\r\nconnection: close\r\naccept-encoding: gzip\r\n\r\n"
    )
    .unwrap();
    let (mut seen, mut first) = (Vec::new(), None);
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return (first.unwrap(), began.elapsed());
        }
        seen.extend_from_slice(&buffer[..count]);
        let head = seen.windows(4).position(|window| window == b"\r\n\r\n");
        // Past the header of gzip, which says nothing yet.
        if head.is_some_and(|head| seen.len() > head + 4 + 20) {
            first.get_or_insert_with(|| began.elapsed());
        }
    }
}

#[test]
fn events_are_not_held_back_by_compression() {
    let sites = Sites::start("", &with("compression = {}"));
    for (place, at) in sites.entries() {
        let (first, last) = times(at, "/events?n=4&ms=200");
        assert!(
            last - first > Duration::from_millis(300),
            "{place}: first after {first:?}, last after {last:?}"
        );
    }
}

#[test]
fn a_post_stands_for_another_method_only_where_the_route_lets_it() {
    let routes = "
[[routes]]
match = { path_prefix = '/over' }
to = 'demo-http@@'
method_override = {}
";
    let sites = Sites::start("", &format!("{CATCH_ALL}{routes}"));
    for (place, at) in sites.entries() {
        let said = |method: &str, target: &str, named: &str| {
            let answer = http(at, method, target, &format!("x-http-method-override: {named}\r\n"), b"");
            if answer.status != 200 {
                return answer.status.to_string();
            }
            let told = answer.json();
            assert_eq!(told["headers"].get("x-http-method-override"), None, "{place}");
            told["method"].as_str().unwrap().to_owned()
        };
        assert_eq!(said("POST", "/over", "DELETE"), "DELETE", "{place}");
        assert_eq!(said("POST", "/over", "TRACE"), "400", "{place}");
        assert_eq!(said("GET", "/over", "DELETE"), "GET", "{place}");
        assert_eq!(said("POST", "/other", "DELETE"), "POST", "{place}");
    }
}

#[test]
fn a_version_is_read_where_clients_say_it_and_written_where_the_backend_wants_it() {
    let route = |path: &str, version: &str| {
        format!(
            "[[routes]]\nmatch = {{ path_prefix = '{path}' }}\nto = 'demo-http@@'\nversion = {{ known = ['1', '2'], {version} }}\n"
        )
    };
    let routes = route("/v1", "from = 'path', to = 'header'")
        + &route("/v2", "from = 'path', to = 'header'")
        + &route("/v9", "from = 'path', to = 'header'")
        + &route("/by-header", "from = 'header', to = 'path', default = '1'")
        + &route(
            "/by-type",
            "from = 'media-type', to = 'media-type', media_type = 'application/vnd.acme+json'",
        );
    let sites = Sites::start("", &routes);
    for (place, at) in sites.entries() {
        let told = |target: &str, lines: &str| {
            let answer = http(at, "GET", target, lines, b"");
            (answer.status == 200).then(|| answer.json())
        };
        let seen = told("/v2/orders?x=1", "").unwrap();
        assert_eq!(
            (&seen["path"], &seen["query"], &seen["headers"]["api-version"][0]),
            (&"/orders".into(), &"x=1".into(), &"2".into()),
            "{place}"
        );
        assert_eq!(told("/v9/orders", ""), None, "{place}: there is no version 9");
        assert_eq!(
            told("/by-header", "api-version: 2\r\n").unwrap()["path"],
            "/v2/by-header",
            "{place}"
        );
        let seen = told("/by-header", "").unwrap();
        assert_eq!(
            (&seen["path"], seen["headers"].get("api-version")),
            (&"/v1/by-header".into(), None),
            "{place}"
        );
        let seen = told("/by-type", "accept: application/vnd.acme.v2+json\r\n").unwrap();
        assert_eq!(
            seen["headers"]["accept"][0], "application/vnd.acme+json; version=2",
            "{place}"
        );
        let answer = http(at, "GET", "/by-type", "accept: */*\r\n", b"");
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (400, Some("invalid_request")),
            "{place}"
        );
    }
}

#[test]
fn fields_query_and_status_change_as_the_route_says() {
    let routes = "
[[routes]]
match = { path = '/orders/{id}/{rest*}' }
to = 'demo-http@@'
[routes.request]
rename = { x-old = 'x-new' }
remove = ['x-secret']
set = { x-order = 'no {id} of {header.x-tenant} {{{query.a}}}', x-empty = '{claim.none}' }
default = { x-kept = 'ours', x-made = '{method} {path}' }
add = { x-list = 'two' }
append = { x-joined = 'b' }
query = { set = { a = '{rest*}' }, remove = ['debug'], rename = { q = 'query' } }
[routes.response]
set = { x-status = '{status} {reply.demo-backend}' }
remove = ['demo-backend']
[[routes]]
match = { path_prefix = '/status' }
to = 'demo-http@@'
response = { status = { 404 = 410 } }
";
    let sites = Sites::start("", &format!("{CATCH_ALL}{routes}"));
    for (place, at) in sites.entries() {
        let lines = "x-old: 1\r\nx-old: 2\r\nx-secret: s\r\nx-tenant: t\r\nx-empty: e\r\nx-kept: theirs\r\nx-list: one\r\nx-joined: a\r\n";
        let answer = http(at, "GET", "/orders/7/in%20full?debug=1&q=x%26y&a=1&z", lines, b"");
        let told = answer.json();
        let got = |name: &str| told["headers"].get(name).cloned().unwrap_or_default();
        assert_eq!(got("x-new"), serde_json::json!(["1", "2"]), "{place}: {told}");
        assert_eq!(got("x-order"), serde_json::json!(["no 7 of t {1}"]), "{place}");
        assert_eq!(
            (got("x-old"), got("x-secret"), got("x-empty")),
            Default::default(),
            "{place}"
        );
        assert_eq!(got("x-kept"), serde_json::json!(["theirs"]), "{place}");
        assert_eq!(got("x-made"), serde_json::json!(["GET /orders/7/in%20full"]), "{place}");
        assert_eq!(
            (got("x-list"), got("x-joined")),
            (serde_json::json!(["one", "two"]), serde_json::json!(["a, b"])),
            "{place}"
        );
        assert_eq!(told["query"], "query=x%26y&z&a=in%20full", "{place}");
        assert_eq!(
            (answer.header("x-status").as_deref(), answer.header("demo-backend")),
            (Some("200 b"), None),
            "{place}"
        );
        assert_eq!(http(at, "GET", "/status/404", "", b"").status, 410, "{place}");
    }
    let everywhere = Sites::start(
        "",
        &with("request = { set = { x-a = '{request_id}' } }\nresponse = { set = { x-b = '{site}' } }"),
    );
    for (place, at) in everywhere.entries() {
        let site = if place == "local" { "local" } else { "near" };
        assert_eq!(upgrade(at, "/echo", "").header("x-b").as_deref(), Some(site), "{place}");
        let answer = everywhere.grpc(at, COUNT, b"", &[]);
        assert_eq!(answer.header("x-b").as_deref(), Some(site), "{place}: {answer:?}");
    }
}
