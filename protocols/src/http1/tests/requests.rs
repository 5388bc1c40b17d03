//! Rules of the head: lines, request line, host, connection (threats S2, S8, S12).

use std::time::Duration;

use http::Method;

use super::*;
use crate::call::{Length, Protocol};
use crate::name;
use crate::target::TargetError;
use crate::websocket::HandshakeError;

#[test]
fn s2_every_broken_line_rule_is_named_and_answered_with_its_status() {
    use RequestError as E;
    let line = E::Line;
    let long_method = [&b"M".repeat(33)[..], b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let long_target = [b"GET /", &b"a".repeat(8000)[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let long_name = get(&format!("{}: 1\r\n", "n".repeat(256)));
    let many = get(&"a: 1\r\n".repeat(100));
    let large = get(&format!("a: {}\r\n", "v".repeat(17_000)));
    #[rustfmt::skip]
    let table: Vec<(&[u8], RequestError, u16)> = vec![
        // line ends
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", line(LineError::BareLf), 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", line(LineError::BareLf), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nB: c\r\n\r\n", line(LineError::BareLf), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", line(LineError::BareLf), 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", line(LineError::BareLf), 400),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::BareLf), 400),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::BareLf), 400),
        (b"GET\n/ HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::BareLf), 400),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", line(LineError::BareCr), 400),
        (b"GET / HTTP/1.1\r\rHost: a\r\n\r\n", line(LineError::BareCr), 400),
        (b"GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n", line(LineError::BareCr), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", line(LineError::BareCr), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rA: b\r\n\r\n", line(LineError::BareCr), 400),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::BareCr), 400),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::EmptyLines, 400),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::EmptyLines, 400),
        // NUL
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", line(LineError::Nul), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n", line(LineError::Nul), 400),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::Nul), 400),
        (b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::Nul), 400),
        (b"GET / HTTP/1.1\0\r\nHost: a\r\n\r\n", line(LineError::Nul), 400),
        (b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", line(LineError::Nul), 400),
        // folding
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", line(LineError::Fold), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n", line(LineError::Fold), 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", line(LineError::Fold), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", line(LineError::Fold), 400),
        // names
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", line(LineError::SpaceBeforeColon), 400),
        (b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", line(LineError::SpaceBeforeColon), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", line(LineError::SpaceBeforeColon), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: c\r\n\r\n", line(LineError::Name), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", line(LineError::Name), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\n\r\n", line(LineError::BareLf), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA(b): c\r\n\r\n", line(LineError::Name), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\x0b: c\r\n\r\n", line(LineError::Name), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\x85: c\r\n\r\n", line(LineError::Name), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\xa0: c\r\n\r\n", line(LineError::Name), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\xef\xbb\xbfA: c\r\n\r\n", line(LineError::Name), 400),
        (&long_name, line(LineError::Name), 400),
        // values
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n", line(LineError::Value), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x0b\r\n\r\n", line(LineError::Value), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7f\r\n\r\n", line(LineError::Value), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x0cb\r\n\r\n", line(LineError::Value), 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x1b[31m\r\n\r\n", line(LineError::Value), 400),
        // request line
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", E::Method, 400),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", E::Method, 400),
        (b"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n", E::Method, 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", E::Method, 400),
        (&long_method, E::MethodTooLong, 501),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", E::Connect, 501),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", E::Connect, 501),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Method, 400),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET /\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET\r\n\r\n", E::Method, 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET / HTTP/1.\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET / HTTP/1,1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", E::Version, 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", E::Version, 505),
        (b"GET / HTTP/0.9\r\n\r\n", E::Version, 505),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", E::Version, 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::Version, 505),
        // target
        (&long_target, E::TargetTooLong, 414),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Character), 400),
        (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Character), 400),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine, 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Form), 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Mismatch), 400),
        (b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Mismatch), 400),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Authority), 400),
        (b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", E::Target(TargetError::Authority), 400),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", E::HostMissing, 400),
        // host
        (b"GET / HTTP/1.1\r\n\r\n", E::HostMissing, 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", E::HostRepeated, 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", E::HostRepeated, 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", E::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", E::Host, 400),
        // sizes
        (&many, line(LineError::TooManyFields), 431),
        (&large, E::HeadTooLarge, 431),
    ];
    for (bytes, error, status) in table {
        assert_eq!(refused(bytes), error, "{}", bytes.escape_ascii());
        assert_eq!(error.status().as_u16(), status, "{error}");
        assert!(!error.label().is_empty() && error.label().bytes().all(|byte| byte != b' '));
    }
}

