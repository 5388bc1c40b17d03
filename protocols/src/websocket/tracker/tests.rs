use proptest::prelude::*;

use super::*;
use crate::websocket::{encode_close, encode_ping, encode_pong};

/// A frame as a peer would write it, its length in the given form.
fn frame(first: u8, masked: bool, length: u64, form: u8) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match form {
        0 => bytes.push(mask | length as u8),
        2 => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    if masked {
        bytes.extend([1, 2, 3, 4]);
    }
    bytes
}

fn whole(first: u8, masked: bool, length: usize) -> Vec<u8> {
    let form = match length {
        0..126 => 0,
        126..0x1_0000 => 2,
        _ => 8,
    };
    let mut bytes = frame(first, masked, length as u64, form);
    bytes.resize(bytes.len() + length, 0x55);
    bytes
}

fn limits() -> TrackerLimits {
    TrackerLimits {
        frame: 100_000,
        fragments: 4,
        message: 150_000,
        rsv1: false,
    }
}

/// What a stream comes to, fed in pieces of `step` bytes.
fn run(
    direction: Direction,
    limits: TrackerLimits,
    bytes: &[u8],
    step: usize,
) -> (Result<Passed, WsViolation>, Counts) {
    let mut tracker = Tracker::new(direction, limits);
    let mut last = Ok(tracker.state());
    for part in bytes.chunks(step.max(1)) {
        last = tracker.pass(part).map_err(|violation| violation.rule);
        if last.is_err() {
            break;
        }
    }
    (last, tracker.counts())
}

#[test]
fn w4_every_broken_frame_rule_is_named_with_its_close_code() {
    use Direction::{Client, Server};
    use WsViolation as V;
    #[rustfmt::skip]
    let table: Vec<(&str, Direction, Vec<u8>, WsViolation, u16)> = vec![
        ("unmasked client frame", Client, frame(0x82, false, 1, 0), V::Unmasked, 1002),
        ("unmasked client ping", Client, frame(0x89, false, 0, 0), V::Unmasked, 1002),
        ("masked server frame", Server, frame(0x82, true, 1, 0), V::Masked, 1002),
        ("rsv1 without extension", Client, vec![0xc1], V::Reserved, 1002),
        ("rsv2", Client, vec![0xa1], V::Reserved, 1002),
        ("rsv3", Client, vec![0x91], V::Reserved, 1002),
        ("rsv1 on a control frame", Client, vec![0xc9], V::Reserved, 1002),
        ("16-bit length of 125", Client, frame(0x82, true, 125, 2), V::LengthForm, 1002),
        ("16-bit length of 0", Server, frame(0x82, false, 0, 2), V::LengthForm, 1002),
        ("64-bit length of 65535", Server, frame(0x82, false, 65_535, 8), V::LengthForm, 1002),
        ("64-bit length of 0", Client, frame(0x82, true, 0, 8), V::LengthForm, 1002),
        ("length of 2^63", Server, frame(0x82, false, 1 << 63, 8), V::LengthRange, 1002),
        ("length of 2^64 - 1", Client, frame(0x82, true, u64::MAX, 8), V::LengthRange, 1002),
        ("length of 2^63 - 1", Client, frame(0x82, true, (1 << 63) - 1, 8), V::FrameTooLarge, 1009),
        ("ping of 126", Server, frame(0x89, false, 126, 2), V::ControlLength, 1002),
        ("close of 64 KiB", Server, frame(0x88, false, 65_536, 8), V::ControlLength, 1002),
        ("fragmented ping", Client, vec![0x09], V::ControlFragment, 1002),
        ("fragmented close", Client, vec![0x08], V::ControlFragment, 1002),
        ("close of one byte", Server, vec![0x88, 1], V::ClosePayload, 1002),
        ("continuation first", Server, vec![0x80], V::Continuation, 1002),
        ("continuation after a whole message", Server, [whole(0x81, false, 2), vec![0x80]].concat(), V::Continuation, 1002),
        ("text inside text", Server, [whole(0x01, false, 2), vec![0x81]].concat(), V::Interleaved, 1002),
        ("binary inside text", Server, [whole(0x01, false, 0), vec![0x02]].concat(), V::Interleaved, 1002),
        ("data after close", Server, [whole(0x88, false, 2), vec![0x81]].concat(), V::AfterClose, 1002),
        ("ping after close", Server, [whole(0x88, false, 0), vec![0x89]].concat(), V::AfterClose, 1002),
        ("frame over its limit", Server, frame(0x82, false, 100_001, 8), V::FrameTooLarge, 1009),
        ("message over its limit", Server, [whole(0x02, false, 100_000), frame(0x80, false, 50_001, 2)].concat(), V::MessageTooLarge, 1009),
    ];
    for (name, direction, bytes, rule, code) in table {
        for step in [1, 2, 3, bytes.len()] {
            assert_eq!(
                run(direction, limits(), &bytes, step).0,
                Err(rule),
                "{name}, {step} bytes at a time"
            );
        }
        assert_eq!(rule.close_code(), code, "{name}");
    }
}

