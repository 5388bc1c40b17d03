use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{assert_same_however_cut, cuts, damage, decode_all, encode, fault, messages, small};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder};
use crate::status::{Code, Status};

fn reply(mode: Mode) -> Any {
    Any::GrpcWeb(Decoder::of_reply(small(), mode, Some(Compression::Gzip), Kind::Binary))
}

fn request(mode: Mode) -> Any {
    Any::GrpcWeb(Decoder::of_request(small(), mode, None, Kind::Binary))
}

fn encoder(mode: Mode) -> AnyEncoder {
    AnyEncoder::GrpcWeb(Encoder::new(mode, None))
}

fn fine() -> Outcome {
    Outcome::new(Status::new(Code::Ok, ""))
}

#[test]
fn trailers_are_a_last_envelope() {
    let mut outcome = Outcome::new(Status::new(Code::NotFound, "no é"));
    outcome.trailers.push(b"x-cost", b"7").unwrap();
    let wire = encode(encoder(Mode::Binary), &[Message::binary("hi")], Some(&outcome));
    let block = b"grpc-status: 5\r\ngrpc-message: no %C3%A9\r\nx-cost: 7\r\n";
    let expected = [b"\0\0\0\0\x02hi\x80\0\0\0".as_slice(), &[block.len() as u8], block].concat();
    assert_eq!(wire, expected);
    let (events, error) = decode_all(reply(Mode::Binary), &wire);
    assert_eq!(error, None);
    assert_eq!(events, [Event::Message(Message::binary("hi")), Event::End(outcome)]);
}

#[test]
fn g5_padding_may_stand_in_the_middle_of_text() {
    // Two envelopes that were encoded each by itself, and one that was cut in an odd place.
    for wire in ["AAAAAAFhAAAAAAFi", "AAAAAAFhAAAA\u{41}AFi", "AA==AAAAAWE=AAAAAAFi"] {
        let read = messages(request(Mode::Text), wire.as_bytes());
        assert_eq!(read, [Message::binary("a"), Message::binary("b")], "{wire}");
    }
    for (wire, offset) in [
        ("AAAAAAFhA*AA", 8),
        ("AAAAAAFh====", 8),
        ("AAAAAAFhAA", 8),
        ("AAAAAAFhAAA=A", 12),
        ("AAAAAAFhAB==", 8),
        ("AAAAAAFh\n", 8),
    ] {
        let (events, error) = decode_all(request(Mode::Text), wire.as_bytes());
        assert_eq!((events.len(), error), (1, Some(Fault::Base64.at(offset))), "{wire}");
    }
}

#[test]
fn g5_trailers_that_are_none_are_refused() {
    for block in [
        "x",
        "grpc-status 0",
        ": 0",
        "grpc-status: 0\r\n\r\nx: 1",
        "x-cost: 7\r\n",
        "",
        "grpc-status: 0\r\nbad name: 1",
        "grpc-status: 0\r\nx: \u{1}",
    ] {
        let wire = [b"\x80\0\0\0".as_slice(), &[block.len() as u8], block.as_bytes()].concat();
        assert_eq!(
            decode_all(reply(Mode::Binary), &wire).1,
            Some(Fault::Trailers.at(5)),
            "{block:?}"
        );
    }
    for block in ["grpc-status:0", "Grpc-Status: 0\r\n\r\n", "grpc-status: 0\n"] {
        let wire = [b"\x80\0\0\0".as_slice(), &[block.len() as u8], block.as_bytes()].concat();
        assert_eq!(
            decode_all(reply(Mode::Binary), &wire),
            (vec![Event::End(fine())], None),
            "{block:?}"
        );
    }
}

#[test]
fn g5_trailers_inside_data_are_data_and_nothing_follows_real_ones() {
    let spoof = encode(encoder(Mode::Binary), &[], Some(&fine()));
    let outcome = Outcome::new(Status::new(Code::Internal, ""));
    let wire = encode(encoder(Mode::Binary), &[Message::binary(spoof.clone())], Some(&outcome));
    let (events, error) = decode_all(reply(Mode::Binary), &wire);
    assert_eq!(error, None);
    assert_eq!(
        events,
        [Event::Message(Message::binary(spoof.clone())), Event::End(outcome)]
    );
    for more in [&b"\0\0\0\0\0"[..], &spoof] {
        let wire = [&spoof[..], more].concat();
        let expected = Some(Fault::AfterEnd.at(spoof.len() as u64));
        assert_eq!(decode_all(reply(Mode::Binary), &wire).1, expected);
    }
    assert_eq!(
        fault(request(Mode::Binary), &spoof),
        Some(Fault::Flags(0x80)),
        "a client has no trailers"
    );
    for flags in [0x02, 0x40, 0x82, 0xff] {
        assert_eq!(
            fault(reply(Mode::Binary), &[flags, 0, 0, 0, 0]),
            Some(Fault::Flags(flags))
        );
    }
}

#[test]
fn g5_a_reply_without_trailers_is_cut_off() {
    for wire in [&b""[..], b"\0\0\0\0\x01x"] {
        assert_eq!(fault(reply(Mode::Binary), wire), Some(Fault::Truncated));
    }
    assert_eq!(messages(request(Mode::Binary), b""), []);
}

#[test]
fn g5_trailers_may_be_compressed() {
    let mut wire = BytesMut::new();
    envelope::write(TRAILERS, b"grpc-status: 0\r\n", Some(Compression::Gzip), &mut wire).unwrap();
    assert_eq!(decode_all(reply(Mode::Binary), &wire), (vec![Event::End(fine())], None));
}

fn modes() -> impl Strategy<Value = Mode> {
    proptest::sample::select(vec![Mode::Binary, Mode::Text])
}

fn contents() -> impl Strategy<Value = Vec<Message>> {
    vec(vec(any::<u8>(), 0..20).prop_map(Message::binary), 0..4)
}

proptest! {
    #[test]
    fn g5_messages_and_trailers_survive(contents in contents(), mode in modes(), number in 0u32..20, text in "\\PC{0,9}") {
        let outcome = Outcome::new(Status::of_number(number, text.trim()));
        let wire = encode(encoder(mode), &contents, Some(&outcome));
        let (events, error) = decode_all(reply(mode), &wire);
        prop_assert_eq!(error, None);
        let expected: Vec<Event> = contents.into_iter().map(Event::Message).chain([Event::End(outcome)]).collect();
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn g5_nothing_depends_on_where_the_stream_is_cut(
        contents in contents(), mode in modes(), damage in damage(), cuts in cuts(),
    ) {
        let wire = damage.of(encode(encoder(mode), &contents, Some(&fine())));
        assert_same_however_cut(&wire, &cuts, || reply(mode));
        assert_same_however_cut(&wire, &cuts, || request(mode));
    }

    #[test]
    fn g5_no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..200), mode in modes(), cuts in cuts()) {
        assert_same_however_cut(&wire, &cuts, || reply(mode));
    }
}
