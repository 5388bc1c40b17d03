//! What a backend may answer (threat S7), and heads that we write.

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::*;
use crate::call::{CallHead, Length, Protocol, ReplyHead};
use crate::fields::Fields;
use crate::name;
use crate::target::{Authority, Target};
use crate::websocket::{ClientKey, HandshakeError};

fn response(bytes: &[u8], asked: Asked<'_>) -> Result<Parsed<Response>, ResponseError> {
    response::parse(bytes, &Limits::default(), asked)
}

fn legal_response(bytes: &[u8], asked: Asked<'_>) -> Response {
    for cut in 0..bytes.len() {
        assert!(
            matches!(response(&bytes[..cut], asked), Ok(Parsed::Partial)),
            "{} cut at {cut}",
            bytes.escape_ascii()
        );
    }
    match response(bytes, asked) {
        Ok(Parsed::Complete { head, consumed }) if consumed == bytes.len() => head,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn refused_response(bytes: &[u8], asked: Asked<'_>) -> ResponseError {
    let whole = response(bytes, asked);
    let Err(error) = whole else {
        panic!("{} was let through: {whole:?}", bytes.escape_ascii());
    };
    for cut in 0..bytes.len() {
        match response(&bytes[..cut], asked) {
            Ok(Parsed::Partial) => {}
            other => assert_eq!(other.err(), Some(error), "{} cut at {cut}", bytes.escape_ascii()),
        }
    }
    error
}

#[test]
fn s7_statuses_and_methods_decide_whether_a_body_follows() {
    use Length::{Empty, Exactly, Streamed};
    use ReplyFraming as F;
    #[rustfmt::skip]
    let table = [
        // method, status line and fields, framing, length, keep_alive
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", F::Length(5), Exactly(5), true),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", F::Empty, Exactly(0), true),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", F::Chunked, Streamed, true),
        ("GET", "HTTP/1.1 200 OK\r\n", F::UntilClose, Streamed, false),
        ("GET", "HTTP/1.1 200\r\nContent-Length: 5\r\n", F::Length(5), Exactly(5), true),
        ("GET", "HTTP/1.1 200 \r\nContent-Length: 5\r\n", F::Length(5), Exactly(5), true),
        ("GET", "HTTP/1.1 200 d\u{e4}\r\nContent-Length: 5\r\nConnection: close\r\n", F::Length(5), Exactly(5), false),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", F::Length(5), Exactly(5), false),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", F::Length(5), Exactly(5), true),
        ("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", F::UntilClose, Streamed, false),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", F::Empty, Exactly(5), true),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", F::Empty, Streamed, true),
        ("HEAD", "HTTP/1.1 200 OK\r\n", F::Empty, Empty, true),
        ("HEAD", "HTTP/1.1 404 No\r\nContent-Length: 9\r\n", F::Empty, Exactly(9), true),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", F::Empty, Exactly(5), true),
        ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n", F::Empty, Streamed, true),
        ("GET", "HTTP/1.1 304 Not Modified\r\n", F::Empty, Empty, true),
        ("GET", "HTTP/1.1 204 No Content\r\n", F::Empty, Empty, true),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", F::Empty, Empty, true),
        ("GET", "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n", F::Empty, Exactly(0), true),
        ("GET", "HTTP/1.1 100 Continue\r\n", F::Empty, Empty, true),
        ("GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n", F::Empty, Empty, true),
        ("GET", "HTTP/1.1 599 x\r\nContent-Length: 1\r\n", F::Length(1), Exactly(1), true),
    ];
    for (method, head, framing, length, keep_alive) in table {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let found = legal_response(format!("{head}\r\n").as_bytes(), Asked::Plain(&method));
        assert_eq!(
            (found.framing, found.head.length, found.keep_alive),
            (framing, length, keep_alive),
            "{method} {head}"
        );
        let interim = found.head.status.is_informational();
        assert_eq!(found.kind, if interim { Kind::Interim } else { Kind::Final }, "{head}");
    }
}