#[test]
fn w4_every_unknown_opcode_is_refused_and_no_other() {
    for opcode in 0..16u8 {
        let result = run(Direction::Server, limits(), &[0x80 | opcode], 1).0;
        match opcode {
            1 | 2 | 8 | 9 | 10 => assert!(result.is_ok(), "opcode {opcode}"),
            0 => assert_eq!(result, Err(WsViolation::Continuation)),
            _ => assert_eq!(result, Err(WsViolation::Opcode), "opcode {opcode}"),
        }
    }
}

#[test]
fn w4_lengths_at_their_borders_pass() {
    for length in [0usize, 1, 124, 125, 126, 127, 65_535, 65_536, 100_000] {
        for (direction, masked) in [(Direction::Client, true), (Direction::Server, false)] {
            let bytes = whole(0x82, masked, length);
            let (result, counts) = run(direction, limits(), &bytes, bytes.len());
            assert!(result.is_ok_and(|passed| passed.message_boundary), "{length}");
            assert_eq!((counts.messages, counts.payload), (1, length as u64));
        }
    }
}

#[test]
fn w4_rsv1_is_only_for_the_first_frame_of_a_message_under_an_extension() {
    let limits = TrackerLimits { rsv1: true, ..limits() };
    let good = [whole(0x41, false, 3), whole(0x80, false, 3)].concat();
    assert!(run(Direction::Server, limits, &good, 1).0.is_ok());
    let continued = [whole(0x41, false, 3), whole(0xc0, false, 3)].concat();
    assert_eq!(
        run(Direction::Server, limits, &continued, 1).0,
        Err(WsViolation::Reserved)
    );
    assert_eq!(run(Direction::Server, limits, &[0xc9], 1).0, Err(WsViolation::Reserved));
    assert_eq!(run(Direction::Server, limits, &[0xf1], 1).0, Err(WsViolation::Reserved));
}

#[test]
fn w2_a_message_of_endless_fragments_is_stopped_at_the_limit_whatever_comes_between() {
    for between in [&[][..], &whole(0x89, true, 5), &whole(0x8a, true, 0)] {
        let mut tracker = Tracker::new(Direction::Client, limits());
        let mut passed = 0;
        let violation = (0..1_000_000).find_map(|at| {
            let first = if at == 0 { 0x01 } else { 0x00 };
            let result = tracker.pass(&whole(first, true, at % 2)).err();
            passed += usize::from(result.is_none());
            result.or_else(|| tracker.pass(between).err())
        });
        assert_eq!(violation.map(|violation| violation.rule), Some(WsViolation::Fragments));
        assert_eq!(passed, 4, "control frames are not fragments");
        assert_eq!(WsViolation::Fragments.close_code(), 1009);
    }
}

#[test]
fn w2_the_last_fragment_that_is_allowed_ends_its_message() {
    let bytes = [
        whole(0x01, false, 1),
        whole(0x00, false, 1),
        whole(0x00, false, 1),
        whole(0x80, false, 1),
    ];
    let (result, counts) = run(Direction::Server, limits(), &bytes.concat().repeat(3), 5);
    assert!(result.is_ok_and(|passed| passed.message_boundary));
    assert_eq!((counts.messages, counts.frames), (3, 12));
}

#[test]
fn boundaries_are_known_at_every_byte() {
    let bytes = [
        whole(0x01, true, 2),
        whole(0x89, true, 1),
        whole(0x80, true, 0),
        whole(0x88, true, 2),
    ]
    .concat();
    // Ends of: first fragment, ping inside the message, last fragment, close.
    let (frames, messages) = ([8, 15, 21, 29], [21, 29]);
    let mut tracker = Tracker::new(Direction::Client, limits());
    assert!(tracker.state().message_boundary, "before the first byte");
    for (at, byte) in bytes.iter().enumerate() {
        let passed = tracker.pass(&[*byte]).expect("the stream is legal");
        assert_eq!(passed.frame_boundary, frames.contains(&(at + 1)), "after byte {at}");
        assert_eq!(passed.message_boundary, messages.contains(&(at + 1)), "after byte {at}");
        assert_eq!(passed.closed, at + 1 == 29, "after byte {at}");
    }
    let counts = tracker.counts();
    assert_eq!(
        (counts.messages, counts.frames, counts.control, counts.payload),
        (1, 4, 2, 2)
    );
}

