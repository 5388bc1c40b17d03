//! What may not cross from HTTP/2 to HTTP/1.1, nor from HTTP/1.1 to HTTP/2.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::Recorder;
use crate::site::{Canary, Site, beside, to};
use crate::wire::{self, END_HEADERS, END_STREAM, HEADERS, Wire, frame};

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

fn usual<'a>() -> Pairs<'a> {
    vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/p"),
        (b":authority", b"a.example"),
    ]
}

/// Sends heads one after the other, each on a connection that is still good; true when one was answered by the backend.
struct Sender {
    address: SocketAddr,
    wire: Option<(Wire, u32)>,
}

impl Sender {
    async fn send(&mut self, fields: &Pairs<'_>, body: Option<&[u8]>) -> bool {
        let (mut wire, id) = match self.wire.take() {
            Some((wire, id)) if id < 150 => (wire, id + 2),
            _ => (Wire::open(self.address, &[]).await, 1),
        };
        let flags = END_HEADERS | if body.is_none() { END_STREAM } else { 0 };
        let mut all = frame(HEADERS, flags, id, &wire::block(fields));
        if let Some(body) = body {
            all.extend(frame(wire::DATA, END_STREAM, id, body));
        }
        wire.send(&all).await.unwrap();
        match wire.answer(id).await {
            Some(frame) if frame.kind == HEADERS => {
                let served = frame.status() == 200;
                if !frame.ends() {
                    wire.until(|frame| frame.stream == id && frame.ends()).await;
                }
                self.wire = Some((wire, id));
                served
            }
            Some(frame) if frame.kind == wire::RESET => {
                self.wire = Some((wire, id));
                false
            }
            _ => false,
        }
    }
}

/// One request as RFC 9112 has it, and nothing that could be a second.
fn check(head: &str) {
    let lines: Vec<_> = head
        .strip_suffix("\r\n\r\n")
        .expect("the head ends")
        .split("\r\n")
        .collect();
    let start: Vec<_> = lines[0].split(' ').collect();
    assert_eq!(start.len(), 3, "{head:?}");
    assert_eq!(start[2], "HTTP/1.1", "{head:?}");
    assert!(start[1].starts_with('/') || start[1] == "*", "{head:?}");
    let control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
    let mut names = BTreeSet::new();
    for line in &lines {
        assert!(!line.bytes().any(control), "{head:?}");
    }
    for line in &lines[1..] {
        let (name, _) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in {head:?}"));
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(token), "{head:?}");
        let lower = name.to_ascii_lowercase();
        if ["host", "content-length", "transfer-encoding"].contains(&&*lower) {
            assert!(names.insert(lower), "twice in {head:?}");
        }
    }
    assert!(names.contains("host"), "{head:?}");
    assert!(
        !(names.contains("content-length") && names.contains("transfer-encoding")),
        "{head:?}"
    );
}

#[tokio::test]
async fn s4_every_byte_in_every_place_is_refused_or_crosses_as_one_clean_request() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let canary = Canary::start(site.address).await;
    let mut sender = Sender {
        address: site.address,
        wire: None,
    };
    for byte in 0..=255u8 {
        let around = |before: &[u8], after: &[u8]| [before, &[byte], after].concat();
        let (value, name) = (around(b"a", b"b: c"), around(b"x", b"y"));
        let (path, authority, method) = (around(b"/a", b"b"), around(b"a", b"b.example"), around(b"GE", b"T"));
        let mut cases = [usual(), usual(), usual(), usual(), usual()];
        cases[0].push((b"x-value", &value));
        cases[1].push((&name, b"v"));
        cases[2][2].1 = &path;
        cases[3][3].1 = &authority;
        cases[4][0].1 = &method;
        for (place, fields) in cases.iter().enumerate() {
            let before = recorder.count();
            let served = sender.send(fields, None).await;
            let heads = recorder.heads();
            assert!(heads.len() - before <= 1, "byte {byte:#x} at {place}: {heads:?}");
            assert_eq!(served, heads.len() > before, "byte {byte:#x} at {place}");
            if let Some(head) = heads.get(before) {
                check(head);
            }
        }
    }
    for head in recorder.heads() {
        check(&head);
    }
    canary.check().await;
}

