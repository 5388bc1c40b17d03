//! Credit, growing windows, and whose turn it is.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::frame::{END, HOLD, MAX_DATA};
use super::*;

const WINDOW: u32 = 64 * 1024;

/// Opens `count` calls here with plenty of credit.
fn calls(alone: &mut Alone, count: u32) -> Vec<CallId> {
    let calls = (0..count)
        .map(|_| {
            let call = alone.session.open(&posting(), false, alone.now).unwrap();
            let credit = 100_000_000u32.to_be_bytes();
            assert!(alone.frame(call.number(), Kind::Window, 0, &credit).unwrap().is_empty());
            call
        })
        .collect();
    alone.sent();
    calls
}

fn data(alone: &mut Alone) -> Vec<(u32, usize)> {
    let sent = alone.sent();
    assert!(sent.iter().all(|(_, kind, ..)| *kind == Kind::Data));
    sent.into_iter()
        .map(|(call, .., payload)| (call, payload.len()))
        .collect()
}

#[test]
fn data_is_cut_into_frames_and_the_last_one_ends_the_body() {
    let mut alone = Alone::new(settings());
    let call = alone.session.open(&posting(), false, alone.now).unwrap();
    alone.sent();
    let mut body = Bytes::from(vec![1; MAX_DATA + 5]);
    assert_eq!(alone.session.send(call, &mut body, true), Sent::All);
    let sent: Vec<_> = alone
        .sent()
        .into_iter()
        .map(|(_, _, flags, payload)| (flags, payload.len()))
        .collect();
    assert_eq!(sent, [(0, MAX_DATA), (END, 5)]);
    assert_eq!(alone.session.send(call, &mut Bytes::new(), true), Sent::Gone, "one end");

    let call = alone.session.open(&posting(), false, alone.now).unwrap();
    assert_eq!(alone.session.send(call, &mut Bytes::new(), false), Sent::All);
    alone.sent();
    assert_eq!(alone.session.send(call, &mut Bytes::new(), true), Sent::All);
    assert_eq!(alone.sent(), [(call.number(), Kind::Data, END, vec![])]);
}

#[test]
fn the_called_side_ends_by_a_frame_of_its_own() {
    let mut alone = Alone::new(settings());
    let call = alone.opened(1);
    assert_eq!(
        alone.session.send(call, &mut Bytes::from_static(b"x"), false),
        Sent::Gone,
        "no reply yet"
    );
    alone.session.reply(call, &ok()).unwrap();
    assert_eq!(alone.session.send(call, &mut Bytes::from_static(b"x"), true), Sent::All);
    let kinds: Vec<_> = alone
        .sent()
        .into_iter()
        .map(|(_, kind, flags, _)| (kind, flags))
        .collect();
    assert_eq!(kinds, [(Kind::Reply, 0), (Kind::Data, 0), (Kind::End, 0)]);
    alone.session.finished(call);
    assert!(alone.sent().is_empty(), "it has ended: nothing to cancel");
}

