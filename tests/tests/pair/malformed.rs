//! Requests that no real client sends, through the running gateway, against an origin that records every byte.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_tests::recorder::Recorder;
use causeway_tests::{Connection, Site, SiteSetup, client};

/// A site in front of a recorder, and the recorder.
fn site() -> (Site, Recorder) {
    let origin = Recorder::start();
    let site = SiteSetup::new("local")
        .with(&format!(
            "[[services]]\nname = \"raw\"\nprotocol = \"http\"\nendpoints = [\"{}\"]\n",
            origin.address()
        ))
        .with("[[routes]]\nmatch = { path_prefix = \"/\" }\nto = \"raw\"\n")
        .start();
    site.wait_ready();
    (site, origin)
}

/// The status of the first answer, how many answers came, and whether the connection was closed after them.
fn answers(address: SocketAddr, bytes: &[u8]) -> (Option<u16>, usize) {
    let mut connection = Connection::open(address).unwrap();
    // The gateway may close before it has read everything.
    let _ = connection.send(bytes);
    let said = connection.rest(Duration::from_secs(3));
    let said = String::from_utf8_lossy(&said).into_owned();
    let statuses = said
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| said.get(at + 9..at + 12)?.parse().ok())
        .collect::<Vec<u16>>();
    (statuses.first().copied(), statuses.len())
}

/// Each must be refused with one answer and a closed connection, and the origin must see nothing of it.
fn refused(table: &[(&str, &[u8], &[u16])]) {
    let (site, origin) = site();
    for (what, bytes, statuses) in table {
        let (status, count) = answers(site.public(), bytes);
        assert!(
            status.is_none_or(|status| statuses.contains(&status)),
            "{what}: answered {status:?}, wanted one of {statuses:?}"
        );
        assert!(
            count <= 1,
            "{what}: {count} answers: what followed was taken for a request"
        );
        assert_eq!(origin.requests(), Vec::<String>::new(), "{what}: the origin saw it");
    }
    let good = client::get(site.public(), "/canary").unwrap();
    assert_eq!(
        good.status,
        200,
        "a good request is served after all that: {}",
        good.text()
    );
    assert_eq!(origin.requests(), ["GET /canary HTTP/1.1"]);
}

/// After a refused head: what the smuggler wanted to be read as a request of its own.
const TAIL: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn s1_requests_with_doubtful_framing_are_refused_and_never_forwarded() {
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{lines}\r\n{TAIL}").into_bytes();
    let cases = [
        (
            "length and chunked",
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        ),
        (
            "chunked and length",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        ),
        ("two lengths", "content-length: 4\r\ncontent-length: 5\r\n"),
        ("two equal lengths", "content-length: 4\r\ncontent-length: 4\r\n"),
        ("a list of lengths", "content-length: 4, 4\r\n"),
        ("a signed length", "content-length: +4\r\n"),
        ("a negative length", "content-length: -4\r\n"),
        ("a hexadecimal length", "content-length: 0x4\r\n"),
        ("a length with an underscore", "content-length: 1_0\r\n"),
        ("an empty length", "content-length:\r\n"),
        ("a length with a space inside", "content-length: 1 0\r\n"),
        ("an overflowing length", "content-length: 99999999999999999999\r\n"),
        ("chunked twice", "transfer-encoding: chunked, chunked\r\n"),
        (
            "chunked twice in two lines",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ),
        ("chunked not last", "transfer-encoding: chunked, identity\r\n"),
        ("identity", "transfer-encoding: identity\r\n"),
        ("an unknown coding", "transfer-encoding: xchunked\r\n"),
        ("a coding in quotes", "transfer-encoding: \"chunked\"\r\n"),
        ("an empty first coding", "transfer-encoding: ,chunked\r\n"),
        ("a vertical tab", "transfer-encoding:\x0bchunked\r\n"),
        ("a form feed", "transfer-encoding: chunked\x0c\r\n"),
        ("a NUL", "transfer-encoding: chunked\0\r\n"),
        ("a space before the colon", "transfer-encoding : chunked\r\n"),
        ("a folded value", "transfer-encoding:\r\n chunked\r\n"),
        ("a bare LF hides a field", "x: y\ntransfer-encoding: chunked\r\n"),
        ("a bare CR hides a field", "x: y\rtransfer-encoding: chunked\r\n"),
    ];
    let requests = cases.map(|(what, lines)| (what, with(lines)));
    let table = requests
        .iter()
        .map(|(what, bytes)| (*what, bytes.as_slice(), &[400, 501][..]))
        .collect::<Vec<_>>();
    refused(&table);
    let old = b"POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&[("chunked in HTTP/1.0", old, &[400, 501])]);
}

