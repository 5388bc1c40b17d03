//! What a peer may not do, and what it costs it.

use super::super::frame::{END, HOLD, MAX_DATA, MAX_HEAD};
use super::*;
use crate::failure::{FailureKind, Reset};

/// The one event is the end of the call by this session, and the peer was told.
fn assert_fails(alone: &mut Alone, events: Result<Vec<Incoming>, Violation>, number: u32, expected: Reset, why: &str) {
    let events = events.unwrap();
    assert!(
        matches!(&events[..], [Incoming::Reset { call, reset, origin: Origin::Here }]
            if call.number() == number && *reset == expected),
        "{why}: {events:?}"
    );
    assert_eq!(alone.sent(), [(number, Kind::Reset, 0, vec![expected.wire()])], "{why}");
}

#[test]
fn hello_comes_first_and_once() {
    let hello_payload = {
        let mut out = BytesMut::new();
        hello().encode(&mut out).unwrap();
        out.to_vec()
    };
    for (kind, call) in [(1u8, 0), (2, 1), (9, 0), (0x40, 0), (0x3f, 0)] {
        let mut alone = Alone::silent(settings());
        assert_eq!(frames(alone.session.output())[0].1, Kind::Hello, "ours goes first");
        let told = alone.feed(&raw(call, kind, 0, &hello_payload));
        match kind {
            1 => assert!(matches!(&told.unwrap()[..], [Incoming::Hello(peer)] if *peer == hello())),
            _ => assert_eq!(told.unwrap_err(), Violation::NoHello),
        }
    }
    let mut alone = Alone::new(settings());
    assert_eq!(
        alone.frame(0, Kind::Hello, 0, &hello_payload).unwrap_err(),
        Violation::SecondHello
    );
    let mut alone = Alone::silent(settings());
    let malformed = alone.frame(0, Kind::Hello, 0, &[0; 16]);
    assert_eq!(malformed.unwrap_err(), Violation::Malformed(Kind::Hello));
    assert_eq!(
        alone.session.open(&getting(), true, alone.now),
        Err(OpenError::NotReady)
    );
}

#[test]
fn a_later_hello_may_say_more() {
    let mut out = BytesMut::new();
    hello().encode(&mut out).unwrap();
    out.extend_from_slice(b"something new");
    assert_eq!(Hello::decode(&out), Some(hello()));
}

#[test]
fn unknown_kinds_from_0x40_up_are_ignored_and_end_the_tunnel_below() {
    let mut alone = Alone::new(settings());
    let wire = [
        raw(0, 0x40, 0, b"new"),
        raw(77, 0xff, 3, &[0; 65_535]),
        raw(0, Kind::Ping.wire(), 0, &[1; 8]),
    ]
    .concat();
    assert!(alone.feed(&wire).unwrap().is_empty());
    assert_eq!(alone.sent(), [(0, Kind::Pong, 0, vec![1; 8])]);
    assert_eq!(alone.session.counts().ignored, 2);
    for unknown in [0, 12, 0x3f] {
        let told = Alone::new(settings()).feed(&raw(0, unknown, 0, &[]));
        assert_eq!(told.unwrap_err(), Violation::Kind(unknown));
    }
}

/// A header is judged before its payload is waited for, so that nobody makes us hold what we will not take.
#[test]
fn a_length_that_its_kind_does_not_have_ends_the_tunnel() {
    #[rustfmt::skip]
    let table = [
        (Kind::Head, 1, MAX_HEAD + 1), (Kind::Data, 1, MAX_DATA + 1), (Kind::End, 2, MAX_HEAD + 1),
        (Kind::Info, 2, MAX_HEAD + 1), (Kind::Reply, 2, MAX_HEAD + 1),
        (Kind::Reset, 1, 0), (Kind::Reset, 1, 2), (Kind::Window, 1, 3), (Kind::Window, 1, 5),
        (Kind::Ping, 0, 7), (Kind::Ping, 0, 9), (Kind::Pong, 0, 0), (Kind::GoAway, 0, 8), (Kind::GoAway, 0, 10),
    ];
    for (kind, call, length) in table {
        let mut alone = Alone::new(settings());
        let header = raw(call, kind.wire(), 0, &vec![0; length])[..HEADER].to_vec();
        let length = length as u16;
        assert_eq!(alone.feed(&header).unwrap_err(), Violation::Length { kind, length });
    }
}