#[test]
fn s7_answers_that_two_readers_could_take_differently_are_refused() {
    use ResponseError as E;
    let line = E::Line;
    #[rustfmt::skip]
    let table: Vec<(&[u8], ResponseError)> = vec![
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", E::LengthAndCoding),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", E::LengthRepeated),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", E::Length),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", E::Length),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n", E::Length),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", E::Length),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", E::CodingRepeated),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", E::CodingUnknown),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", E::CodingUnknown),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n", E::Coding),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n", E::Coding),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", E::CodingInOld),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", E::BodyForbidden),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", E::BodyForbidden),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", E::BodyForbidden),
        (b"HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n", E::BodyForbidden),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", E::UnaskedUpgrade),
        (b"HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n", E::Reserved),
        (b"HTTP/1.1 200 OK\r\nConnection: set-cookie\r\n\r\n", E::Reserved),
        (b"HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", E::Connection),
        (b"HTTP/1.1 99 OK\r\n\r\n", E::Status),
        (b"HTTP/1.1 000 OK\r\n\r\n", E::Status),
        (b"HTTP/1.1 600 OK\r\n\r\n", E::Status),
        (b"HTTP/1.1 20 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/1.1 2000 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/1.1  200 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/1.1\t200 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/1.1 +20 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/2.0 200 OK\r\n\r\n", E::Version),
        (b"HTTP/1.2 200 OK\r\n\r\n", E::Version),
        (b"http/1.1 200 OK\r\n\r\n", E::StatusLine),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", E::StatusLine),
        (b"ICY 200 OK\r\n\r\n", E::StatusLine),
        (b"<html>", E::StatusLine),
        (b"HTTP/1.1 200 OK\nA: b\r\n\r\n", line(LineError::BareLf)),
        (b"HTTP/1.1 200 OK\rA: b\r\n\r\n", line(LineError::BareCr)),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", line(LineError::Nul)),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", line(LineError::Value)),
        (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", line(LineError::BareLf)),
        (b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", line(LineError::BareCr)),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", line(LineError::Fold)),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", line(LineError::SpaceBeforeColon)),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", line(LineError::Name)),
        (b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", line(LineError::Nul)),
        (b"HTTP/1.1 200 OK\r\n\n", line(LineError::BareLf)),
    ];
    for (bytes, error) in table {
        assert_eq!(
            refused_response(bytes, Asked::Plain(&Method::GET)),
            error,
            "{}",
            bytes.escape_ascii()
        );
        assert!(!error.label().is_empty());
    }
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(17_000));
    assert_eq!(
        refused_response(large.as_bytes(), Asked::Plain(&Method::GET)),
        E::HeadTooLarge
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert_eq!(
        refused_response(many.as_bytes(), Asked::Plain(&Method::GET)),
        line(LineError::TooManyFields)
    );
}

