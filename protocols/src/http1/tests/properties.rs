//! What holds for every input.

use bytes::BytesMut;
use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::call::{CallHead, Length, Protocol, ReplyHead};
use crate::fields::Fields;
use crate::target::{Authority, Target};

/// Pieces out of which inputs are made that are nearly requests, or nearly responses.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            &b"GET / HTTP/1.1\r\n"[..], b"POST /a?b HTTP/1.0\r\n", b"GET http://a/ HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204\r\n", b"HTTP/1.0 304 x\r\n", b"HTTP/1.1 101 x\r\n",
            b"Host: a\r\n", b"Host: a\r\n", b"Host: b\r\n", b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n", b"Connection: host\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"a: b\r\n",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n", b"a_b:\r\n", b"Expect: 100-continue\r\n",
            b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b":", b"\0", b"HTTP/1.1", b"5\r\nhello\r\n", b"0\r\n\r\n", b"5;a=\"b\"\r\n",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    let start = prop::sample::select(vec![
        &b""[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST /a?b HTTP/1.0\r\n",
        b"\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 204 x\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n",
    ]);
    let end = prop::sample::select(vec![&b""[..], b"\r\n", b"\r\n\r\nrest"]);
    (start, prop::collection::vec(piece, 0..6), end)
        .prop_map(|(start, pieces, end)| [start, &pieces.concat(), end].concat())
}

/// What a request came to, in a form that can be compared.
fn verdict<T: std::fmt::Debug, E>(result: Result<Parsed<T>, E>) -> Option<Result<(String, usize), E>> {
    match result {
        Ok(Parsed::Partial) => None,
        Ok(Parsed::Complete { head, consumed }) => Some(Ok((format!("{head:?}"), consumed))),
        Err(error) => Some(Err(error)),
    }
}

/// The first verdict over all prefixes is the verdict on the whole.
fn check_cuts<E: std::fmt::Debug + PartialEq>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Option<Result<(String, usize), E>>,
) {
    let whole = parse(bytes);
    let first = (0..bytes.len()).find_map(|cut| parse(&bytes[..cut]));
    if let Some(first) = first {
        assert_eq!(Some(first), whole, "{}", bytes.escape_ascii());
    }
}

fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, bool), ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let mut input = BytesMut::new();
    let mut data = Vec::new();
    for part in wire.chunks(step.max(1)) {
        input.extend_from_slice(part);
        loop {
            match decoder.decode(&mut input)? {
                Decoded::Data(piece) => data.extend_from_slice(&piece),
                Decoded::NeedMore => break,
                Decoded::End(_) => return Ok((data, true)),
            }
        }
    }
    Ok((data, false))
}

fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = prop::collection::vec(any::<u8>(), 0..20);
    let name = prop_oneof![
        "[a-zA-Z!#$%&'*+.^`|~0-9-]{1,12}",
        Just("cookie".to_owned()),
        Just("content-type".to_owned()),
        Just("user-agent".to_owned()),
    ];
    prop::collection::vec((name, value), 0..8)
}