#[test]
fn s2_illegal_beginnings_are_refused_before_the_head_is_whole() {
    let large = vec![b'a'; 20_000];
    #[rustfmt::skip]
    let table: &[(&[u8], RequestError)] = &[
        (b"\n", RequestError::Line(LineError::BareLf)),
        (b"\r\n\r", RequestError::EmptyLines),
        (b"GET / HTTP/2", RequestError::Version),
        (b"GET / HTTP/1.1\n", RequestError::Line(LineError::BareLf)),
        (b"GET / HTTP/1.1\r\nA ", RequestError::Line(LineError::SpaceBeforeColon)),
        (b"GET / HTTP/1.1\r\nA: b\r\n ", RequestError::Line(LineError::Fold)),
        (b"GET / HTTP/1.1\r\nA: \0", RequestError::Line(LineError::Nul)),
        (&large, RequestError::MethodTooLong),
    ];
    for (bytes, error) in table {
        assert_eq!(refused(bytes), *error, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_head_of_exactly_the_limit_is_taken_and_one_more_byte_is_not() {
    let fixed = get("a: \r\n").len();
    for (room, taken) in [(0, true), (1, false)] {
        let bytes = get(&format!("a: {}\r\n", "v".repeat(16 * 1024 - fixed + room)));
        assert_eq!(request(&bytes).is_ok(), taken, "{} bytes", bytes.len());
    }
    assert_eq!(legal(&get(&"a: 1\r\n".repeat(99))).head.fields.len(), 99);
}

#[test]
fn one_empty_line_before_a_request_is_passed_over() {
    let request = legal(b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nrest");
    assert_eq!(request.head.target.path(), "/a");
}

#[test]
fn a_head_keeps_what_is_end_to_end_and_loses_what_is_not() {
    let request = legal(
        b"POST /a/./b?c=d HTTP/1.1\r\nhost: Example.COM:8080\r\nUser-Agent: \t x y \t\r\nX-Other:\r\nX-Mine: 1\r\n\
        Connection: close, X-Mine\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers, deflate\r\nTrailer: a\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nExpect: 100-Continue\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\
        X-Forwarded-For: 1.2.3.4\r\nGRPC-Timeout: 5S\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: x\r\n\
        Proxy-Authorization: Basic x\r\nCookie: a=b\r\nCookie: c=d\r\nX-Raw: \xe4\r\n\r\n",
    );
    let kept: Vec<(&str, &[u8])> = request
        .head
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.value))
        .collect();
    #[rustfmt::skip]
    let expected: Vec<(&str, &[u8])> = vec![
        ("user-agent", b"x y"), ("x-other", b""), ("content-type", b"a/b"), ("x-forwarded-for", b"1.2.3.4"),
        ("cookie", b"a=b"), ("cookie", b"c=d"), ("x-raw", b"\xe4"),
    ];
    assert_eq!(kept, expected);
    assert_eq!(request.head.target.authority.as_str(), "example.com:8080");
    assert_eq!(request.head.target.path_and_query(), "/a/b?c=d");
    assert_eq!(request.head.method, Method::POST);
    assert_eq!(request.head.protocol, Protocol::Http);
    assert_eq!(request.head.length, Length::Exactly(3));
    assert_eq!(request.framing, BodyFraming::Length(3));
    assert_eq!(request.timeout, Some(Duration::from_secs(5)));
    assert!(request.head.hold && request.trailers && !request.keep_alive && !request.http10);
    assert!(request.upgrade.is_none(), "h2c is not served by upgrade");
}

#[test]
fn targets_in_absolute_form_become_path_and_authority() {
    #[rustfmt::skip]
    let table = [
        ("GET http://a/b?c HTTP/1.1", "a", "/b?c"),
        ("GET HTTPS://A/b HTTP/1.1", "a", "/b"),
        ("GET http://a HTTP/1.1", "a", "/"),
        ("GET http://a?x=y HTTP/1.1", "a", "/?x=y"),
        ("OPTIONS http://a HTTP/1.1", "a", "*"),
        ("OPTIONS * HTTP/1.1", "a", "*"),
        ("OPTIONS / HTTP/1.1", "a", "/"),
        ("GET //b/c HTTP/1.1", "a", "/b/c"),
    ];
    for (line, authority, target) in table {
        let request = legal(format!("{line}\r\nHost: A\r\n\r\n").as_bytes());
        assert_eq!(request.head.target.authority.as_str(), authority, "{line}");
        assert_eq!(request.head.target.path_and_query(), target, "{line}");
    }
}

#[test]
fn s8_http10_keeps_a_connection_only_when_asked_and_has_no_chunks_no_expectations_and_no_upgrades() {
    let parse = |lines: &str| request(format!("GET / HTTP/1.0\r\n{lines}\r\n").as_bytes());
    let head = |lines: &str| match parse(lines) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{lines}: {other:?}"),
    };
    assert!(head("").http10);
    assert!(head("").head.target.authority.is_empty(), "HTTP/1.0 needs no host");
    assert!(!head("").keep_alive);
    assert!(head("Connection: keep-alive\r\n").keep_alive);
    assert!(!head("Connection: keep-alive, close\r\n").keep_alive);
    assert!(!head("Expect: 100-continue\r\nContent-Length: 1\r\n").head.hold);
    assert!(!head("Expect: anything\r\n").head.hold);
    let upgrade = head(
        "Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    assert!(upgrade.upgrade.is_none() && upgrade.head.protocol == Protocol::Http);
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
    ] {
        assert_eq!(parse(lines).err(), Some(RequestError::CodingInOld), "{lines}");
    }
}

#[test]
fn connection_may_not_name_what_is_not_the_clients_to_remove() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "transfer_encoding",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "x_forwarded_for",
        "Forwarded",
        "X-Real-IP",
        "X-Causeway-Caller",
        "traceparent",
        "Cache-Control",
        "X-SSL-Client",
        "Client-Cert",
        "x-envoy-peer",
        "X-Original-URL",
        "grpc-status",
        "sec-websocket-key",
        "X-HTTP-Method-Override",
    ] {
        for list in [name.to_owned(), format!("close, {name}"), format!("{name},x")] {
            let error = refused(&get(&format!("Connection: {list}\r\n")));
            assert_eq!(error, RequestError::Reserved, "{list}");
        }
    }
    for list in ["\"close\"", "close;", "a b", "x=y", "@"] {
        assert_eq!(
            refused(&get(&format!("Connection: {list}\r\n"))),
            RequestError::Connection,
            "{list}"
        );
    }
    for list in ["", ",", "close,,x", "TE", "trailer", "keep-alive, Upgrade"] {
        legal(&get(&format!("Connection: {list}\r\n")));
    }
}