#[test]
fn s7_a_backend_opens_a_websocket_only_with_the_answer_to_our_key() {
    let key = ClientKey::parse(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a key");
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    const UP: &str = "Connection: Upgrade\r\nUpgrade: WebSocket\r\n";
    let switching = |lines: String| format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n").into_bytes();
    let good = legal_response(
        &switching(format!("{UP}{ACCEPT}Sec-WebSocket-Protocol: chat\r\n")),
        Asked::WebSocket(&key),
    );
    assert_eq!(
        (good.kind, good.keep_alive, good.framing),
        (Kind::Upgraded, false, ReplyFraming::Empty)
    );
    assert_eq!(good.head.fields.text(name::SEC_WEBSOCKET_PROTOCOL), Some("chat"));
    assert_eq!(good.head.fields.len(), 1);
    for lines in [
        format!("Upgrade: websocket\r\n{ACCEPT}"),
        format!("Connection: upgrade\r\n{ACCEPT}"),
        format!("Connection: upgrade\r\nUpgrade: h2c\r\n{ACCEPT}"),
        UP.to_owned(),
        format!("{UP}{ACCEPT}{ACCEPT}"),
        format!("{UP}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n"),
    ] {
        let error = refused_response(&switching(lines.clone()), Asked::WebSocket(&key));
        assert_eq!(error, ResponseError::Handshake(HandshakeError::Accept), "{lines}");
    }
    let refusal = legal_response(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n", Asked::WebSocket(&key));
    assert_eq!((refusal.kind, refusal.framing), (Kind::Final, ReplyFraming::Length(2)));
}

#[test]
fn a_reply_loses_what_describes_one_hop() {
    let found = legal_response(
        b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nTrailer: a\r\nUpgrade: h2\r\n\
        Content-Length: 2\r\nset_cookie: a\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nSec-WebSocket-Extensions: x\r\n\r\n",
        Asked::Plain(&Method::GET),
    );
    let names: Vec<_> = found.head.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["server", "set-cookie", "set-cookie"]);
}

fn call(method: Method, length: Length) -> CallHead {
    let authority = Authority::parse(b"a.example:8080").expect("an authority");
    let mut fields = Fields::new();
    fields.push(b"X-A", b"b").expect("a field");
    for name in [
        "content-length",
        "transfer-encoding",
        "connection",
        "host",
        "expect",
        "upgrade",
        "te",
        "sec-websocket-key",
    ] {
        fields.push(name.as_bytes(), b"smuggled").expect("a field");
    }
    CallHead {
        protocol: Protocol::Http,
        method,
        scheme: Scheme::Http,
        target: Target::parse(authority, b"/p?q").expect("a target"),
        fields,
        length,
        hold: true,
    }
}

#[test]
fn requests_are_framed_anew_whatever_their_fields_say() {
    let backend = Authority::parse(b"backend").expect("an authority");
    let key = ClientKey::from_random([0; 16]);
    let plain = RequestOptions::default();
    let close = RequestOptions {
        close: Close::Close,
        host: Some(&backend),
        ..plain
    };
    let websocket = RequestOptions {
        key: Some(&key),
        ..plain
    };
    #[rustfmt::skip]
    let table = [
        (call(Method::GET, Length::Empty), plain, Sent::None,
            "GET /p?q HTTP/1.1\r\nhost: a.example:8080\r\nx-a: b\r\n\r\n"),
        (call(Method::POST, Length::Empty), plain, Sent::None,
            "POST /p?q HTTP/1.1\r\nhost: a.example:8080\r\nx-a: b\r\ncontent-length: 0\r\n\r\n"),
        (call(Method::PUT, Length::Exactly(u64::MAX)), plain, Sent::Length(u64::MAX),
            "PUT /p?q HTTP/1.1\r\nhost: a.example:8080\r\nx-a: b\r\ncontent-length: 18446744073709551615\r\nexpect: 100-continue\r\n\r\n"),
        (call(Method::POST, Length::Streamed), close, Sent::Chunked,
            "POST /p?q HTTP/1.1\r\nhost: backend\r\nx-a: b\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"),
        (call(Method::GET, Length::Empty), websocket, Sent::None,
            "GET /p?q HTTP/1.1\r\nhost: a.example:8080\r\nx-a: b\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
    ];
    for (head, options, sent, expected) in table {
        let mut out = BytesMut::new();
        assert_eq!(encode::request(&head, &options, &mut out), sent);
        assert_eq!(std::str::from_utf8(&out), Ok(expected));
    }
}

#[test]
fn replies_are_framed_for_the_client_that_asked() {
    let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
    let accept = ClientKey::from_random([0; 16]).accept();
    let plain = ReplyOptions::default();
    let old = ReplyOptions { http10: true, ..plain };
    let head = ReplyOptions {
        method: Some(&Method::HEAD),
        ..plain
    };
    let close = ReplyOptions {
        close: Close::Close,
        date: Some(date),
        ..plain
    };
    let switching = ReplyOptions {
        accept: Some(&accept),
        ..plain
    };
    #[rustfmt::skip]
    let table = [
        (200, Length::Exactly(5), plain, Sent::Length(5), "200 OK\r\ncontent-length: 5\r\n"),
        (200, Length::Empty, plain, Sent::None, "200 OK\r\ncontent-length: 0\r\n"),
        (200, Length::Streamed, plain, Sent::Chunked, "200 OK\r\ntransfer-encoding: chunked\r\n"),
        (200, Length::Streamed, old, Sent::UntilClose, "200 OK\r\nconnection: close\r\n"),
        (200, Length::Exactly(5), old, Sent::Length(5), "200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n"),
        (404, Length::Exactly(5), head, Sent::None, "404 Not Found\r\ncontent-length: 5\r\n"),
        (200, Length::Streamed, head, Sent::None, "200 OK\r\n"),
        (304, Length::Exactly(5), plain, Sent::None, "304 Not Modified\r\ncontent-length: 5\r\n"),
        (204, Length::Exactly(5), plain, Sent::None, "204 No Content\r\n"),
        (103, Length::Empty, old, Sent::None, "103 Early Hints\r\n"),
        (103, Length::Empty, ReplyOptions { close: Close::Close, ..plain }, Sent::None, "103 Early Hints\r\n"),
        (299, Length::Empty, plain, Sent::None, "299 \r\ncontent-length: 0\r\n"),
        (200, Length::Empty, close, Sent::None, "200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\nconnection: close\r\n"),
        (101, Length::Empty, switching, Sent::None,
            "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n"),
    ];
    for (status, length, options, sent, expected) in table {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut out = BytesMut::new();
        assert_eq!(
            encode::response(&ReplyHead::new(status, length), &options, &mut out),
            sent,
            "{expected}"
        );
        assert_eq!(
            std::str::from_utf8(&out),
            Ok(format!("HTTP/1.1 {expected}\r\n").as_str())
        );
    }
    assert!(matches!(
        response(encode::CONTINUE, Asked::Plain(&Method::POST)),
        Ok(Parsed::Complete { head, .. }) if head.kind == Kind::Interim
    ));
}
