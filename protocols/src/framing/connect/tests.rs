use std::time::Duration;

use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fields::Fields;
use crate::framing::testing::{assert_same_however_cut, cuts, damage, decode_all, encode, fault, messages, small};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder};
use crate::status::detail::Detail;
use crate::status::{Code, Status};

fn reply() -> Any {
    Any::Connect(Decoder::of_reply(small(), Some(Compression::Gzip), Kind::Text))
}

fn request() -> Any {
    Any::Connect(Decoder::of_request(small(), None, Kind::Text))
}

fn encoder() -> AnyEncoder {
    AnyEncoder::Connect(Encoder::new(None))
}

#[test]
fn a_stream_ends_with_its_error_and_trailers() {
    let detail = Detail::retry_info(Duration::from_secs(3));
    let status = Status::new(Code::ResourceExhausted, "slow").with_details(vec![detail]);
    let mut outcome = Outcome::new(status);
    outcome.trailers.push(b"x-cost", b"7").unwrap();
    outcome.trailers.push(b"x-cost", b"8").unwrap();
    let wire = encode(encoder(), &[Message::text("{}")], Some(&outcome));
    let json = concat!(
        r#"{"error":{"code":"resource_exhausted","message":"slow","details":[{"type":"google.rpc.RetryInfo","value":"CgIIAw"}]},"#,
        r#""metadata":{"x-cost":["7","8"]}}"#
    );
    assert_eq!(&wire[..9], b"\0\0\0\0\x02{}\x02\0");
    assert_eq!(std::str::from_utf8(&wire[12..]).unwrap(), json);
    let (events, error) = decode_all(reply(), &wire);
    assert_eq!(error, None);
    assert_eq!(events, [Event::Message(Message::text("{}")), Event::End(outcome)]);
}

#[test]
fn a_stream_that_went_well_ends_with_an_empty_object() {
    let fine = Outcome::new(Status::new(Code::Ok, ""));
    let wire = encode(encoder(), &[], Some(&fine));
    assert_eq!(wire, b"\x02\0\0\0\x02{}");
    assert_eq!(decode_all(reply(), &wire), (vec![Event::End(fine)], None));
    assert_eq!(
        fault(reply(), &[&wire[..], b"\0\0\0\0\0"].concat()),
        Some(Fault::AfterEnd)
    );
    assert_eq!(fault(reply(), b"\0\0\0\0\0"), Some(Fault::Truncated));
    assert_eq!(fault(request(), &wire), Some(Fault::Flags(2)));
    assert_eq!(messages(request(), b"\0\0\0\0\x01x"), [Message::text("x")]);
    for end in ["", "[]", "null", "{", r#"{"error":{}}"#, r#"{"metadata":{"a":"b"}}"#] {
        let wire = [b"\x02\0\0\0".as_slice(), &[end.len() as u8], end.as_bytes()].concat();
        assert_eq!(decode_all(reply(), &wire).1, Some(Fault::EndStream.at(5)), "{end}");
    }
}

#[test]
fn errors_have_the_names_of_connect() {
    for code in Code::ALL.into_iter().filter(|code| *code != Code::Ok) {
        let status = Status::new(code, "why");
        let json = error_to_json(&status);
        let name = code.name().to_lowercase().replace("cancelled", "canceled");
        assert_eq!(
            String::from_utf8_lossy(&json),
            format!(r#"{{"code":"{name}","message":"why"}}"#)
        );
        assert_eq!(error_from_json(&json, StatusCode::IM_A_TEAPOT), status);
    }
    assert_eq!(code_name(Code::Ok), None);
    assert_eq!(error_to_json(&Status::of_number(42, "")), br#"{"code":"unknown"}"#);
    // Another proxy answered, or a code is new.
    assert_eq!(
        error_from_json(b"<html>", StatusCode::BAD_GATEWAY).code,
        Code::Unavailable
    );
    assert_eq!(
        error_from_json(br#"{"code":"new"}"#, StatusCode::NOT_FOUND).code,
        Code::Unimplemented
    );
}

#[test]
fn a_get_has_its_message_in_the_query() {
    let get = parse_get("connect=v1&encoding=json&message=%7B%22a%22%3A+1%7D&x=y").unwrap();
    assert_eq!(
        (get.message, get.compression),
        (Message::text("{\"a\": 1}"), Compression::Identity)
    );
    let get = parse_get("message=_-8&base64=1&encoding=proto&compression=gzip").unwrap();
    assert_eq!(
        (get.message, get.compression),
        (Message::binary(&b"\xff\xef"[..]), Compression::Gzip)
    );
    assert_eq!(
        parse_get("message=_-8%3D&base64=1&encoding=proto")
            .unwrap()
            .message
            .data
            .len(),
        2
    );
    for (query, error) in [
        ("", GetError::Missing("encoding")),
        ("encoding=json", GetError::Missing("message")),
        ("encoding=xml&message=", GetError::Malformed("encoding")),
        ("encoding=json&message=%7", GetError::Malformed("message")),
        ("encoding=json&message=%zz", GetError::Malformed("message")),
        ("encoding=json&message=*&base64=1", GetError::Malformed("message")),
        ("encoding=json&message=&base64=2", GetError::Malformed("base64")),
        (
            "encoding=json&message=&compression=br",
            GetError::Malformed("compression"),
        ),
        ("connect=v2&encoding=json&message=", GetError::Malformed("connect")),
        ("encoding=json&message=a&message=b", GetError::Twice("message")),
    ] {
        assert_eq!(parse_get(query), Err(error), "{query}");
    }
}

#[test]
fn timeouts_have_at_most_ten_digits() {
    assert_eq!(parse_timeout(b"1500"), Some(Duration::from_millis(1500)));
    assert_eq!(parse_timeout(b"9999999999"), Some(Duration::from_millis(9_999_999_999)));
    for text in ["", "-1", "+1", "1.5", " 1", "10000000000", "1s"] {
        assert_eq!(parse_timeout(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn trailers_of_a_unary_reply_are_header_fields() {
    let mut trailers = Fields::new();
    trailers.push(b"x-cost", b"7").unwrap();
    let mut fields = Fields::new();
    fields.push(b"x-other", b"1").unwrap();
    trailers_to_fields(&trailers, &mut fields);
    assert_eq!(fields.get_named("trailer-x-cost"), Some(&b"7"[..]));
    assert_eq!(trailers_from_fields(&mut fields), trailers);
    assert_eq!(fields.len(), 1);
}

proptest! {
    #[test]
    fn nothing_depends_on_where_the_stream_is_cut(
        contents in vec("[ -~]{0,20}".prop_map(|text| Message::text(text.into_bytes())), 0..4),
        damage in damage(),
        cuts in cuts(),
    ) {
        let outcome = Outcome::new(Status::new(Code::Aborted, "why"));
        let wire = damage.of(encode(encoder(), &contents, Some(&outcome)));
        assert_same_however_cut(&wire, &cuts, reply);
        assert_same_however_cut(&wire, &cuts, request);
    }

    #[test]
    fn no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..200), query in "\\PC{0,30}", cuts in cuts()) {
        assert_same_however_cut(&wire, &cuts, reply);
        let _ = parse_get(&query);
        let _ = error_from_json(&wire, StatusCode::OK);
    }
}
