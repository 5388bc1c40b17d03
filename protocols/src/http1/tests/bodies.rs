//! Chunked bodies (threat S3).

use bytes::{Bytes, BytesMut};

use super::*;
use crate::fields::Fields;
use crate::name;

/// Data, trailers where the end was reached, and what was left over.
type Body = (Vec<u8>, Option<Fields>, Vec<u8>);

/// A body, fed in pieces of `step` bytes.
fn decode(wire: &[u8], step: usize) -> Result<Body, ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let mut input = BytesMut::new();
    let mut data = Vec::new();
    let mut parts = wire.chunks(step.max(1));
    while let Some(part) = parts.next() {
        input.extend_from_slice(part);
        loop {
            match decoder.decode(&mut input)? {
                Decoded::Data(piece) => {
                    assert!(!piece.is_empty());
                    data.extend_from_slice(&piece);
                }
                Decoded::NeedMore => {
                    assert!(input.len() < 8 * 1024, "what is left is bounded");
                    break;
                }
                Decoded::End(trailers) => {
                    assert!(decoder.is_ended());
                    let rest = parts.flatten().copied();
                    return Ok((data, Some(trailers), input.iter().copied().chain(rest).collect()));
                }
            }
        }
    }
    Ok((data, None, input.to_vec()))
}

#[test]
fn s3_every_disguise_in_a_chunk_is_refused_wherever_it_is_cut() {
    use ChunkError as E;
    let long = [b"5;", &b"a".repeat(260)[..], b"\r\nhello\r\n"].concat();
    let many = b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(1000);
    let trailers = [b"0\r\n", &b"a: b\r\n".repeat(33)[..], b"\r\n"].concat();
    let large = [b"0\r\na: ", &b"b".repeat(9000)[..], b"\r\n\r\n"].concat();
    #[rustfmt::skip]
    let table: Vec<(&[u8], ChunkError)> = vec![
        // size
        (b"\r\n", E::Size), (b"x\r\n", E::Size), (b"+5\r\nhello\r\n", E::Size), (b"-5\r\nhello\r\n", E::Size),
        (b"0x5\r\nhello\r\n", E::Size), (b"5h\r\nhello\r\n", E::Size), (b"5_0\r\nhello\r\n", E::Size), (b";a\r\n", E::Size),
        (b"1000000000000000\r\n", E::Size), (b"0000000000000005\r\nhello\r\n", E::Size), (b"FFFFFFFFFFFFFFFFF0\r\n", E::Size),
        (b"5\0\r\nhello\r\n", E::Size), (b"\x005\r\nhello\r\n", E::Size), (b"5,5\r\nhello\r\n", E::Size), (b"\xef\xbc\x95\r\n", E::Size),
        (b" 5\r\nhello\r\n", E::Size), (b"\t5\r\nhello\r\n", E::Size), (b"\x0b5\r\nhello\r\n", E::Size),
        (b"5\x0b\r\nhello\r\n", E::Size), (b"5\xa0\r\nhello\r\n", E::Size), (b"5=a\r\nhello\r\n", E::Size),
        // white space
        (b"5 \r\nhello\r\n", E::Extension), (b"5\t\r\nhello\r\n", E::Extension), (b"5 ;a\r\nhello\r\n", E::Extension),
        (b"5; a\r\nhello\r\n", E::Extension), (b"5;a =b\r\nhello\r\n", E::Extension), (b"5;a= b\r\nhello\r\n", E::Extension),
        // line ends
        (b"5\nhello\r\n", E::LineEnd), (b"5\rhello\r\n", E::LineEnd), (b"5\r\r\nhello\r\n", E::LineEnd), (b"5\r;a\r\nhello\r\n", E::LineEnd),
        (b"5\r\nhello\n", E::LineEnd), (b"5\r\nhello\r\r\n", E::LineEnd), (b"5\r\nhello6\r\n", E::LineEnd), (b"5\r\nhellox", E::LineEnd),
        (b"5\r\nhello\n\r\n", E::LineEnd), (b"5\r\nhello0\r\n\r\n", E::LineEnd), (b"0\n\r\n", E::LineEnd), (b"5\n\rhello\r\n", E::LineEnd),
        (b"5\r\nhello\r\n\r\n0\r\n\r\n", E::Size),
        // extensions
        (b"5;\r\nhello\r\n", E::Extension), (b"5;;a\r\nhello\r\n", E::Extension), (b"5;=b\r\nhello\r\n", E::Extension),
        (b"5;a=\r\nhello\r\n", E::Extension), (b"5;a=b=c\r\nhello\r\n", E::Extension), (b"5;a\nb\r\nhello\r\n", E::LineEnd),
        (b"5;\n\r\nhello\r\n", E::LineEnd), (b"5;a\r\r;b\r\nhello\r\n", E::LineEnd), (b"5;a\0b\r\nhello\r\n", E::Extension), (b"5;\x01\r\n", E::Extension),
        (b"5;a=\"b\r\nhello\r\n", E::Extension), (b"5;a=\"b\nc\"\r\nhello\r\n", E::LineEnd), (b"5;a=\"b\"c\r\nhello\r\n", E::Extension),
        (b"5;a=\"\\\r\n\"\r\nhello\r\n", E::Extension), (b"5;\xc3\xa4\r\nhello\r\n", E::Extension),
        (&long, E::ExtensionTooLong), (&many, E::ExtensionTooLong),
        // trailers
        (b"0\r\n\n", E::Trailer(LineError::BareLf)), (b"0\r\n\rx", E::Trailer(LineError::BareCr)), (b"0\r\na: b\n\r\n", E::Trailer(LineError::BareLf)),
        (b"0\r\na : b\r\n\r\n", E::Trailer(LineError::SpaceBeforeColon)), (b"0\r\n a: b\r\n\r\n", E::Trailer(LineError::Fold)),
        (b"0\r\na: b\r\n c\r\n\r\n", E::Trailer(LineError::Fold)), (b"0\r\na: b\0\r\n\r\n", E::Trailer(LineError::Nul)),
        (b"0\r\n: b\r\n\r\n", E::Trailer(LineError::Name)), (b"0\r\na\r\n\r\n", E::Trailer(LineError::Name)),
        (b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::Trailer(LineError::SpaceBeforeColon)),
        (b"0\r\na: b\x7f\r\n\r\n", E::Trailer(LineError::Value)), (&trailers, E::Trailer(LineError::TooManyFields)), (&large, E::TrailersTooLarge),
    ];
    for (wire, error) in table {
        for step in [1, 2, 3, 7, wire.len()] {
            let result = decode(wire, step).map(|_| ());
            assert_eq!(
                result,
                Err(error),
                "{} by {step}",
                wire[..wire.len().min(60)].escape_ascii()
            );
        }
        assert!(!error.label().is_empty());
    }
}