#[test]
fn no_more_is_sent_than_there_is_credit_for() {
    let mut alone = Alone::new(settings());
    let call = alone.session.open(&posting(), false, alone.now).unwrap();
    let mut body = Bytes::from(vec![1; 100_000]);
    loop {
        match alone.session.send(call, &mut body, true) {
            Sent::NoRoom => {
                alone.sent();
                assert_eq!(alone.session.next_turn(), Some(call));
            }
            Sent::NoCredit => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((body.len(), alone.session.credit(call)), (100_000 - WINDOW as usize, 0));
    let told = alone.frame(2, Kind::Window, 0, &WINDOW.to_be_bytes()).unwrap();
    assert!(matches!(told[..], [Incoming::Window { call: named }] if named == call));
    let again = alone.frame(2, Kind::Window, 0, &WINDOW.to_be_bytes()).unwrap();
    assert!(again.is_empty(), "nobody waits for it");
    alone.sent();
    assert_eq!(alone.session.send(call, &mut body, true), Sent::All);
}

#[test]
fn a_held_body_waits_for_the_other_side() {
    let mut alone = Alone::new(settings());
    let mut head = posting();
    head.call.hold = true;
    let call = alone.session.open(&head, false, alone.now).unwrap();
    assert_eq!(alone.sent()[0].2, HOLD);
    assert_eq!(
        alone.session.send(call, &mut Bytes::from_static(b"x"), false),
        Sent::NoCredit
    );
    assert_eq!(alone.frame(2, Kind::Window, 0, &WINDOW.to_be_bytes()).unwrap().len(), 1);
    assert_eq!(
        alone.session.send(call, &mut Bytes::from_static(b"x"), false),
        Sent::All
    );
}

/// The peer sends `bytes` on a call, and they are consumed after `took`.
fn drain(alone: &mut Alone, number: u32, bytes: u32, took: Duration) {
    let mut left = bytes as usize;
    while left > 0 {
        let count = left.min(MAX_DATA);
        assert_eq!(alone.frame(number, Kind::Data, 0, &vec![0; count]).unwrap().len(), 1);
        left -= count;
    }
    alone.now += took;
    alone.session.consumed(CallId(number), bytes as usize, alone.now);
}

fn granted(alone: &mut Alone) -> Vec<u32> {
    let windows = alone.sent().into_iter().filter(|(_, kind, ..)| *kind == Kind::Window);
    windows
        .map(|(.., payload)| u32::from_be_bytes(payload.try_into().unwrap()))
        .collect()
}

#[test]
fn credit_goes_back_when_half_a_window_is_consumed() {
    let mut alone = Alone::new(settings());
    let call = alone.opened(1);
    drain(&mut alone, 1, WINDOW / 2 - 1, Duration::ZERO);
    assert!(granted(&mut alone).is_empty());
    drain(&mut alone, 1, 1, Duration::ZERO);
    assert_eq!(granted(&mut alone), [WINDOW / 2]);
    alone.session.consumed(call, 1 << 40, alone.now);
    assert!(
        granted(&mut alone).is_empty(),
        "nothing arrived, so nothing was consumed"
    );
    alone.frame(1, Kind::Data, END, &[0; 10]).unwrap();
    alone.session.consumed(call, WINDOW as usize, alone.now);
    assert!(granted(&mut alone).is_empty(), "there is no more to come");
}

/// A session whose round trip is 10 ms.
fn measured(settings: Settings) -> Alone {
    let mut alone = Alone::new(settings);
    alone.session.ping(alone.now);
    alone.now += Duration::from_millis(10);
    let told = alone.frame(0, Kind::Pong, 0, &1u64.to_be_bytes()).unwrap();
    assert!(matches!(told[..], [Incoming::Pong { .. }]));
    alone.sent();
    alone
}

#[test]
fn a_window_doubles_only_while_it_is_drained_within_two_round_trips() {
    let mut alone = measured(settings());
    let call = alone.opened(1);
    drain(&mut alone, 1, WINDOW, Duration::from_millis(21));
    assert_eq!(
        (granted(&mut alone), alone.session.window(call)),
        (vec![WINDOW], WINDOW)
    );
    for doubled in [2, 4, 8, 16] {
        let size = alone.session.window(call);
        drain(&mut alone, 1, size, Duration::from_millis(20));
        assert_eq!(
            (granted(&mut alone), alone.session.window(call)),
            (vec![2 * size], doubled * WINDOW)
        );
    }
    drain(&mut alone, 1, 16 * WINDOW, Duration::ZERO);
    assert_eq!(
        (granted(&mut alone), alone.session.window(call)),
        (vec![16 * WINDOW], 1 << 20)
    );
    let ledger = Arc::clone(&alone.session.settings.ledger);
    assert_eq!(ledger.used(), u64::from(15 * WINDOW));
    alone.session.finished(call);
    assert_eq!(ledger.used(), 0);
}

/// PINGs are sent in silence only, so a busy tunnel has to ask on purpose.
#[test]
fn a_busy_tunnel_measures_its_round_trip_anew() {
    let mut alone = measured(settings());
    alone.opened(1);
    for (took, pings) in [(1, 0), (5, 1), (5, 0)] {
        drain(&mut alone, 1, WINDOW, Duration::from_secs(took));
        let sent = alone.sent();
        assert_eq!(
            sent.iter().filter(|(_, kind, ..)| *kind == Kind::Ping).count(),
            pings,
            "{sent:?}"
        );
    }
}

#[test]
fn all_sessions_grow_from_one_ledger() {
    let ledger = Arc::new(GrowthLedger::new(u64::from(3 * WINDOW)));
    let mut sessions = [(); 2].map(|()| measured(Settings::new(Arc::clone(&ledger))));
    for alone in &mut sessions {
        alone.opened(1);
        drain(alone, 1, WINDOW, Duration::ZERO);
    }
    drain(&mut sessions[0], 1, 2 * WINDOW, Duration::ZERO);
    let sizes = sessions.each_ref().map(|alone| alone.session.window(CallId(1)));
    assert_eq!(
        (sizes, ledger.used()),
        ([2 * WINDOW; 2], u64::from(2 * WINDOW)),
        "2 more do not fit"
    );
    drop(sessions);
    assert_eq!(ledger.used(), 0);
}

#[test]
fn large_payloads_are_slices_of_the_input_and_small_ones_are_not() {
    for (size, shared) in [(MAX_DATA, true), (2048, true), (2047, false), (1, false)] {
        let mut alone = Alone::new(settings());
        alone.opened(1);
        let mut input = BytesMut::from(&raw(1, Kind::Data.wire(), 0, &vec![3; size])[..]);
        let place = input[HEADER..].as_ptr();
        let Ok(Some(Incoming::Data { data, .. })) = alone.session.receive(&mut input, alone.now) else {
            panic!("no data");
        };
        assert_eq!((data.len(), data.as_ptr() == place), (size, shared));
    }
}

#[test]
fn an_inbox_keeps_the_order_and_packs_what_is_small() {
    let mut inbox = Inbox::new();
    let mut expected = Vec::new();
    for at in 0..60_000u32 {
        let size = if at % 997 == 0 { 3000 } else { 1 };
        let chunk = vec![at as u8; size];
        expected.extend_from_slice(&chunk);
        inbox.push(Bytes::from(chunk));
    }
    inbox.push(Bytes::new());
    assert_eq!(inbox.len(), expected.len());
    let mut seen = Vec::new();
    let mut chunks = 0;
    while let Some(chunk) = inbox.pop() {
        assert!(!chunk.is_empty());
        seen.extend_from_slice(&chunk);
        chunks += 1;
    }
    assert!(inbox.is_empty() && seen == expected);
    assert!(chunks < 200, "{chunks} chunks for 60,000 pushes");
    inbox.push(Bytes::from_static(b"x"));
    inbox.clear();
    assert!(inbox.is_empty() && inbox.pop().is_none());
}

#[test]
fn data_waits_for_the_socket_and_control_does_not() {
    let mut alone = Alone::new(settings());
    let calls = calls(&mut alone, 2);
    let mut body = Bytes::from(vec![1; 1 << 20]);
    assert_eq!(alone.session.send(calls[0], &mut body, false), Sent::NoRoom);
    assert_eq!(alone.session.buffered(), 64 * 1024);
    assert_eq!(
        alone.session.send(calls[0], &mut body, false),
        Sent::NoRoom,
        "asked again"
    );
    assert_eq!((alone.session.waiting_calls(), alone.session.next_turn()), (1, None));
    alone.session.reset(calls[1], crate::failure::Reset::Cancel);
    alone.session.open(&getting(), true, alone.now).unwrap();
    assert!(alone.session.buffered() > 64 * 1024);
    alone.sent();
    assert_eq!(alone.session.next_turn(), Some(calls[0]));
    assert_eq!(alone.session.next_turn(), None);
}

/// Bulk, waiting for its turn, and a queue of new calls.
#[test]
fn a_call_that_has_sent_little_overtakes_those_that_have_sent_much() {
    let mut alone = Alone::new(settings());
    let calls = calls(&mut alone, 4);
    let mut bodies = [(); 4].map(|()| Bytes::from(vec![1; 1 << 20]));
    for at in 0..2 {
        assert_eq!(alone.session.send(calls[at], &mut bodies[at], false), Sent::NoRoom);
    }
    assert_eq!(
        alone.session.send(calls[2], &mut Bytes::from_static(b"short"), true),
        Sent::NoRoom
    );
    assert_eq!(alone.session.send(calls[3], &mut bodies[3], false), Sent::NoRoom);
    alone.sent();
    let order: Vec<_> = std::iter::from_fn(|| alone.session.next_turn()).collect();
    // 0 has sent 64 KiB; the others nothing yet.
    assert_eq!(order, [calls[1], calls[2], calls[3], calls[0]]);
    // A new one goes first even now, and those told their turn keep it.
    assert_eq!(alone.session.send(calls[3], &mut bodies[3], false), Sent::NoRoom);
    assert_eq!(
        data(&mut alone),
        [(calls[3].number(), MAX_DATA)],
        "one quantum, then it is bulk"
    );
}

#[test]
fn a_turn_that_is_not_used_goes_to_the_next() {
    let mut alone = Alone::new(settings());
    let calls = calls(&mut alone, 6);
    let mut bodies = [(); 6].map(|()| Bytes::from(vec![1; 1 << 20]));
    for (call, body) in calls.iter().zip(&mut bodies) {
        assert_eq!(alone.session.send(*call, body, false), Sent::NoRoom);
    }
    alone.sent();
    let order: Vec<_> = std::iter::from_fn(|| alone.session.next_turn()).collect();
    assert_eq!(order, calls[1..5], "as many as there is room for");
    assert!(!alone.session.has_turn());
    alone.session.finished(calls[1]);
    alone.session.finished(calls[5]);
    assert!(alone.session.has_turn());
    assert_eq!(alone.session.next_turn(), Some(calls[0]), "5 has left the queue");
    assert_eq!(alone.session.waiting_calls(), 0);
}

/// Deficit round robin: after any number of flushes no two bulk calls are more than a quantum apart.
#[test]
fn bulk_calls_share_the_socket_to_within_a_quantum() {
    let mut alone = Alone::new(settings());
    let calls = calls(&mut alone, 7);
    let mut sent = [0usize; 7];
    // One call hands over small pieces, the others large ones.
    let piece = |at: usize| if at == 3 { 1000 } else { 1 << 20 };
    let mut left: Vec<Bytes> = (0..7).map(|at| Bytes::from(vec![1; piece(at)])).collect();
    let mut ready: std::collections::VecDeque<usize> = (0..7).collect();
    for flush in 0..300 {
        while let Some(at) = ready.pop_front() {
            loop {
                let outcome = alone.session.send(calls[at], &mut left[at], false);
                match outcome {
                    Sent::All => left[at] = Bytes::from(vec![1; piece(at)]),
                    Sent::NoRoom => break,
                    other => panic!("{other:?}"),
                }
            }
            let woken = std::iter::from_fn(|| alone.session.next_turn());
            ready.extend(woken.map(|call| calls.iter().position(|other| *other == call).unwrap()));
        }
        assert!(
            alone.session.buffered() <= 64 * 1024 + HEADER + MAX_DATA,
            "{}",
            alone.session.buffered()
        );
        for (call, count) in data(&mut alone) {
            sent[calls.iter().position(|other| other.number() == call).unwrap()] += count;
        }
        let woken = std::iter::from_fn(|| alone.session.next_turn());
        ready.extend(woken.map(|call| calls.iter().position(|other| *other == call).unwrap()));
        // The first burst was alone with the socket.
        let (least, most) = (sent[1..].iter().min().unwrap(), sent[1..].iter().max().unwrap());
        assert!(most - least <= 2 * MAX_DATA, "after flush {flush}: {sent:?}");
    }
    assert!(sent.iter().all(|bytes| *bytes > 2_000_000), "{sent:?}");
}

proptest! {
    /// Whatever calls do with their turns, the others get theirs.
    #[test]
    fn no_turn_is_ever_lost(steps in prop::collection::vec((0u8..8, 0usize..12, 1usize..60_000), 1..300)) {
        let mut alone = Alone::new(settings());
        let mut calls = calls(&mut alone, 12);
        let mut told = std::collections::BTreeSet::new();
        for (what, at, size) in steps {
            let call = calls[at];
            match what {
                0..=2 => {
                    let _ = alone.session.send(call, &mut Bytes::from(vec![1; size]), false);
                    told.remove(&call);
                }
                3 | 4 => told.extend(alone.session.next_turn()),
                5 => {
                    let out = alone.session.output();
                    out.advance(size.min(out.len()));
                    alone.session.flushed();
                }
                6 => {
                    alone.session.reset(call, crate::failure::Reset::Cancel);
                    told.remove(&call);
                }
                _ => {
                    alone.session.finished(call);
                    told.remove(&call);
                    calls[at] = alone.session.open(&posting(), false, alone.now).unwrap_or(call);
                }
            }
            prop_assert_eq!(alone.session.turns.out, told.len());
            let idle = alone.session.buffered() == 0 && told.is_empty();
            prop_assert!(!idle || alone.session.waiting_calls() == 0 || alone.session.has_turn());
            prop_assert!(alone.session.waiting_calls() + told.len() <= 12);
        }
        for call in calls {
            alone.session.finished(call);
        }
        prop_assert_eq!((alone.session.turns.out, alone.session.waiting_calls(), alone.session.open_calls()), (0, 0, 0));
    }
}