#[test]
fn s2_heads_that_are_no_http_are_refused() {
    #[rustfmt::skip]
    let table: &[(&str, &[u8], &[u16])] = &[
        ("no host", b"GET / HTTP/1.1\r\n\r\n", &[400]),
        ("two hosts", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", &[400]),
        ("a bad host", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", &[400]),
        ("userinfo in the host", b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", &[400]),
        ("absolute form against host", b"GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", &[400, 421]),
        ("obs-fold", b"GET / HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c\r\n\r\n", &[400]),
        ("a fold at once", b"GET / HTTP/1.1\r\n host: x\r\n\r\n", &[400]),
        ("bare LF line ends", b"GET / HTTP/1.1\nhost: x\n\n", &[400]),
        ("an empty name", b"GET / HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n", &[400]),
        ("no colon", b"GET / HTTP/1.1\r\nhost: x\r\nnothing\r\n\r\n", &[400]),
        ("a name that is no token", b"GET / HTTP/1.1\r\nhost: x\r\na(b): c\r\n\r\n", &[400]),
        ("a name with \\x85", b"GET / HTTP/1.1\r\nhost: x\r\na\x85: c\r\n\r\n", &[400]),
        ("a NUL in a value", b"GET / HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n", &[400]),
        ("a CR in a value", b"GET / HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n", &[400]),
        ("a control byte in the target", b"GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n", &[400]),
        ("two spaces", b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n", &[400]),
        ("version 1.2 of nothing", b"GET / HTTP/1.x\r\nhost: x\r\n\r\n", &[400, 505]),
        ("version 3", b"GET / HTTP/3.0\r\nhost: x\r\n\r\n", &[400, 505]),
        ("a method that is no token", b"G@T / HTTP/1.1\r\nhost: x\r\n\r\n", &[400, 405, 501]),
        ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", &[400, 405, 501]),
        ("an asterisk for GET", b"GET * HTTP/1.1\r\nhost: x\r\n\r\n", &[400]),
        ("the protected listed as hop-by-hop", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close, host\r\n\r\n", &[400]),
    ];
    refused(table);
}

#[test]
fn s3_chunks_that_are_no_chunks_end_the_connection() {
    let (site, origin) = site();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let bodies = [
        "x\r\n\r\n",
        "-1\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3;\n\r\nabc\r\n0\r\n\r\n",
        "3\r\r\nabc\r\n0\r\n\r\n",
        "\r\n",
    ];
    for body in bodies {
        let smuggled = format!("{head}{body}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
        let (status, count) = answers(site.public(), smuggled.as_bytes());
        assert!(
            count <= 1 && status.is_none_or(|status| (400..=599).contains(&status)),
            "{body:?}: {status:?}, {count} answers"
        );
        assert!(
            !origin.seen().concat().contains("/smuggled"),
            "{body:?} got through: {:?}",
            origin.seen()
        );
    }
    assert_eq!(client::get(site.public(), "/canary").unwrap().status, 200);
}

#[test]
fn s6_bytes_after_a_refused_upgrade_are_not_a_tunnel() {
    let (site, origin) = site();
    // The origin answers 200 instead of 101: whatever follows must never reach it as it is.
    let upgrade = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    answers(site.public(), upgrade.as_bytes());
    assert!(!origin.seen().concat().contains("/smuggled"), "{:?}", origin.seen());
}

#[test]
fn s10_paths_that_hide_others_are_refused_or_normalised() {
    let (site, origin) = site();
    for target in [
        "/a/../admin",
        "/a/%2e%2e/admin",
        "/a/%2E%2E/admin",
        "/a%2f..%2fadmin",
        "/a%5c..%5cadmin",
        "/%00",
        "/a\\..\\admin",
        "//admin",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let (status, _) = answers(site.public(), request.as_bytes());
        assert!(status.is_some(), "{target} gets an answer");
        for line in origin.requests() {
            assert!(
                !line.contains("..")
                    && !line.contains("%2")
                    && !line.contains("%5")
                    && !line.contains('\\')
                    && !line.contains("//"),
                "{target} was forwarded as {line}"
            );
        }
    }
}

#[test]
fn s11_a_request_names_one_host_and_that_one_is_forwarded() {
    let get = |target: &str, hosts: &str| format!("GET {target} HTTP/1.1\r\n{hosts}\r\n").into_bytes();
    #[rustfmt::skip]
    let bad = [
        ("no host",                      get("/", "")),
        ("two hosts",                    get("/", "host: a.example\r\nhost: b.example\r\n")),
        ("the same host twice",          get("/", "host: a.example\r\nhost: a.example\r\n")),
        ("a list of hosts",              get("/", "host: a.example, b.example\r\n")),
        ("userinfo",                     get("/", "host: user@a.example\r\n")),
        ("userinfo with a password",     get("/", "host: a.example:80@b.example\r\n")),
        ("a path",                       get("/", "host: a.example/b\r\n")),
        ("a space",                      get("/", "host: a.example b\r\n")),
        ("no number for a port",         get("/", "host: a.example:http\r\n")),
        ("a port that is too large",     get("/", "host: a.example:65536\r\n")),
        ("two ports",                    get("/", "host: a.example:80:81\r\n")),
        ("half an IPv6 address",         get("/", "host: [::1\r\n")),
        ("something behind a bracket",   get("/", "host: [::1]a\r\n")),
        ("a fragment",                   get("/", "host: a.example#b\r\n")),
        ("a query",                      get("/", "host: a.example?b\r\n")),
        ("a backslash",                  get("/", "host: a.example\\b\r\n")),
        ("another host in the target",   get("http://b.example/", "host: a.example\r\n")),
        ("another port in the target",   get("http://a.example:81/", "host: a.example:82\r\n")),
        ("userinfo in the target",       get("http://user@a.example/", "host: a.example\r\n")),
        ("another scheme in the target", get("ftp://a.example/", "host: a.example\r\n")),
        ("no host in the target",        get("http:///", "host: a.example\r\n")),
        ("a target without its slashes", get("http:a.example/", "host: a.example\r\n")),
    ];
    let table: Vec<(&str, &[u8], &[u16])> = bad
        .iter()
        .map(|(what, bytes)| (*what, bytes.as_slice(), &[400u16][..]))
        .collect();
    refused(&table);

    // What is one host is forwarded as that one, whatever its form.
    let (site, origin) = site();
    #[rustfmt::skip]
    let good = [
        ("/1", "host: a.example\r\n",                    "a.example"),
        ("/2", "host: A.Example:8080\r\n",               "a.example:8080"),
        ("/3", "host: [::1]:8080\r\n",                   "[::1]:8080"),
        ("http://a.example/4", "host: a.example\r\n",    "a.example"),
        ("http://a.example:81/5", "host: a.example:81\r\n", "a.example:81"),
    ];
    for (target, hosts, _) in good {
        assert_eq!(
            answers(site.public(), &get(target, &format!("{hosts}connection: close\r\n"))),
            (Some(200), 1),
            "{target} {hosts}"
        );
    }
    let seen = origin.seen().concat().to_ascii_lowercase();
    for (target, _, wanted) in good {
        let path = &target[target.len() - 2..];
        let request = seen
            .split("get ")
            .find(|request| request.starts_with(&format!("{path} ")))
            .unwrap();
        let hosts: Vec<_> = request.lines().filter_map(|line| line.strip_prefix("host: ")).collect();
        assert_eq!(hosts, [wanted], "{target}");
    }
}

#[test]
fn s13_one_line_of_the_access_log_per_call_whatever_it_says() {
    let (site, _origin) = site();
    for index in 0..3 {
        let request = format!(
            "GET /%22%0a%1b[31m{index} HTTP/1.1\r\nhost: x\r\nuser-agent: \"\\u000a\x1b[31m{{\"a\":1}}\r\nconnection: close\r\n\r\n"
        );
        answers(site.public(), request.as_bytes());
    }
    causeway_tests::until("the calls are logged", Duration::from_secs(5), || {
        site.access_log().len() >= 3
    });
    assert_eq!(site.access_log().len(), 3, "each line is JSON, and there are no others");
}

#[test]
fn s9_a_slow_head_is_cut_and_others_are_served() {
    let origin = Recorder::start();
    let site = SiteSetup::new("local")
        .with("[timeouts]\nhead = \"1s\"\n")
        .with(&format!(
            "[[services]]\nname = \"raw\"\nprotocol = \"http\"\nendpoints = [\"{}\"]\n",
            origin.address()
        ))
        .with("[[routes]]\nmatch = { path_prefix = \"/\" }\nto = \"raw\"\n")
        .start();
    site.wait_ready();
    let mut slow = (0..50)
        .map(|_| Connection::open(site.public()).unwrap())
        .collect::<Vec<_>>();
    for connection in &mut slow {
        connection.send(b"GET / HTTP/1.1\r\nhost: x\r\n").unwrap();
    }
    assert_eq!(client::get(site.public(), "/canary").unwrap().status, 200);
    for connection in &mut slow {
        let said = connection.rest(Duration::from_secs(8));
        let text = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
        assert!(connection.send(b"x").is_err() || connection.rest(Duration::from_secs(1)).is_empty());
    }
    assert_eq!(origin.requests(), ["GET /canary HTTP/1.1"]);
}