#[tokio::test]
async fn s4_s11_heads_that_mean_two_things_are_refused() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let mut sender = Sender {
        address: site.address,
        wire: None,
    };
    type Change = fn(&mut Pairs<'static>);
    #[rustfmt::skip]
    let refused: [(&str, Change); 26] = [
        ("transfer-encoding",        |all| all.push((b"transfer-encoding", b"chunked"))),
        ("connection",               |all| all.push((b"connection", b"close"))),
        ("keep-alive",               |all| all.push((b"keep-alive", b"1"))),
        ("upgrade",                  |all| all.push((b"upgrade", b"h2c"))),
        ("proxy-connection",         |all| all.push((b"proxy-connection", b"close"))),
        ("te",                       |all| all.push((b"te", b"gzip"))),
        ("upper case",               |all| all.push((b"X-Upper", b"v"))),
        ("two :path",                |all| all.insert(3, (b":path", b"/other"))),
        ("two :method",              |all| all.insert(1, (b":method", b"POST"))),
        ("two :authority",           |all| all.push((b":authority", b"b.example"))),
        ("pseudo after field",       |all| { all.insert(0, (b"x-first", b"v")); }),
        ("unknown pseudo",           |all| all.push((b":host", b"b.example"))),
        (":status",                  |all| all.push((b":status", b"200"))),
        ("no :path",                 |all| { all.remove(2); }),
        ("empty :path",              |all| all[2].1 = b""),
        ("no :method",               |all| { all.remove(0); }),
        ("no :scheme",               |all| { all.remove(1); }),
        ("no :authority",            |all| { all.remove(3); }),
        ("host differs",             |all| all.push((b"host", b"b.example"))),
        ("two hosts",                |all| { all.push((b"host", b"a.example")); all.push((b"host", b"a.example")); }),
        ("userinfo",                 |all| all[3].1 = b"u@a.example"),
        ("path without slash",       |all| all[2].1 = b"p"),
        ("absolute path",            |all| all[2].1 = b"http://b.example/"),
        ("asterisk",                 |all| all[2].1 = b"*"),
        ("length without body",      |all| all.push((b"content-length", b"5"))),
        ("two lengths",              |all| { all.push((b"content-length", b"0")); all.push((b"content-length", b"0")); }),
    ];
    for (name, change) in refused {
        let mut fields = usual();
        change(&mut fields);
        assert!(!sender.send(&fields, None).await, "{name}");
    }
    for (length, body) in [
        ("3", "longer"),
        ("9", "short"),
        ("+5", "short"),
        ("0x5", "short"),
        ("5,5", "short"),
        ("", "short"),
        (" 5", "short"),
    ] {
        let mut fields = usual();
        fields[0].1 = b"POST";
        fields.push((b"content-length", length.as_bytes()));
        assert!(
            !sender.send(&fields, Some(body.as_bytes())).await,
            "content-length {length:?}"
        );
    }
    // Of a body that is not as long as it said, the backend may have seen the head; it never saw a whole request.
    for head in recorder.heads() {
        check(&head);
        assert!(head.starts_with("POST"), "{head:?}");
    }
    assert_eq!(recorder.body(), 0);
    let before = recorder.count();
    #[rustfmt::skip]
    let taken: [(&str, Change); 6] = [
        ("same host",       |all| all.push((b"host", b"a.example"))),
        ("host only",       |all| { all.remove(3); all.push((b"host", b"a.example")); }),
        ("te trailers",     |all| all.push((b"te", b"trailers"))),
        ("OPTIONS *",       |all| { all[0].1 = b"OPTIONS"; all[2].1 = b"*"; }),
        ("crumbs",          |all| { all.push((b"cookie", b"a=1")); all.push((b"cookie", b"b=2")); }),
        ("twins",           |all| { all.push((b"transfer_encoding", b"chunked")); all.push((b"proxy_connection", b"x")); all.push((b"content_length", b"7")); }),
    ];
    for (name, change) in taken {
        let mut fields = usual();
        change(&mut fields);
        let served = sender.send(&fields, None).await;
        // No route has `*`; but it is no error of the request.
        assert!(served || name == "OPTIONS *", "{name}");
    }
    for head in &recorder.heads()[before..] {
        check(head);
        let lower = head.to_ascii_lowercase();
        assert!(
            !lower.contains("transfer") && !lower.contains("proxy") && !lower.contains("content"),
            "{head:?}"
        );
        assert!(
            !lower.contains("cookie") || lower.contains("cookie: a=1; b=2\r\n"),
            "{head:?}"
        );
    }
}

