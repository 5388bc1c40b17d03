use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{assert_same_however_cut, cuts, decode, decode_all, fault, messages, small};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder};

fn decoder(declared: Option<u64>) -> Any {
    Any::Whole(Decoder::new(small(), declared, Kind::Binary))
}

#[test]
fn a_body_is_one_message_also_when_it_is_empty() {
    assert_eq!(messages(decoder(None), b"abc"), [Message::binary("abc")]);
    assert_eq!(messages(decoder(Some(0)), b""), [Message::binary("")]);
    let chunk = Bytes::from_static(b"one chunk");
    let (events, _) = decode(decoder(None), [chunk.clone()]);
    let Event::Message(message) = &events[0] else {
        panic!("not a message");
    };
    assert_eq!(message.data.as_ptr(), chunk.as_ptr(), "a slice of the chunk");
}

#[test]
fn a_declared_length_over_the_limit_is_refused_before_anything_is_read() {
    let mut decoder = Decoder::new(small(), Some(1001), Kind::Binary);
    assert_eq!(decoder.next(), Err(Fault::TooLarge { limit: 1000 }.at(0)));
    assert_eq!(
        fault(self::decoder(None), &[0; 1001]),
        Some(Fault::TooLarge { limit: 1000 })
    );
    assert_eq!(messages(self::decoder(Some(1000)), &[0; 1000]).len(), 1);
}

#[test]
fn a_body_that_is_not_as_long_as_declared_is_refused() {
    assert_eq!(decode_all(decoder(Some(3)), b"ab").1, Some(Fault::Truncated.at(2)));
    assert_eq!(decode_all(decoder(Some(3)), b"abcd").1, Some(Fault::Length.at(3)));
}

#[test]
fn text_is_utf_8() {
    let decoder = || Any::Whole(Decoder::new(small(), None, Kind::Text));
    assert_eq!(decode_all(decoder(), b"ab\xff").1, Some(Fault::Utf8.at(2)));
    assert_eq!(messages(decoder(), "é".as_bytes()), [Message::text("é")]);
}

#[test]
fn g2_a_compressed_body_is_bounded_by_what_it_becomes() {
    let body = |length: usize| {
        let mut out = BytesMut::new();
        Compression::Gzip.compress(&vec![0; length], &mut out);
        out
    };
    let decoder = || Any::Whole(Decoder::new(small(), None, Kind::Binary).compressed(Compression::Gzip));
    assert_eq!(messages(decoder(), &body(1000))[0].data.len(), 1000);
    assert_eq!(fault(decoder(), &body(1001)), Some(Fault::Inflated { limit: 1000 }));
    assert_eq!(fault(decoder(), b"x"), Some(Fault::Compressed("gzip")));
}

#[test]
fn a_body_holds_one_message() {
    let mut encoder = AnyEncoder::Whole(Encoder::new());
    let mut out = BytesMut::new();
    encoder.message(&Message::text("one"), &mut out).unwrap();
    assert_eq!(
        encoder.message(&Message::text("two"), &mut out),
        Err(Fault::Unwritable.at(0))
    );
    assert_eq!(out, "one");
}

proptest! {
    #[test]
    fn nothing_depends_on_where_the_body_is_cut(
        wire in vec(any::<u8>(), 0..50), declared in proptest::option::of(0u64..50), cuts in cuts(),
    ) {
        assert_same_however_cut(&wire, &cuts, || decoder(declared));
    }
}