#[test]
fn ids_rise_and_belong_to_one_side() {
    let head = head_payload(&getting());
    for (call, why) in [(2, "ours"), (5, "again"), (3, "below")] {
        let mut alone = Alone::new(settings());
        alone.opened(5);
        let told = alone.frame(call, Kind::Head, END, &head);
        assert_eq!(told.unwrap_err(), Violation::Order(call), "{why}");
    }
    for call in [2, 7] {
        let mut alone = Alone::new(settings());
        alone.opened(5);
        let told = alone.frame(call, Kind::Reset, 0, &[1]);
        let kind = Kind::Reset;
        assert_eq!(told.unwrap_err(), Violation::Unopened { kind, call });
    }
    for (call, kind, payload) in [(0, Kind::Data, 1), (3, Kind::Ping, 8), (1, Kind::GoAway, 9)] {
        let told = Alone::new(settings()).frame(call, kind, 0, &vec![0; payload]);
        assert_eq!(told.unwrap_err(), Violation::Call { kind, call });
    }
}

#[test]
fn frames_for_finished_calls_are_ignored() {
    let mut alone = Alone::new(settings());
    let call = alone.opened(5);
    alone.session.finished(call);
    assert_eq!(alone.sent(), [(5, Kind::Reset, 0, vec![Reset::Cancel.wire()])]);
    for (kind, payload) in [
        (Kind::Data, 100),
        (Kind::Window, 4),
        (Kind::Reset, 1),
        (Kind::End, 0),
        (Kind::Reply, 3),
    ] {
        // 1 and 3 were skipped: they are finished too.
        for number in [1, 3, 5] {
            assert!(
                alone.frame(number, kind, 0, &vec![1; payload]).unwrap().is_empty(),
                "{kind:?}"
            );
        }
    }
    assert!(alone.sent().is_empty());
}

#[test]
fn a_malformed_head_refuses_one_call() {
    let mut alone = Alone::new(settings());
    let mut announced = getting();
    announced.call.length = Length::Exactly(3);
    assert_eq!(alone.session.open(&announced, true, alone.now), Err(OpenError::Length));
    for (number, payload, why) in [
        (1, vec![], HeadError::Short),
        (3, head_payload(&announced), HeadError::Body),
    ] {
        let told = alone.frame(number, Kind::Head, END, &payload).unwrap();
        assert!(
            matches!(told[..], [Incoming::Malformed { call, error }] if call.number() == number && error == why),
            "{told:?}"
        );
        assert_eq!(alone.sent(), [(number, Kind::Reset, 0, vec![Reset::Protocol.wire()])]);
    }
    assert_eq!((alone.session.counts().malformed, alone.session.open_calls()), (2, 0));
    alone.opened(5);
}

#[test]
fn more_than_its_credit_costs_a_peer_the_call_and_names_it() {
    let mut alone = Alone::new(settings());
    alone.opened(1);
    let full = vec![7; 16_000];
    for _ in 0..4 {
        assert!(matches!(
            alone.frame(1, Kind::Data, 0, &full).unwrap()[..],
            [Incoming::Data { .. }]
        ));
    }
    let told = alone.frame(1, Kind::Data, 0, &vec![7; 1537]);
    assert_fails(&mut alone, told, 1, Reset::Flow, "65,536 bytes are granted");
    assert_eq!(alone.session.counts().flow, 1);
    alone.opened(3);
}

#[test]
fn a_held_call_has_no_credit_before_it_is_permitted() {
    let mut alone = Alone::new(settings());
    let head = head_payload(&posting());
    let told = alone.frame(1, Kind::Head, HOLD, &head).unwrap();
    assert!(matches!(&told[..], [Incoming::Open { head, .. }] if head.call.hold));
    alone.session.permit(CallId(1));
    alone.session.permit(CallId(1));
    assert_eq!(alone.sent(), [(1, Kind::Window, 0, 65_536u32.to_be_bytes().to_vec())]);
    assert_eq!(alone.frame(1, Kind::Data, 0, &[1; 9]).unwrap().len(), 1);

    alone.frame(3, Kind::Head, HOLD, &head).unwrap();
    let told = alone.frame(3, Kind::Data, 0, b"early");
    assert_fails(&mut alone, told, 3, Reset::Flow, "no credit yet");
}

