use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{
    assert_same_however_cut, cuts, damage, decode_all, encode, fault, json_messages, messages, small,
};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder, JsonFault};
use crate::status::{Code, Status};

fn decoder() -> Any {
    Any::Lines(Decoder::new(small(), None, Wrapping::Bare))
}

fn of_gateway() -> Any {
    Any::Lines(Decoder::new(small(), Some(StatusJson::plain()), Wrapping::Result))
}

fn encoder() -> AnyEncoder {
    AnyEncoder::Lines(Encoder::new(StatusJson::plain()))
}

#[test]
fn lines_are_messages_and_blank_ones_are_nothing() {
    let read = messages(decoder(), b"{\"a\":1}\r\n\n  \r\n 2 \n\"last\"");
    assert_eq!(read, ["{\"a\":1}", " 2 ", "\"last\""].map(Message::text));
    assert_eq!(messages(decoder(), b""), []);
    assert_eq!(messages(decoder(), b"\n\r\n"), []);
}

#[test]
fn what_is_no_json_is_refused_at_its_place() {
    for (wire, expected, offset) in [
        (&b"1\n{\"a\":}\n2\n"[..], Fault::Json(JsonFault::Unexpected), 7),
        (b"1\r\nnul", Fault::Json(JsonFault::Truncated), 6),
        (b"1\n[1] 2\r\n", Fault::Json(JsonFault::Trailing), 6),
        (b"\"\xff\"", Fault::Json(JsonFault::Utf8), 1),
    ] {
        let (_, error) = decode_all(decoder(), wire);
        assert_eq!(error, Some(expected.at(offset)), "{}", String::from_utf8_lossy(wire));
    }
}

#[test]
fn a_line_over_the_limit_is_refused_where_the_limit_is() {
    for end in ["", "\n", "\r\n"] {
        let line = |length: usize| format!("1\n{}{end}", "1".repeat(length));
        assert_eq!(
            messages(decoder(), line(1000).as_bytes())[1].data.len(),
            1000,
            "{end:?}"
        );
        for length in [1001, 1002, 5000] {
            let (_, error) = decode_all(decoder(), line(length).as_bytes());
            assert_eq!(
                error,
                Some(Fault::TooLarge { limit: 1000 }.at(1002)),
                "{length} {end:?}"
            );
        }
    }
}

#[test]
fn what_grpc_gateway_wraps_is_unwrapped_and_its_error_ends_the_stream() {
    let wire = b"{\"result\": {\"a\":1}}\n{\"b\":2}\n{\"error\":{\"code\":8,\"message\":\"slow\"}}\n";
    let (events, error) = decode_all(of_gateway(), wire);
    assert_eq!(error, None);
    assert_eq!(
        events,
        [
            Event::Message(Message::text("{\"a\":1}")),
            Event::Message(Message::text("{\"b\":2}")),
            Event::End(Outcome::new(Status::new(Code::ResourceExhausted, "slow"))),
        ]
    );
    assert_eq!(
        fault(of_gateway(), b"{\"error\":{\"code\":8}}\n\n1\n"),
        Some(Fault::AfterEnd)
    );
    assert_eq!(messages(decoder(), wire).len(), 3);
    assert_eq!(messages(of_gateway(), b"[1]\n"), [Message::text("[1]")]);
}

#[test]
fn line_breaks_between_tokens_become_spaces() {
    let wire = encode(
        encoder(),
        &[Message::text("{\n  \"a\": 1\r\n}"), Message::text("2")],
        None,
    );
    assert_eq!(wire, b"{   \"a\": 1  }\n2\n");
    for blank in ["", " ", "\n"] {
        let mut out = BytesMut::new();
        assert_eq!(
            encoder().message(&Message::text(blank), &mut out),
            Err(Fault::Unwritable.at(0))
        );
    }
}

#[test]
fn a_stream_that_failed_ends_with_its_status() {
    let failed = Outcome::new(Status::new(Code::Internal, "no"));
    let wire = encode(encoder(), &[], Some(&failed));
    assert_eq!(wire, b"{\"error\":{\"code\":13,\"message\":\"no\",\"details\":[]}}\n");
    assert_eq!(
        encode(encoder(), &[], Some(&Outcome::new(Status::new(Code::Ok, "")))),
        b""
    );
}

proptest! {
    #[test]
    fn messages_survive_the_lines(contents in json_messages()) {
        let wire = encode(encoder(), &contents, None);
        prop_assert_eq!(messages(decoder(), &wire), contents);
    }

    #[test]
    fn nothing_depends_on_where_the_stream_is_cut(contents in json_messages(), damage in damage(), cuts in cuts()) {
        let end = Outcome::new(Status::new(Code::Aborted, ""));
        let wire = damage.of(encode(encoder(), &contents, Some(&end)));
        assert_same_however_cut(&wire, &cuts, decoder);
        assert_same_however_cut(&wire, &cuts, of_gateway);
    }

    #[test]
    fn limits_do_not_depend_on_where_the_stream_is_cut(length in 990usize..1010, cuts in cuts(), damage in damage()) {
        let wire = damage.of(format!("\r\n\"{}\"\r\n", "a".repeat(length)).into_bytes());
        assert_same_however_cut(&wire, &cuts, decoder);
    }

    #[test]
    fn no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..200), cuts in cuts()) {
        assert_same_however_cut(&wire, &cuts, of_gateway);
    }
}
