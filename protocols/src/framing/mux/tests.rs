use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::JsonFault;
use crate::framing::testing::small;
use crate::status::{Code, Status};

fn read(text: &str) -> Result<Request, Fault> {
    parse(&Message::text(text.to_owned()), &small()).map_err(|error| error.fault)
}

fn id(text: &str) -> CallId {
    CallId::parse(text).unwrap()
}

#[test]
fn a_call_is_opened_spoken_and_ended_in_one_frame_or_in_several() {
    let frame = r#"{"id":"a b","method":"/shop.Orders/Get","metadata":{"X-Key":"k","x-b":["1","2"]},"timeout_ms":1500,
        "traceparent":"00-ab-cd-01","message":{"id": 7},"end":true}"#;
    let request = read(frame).unwrap();
    let open = request.open.unwrap();
    assert_eq!((request.id.as_json(), &open.method[..]), ("\"a b\"", "shop.Orders/Get"));
    let metadata: Vec<_> = open
        .metadata
        .iter()
        .map(|field| (field.name.as_str(), field.value))
        .collect();
    assert_eq!(metadata, [("x-key", &b"k"[..]), ("x-b", b"1"), ("x-b", b"2")]);
    assert_eq!(
        (open.timeout_ms, open.traceparent.as_deref()),
        (Some(1500), Some("00-ab-cd-01"))
    );
    assert_eq!(
        (request.message, request.after),
        (Some(Message::text("{\"id\": 7}")), After::End)
    );

    let request = read(r#"{"id":7,"message":null}"#).unwrap();
    assert_eq!(
        (request.message, request.after, request.open),
        (Some(Message::text("null")), After::Open, None)
    );
    assert_eq!(read(r#"{"id":7,"end":true}"#).unwrap().after, After::End);
    assert_eq!(read(r#"{"id":7,"cancel":true}"#).unwrap().after, After::Cancel);
    assert_eq!(read(r#"{"id":7,"credit":3}"#).unwrap().credit, 3);
}

#[test]
fn a_message_is_a_slice_of_its_frame() {
    let frame = Message::text(r#"{"id":1,"message":[1,2]}"#);
    let message = parse(&frame, &small()).unwrap().message.unwrap();
    assert_eq!(message.data.as_ptr(), frame.data[18..].as_ptr());
}

#[test]
fn j1_frames_that_could_be_read_in_two_ways_are_refused() {
    for frame in [
        "[]",
        "1",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":1,"end":false}"#,
        r#"{"message":1}"#,
        r#"{"id":1,"id":2,"message":1}"#,
        r#"{"id":1,"message":1,"message":2}"#,
        r#"{"id":1,"messagE":1}"#,
        r#"{"id":1,"message":1,"x":1}"#,
        r#"{"id":null,"end":true}"#,
        r#"{"id":-1,"end":true}"#,
        r#"{"id":1.0,"end":true}"#,
        r#"{"id":1e3,"end":true}"#,
        r#"{"id":"","end":true}"#,
        r#"{"id":"\u0061","end":true}"#,
        r#"{"id":"é","end":true}"#,
        r#"{"id":12345678901234567,"end":true}"#,
        r#"{"id":1,"end":true,"cancel":true}"#,
        r#"{"id":1,"cancel":true,"message":1}"#,
        r#"{"id":1,"timeout_ms":5,"message":1}"#,
        r#"{"id":1,"metadata":{},"message":1}"#,
        r#"{"id":1,"method":"a.B/C","timeout_ms":10000000000}"#,
        r#"{"id":1,"method":"a.B/C","timeout_ms":-1}"#,
        r#"{"id":1,"method":""}"#,
        r#"{"id":1,"method":"a.B"}"#,
        r#"{"id":1,"method":"a.B/C/D"}"#,
        r#"{"id":1,"method":"a.B/../C"}"#,
        r#"{"id":1,"method":"//a.B/C"}"#,
        r#"{"id":1,"method":"a.B/C?x"}"#,
        r#"{"id":1,"method":"a.B/C","metadata":{"a":"1","A":"2"}}"#,
        r#"{"id":1,"method":"a.B/C","metadata":{":path":"/"}}"#,
        r#"{"id":1,"method":"a.B/C","metadata":{"a":"1\n2"}}"#,
        r#"{"id":1,"method":"a.B/C","metadata":{"a":1}}"#,
        r#"{"id":1,"credit":-1}"#,
        r#"{"id":1,"credit":4294967296}"#,
    ] {
        assert!(matches!(read(frame), Err(Fault::Mux(_))), "{frame}: {:?}", read(frame));
    }
    let long = format!(r#"{{"id":"{}","end":true}}"#, "a".repeat(65));
    assert!(matches!(read(&long), Err(Fault::Mux(_))));
}

#[test]
fn what_is_no_text_no_json_or_too_large_is_refused() {
    assert_eq!(
        parse(&Message::binary("{}"), &small()).map_err(|error| error.fault),
        Err(Fault::Binary)
    );
    assert_eq!(
        parse(&Message::text(r#"{"id":1,"message":tru}"#), &small()),
        Err(Fault::Json(JsonFault::Literal).at(21))
    );
    let deep = |depth: usize| format!(r#"{{"id":1,"message":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(read(&deep(16)).is_ok());
    assert_eq!(read(&deep(17)), Err(Fault::Json(JsonFault::Depth)));
    let large = format!(r#"{{"id":1,"message":"{}"}}"#, "a".repeat(1000));
    assert_eq!(read(&large), Err(Fault::TooLarge { limit: 1000 }));
    let many: Vec<String> = (0..101).map(|at| format!("\"a{at}\":\"\"")).collect();
    let limits = Limits::default();
    let frame = format!(r#"{{"id":1,"method":"a.B/C","metadata":{{{}}}}}"#, many.join(","));
    assert!(matches!(
        parse(&Message::text(frame), &limits).map_err(|error| error.fault),
        Err(Fault::Mux(_))
    ));
    assert_eq!(Fault::Mux("").close(), 1007);
}

#[test]
fn answers_are_objects_with_the_id_as_the_client_wrote_it() {
    let mut out = BytesMut::new();
    write_message(&id("\"a\""), &Message::text("{\"b\":1}"), 16, &mut out).unwrap();
    assert_eq!(out, r#"{"id":"a","message":{"b":1}}"#);
    for message in [
        Message::text(""),
        Message::text("}"),
        Message::text("1}{"),
        Message::binary("1"),
    ] {
        assert_eq!(
            write_message(&id("1"), &message, 16, &mut out),
            Err(Fault::Unwritable.at(0))
        );
    }
    out.clear();
    let mut outcome = Outcome::new(Status::new(Code::NotFound, "no"));
    write_end(&id("7"), &outcome, &StatusJson::plain(), &mut out);
    assert_eq!(out, r#"{"id":7,"status":{"code":5,"message":"no","details":[]}}"#);
    out.clear();
    outcome.trailers.push(b"x-a", b"1").unwrap();
    outcome.trailers.push(b"x-a", b"2").unwrap();
    write_end(&id("7"), &outcome, &StatusJson::plain(), &mut out);
    let end = r#"{"id":7,"status":{"code":5,"message":"no","details":[]},"trailers":{"x-a":["1","2"]}}"#;
    assert_eq!(out, end);
    out.clear();
    write_credit(&id("7"), 16, &mut out);
    assert_eq!(out, r#"{"id":7,"credit":16}"#);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in vec(any::<u8>(), 0..100), text in "\\PC{0,40}") {
        let _ = parse(&Message::text(data), &small());
        let _ = read(&format!(r#"{{"id":{text},"message":1}}"#));
        let _ = read(&format!(r#"{{"id":1,"method":"{text}","metadata":{{"{text}":"{text}"}}}}"#));
    }

    #[test]
    fn an_id_comes_back_as_it_was_sent(text in "[a-zA-Z0-9 .:_-]{1,64}", number in 0u64..9_007_199_254_740_992) {
        for raw in [format!("\"{text}\""), number.to_string()] {
            let request = read(&format!(r#"{{"id": {raw} ,"end":true}}"#)).unwrap();
            prop_assert_eq!(request.id.as_json(), &raw);
        }
    }
}
