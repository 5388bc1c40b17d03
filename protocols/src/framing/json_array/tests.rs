use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{
    assert_same_however_cut, cuts, damage, decode, decode_all, encode, fault, json_messages, messages, small,
};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder};
use crate::status::{Code, Status};

fn decoder() -> Any {
    Any::JsonArray(Decoder::new(small(), None))
}

fn with_records() -> Any {
    Any::JsonArray(Decoder::new(small(), Some(StatusJson::plain())))
}

fn encoder() -> AnyEncoder {
    AnyEncoder::JsonArray(Encoder::new(StatusJson::plain()))
}

fn texts(wire: &str) -> Vec<String> {
    let read = messages(decoder(), wire.as_bytes()).into_iter();
    read.map(|message| String::from_utf8(message.data.to_vec()).unwrap())
        .collect()
}

#[test]
fn elements_are_cut_out_as_they_stand() {
    assert_eq!(texts("[]"), [""; 0]);
    assert_eq!(texts(" [ ] "), [""; 0]);
    assert_eq!(
        texts("[ {\"a\" : [1, \"],\"]} ,2,\n\"x\\\"\", null]\n"),
        ["{\"a\" : [1, \"],\"]}", "2", "\"x\\\"\"", "null"]
    );
}

#[test]
fn an_element_comes_out_before_the_next_byte_of_the_array() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"[{\"a\":1}"));
    assert_eq!(decoder.next(), Ok(Some(Event::Message(Message::text("{\"a\":1}")))));
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn what_is_no_array_is_refused_at_its_place() {
    for (wire, expected, offset) in [
        ("", Fault::Truncated, 0),
        ("[", Fault::Truncated, 1),
        ("[1", Fault::Truncated, 2),
        ("[1,", Fault::Truncated, 3),
        ("{}", Fault::Json(JsonFault::Unexpected), 0),
        ("[1}", Fault::Json(JsonFault::Unexpected), 2),
        ("[1 2]", Fault::Json(JsonFault::Unexpected), 3),
        ("[,1]", Fault::Json(JsonFault::Unexpected), 1),
        ("[1,]", Fault::Json(JsonFault::Unexpected), 3),
        ("[nul]", Fault::Json(JsonFault::Literal), 4),
        ("[1]x", Fault::AfterEnd, 3),
        ("[[[[[[[[[[[[[[[[[1]", Fault::Json(JsonFault::Depth), 16),
    ] {
        let (_, error) = decode_all(decoder(), wire.as_bytes());
        assert_eq!(error, Some(expected.at(offset)), "{wire}");
    }
}

#[test]
fn an_element_over_the_limit_is_refused_where_the_limit_is() {
    let wire = format!("[1,\"{}\"]", "a".repeat(999));
    let (events, error) = decode_all(decoder(), wire.as_bytes());
    assert_eq!(events.len(), 1);
    assert_eq!(error, Some(Fault::TooLarge { limit: 1000 }.at(1003)));
    assert_eq!(texts(&format!("[\"{}\"]", "a".repeat(998)))[0].len(), 1000);
    assert_eq!(texts(&format!("[{}]", "1".repeat(1000)))[0].len(), 1000);
    assert_eq!(
        fault(decoder(), format!("[{}]", "1".repeat(1001)).as_bytes()),
        Some(Fault::TooLarge { limit: 1000 })
    );
}

#[test]
fn an_error_record_is_the_end_only_where_it_is_looked_for() {
    let wire = br#"[{"a":1}, { "error" : {"code":5,"message":"gone"} } ]"#;
    let (events, error) = decode_all(with_records(), wire);
    assert_eq!(error, None);
    assert_eq!(events[1], Event::End(Outcome::new(Status::new(Code::NotFound, "gone"))));
    assert_eq!(messages(decoder(), wire).len(), 2);
    // More keys, no code: a message. After the record: nothing.
    assert_eq!(
        decode_all(with_records(), br#"[{"error":{"code":5},"x":1},{"error":"no"}]"#)
            .0
            .len(),
        2
    );
    assert_eq!(
        fault(with_records(), br#"[{"error":{"code":5}},1]"#),
        Some(Fault::AfterEnd)
    );
}

#[test]
fn a_stream_that_failed_ends_with_its_status_and_a_closed_array() {
    let failed = Outcome::new(Status::new(Code::Internal, "no"));
    let fine = Outcome::new(Status::new(Code::Ok, ""));
    let one = [Message::text("1")];
    let text = |messages: &[Message], outcome| String::from_utf8(encode(encoder(), messages, Some(outcome))).unwrap();
    assert_eq!(
        text(&one, &failed),
        r#"[1,{"error":{"code":13,"message":"no","details":[]}}]"#
    );
    assert_eq!(
        text(&[], &failed),
        r#"[{"error":{"code":13,"message":"no","details":[]}}]"#
    );
    assert_eq!(text(&one, &fine), "[1]");
    assert_eq!(text(&[], &fine), "[]");
    let mut out = BytesMut::new();
    assert_eq!(
        encoder().message(&Message::text(""), &mut out),
        Err(Fault::Unwritable.at(0))
    );
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn messages_survive_the_array(contents in json_messages(), number in 1u32..17) {
        let outcome = Outcome::new(Status::of_number(number, "why"));
        let wire = encode(encoder(), &contents, Some(&outcome));
        let (events, error) = decode_all(with_records(), &wire);
        prop_assert_eq!(error, None);
        let expected: Vec<Event> = contents.into_iter().map(Event::Message).chain([Event::End(outcome)]).collect();
        prop_assert_eq!(events, expected);
        prop_assert!(serde_json::from_slice::<Vec<serde_json::Value>>(&wire).is_ok());
    }

    #[test]
    fn nothing_depends_on_where_the_stream_is_cut(contents in json_messages(), damage in damage(), cuts in cuts()) {
        let end = Outcome::new(Status::new(Code::Aborted, ""));
        let wire = damage.of(encode(encoder(), &contents, Some(&end)));
        assert_same_however_cut(&wire, &cuts, decoder);
        assert_same_however_cut(&wire, &cuts, with_records);
    }

    #[test]
    fn limits_do_not_depend_on_where_the_stream_is_cut(length in 990usize..1010, cuts in cuts(), damage in damage()) {
        let wire = damage.of(format!("[\"{}\"]", "a".repeat(length)).into_bytes());
        assert_same_however_cut(&wire, &cuts, decoder);
    }

    #[test]
    fn no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..200), cuts in cuts()) {
        let array = [b"[".as_slice(), &wire].concat();
        assert_same_however_cut(&array, &cuts, decoder);
        let _ = decode(decoder(), [Bytes::from(wire)]);
    }
}