#[test]
fn a_call_has_its_states() {
    type Step<'a> = (Kind, u8, &'a [u8]);
    let reply: &[u8] = b"\x00\x00\xc8\x02";
    let info: &[u8] = b"\x00\x00\x67\x00";
    #[rustfmt::skip]
    let opened_here: &[(&str, &[Step<'_>], Step<'_>)] = &[
        ("data before the reply",       &[], (Kind::Data, 0, b"x")),
        ("trailers before the reply",   &[], (Kind::End, 0, b"")),
        ("a second reply",              &[(Kind::Reply, 0, reply)], (Kind::Reply, 0, reply)),
        ("info after the reply",        &[(Kind::Reply, 0, reply)], (Kind::Info, 0, info)),
        ("a final status as info",      &[], (Kind::Info, 0, reply)),
        ("half-close of a called side", &[(Kind::Reply, 0, reply)], (Kind::Data, END, b"x")),
        ("an interim status as reply",  &[], (Kind::Reply, 0, info)),
        ("101 as info",                 &[], (Kind::Info, 0, b"\x00\x00\x65\x00")),
        ("empty data",                  &[(Kind::Reply, 0, reply)], (Kind::Data, 0, b"")),
        ("a malformed reply",           &[], (Kind::Reply, 0, b"\x00")),
        ("a malformed end",             &[(Kind::Reply, 0, reply)], (Kind::End, 0, b"\x09")),
        ("an empty window",             &[], (Kind::Window, 0, &[0, 0, 0, 0])),
    ];
    for (why, before, last) in opened_here {
        let mut alone = Alone::new(settings());
        let call = alone.session.open(&posting(), false, alone.now).unwrap();
        alone.sent();
        for (kind, flags, payload) in *before {
            alone.frame(2, *kind, *flags, payload).unwrap();
        }
        let told = alone.frame(2, last.0, last.1, last.2);
        assert_fails(&mut alone, told, 2, Reset::Protocol, why);
        assert_eq!(
            alone.session.send(call, &mut bytes::Bytes::from_static(b"x"), false),
            Sent::Gone
        );
    }
    #[rustfmt::skip]
    let opened_there: &[(&str, &[Step<'_>], Step<'_>)] = &[
        ("a reply of the calling side",  &[], (Kind::Reply, 0, reply)),
        ("info of the calling side",     &[], (Kind::Info, 0, info)),
        ("an end of the calling side",   &[], (Kind::End, 0, b"")),
        ("data after the end",           &[(Kind::Data, END, b"x")], (Kind::Data, 0, b"x")),
        ("a second end",                 &[(Kind::Data, END, b"")], (Kind::Data, END, b"")),
        ("empty data",                   &[], (Kind::Data, 0, b"")),
    ];
    for (why, before, last) in opened_there {
        let mut alone = Alone::new(settings());
        alone.opened(1);
        for (kind, flags, payload) in *before {
            alone.frame(1, *kind, *flags, payload).unwrap();
        }
        let told = alone.frame(1, last.0, last.1, last.2);
        assert_fails(&mut alone, told, 1, Reset::Protocol, why);
    }
}

#[test]
fn too_much_credit_and_too_many_interim_heads_end_a_call() {
    let mut alone = Alone::new(settings());
    alone.opened(1);
    let told = alone.frame(1, Kind::Window, 0, &u32::MAX.to_be_bytes());
    assert_fails(&mut alone, told, 1, Reset::Flow, "overflow");

    alone.session.open(&getting(), true, alone.now).unwrap();
    alone.sent();
    for _ in 0..32 {
        assert!(matches!(
            alone.frame(2, Kind::Info, 0, b"\x00\x00\x67\x00").unwrap()[..],
            [Incoming::Info { .. }]
        ));
    }
    let told = alone.frame(2, Kind::Info, 0, b"\x00\x00\x67\x00");
    assert_fails(&mut alone, told, 2, Reset::Protocol, "33");
}

#[test]
fn this_side_keeps_to_the_states_too() {
    let mut alone = Alone::new(settings());
    let theirs = alone.opened(1);
    let ours = alone.session.open(&posting(), false, alone.now).unwrap();
    let session = &mut alone.session;
    assert_eq!(session.reply(ours, &ok()), Err(SendError::Order));
    assert_eq!(
        session.end(ours, &Ended::Trailers(Fields::new())),
        Err(SendError::Order)
    );
    assert_eq!(
        session.end(theirs, &Ended::Trailers(Fields::new())),
        Err(SendError::Order)
    );
    session.reply(theirs, &ok()).unwrap();
    assert_eq!(session.reply(theirs, &ok()), Err(SendError::Order));
    assert_eq!(session.info(theirs, &ok()), Err(SendError::Order));
    let failed = Ended::Failed(Failure::new(FailureKind::Connect, "no route to host"));
    session.end(theirs, &failed).unwrap();
    assert_eq!(session.end(theirs, &failed), Err(SendError::Gone));
    session.reset(theirs, Reset::Cancel);
    alone.session.finished(theirs);
    alone.session.finished(theirs);
    let kinds: Vec<_> = alone.sent().into_iter().map(|(call, kind, ..)| (call, kind)).collect();
    assert_eq!(
        kinds,
        [(2, Kind::Head), (1, Kind::Reply), (1, Kind::End)],
        "nothing after the end"
    );
    assert_eq!(alone.session.open_calls(), 1);
}

/// Rapid reset: what a peer gives up still costs us work, so it still counts.
#[test]
fn a_reset_call_counts_until_its_work_has_ended() {
    let mut few = settings();
    few.max_calls = 3;
    let mut alone = Alone::new(few);
    let head = head_payload(&getting());
    let mut open = Vec::new();
    for at in 0..1000u32 {
        let number = 2 * at + 1;
        for event in alone.frame(number, Kind::Head, END, &head).unwrap() {
            if let Incoming::Open { call, .. } = event {
                open.push(call);
            }
        }
        alone.frame(number, Kind::Reset, 0, &[Reset::Cancel.wire()]).unwrap();
        let refused: Vec<_> = alone.sent().into_iter().map(|(.., code)| code).collect();
        let expected: &[_] = if at < 3 { &[] } else { &[vec![Reset::Refused.wire()]] };
        assert_eq!(refused, expected);
    }
    assert_eq!((open.len(), alone.session.open_there()), (3, 3));
    assert_eq!(alone.session.counts().refused, 997);
    alone.session.finished(open[0]);
    assert_eq!(alone.frame(2001, Kind::Head, END, &head).unwrap().len(), 1);
}

#[test]
fn a_peer_that_floods_and_does_not_read_is_cut() {
    for wire in [
        raw(0, Kind::Ping.wire(), 0, &[0; 8]).repeat(5000),
        (0..10_000u32)
            .flat_map(|at| raw(2 * at + 1, Kind::Head.wire(), 0, &[]))
            .collect(),
    ] {
        let mut alone = Alone::new(settings());
        assert_eq!(alone.feed(&wire).unwrap_err(), Violation::Unread);
        assert!(alone.session.buffered() < 70 * 1024);
    }
}

#[test]
fn replies_that_are_not_read_stop_new_calls() {
    let mut alone = Alone::new(settings());
    let head = head_payload(&getting());
    let mut large = ok();
    large.fields.push(b"x-large", &[b'a'; 30_000]).unwrap();
    let mut answered = 0;
    for at in 0..100u32 {
        for event in alone.frame(2 * at + 1, Kind::Head, END, &head).unwrap() {
            if let Incoming::Open { call, .. } = event {
                alone.session.reply(call, &large).unwrap();
                alone.session.finished(call);
                answered += 1;
            }
        }
    }
    assert_eq!(answered, 9, "256 KiB of heads");
    assert_eq!(alone.session.open(&getting(), true, alone.now), Err(OpenError::Stalled));
}

#[test]
fn goaway_names_the_last_call_and_refuses_what_comes_after() {
    let mut alone = Alone::new(settings());
    alone.opened(7);
    alone.session.goaway(GoAwayReason::Drain, Duration::from_millis(1500));
    let away = GoAway {
        last_call: 7,
        reason: GoAwayReason::Drain,
        reconnect: Duration::from_millis(1500),
    };
    assert_eq!(alone.sent(), [(0, Kind::GoAway, 0, away.to_bytes().to_vec())]);
    assert_eq!(GoAway::decode(&away.to_bytes()), Some(away));
    assert!(
        alone
            .frame(9, Kind::Head, 0, &head_payload(&posting()))
            .unwrap()
            .is_empty()
    );
    assert!(alone.frame(9, Kind::Data, 0, b"its body").unwrap().is_empty());
    assert_eq!(alone.sent(), [(9, Kind::Reset, 0, vec![Reset::Refused.wire()])]);
    assert_eq!(alone.frame(7, Kind::Data, 0, b"goes on").unwrap().len(), 1);
    alone.session.goaway(GoAwayReason::Drain, Duration::ZERO);
    assert_eq!(GoAway::decode(&alone.sent()[0].3).map(|away| away.last_call), Some(7));
}

#[test]
fn winding_down_lets_in_what_crossed_and_goaway_ends_that() {
    let mut alone = Alone::new(settings());
    alone.opened(7);
    alone.session.wind_down(GoAwayReason::Drain);
    let sent = alone.sent();
    assert_eq!(GoAway::decode(&sent[0].3).map(|away| away.last_call), Some(u32::MAX));
    let crossed = alone.frame(9, Kind::Head, 0, &head_payload(&posting())).unwrap();
    assert!(matches!(crossed[..], [Incoming::Open { .. }]), "{crossed:?}");
    alone.session.goaway(GoAwayReason::Drain, Duration::ZERO);
    assert_eq!(GoAway::decode(&alone.sent()[0].3).map(|away| away.last_call), Some(9));
    assert!(
        alone
            .frame(11, Kind::Head, 0, &head_payload(&posting()))
            .unwrap()
            .is_empty()
    );
    assert_eq!(alone.sent(), [(11, Kind::Reset, 0, vec![Reset::Refused.wire()])]);
}

#[test]
fn calls_above_a_goaway_are_told_as_refused() {
    let mut alone = Alone::new(settings());
    for _ in 0..3 {
        alone.session.open(&posting(), false, alone.now).unwrap();
    }
    alone.sent();
    let told = alone.frame(0, Kind::GoAway, 0, &[0, 0, 0, 2, 1, 0, 0, 0, 9]).unwrap();
    let refused: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Incoming::Reset {
                call,
                reset: Reset::Refused,
                origin: Origin::Peer,
            } => Some(call.number()),
            _ => None,
        })
        .collect();
    assert!(matches!(told[0], Incoming::GoAway(_)));
    assert_eq!((refused, told.len()), (vec![4, 6], 3));
    assert!(alone.sent().is_empty(), "the peer knows");
    assert_eq!(
        alone.session.open(&getting(), true, alone.now),
        Err(OpenError::GoingAway)
    );
    assert_eq!(
        alone.frame(2, Kind::Reply, 0, b"\x00\x00\xc8\x02").unwrap().len(),
        1,
        "goes on"
    );
}