#[test]
fn s3_legal_bodies_come_out_whole_and_nothing_behind_them_is_touched() {
    #[rustfmt::skip]
    let table: &[(&[u8], &[u8])] = &[
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
        (b"5\r\n\r\n\r\n\n\r\n0\r\n\r\n", b"\r\n\r\n\n"),
        (b"5;a\r\nhello\r\n0;b=c\r\n\r\n", b"hello"),
        (b"5;a=b;c=\"d e\\\"; \";f\r\nhello\r\n0\r\n\r\n", b"hello"),
    ];
    for (wire, data) in table {
        let next = [wire, &b"GET / HTTP/1.1\r\n"[..]].concat();
        for step in 1..=next.len() {
            let (seen, trailers, rest) = decode(&next, step).expect("a legal body");
            assert_eq!(seen, *data, "{} by {step}", wire.escape_ascii());
            assert_eq!(trailers, Some(Fields::new()));
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }
}

#[test]
fn s3_trailers_that_could_pass_for_part_of_a_head_are_dropped() {
    let wire = b"0\r\ngrpc-status: 0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nAuthorization: x\r\n\
        Connection: close\r\nTE: a\r\nTrailer: a\r\nX-Checksum:  1 \r\ncontent_length: 5\r\nX-Forwarded-For: a\r\nSet-Cookie: a\r\n\
        X-Causeway-Caller: a\r\nUpgrade: x\r\nContent-Type: a\r\nCookie: a\r\nproxy_connection: a\r\n\r\n";
    let (_, trailers, _) = decode(wire, wire.len()).expect("legal trailers");
    let trailers = trailers.expect("the end");
    let names: Vec<_> = trailers.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["grpc-status", "x-checksum"]);
    assert_eq!(trailers.get(name::GRPC_STATUS), Some(&b"0"[..]));
    assert_eq!(trailers.get_named("x-checksum"), Some(&b"1"[..]));
}

#[test]
fn s3_a_decoder_that_has_failed_or_ended_stays_so() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(
        decoder.decode(&mut BytesMut::from(&b"x"[..])).err(),
        Some(ChunkError::Size)
    );
    assert_eq!(
        decoder.decode(&mut BytesMut::from(&b"0\r\n\r\n"[..])).err(),
        Some(ChunkError::Size)
    );
    let mut decoder = ChunkedDecoder::new();
    assert!(matches!(
        decoder.decode(&mut BytesMut::from(&b"0\r\n\r\n"[..])),
        Ok(Decoded::End(_))
    ));
    assert_eq!(decoder.decode(&mut BytesMut::new()).err(), Some(ChunkError::Ended));
}

#[test]
fn data_is_a_slice_of_the_input() {
    let mut input = BytesMut::from(&b"10000\r\n"[..]);
    input.resize(7 + 65_536, 7);
    let at = input[7..].as_ptr();
    let mut decoder = ChunkedDecoder::new();
    let Ok(Decoded::Data(data)) = decoder.decode(&mut input) else {
        panic!("data");
    };
    assert_eq!((data.as_ptr(), data.len(), decoder.remaining()), (at, 65_536, 0));
}

#[test]
fn what_is_encoded_in_chunks_decodes_to_the_same() {
    let mut trailers = Fields::new();
    trailers.push(b"grpc-status", b"0").expect("a field");
    trailers.push(b"content-length", b"0").expect("a field");
    let mut wire = BytesMut::new();
    let mut data = Vec::new();
    for length in [1usize, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65_536, 0, 1_048_577] {
        encode::chunk_header(length, &mut wire);
        if length > 0 {
            let piece = Bytes::from(vec![length as u8; length]);
            wire.extend_from_slice(&piece);
            wire.extend_from_slice(encode::CHUNK_TAIL);
            data.extend_from_slice(&piece);
        }
    }
    encode::chunk_end(&trailers, &mut wire);
    let (seen, found, rest) = decode(&wire, 10_007).expect("our own chunks are legal");
    assert!(seen == data && rest.is_empty());
    assert_eq!(found.map(|found| found.len()), Some(1), "content-length is no trailer");
}
