//! Input that is cut anywhere, broken, or noise.

use proptest::prelude::*;

use super::super::frame::{END, HOLD};
use super::*;

/// A dialogue with every kind of frame, for cutting and for breaking.
fn dialogue() -> Vec<u8> {
    let mut wire = BytesMut::new();
    frame::put_with(&mut wire, 0, Kind::Hello, 0, |out| hello().encode(out)).unwrap();
    let mut wire = wire.to_vec();
    let head = head_payload(&posting());
    for part in [
        raw(1, Kind::Head.wire(), 0, &head),
        raw(1, Kind::Data.wire(), 0, b"small"),
        raw(3, Kind::Head.wire(), END, &head_payload(&getting())),
        raw(0, Kind::Ping.wire(), 0, &[5; 8]),
        raw(1, Kind::Data.wire(), 0, &[8; 3000]),
        raw(0, 0x41, 0, b"new"),
        raw(1, Kind::Window.wire(), 0, &[0, 0, 1, 0]),
        raw(3, Kind::Reset.wire(), 0, &[1]),
        raw(1, Kind::Data.wire(), END, b""),
        raw(5, Kind::Head.wire(), HOLD, &head),
        raw(0, Kind::GoAway.wire(), 0, &[0; 9]),
    ] {
        wire.extend_from_slice(&part);
    }
    wire
}

#[test]
fn what_arrives_does_not_depend_on_where_the_input_is_cut() {
    let wire = dialogue();
    let run = |cut: usize| {
        let mut alone = Alone::silent(settings());
        let mut input = BytesMut::new();
        let mut seen = String::new();
        for part in [&wire[..cut], &wire[cut..]] {
            input.extend_from_slice(part);
            while let Some(event) = alone.session.receive(&mut input, alone.now).unwrap() {
                seen += &format!("{event:?}\n");
            }
        }
        assert!(input.is_empty(), "bytes left over after a cut at {cut}");
        (seen, alone.sent())
    };
    let whole = run(0);
    for cut in 1..=wire.len() {
        assert_eq!(run(cut), whole, "cut at byte {cut}");
    }
}

proptest! {
    #[test]
    fn a_broken_dialogue_never_panics_and_never_fills_memory(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut wire = dialogue();
        for (at, byte) in changes {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        wire.extend_from_slice(&noise);
        let mut alone = Alone::silent(settings());
        alone.session.ping(alone.now);
        let _ = alone.feed(&wire);
        prop_assert!(alone.session.buffered() < 2048 && alone.session.open_calls() <= 3);
    }

    #[test]
    fn frames_of_any_order_never_panic(steps in prop::collection::vec((0u32..8, 0u8..12, 0u8..4, 0usize..20), 0..60)) {
        let mut alone = Alone::new(settings());
        let heads = [head_payload(&posting()), b"\x00\x00\xc8\x02".to_vec()];
        for (call, kind, flags, length) in steps {
            let payload = match kind {
                2 => heads[0].clone(),
                3 | 4 => heads[1].clone(),
                7 => vec![1],
                8 => vec![0, 0, 1, 0],
                9 | 10 => vec![0; 8],
                11 => vec![0, 0, 0, 3, 1, 0, 0, 0, 0],
                _ => vec![0; length],
            };
            let _ = alone.session.open(&posting(), false, alone.now);
            let _ = alone.feed(&raw(call, kind, flags, &payload));
        }
    }
}