#[test]
fn what_is_too_large_is_not_sent_and_leaves_nothing_behind() {
    let mut alone = Alone::new(settings());
    let mut large = getting();
    large.call.fields.push(b"cookie", &[b'a'; MAX_HEAD]).unwrap();
    assert_eq!(
        alone.session.open(&large, true, alone.now),
        Err(OpenError::HeadTooLarge)
    );
    let call = alone.opened(1);
    let mut reply = ok();
    reply.fields.push(b"set-cookie", &[b'a'; MAX_HEAD]).unwrap();
    assert!(matches!(alone.session.reply(call, &reply), Err(SendError::TooLarge(_))));
    alone.session.reply(call, &ok()).unwrap();
    let trailers = Ended::Trailers(reply.fields);
    assert!(matches!(
        alone.session.end(call, &trailers),
        Err(SendError::TooLarge(_))
    ));
    assert_eq!(alone.sent().len(), 1);
    let next = alone.session.open(&getting(), true, alone.now).unwrap();
    assert_eq!(next.number(), 2, "no id was lost");
}

#[test]
fn a_peer_is_given_no_more_calls_than_it_takes() {
    let mut alone = Alone::new(settings());
    for _ in 0..1024 {
        alone.session.open(&getting(), true, alone.now).unwrap();
        alone.sent();
    }
    assert_eq!(
        alone.session.open(&getting(), true, alone.now),
        Err(OpenError::TooManyCalls)
    );
    alone.session.finished(CallId(2));
    assert!(alone.session.open(&getting(), true, alone.now).is_ok());
}
