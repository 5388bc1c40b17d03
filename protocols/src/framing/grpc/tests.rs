use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{
    assert_same_however_cut, cuts, damage, decode, decode_all, encode, fault, messages, small,
};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder, Fault};
use crate::status::Code;

fn decoder(compression: Option<Compression>) -> Any {
    Any::Grpc(Decoder::new(small(), compression, Kind::Binary))
}

fn encoder(compression: Option<Compression>) -> AnyEncoder {
    AnyEncoder::Grpc(Encoder::new(compression))
}

#[test]
fn messages_are_cut_out_and_a_whole_one_is_not_copied() {
    let wire = Bytes::from_static(b"\0\0\0\0\x02hi\0\0\0\0\0\0\0\0\0\x01x");
    let (events, error) = decode(decoder(None), [wire.clone()]);
    assert_eq!(error, None);
    let expected = ["hi", "", "x"].map(|text| Event::Message(Message::binary(text)));
    assert_eq!(events, expected);
    let Event::Message(first) = &events[0] else {
        panic!("not a message");
    };
    assert_eq!(first.data.as_ptr(), wire[5..].as_ptr(), "a slice of the chunk");
}

#[test]
fn g1_a_length_that_lies_is_refused_before_anything_is_kept() {
    let (_, error) = decode_all(decoder(None), b"\0\0\0\0\x01x\0\xff\xff\xff\xff");
    let error = error.unwrap();
    assert_eq!((error.fault, error.offset), (Fault::TooLarge { limit: 1000 }, 6));
    assert_eq!(error.fault.code(), Code::ResourceExhausted);
    assert_eq!((error.fault.http().as_u16(), error.fault.close()), (413, 1009));
    assert_eq!(error.to_string(), "message is larger than 1000 bytes at byte 6");
    // One byte over, and exactly the limit.
    assert_eq!(
        fault(decoder(None), b"\0\0\0\x03\xe9"),
        Some(Fault::TooLarge { limit: 1000 })
    );
    let limit = [b"\0\0\0\x03\xe8".as_slice(), &[1; 1000]].concat();
    assert_eq!(messages(decoder(None), &limit)[0].data.len(), 1000);
}

#[test]
fn g1_a_message_that_is_cut_off_is_an_error() {
    for wire in [
        &b"\0"[..],
        b"\0\0\0\0",
        b"\0\0\0\0\x01",
        b"\0\0\0\0\x02x",
        b"\0\0\0\0\0\0",
    ] {
        assert_eq!(fault(decoder(None), wire), Some(Fault::Truncated), "{wire:?}");
    }
    assert_eq!(decode_all(decoder(None), b""), (vec![], None));
}

#[test]
fn g1_flags_without_meaning_are_refused() {
    for flags in 2..=255u8 {
        let wire = [flags, 0, 0, 0, 0];
        assert_eq!(
            fault(decoder(Some(Compression::Gzip)), &wire),
            Some(Fault::Flags(flags)),
            "{flags}"
        );
    }
}

#[test]
fn g2_a_compressed_message_without_a_compression_is_refused() {
    for compression in [None, Some(Compression::Identity)] {
        let (_, error) = decode_all(decoder(compression), b"\x01\0\0\0\0");
        assert_eq!(error, Some(Fault::CompressedFlag.at(0)), "{compression:?}");
    }
    assert_eq!(
        fault(decoder(Some(Compression::Gzip)), b"\x01\0\0\0\x01x"),
        Some(Fault::Compressed("gzip"))
    );
}

#[test]
fn g2_a_compressed_message_may_not_be_larger_than_an_uncompressed_one() {
    let large = [Message::binary(vec![0; 1001])];
    for compression in [Compression::Gzip, Compression::Deflate, Compression::Zstd] {
        let wire = encode(encoder(Some(compression)), &large, None);
        let (_, error) = decode_all(decoder(Some(compression)), &wire);
        assert_eq!(error, Some(Fault::Inflated { limit: 1000 }.at(5)), "{compression:?}");
    }
}

#[test]
fn compressed_and_plain_messages_may_alternate() {
    let mut out = BytesMut::new();
    Encoder::new(Some(Compression::Gzip))
        .message(&Message::binary("one"), &mut out)
        .unwrap();
    Encoder::new(None).message(&Message::binary("two"), &mut out).unwrap();
    assert_eq!(out[0], 1);
    let read = messages(decoder(Some(Compression::Gzip)), &out);
    assert_eq!(read, [Message::binary("one"), Message::binary("two")]);
}

fn compressions() -> impl Strategy<Value = Option<Compression>> {
    proptest::option::of(proptest::sample::select(&Compression::ALL[..]))
}

fn contents() -> impl Strategy<Value = Vec<Message>> {
    vec(vec(any::<u8>(), 0..60).prop_map(Message::binary), 0..4)
}

proptest! {
    #[test]
    fn messages_survive_their_envelopes(contents in contents(), compression in compressions()) {
        let wire = encode(encoder(compression), &contents, None);
        prop_assert_eq!(messages(decoder(compression), &wire), contents);
    }

    #[test]
    fn g1_nothing_depends_on_where_the_stream_is_cut(
        contents in contents(), compression in compressions(), damage in damage(), cuts in cuts(),
    ) {
        let wire = damage.of(encode(encoder(compression), &contents, None));
        assert_same_however_cut(&wire, &cuts, || decoder(compression));
    }

    #[test]
    fn g1_no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..300), cuts in cuts()) {
        assert_same_however_cut(&wire, &cuts, || decoder(Some(Compression::Zstd)));
    }
}