/// An HTTP/2 backend that writes down the requests it gets.
async fn recording_http2() -> (SocketAddr, Arc<Mutex<Vec<http::Request<()>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&recorded);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (parts, _) = request.into_parts();
                    seen.lock().unwrap().push(http::Request::from_parts(parts, ()));
                    respond.send_response(http::Response::new(()), true).ok();
                }
            });
        }
    });
    (address, seen)
}

/// Sends one HTTP/1.1 request, and returns the status.
async fn http1(address: SocketAddr, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refused request may end by RST.
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn s5_nothing_that_an_http1_client_says_becomes_a_pseudo_header_or_a_status() {
    let _turn = beside().await;
    let (backend, seen) = recording_http2().await;
    let site = Site::start(&to(backend, "version = \"http2\"")).await;
    #[rustfmt::skip]
    let names = [
        ":path", ":method", ":authority", ":scheme", ":protocol", ":status", "te", "TE", "trailer", "content-length",
        "transfer-encoding", "grpc-status", "Grpc-Status", "grpc-message", "grpc-status-details-bin", "grpc-timeout",
        "grpc_status", "content_length", "transfer_encoding", "te_", "host", "x-forwarded-for", "x-causeway-site", "upgrade",
        "http2-settings", "keep-alive", "proxy-connection", "expect", "sec-websocket-key", "connection",
    ];
    let bad = [
        "/admin",
        "trailers",
        "0",
        "gzip",
        "1",
        "chunked",
        "evil.example",
        "\t",
        "x\u{1}y",
        "0 OK",
    ];
    for name in names {
        for value in bad {
            let before = seen.lock().unwrap().len();
            let head = format!(
                "GET /p HTTP/1.1\r\nhost: a.example\r\n{name}: {value}\r\nx-last: 1\r\nconnection: close\r\n\r\n"
            );
            let status = http1(site.address, &head).await;
            let seen = seen.lock().unwrap();
            assert!(seen.len() - before <= 1);
            assert!(seen.len() > before || status >= 400, "{name}: {value}: {status}");
            let Some(request) = seen.get(before) else { continue };
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("GET", "/p"),
                "{name}: {value}"
            );
            assert_eq!(
                request.uri().authority().map(http::uri::Authority::as_str),
                Some("a.example"),
                "{name}: {value}"
            );
            assert!(request.extensions().get::<h2::ext::Protocol>().is_none());
            for (field, said) in request.headers() {
                let field = field.as_str();
                let ours = match field {
                    "x-last" => said == "1",
                    "x-forwarded-for" => said == "127.0.0.1",
                    "x-forwarded-proto" | "x-forwarded-host" | "traceparent" | "tracestate" | "x-request-id" => true,
                    "via" => said == "1.1 causeway-local",
                    "te_" => true,
                    // It is said of a body, and the backend is told the same.
                    "content-length" => name == "content-length" && said == value,
                    _ => false,
                };
                assert!(ours, "{name}: {value} became {field}: {said:?}");
            }
        }
    }
}
