use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{
    assert_same_however_cut, cuts, damage, decode_all, encode, fault, json_messages, messages, small,
};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder};

fn decoder() -> Any {
    Any::Sse(Decoder::new(small(), None))
}

fn with_records() -> Any {
    Any::Sse(Decoder::new(small(), Some(StatusJson::plain())))
}

fn encoder() -> AnyEncoder {
    AnyEncoder::Sse(Encoder::new(StatusJson::plain()))
}

fn texts(wire: &str) -> Vec<String> {
    let read = messages(decoder(), wire.as_bytes()).into_iter();
    read.map(|message| String::from_utf8(message.data.to_vec()).unwrap())
        .collect()
}

/// The examples of the specification, among others.
#[test]
fn events_are_read_as_browsers_read_them() {
    for (wire, expected) in [
        ("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"][..]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            &["first event", "second event", " third event"],
        ),
        ("data\n\ndata\ndata\n\n", &["", "\n"]),
        ("data:test\n\ndata: test\n\n", &["test", "test"]),
        ("\u{feff}data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]),
        ("event: add\ndata: 1\n\nevent: none\n\n", &["1"]),
        ("other: x\nData: x\n\n", &[]),
        ("data: {\"a\":\ndata: 1}\n\n", &["{\"a\":\n1}"]),
        ("", &[]),
        (": only a comment\n", &[]),
    ] {
        assert_eq!(texts(wire), expected, "{wire:?}");
    }
}

#[test]
fn the_last_id_and_the_pause_before_reconnecting_are_kept() {
    let mut decoder = Decoder::new(small(), None);
    decoder.push(Bytes::from_static(
        b"id: 7\nretry: 250\ndata: x\n\nretry: 1s\nid: a\0b\n\n",
    ));
    assert!(matches!(decoder.next(), Ok(Some(Event::Message(_)))));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!((decoder.last_id(), decoder.retry()), ("7", Some(250)));
    decoder.push(Bytes::from_static(b"id\n"));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.last_id(), "");
}

#[test]
fn an_event_that_is_cut_off_is_an_error() {
    for wire in ["data: x", "data: x\n", "data: x\n\ndata: y\n", "dat"] {
        assert_eq!(fault(decoder(), wire.as_bytes()), Some(Fault::Truncated), "{wire:?}");
    }
}

#[test]
fn the_events_error_and_end_are_the_end_only_where_they_are_looked_for() {
    let failed = b"data: 1\n\nevent: error\ndata: {\"code\":14,\"message\":\"gone\"}\n\n";
    let (events, error) = decode_all(with_records(), failed);
    assert_eq!(error, None);
    assert_eq!(
        events[1],
        Event::End(Outcome::new(Status::new(Code::Unavailable, "gone")))
    );
    assert_eq!(messages(decoder(), failed).len(), 2);
    let (events, _) = decode_all(with_records(), b"event: end\n\n: bye\n\n");
    assert_eq!(events, [Event::End(Outcome::new(Status::new(Code::Ok, "")))]);
    let (events, _) = decode_all(with_records(), b"event: error\ndata: out of paper\n\n");
    assert_eq!(
        events,
        [Event::End(Outcome::new(Status::new(Code::Unknown, "out of paper")))]
    );
    assert_eq!(
        fault(with_records(), b"event: end\n\ndata: 1\n\n"),
        Some(Fault::AfterEnd)
    );
}

#[test]
fn what_is_too_large_or_no_text_is_refused() {
    let limit = Some(Fault::TooLarge { limit: 1000 });
    assert_eq!(texts(&format!("data: {}\n\n", "a".repeat(1000)))[0].len(), 1000);
    assert_eq!(
        fault(decoder(), format!("data: {}\n\n", "a".repeat(1001)).as_bytes()),
        limit
    );
    assert_eq!(fault(decoder(), "data:a\n".repeat(501).as_bytes()), limit, "many lines");
    assert_eq!(
        fault(decoder(), "data\n".repeat(1002).as_bytes()),
        limit,
        "many empty lines"
    );
    assert_eq!(
        fault(decoder(), format!(":{}", "a".repeat(1010)).as_bytes()),
        limit,
        "a comment"
    );
    assert_eq!(fault(decoder(), b"data: \xff\n\n"), Some(Fault::Utf8));
}

#[test]
fn what_is_written_is_what_browsers_expect() {
    let mut encoder = Encoder::new(StatusJson::plain());
    let mut out = BytesMut::new();
    encoder.keepalive(&mut out);
    encoder.id("4\n2\0", &mut out);
    encoder.message(&Message::text("a\r\nb\rc\n"), &mut out).unwrap();
    encoder.end(&Outcome::new(Status::new(Code::Ok, "")), &mut out);
    assert_eq!(
        out,
        ":\n\nid: 42\ndata: a\ndata: b\ndata: c\ndata: \n\nevent: end\ndata: {}\n\n"
    );
    assert_eq!(
        encoder.message(&Message::binary(&b"\xff"[..]), &mut out),
        Err(Fault::Unwritable.at(0))
    );
}

proptest! {
    #[test]
    fn messages_survive_the_events(contents in json_messages(), number in 0u32..17) {
        let outcome = Outcome::new(Status::of_number(number, if number == 0 { "" } else { "why" }));
        let wire = encode(encoder(), &contents, Some(&outcome));
        let (events, error) = decode_all(with_records(), &wire);
        prop_assert_eq!(error, None);
        let expected: Vec<Event> = contents.into_iter().map(Event::Message).chain([Event::End(outcome)]).collect();
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn nothing_depends_on_where_the_stream_is_cut(
        pieces in vec(proptest::sample::select(vec![
            "data: x", "data", "event: error", "event: end", "id: 1", ":", "\n", "\n\n", "\r\n", "\r", "\u{feff}", "{\"code\":1}",
        ]), 0..12),
        damage in damage(),
        cuts in cuts(),
    ) {
        let wire = damage.of(pieces.concat().into_bytes());
        assert_same_however_cut(&wire, &cuts, decoder);
        assert_same_however_cut(&wire, &cuts, with_records);
    }

    #[test]
    fn limits_do_not_depend_on_where_the_stream_is_cut(length in 980usize..1020, cuts in cuts(), damage in damage()) {
        let wire = damage.of(format!("data: {}\r\n\r\n", "a".repeat(length)).into_bytes());
        assert_same_however_cut(&wire, &cuts, decoder);
    }

    #[test]
    fn no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..200), cuts in cuts()) {
        assert_same_however_cut(&wire, &cuts, with_records);
    }
}