#[test]
fn what_came_before_a_violation_may_still_be_passed_on() {
    let good = [whole(0x81, false, 10), whole(0x82, false, 300)].concat();
    let bad = [good.clone(), frame(0x82, false, 3, 2)].concat();
    let mut tracker = Tracker::new(Direction::Server, limits());
    let violation = tracker.pass(&bad).expect_err("a length in a long form");
    assert_eq!((violation.rule, violation.good), (WsViolation::LengthForm, good.len()));
    assert_eq!(
        tracker.pass(b"x").map_err(|violation| violation.rule),
        Err(WsViolation::LengthForm),
        "it stays failed"
    );
}

#[test]
fn the_beginning_of_a_header_can_be_held_back() {
    let mut tracker = Tracker::new(Direction::Client, limits());
    let bytes = [whole(0x81, true, 3), frame(0x82, true, 300, 2)[..7].to_vec()].concat();
    assert_eq!(tracker.pass(&bytes).map(|passed| passed.header), Ok(7));
    assert_eq!(
        tracker.pass(&[4]).map(|passed| passed.header),
        Ok(0),
        "the header is whole"
    );
}

#[test]
fn control_frames_of_our_own_are_legal_in_both_directions() {
    let long = "ä".repeat(100);
    for (direction, mask) in [(Direction::Client, Some([9, 8, 7, 6])), (Direction::Server, None)] {
        for reason in ["", "going away", &long] {
            let close = encode_close(1012, reason, mask);
            let mut tracker = Tracker::new(direction, limits());
            assert!(
                tracker
                    .pass(&encode_ping(b"p", mask))
                    .is_ok_and(|passed| passed.message_boundary)
            );
            assert!(
                tracker
                    .pass(&encode_pong(&[1; 300], mask))
                    .is_ok_and(|passed| passed.message_boundary)
            );
            assert!(tracker.pass(&close).is_ok_and(|passed| passed.closed), "{reason}");
            let start = if mask.is_some() { 6 } else { 2 };
            let payload: Vec<u8> = close[start..]
                .iter()
                .enumerate()
                .map(|(at, byte)| byte ^ mask.unwrap_or_default()[at & 3])
                .collect();
            assert_eq!(payload[..2], 1012u16.to_be_bytes());
            let sent = std::str::from_utf8(&payload[2..]).expect("a reason is never cut inside a character");
            assert!(
                reason.starts_with(sent) && (sent.len() == reason.len() || sent.len() >= 120),
                "{reason}"
            );
        }
    }
    for code in [0, 999, 1005, 1006, 1015] {
        assert_eq!(
            encode_close(code, "x", None).as_ref(),
            [0x88, 0],
            "{code} never goes on the wire"
        );
    }
}

/// A legal stream of frames, with the number of its messages.
fn stream() -> impl Strategy<Value = (Vec<u8>, u64)> {
    let message = (prop::collection::vec(0usize..300, 1..4), any::<bool>());
    prop::collection::vec(message, 0..8).prop_map(|messages| {
        let mut bytes = Vec::new();
        for (fragments, ping) in &messages {
            for (at, length) in fragments.iter().enumerate() {
                let opcode = if at == 0 { 2 } else { 0 };
                let fin = if at + 1 == fragments.len() { 0x80 } else { 0 };
                bytes.extend(whole(opcode | fin, true, *length));
                if *ping {
                    bytes.extend(whole(0x89, true, 4));
                }
            }
        }
        (bytes, messages.len() as u64)
    })
}

proptest! {
    #[test]
    fn w4_arbitrary_bytes_never_panic_and_the_verdict_does_not_depend_on_the_cuts(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x82), Just(0x80), Just(0x01)], 0..200),
        step in 1usize..9,
        server: bool,
        rsv1: bool,
    ) {
        let direction = if server { Direction::Server } else { Direction::Client };
        let limits = TrackerLimits { rsv1, ..limits() };
        prop_assert_eq!(run(direction, limits, &bytes, step), run(direction, limits, &bytes, bytes.len()));
    }

    #[test]
    fn legal_streams_pass_and_are_counted((bytes, messages) in stream(), step in 1usize..50) {
        let (result, counts) = run(Direction::Client, limits(), &bytes, step);
        prop_assert!(result.is_ok_and(|passed| passed.message_boundary));
        prop_assert_eq!(counts.messages, messages);
    }
}