#[test]
fn underscore_twins_of_reserved_names_are_dropped_and_other_underscores_kept() {
    for name in [
        "Content_Length",
        "transfer_encoding",
        "Transfer-_Encoding",
        "x_forwarded_for",
        "X-Forwarded_For",
        "host_",
        "_host",
        "x_causeway_caller",
        "proxy_connection",
        "Http2_Settings",
        "keep_alive",
        "x_real_ip",
        "grpc_status",
        "a_b",
    ] {
        let request = legal(&get(&format!("{name}: 1\r\n")));
        let kept = ["Transfer-_Encoding", "host_", "_host", "a_b"].contains(&name);
        assert_eq!(request.head.fields.len(), usize::from(kept), "{name}");
        assert_eq!(request.framing, BodyFraming::Empty, "{name}");
    }
}

#[test]
fn expectations_and_timeouts_that_cannot_be_met_are_refused() {
    assert_eq!(refused(&get("Expect: 200-ok\r\n")), RequestError::Expectation);
    for lines in [
        "Expect: 100-continue\r\nExpect: x\r\n",
        "Expect: x\r\nExpect: 100-continue\r\n",
        "Expect:\r\n",
    ] {
        assert_eq!(refused(&get(lines)), RequestError::Expectation, "{lines}");
    }
    assert_eq!(RequestError::Expectation.status(), 417);
    assert_eq!(
        refused(&get("grpc-timeout: 5S\r\ngrpc-timeout: 6S\r\n")),
        RequestError::Timeout
    );
    assert_eq!(refused(&get("grpc-timeout: 5\r\n")), RequestError::Timeout);
    assert!(
        !legal(&get("Expect: 100-continue\r\n")).head.hold,
        "there is no body to hold back"
    );
}

#[test]
fn w7_an_upgrade_is_a_get_without_body_with_key_and_version() {
    use HandshakeError as E;
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const ASK: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    let good = legal(&get(&format!(
        "{ASK}{KEY}{VERSION}Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    )));
    assert_eq!(good.head.protocol, Protocol::WebSocket);
    assert!(good.upgrade.is_some());
    assert_eq!(good.head.fields.len(), 2, "only the offers are kept");
    assert_eq!(good.head.fields.text(name::SEC_WEBSOCKET_PROTOCOL), Some("chat"));
    #[rustfmt::skip]
    let table = [
        (format!("{ASK}{VERSION}"), E::Key),
        (format!("{ASK}{KEY}{KEY}{VERSION}"), E::Key),
        (format!("{ASK}{KEY}"), E::Version),
        (format!("{ASK}{KEY}{VERSION}{VERSION}"), E::Version),
        (format!("{ASK}{KEY}Sec-WebSocket-Version: 8\r\n"), E::Version),
        (format!("{ASK}{KEY}{VERSION}Content-Length: 5\r\n"), E::Request),
        (format!("{ASK}{KEY}{VERSION}Content-Length: 0\r\n"), E::Request),
        (format!("{ASK}{KEY}{VERSION}Transfer-Encoding: chunked\r\n"), E::Request),
        (format!("{ASK}{KEY}{VERSION}Sec-WebSocket-Protocol: a b\r\n"), E::Protocol),
        (format!("{ASK}{KEY}{VERSION}Sec-WebSocket-Extensions: ;\r\n"), E::Extensions),
    ];
    for (lines, error) in table {
        assert_eq!(refused(&get(&lines)), RequestError::Handshake(error), "{lines}");
    }
    let posted = post(format!("{ASK}{KEY}{VERSION}").as_bytes());
    assert_eq!(refused(&posted), RequestError::Handshake(E::Request));
    for lines in [
        format!("Upgrade: websocket\r\n{KEY}{VERSION}"),
        format!("Connection: upgrade\r\nUpgrade: h2c\r\n{KEY}{VERSION}Sec-WebSocket-Extensions: x\r\n"),
    ] {
        let request = legal(&get(&lines));
        assert!(request.upgrade.is_none() && request.head.fields.is_empty(), "{lines}");
    }
}
