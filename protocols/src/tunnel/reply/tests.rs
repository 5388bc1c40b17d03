use proptest::prelude::*;

use super::*;
use crate::fields::FieldError;

fn encoded(ended: &Ended) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_end(ended, &mut out).unwrap();
    out.to_vec()
}

#[test]
fn the_wire_form_of_a_reply_does_not_change() {
    let table = [
        (204, Length::Empty, &b"\x00\x00\xcc\x00"[..]),
        (200, Length::Streamed, b"\x00\x00\xc8\x02"),
        (
            200,
            Length::Exactly(5),
            b"\x00\x00\xc8\x01\x00\x00\x00\x00\x00\x00\x00\x05",
        ),
    ];
    for (status, length, wire) in table {
        let mut out = BytesMut::new();
        let head = ReplyHead::new(StatusCode::from_u16(status).unwrap(), length);
        encode(&head, &mut out).unwrap();
        assert_eq!(&out[..], wire);
        let back = decode(wire).unwrap();
        assert_eq!((back.status, back.length), (head.status, head.length));
    }
}

#[test]
fn malformed_replies_are_named() {
    let table = [
        (&b""[..], HeadError::Short),
        (b"\x01", HeadError::Encoding(1)),
        (b"\x00\x00", HeadError::Short),
        (b"\x00\x00\x63\x00", HeadError::Value(1)),
        (b"\x00\x02\x58\x00", HeadError::Value(1)),
        (b"\x00\x00\xc8\x03", HeadError::Value(2)),
        (b"\x00\x00\xc8\x01\x00", HeadError::Short),
        (b"\x00\x00\xc8\x00\xff", HeadError::Field(FieldError::Block)),
        (b"\x00\x00\xc8\x00\x4a\x00\x01x", HeadError::HopField),
    ];
    for (wire, error) in table {
        assert_eq!(decode(wire).unwrap_err(), error, "{wire:?}");
    }
}

#[test]
fn an_end_without_trailers_costs_no_payload() {
    assert!(encoded(&Ended::Trailers(Fields::new())).is_empty());
    assert_eq!(decode_end(b""), Ok(Ended::Trailers(Fields::new())));
}

#[test]
fn malformed_ends_are_named_and_later_failures_are_internal() {
    for (wire, error) in [
        (&b"\x02"[..], HeadError::Value(0)),
        (b"\x00", HeadError::Short),
        (b"\x00\x05", HeadError::Encoding(5)),
        (b"\x01\x01\x01\x00", HeadError::Short),
        (b"\x01\x01\x0e\xff\xff\xff\xff\xc3", HeadError::Value(FAILED)),
    ] {
        assert_eq!(decode_end(wire), Err(error), "{wire:?}");
    }
    let long = [&b"\x01\x01\x0e\xff\xff\xff\xff"[..], &[b'a'; MAX_DETAIL + 1]].concat();
    assert_eq!(decode_end(&long), Err(HeadError::Value(FAILED)));
    let Ok(Ended::Failed(failure)) = decode_end(b"\x01\xfe\xfd\x00\x00\x00\x07later") else {
        panic!("refused");
    };
    assert_eq!((failure.kind, failure.code), (FailureKind::Internal, Code::Unknown));
    assert_eq!(failure.retry_after, Some(Duration::from_millis(7)));
    assert_eq!(failure.detail, "later");
}

#[test]
fn a_detail_is_cut_between_characters() {
    let failure = Failure::new(FailureKind::Connect, "é".repeat(MAX_DETAIL) + "x");
    let cut = format!("x{}", failure.detail);
    for detail in [failure.detail, cut] {
        let wire = encoded(&Ended::Failed(Failure::new(FailureKind::Connect, detail.clone())));
        let Ok(Ended::Failed(arrived)) = decode_end(&wire) else {
            panic!("refused");
        };
        assert!(detail.starts_with(&arrived.detail) && arrived.detail.len() >= MAX_DETAIL - 1);
    }
}

proptest! {
    #[test]
    fn replies_and_ends_arrive_as_they_were_sent(
        status in 100u16..600,
        fields in prop::collection::vec(("(accept|etag|x-[a-z]{1,20})", "[ -~]{0,60}"), 0..20),
        bytes in any::<u64>(),
        kind in prop::sample::select(FailureKind::ALL),
        code in 0u32..17,
        detail in ".{0,200}",
        retry in prop::option::of(0u32..u32::MAX),
    ) {
        let mut head = ReplyHead::new(StatusCode::from_u16(status).unwrap(), Length::Exactly(bytes));
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let mut out = BytesMut::new();
        encode(&head, &mut out).unwrap();
        let arrived = decode(&out).unwrap();
        prop_assert_eq!((arrived.status, arrived.length), (head.status, head.length));
        prop_assert_eq!(&arrived.fields, &head.fields);

        let trailers = Ended::Trailers(head.fields);
        prop_assert_eq!(decode_end(&encoded(&trailers)).unwrap(), trailers);
        let failed = Ended::Failed(Failure {
            kind,
            code: Code::of_number(code),
            detail,
            retry_after: retry.map(|millis| Duration::from_millis(u64::from(millis))),
        });
        prop_assert_eq!(decode_end(&encoded(&failed)).unwrap(), failed);
    }
}