/// The fields that `Fields` takes, without those that describe a hop.
fn block(fields: &[(String, Vec<u8>)]) -> Fields {
    let mut block = Fields::new();
    for (name, value) in fields {
        if !["te", "host", "upgrade", "expect", "trailer"].contains(&name.to_ascii_lowercase().as_str()) {
            let _ = block.push(name.as_bytes(), value);
        }
    }
    block
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, step in 1usize..8) {
        let _ = request(&bytes);
        let _ = response::parse(&bytes, &Limits::default(), Asked::Plain(&Method::GET));
        let _ = decode(&bytes, step);
    }

    #[test]
    fn s1_verdicts_on_requests_do_not_depend_on_the_cuts(bytes in pieces(), head in 10usize..200, fields in 0usize..8, target in 1usize..12) {
        let limits = Limits { head, fields, target };
        check_cuts(&bytes, |bytes| verdict(request::parse(bytes, &limits, Scheme::Http)));
        check_cuts(&bytes, |bytes| verdict(request(bytes)));
    }

    #[test]
    fn s7_verdicts_on_responses_do_not_depend_on_the_cuts(bytes in pieces(), head in 10usize..200, fields in 0usize..8) {
        let limits = Limits { head, fields, target: 0 };
        check_cuts(&bytes, |bytes| {
            verdict(response::parse(bytes, &limits, Asked::Plain(&Method::GET)))
        });
    }

    #[test]
    fn s3_verdicts_on_chunks_do_not_depend_on_the_cuts(bytes in pieces(), step in 1usize..9) {
        prop_assert_eq!(decode(&bytes, step), decode(&bytes, bytes.len()));
    }

    #[test]
    fn a_request_that_we_write_is_read_as_the_same(
        list in fields(),
        path in "/[a-zA-Z0-9/%._~-]{0,20}(\\?[!-~&&[^#]]{0,20})?",
        length in prop_oneof![Just(Length::Empty), Just(Length::Streamed), any::<u32>().prop_map(|length| Length::Exactly(u64::from(length)))],
    ) {
        let authority = Authority::parse(b"a.example").expect("an authority");
        let Ok(target) = Target::parse(authority, path.as_bytes()) else {
            return Ok(());
        };
        let head = CallHead {
            protocol: Protocol::Http,
            method: Method::GET,
            scheme: Scheme::Http,
            target,
            fields: block(&list),
            length,
            hold: false,
        };
        let mut out = BytesMut::new();
        encode::request(&head, &RequestOptions::default(), &mut out);
        let Ok(Parsed::Complete { head: found, consumed }) = request(&out) else {
            return Err(TestCaseError::fail(format!("{}", out.escape_ascii())));
        };
        prop_assert_eq!(consumed, out.len());
        prop_assert_eq!(found.head.target, head.target);
        prop_assert_eq!(found.head.length, head.length);
        prop_assert!(found.head.fields == head.fields);
    }

    #[test]
    fn a_reply_that_we_write_is_read_as_the_same(list in fields(), status in 200u16..600, length in any::<u64>()) {
        // Nineteen digits are the most that is read.
        let length = length / 10;
        let status = StatusCode::from_u16(status).expect("a status");
        let mut head = ReplyHead::new(status, Length::Exactly(length));
        head.fields = block(&list);
        let mut out = BytesMut::new();
        encode::response(&head, &ReplyOptions::default(), &mut out);
        let parsed = response::parse(&out, &Limits::default(), Asked::Plain(&Method::GET));
        let Ok(Parsed::Complete { head: found, consumed }) = parsed else {
            return Err(TestCaseError::fail(format!("{}", out.escape_ascii())));
        };
        prop_assert_eq!(consumed, out.len());
        prop_assert_eq!(found.head.status, status);
        if status != StatusCode::NO_CONTENT {
            prop_assert_eq!(found.head.length, head.length);
        }
        prop_assert!(found.head.fields == head.fields);
    }
}

#[test]
fn s2_no_byte_put_anywhere_into_a_head_makes_the_verdict_depend_on_the_cuts() {
    let heads = [
        &b"POST /a HTTP/1.1\r\nHost: a\r\nA: b\r\nContent-Length: 5\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n",
    ];
    for head in heads {
        for at in 0..head.len() {
            for byte in *b"\r\n \t\0:a0\x7f\x80" {
                let mut inserted = head.to_vec();
                inserted.insert(at, byte);
                let mut replaced = head.to_vec();
                replaced[at] = byte;
                for bytes in [inserted, replaced] {
                    check_cuts(&bytes, |bytes| verdict(request(bytes)));
                    check_cuts(&bytes, |bytes| {
                        verdict(response::parse(bytes, &Limits::default(), Asked::Plain(&Method::GET)))
                    });
                }
            }
        }
    }
}

#[test]
fn no_byte_in_a_value_splits_a_head() {
    for byte in 0..=255u8 {
        let mut fields = Fields::new();
        let value = [b"a", &[byte][..], b"b"].concat();
        let pushed = fields.push(b"x-a", &value).is_ok();
        assert_eq!(pushed, byte == b'\t' || (byte >= 0x20 && byte != 0x7f), "{byte}");
        let mut head = ReplyHead::new(StatusCode::OK, Length::Empty);
        head.fields = fields;
        let mut out = BytesMut::new();
        encode::response(&head, &ReplyOptions::default(), &mut out);
        let lines = memchr::memchr_iter(b'\n', &out).count();
        assert_eq!(lines, if pushed { 4 } else { 3 }, "{byte}");
    }
}
