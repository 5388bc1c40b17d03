use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::small;

fn session(max_calls: usize) -> Session {
    Session::new(small(), StatusJson::plain(), max_calls)
}

fn id(text: &str) -> CallId {
    CallId::parse(text).unwrap()
}

/// What a frame means, and what the client is told.
fn take(session: &mut Session, frame: &str) -> (Result<Step, Fault>, String) {
    let mut out = BytesMut::new();
    let step = session.receive(&Message::text(frame.to_owned()), &mut out);
    let told = String::from_utf8(out.to_vec()).unwrap();
    (step.map_err(|error| error.fault), told)
}

fn opened(session: &mut Session, id: u32) {
    let (step, told) = take(session, &format!(r#"{{"id":{id},"method":"a.B/C"}}"#));
    assert!(
        matches!(step, Ok(Step::Open { .. })) && told.is_empty(),
        "{step:?} {told}"
    );
}

fn failed(step: Result<Step, Fault>) -> Code {
    match step {
        Ok(Step::Failed { status, .. }) => status.code,
        step => panic!("not failed: {step:?}"),
    }
}

#[test]
fn a_call_that_ends_gives_its_place_to_another() {
    let mut session = session(2);
    opened(&mut session, 1);
    opened(&mut session, 2);
    let (step, told) = take(&mut session, r#"{"id":3,"method":"a.B/C"}"#);
    assert_eq!(failed(step), Code::ResourceExhausted);
    assert!(told.starts_with(r#"{"id":3,"status":{"code":8"#), "{told}");
    let mut out = BytesMut::new();
    session.end(&id("1"), &Outcome::new(Status::new(Code::Ok, "")), &mut out);
    assert_eq!(out, r#"{"id":1,"status":{"code":0,"message":"","details":[]}}"#);
    opened(&mut session, 3);
    assert!(matches!(
        take(&mut session, r#"{"id":2,"cancel":true}"#).0,
        Ok(Step::More {
            after: After::Cancel,
            ..
        })
    ));
    opened(&mut session, 4);
    assert_eq!(session.open_calls(), 2);
}

#[test]
fn an_id_in_use_ends_the_socket_and_a_late_frame_is_nothing() {
    let mut session = session(2);
    opened(&mut session, 1);
    assert!(matches!(
        take(&mut session, r#"{"id":1,"method":"a.B/C"}"#).0,
        Err(Fault::Mux(_))
    ));
    for frame in [
        r#"{"id":9,"message":1}"#,
        r#"{"id":9,"cancel":true}"#,
        r#"{"id":9,"credit":1}"#,
    ] {
        assert_eq!(take(&mut session, frame), (Ok(Step::Nothing), String::new()), "{frame}");
    }
}

#[test]
fn a_call_that_sends_more_than_its_credit_fails_and_no_other() {
    let mut session = session(2);
    opened(&mut session, 1);
    opened(&mut session, 2);
    for _ in 0..FIRST_CREDIT {
        assert!(matches!(
            take(&mut session, r#"{"id":1,"message":1}"#).0,
            Ok(Step::More { .. })
        ));
    }
    let mut out = BytesMut::new();
    session.allow(&id("1"), 1, &mut out);
    assert_eq!(out, r#"{"id":1,"credit":1}"#);
    assert!(matches!(
        take(&mut session, r#"{"id":1,"message":1}"#).0,
        Ok(Step::More { .. })
    ));
    assert_eq!(
        failed(take(&mut session, r#"{"id":1,"message":1}"#).0),
        Code::ResourceExhausted
    );
    assert_eq!(session.open_calls(), 1);
    assert!(matches!(
        take(&mut session, r#"{"id":2,"message":1}"#).0,
        Ok(Step::More { .. })
    ));
}

#[test]
fn a_message_after_the_half_close_fails_the_call() {
    let mut session = session(1);
    opened(&mut session, 1);
    assert!(matches!(
        take(&mut session, r#"{"id":1,"end":true}"#).0,
        Ok(Step::More { after: After::End, .. })
    ));
    assert_eq!(take(&mut session, r#"{"id":1,"end":true}"#).0, Ok(Step::Nothing));
    let mut out = BytesMut::new();
    session.allow(&id("1"), 5, &mut out);
    assert!(out.is_empty(), "who has no more to say needs no credit");
    assert_eq!(
        failed(take(&mut session, r#"{"id":1,"message":1}"#).0),
        Code::InvalidArgument
    );
}

#[test]
fn nothing_is_written_without_credit_or_for_a_call_that_is_gone() {
    let mut session = session(1);
    opened(&mut session, 1);
    let mut out = BytesMut::new();
    let one = Message::text("1");
    for _ in 0..FIRST_CREDIT {
        session.message(&id("1"), &one, &mut out).unwrap();
    }
    out.clear();
    assert_eq!(session.message(&id("1"), &one, &mut out), Err(Fault::WriteBuffer.at(0)));
    assert_eq!(take(&mut session, r#"{"id":1,"credit":2}"#).0, Ok(Step::Nothing));
    assert_eq!(session.credit(&id("1")), 2);
    assert_eq!(
        session.message(&id("1"), &Message::text(""), &mut out),
        Err(Fault::Unwritable.at(0))
    );
    assert_eq!(session.credit(&id("1")), 2, "what was not written costs nothing");
    assert!(out.is_empty());
    assert_eq!(session.message(&id("2"), &one, &mut out), Err(Fault::Closed.at(0)));
    session.end(&id("2"), &Outcome::new(Status::new(Code::Ok, "")), &mut out);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn calls_never_exceed_their_number_whatever_is_sent(
        frames in vec((0u32..5, proptest::sample::select(vec![
            r#""method":"a.B/C""#, r#""message":1"#, r#""end":true"#, r#""cancel":true"#, r#""credit":4294967295"#,
            r#""method":"a.B/C","message":1,"end":true"#, r#""message":1,"end":true"#,
        ])), 0..40),
    ) {
        let mut session = session(3);
        for (id, rest) in frames {
            let _ = take(&mut session, &format!(r#"{{"id":{id},{rest}}}"#));
            prop_assert!(session.open_calls() <= 3);
        }
    }
}
