use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const REAL: [Compression; 3] = [Compression::Gzip, Compression::Deflate, Compression::Zstd];

fn compressed(compression: Compression, data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    compression.compress(data, &mut out);
    out.freeze()
}

#[test]
fn g2_a_bomb_stops_at_the_limit() {
    let zeros = vec![0u8; 64 << 20];
    for compression in REAL {
        let bomb = compressed(compression, &zeros);
        assert!(
            bomb.len() < zeros.len() / 100,
            "{compression:?} makes {} bytes",
            bomb.len()
        );
        for limit in [0, 1, 4096, 1 << 20] {
            assert_eq!(
                compression.decompress(&bomb, limit),
                Err(Fault::Inflated { limit }),
                "{compression:?} at {limit}"
            );
        }
    }
}

#[test]
fn g2_the_limit_itself_is_allowed() {
    for compression in Compression::ALL {
        let data = vec![7; 10_000];
        let wire = compressed(compression, &data);
        assert_eq!(compression.decompress(&wire, 10_000).unwrap(), data, "{compression:?}");
        assert!(compression.decompress(&wire, 9_999).is_err(), "{compression:?}");
    }
}

#[test]
fn g2_a_window_that_would_take_too_much_memory_is_refused() {
    // Magic number, a header with a window of 2^31 bytes, a raw block of one byte that is the last.
    let frame = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x09, 0, 0, 1]);
    assert_eq!(
        Compression::Zstd.decompress(&frame, 4 << 20),
        Err(Fault::Compressed("zstd"))
    );
    let small = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 5 << 3, 0x09, 0, 0, 1]);
    assert_eq!(Compression::Zstd.decompress(&small, 4 << 20).unwrap(), [1][..]);
}

#[test]
fn what_is_cut_short_or_followed_by_more_is_malformed() {
    for compression in REAL {
        let whole = compressed(compression, &[b"some words, ".as_slice(); 20].concat());
        for end in 0..whole.len() {
            let cut = compression.decompress(&whole.slice(..end), 1000);
            assert_eq!(
                cut,
                Err(Fault::Compressed(compression.name())),
                "{compression:?} at {end}"
            );
        }
        let more = Bytes::from([&whole[..], b"x"].concat());
        assert_eq!(
            compression.decompress(&more, 1000),
            Err(Fault::Compressed(compression.name())),
            "{compression:?}"
        );
    }
}

#[test]
fn gzip_of_other_people_is_read() {
    // printf hello | gzip -n
    let wire = Bytes::from_static(&[
        0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0, 0x86, 0xa6, 0x10, 0x36, 0x05,
        0, 0, 0,
    ]);
    assert_eq!(Compression::Gzip.decompress(&wire, 5).unwrap(), "hello");
    // Two members are one content (RFC 1952, section 2.2).
    let twice = Bytes::from([&wire[..], &wire[..]].concat());
    assert_eq!(Compression::Gzip.decompress(&twice, 10).unwrap(), "hellohello");
}

#[test]
fn zstd_of_other_people_is_read_and_its_checksum_is_checked() {
    // zstd -3 of "hello zstd, " forty times.
    let mut wire = vec![
        0x28, 0xb5, 0x2f, 0xfd, 0x64, 0xe0, 0x00, 0x9d, 0x00, 0x00, 0x60, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x7a,
        0x73, 0x74, 0x64, 0x2c, 0x20, 0x01, 0x00, 0xd1, 0x57, 0x4b, 0x12, 0x5d, 0x23, 0xba, 0xda,
    ];
    let content = Compression::Zstd.decompress(&Bytes::from(wire.clone()), 480).unwrap();
    assert_eq!(content, "hello zstd, ".repeat(40));
    // Read from a pipe, it has neither a size nor, when told so, a checksum, but a window of 2 MiB.
    let streamed = Bytes::from_static(&[
        0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x9d, 0x00, 0x00, 0x60, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x7a, 0x73,
        0x74, 0x64, 0x2c, 0x20, 0x01, 0x00, 0xd1, 0x57, 0x4b, 0x12,
    ]);
    assert_eq!(Compression::Zstd.decompress(&streamed, 480).unwrap(), content);
    wire[32] ^= 1;
    assert_eq!(
        Compression::Zstd.decompress(&Bytes::from(wire), 480),
        Err(Fault::Compressed("zstd"))
    );
}

#[test]
fn names_are_those_of_grpc() {
    for compression in Compression::ALL {
        assert_eq!(Compression::of_name(compression.name().as_bytes()), Some(compression));
    }
    assert_eq!(Compression::of_name(b"GZIP"), Some(Compression::Gzip));
    assert_eq!(Compression::of_name(b"br"), None);
    assert_eq!(Compression::first_of(b"br, snappy,zstd ,gzip"), Some(Compression::Zstd));
    assert_eq!(Compression::first_of(b""), None);
}

proptest! {
    #[test]
    fn what_was_compressed_is_read_again(data in vec(prop_oneof![Just(0u8), any::<u8>()], 0..5000)) {
        for compression in Compression::ALL {
            let wire = compressed(compression, &data);
            prop_assert_eq!(&compression.decompress(&wire, 5000).unwrap()[..], &data[..]);
        }
    }

    #[test]
    fn damaged_data_makes_no_more_than_the_limit(
        data in vec(any::<u8>(), 0..500), at in any::<usize>(), byte in any::<u8>(),
    ) {
        for compression in REAL {
            let mut wire = compressed(compression, &data).to_vec();
            let at = at % wire.len();
            wire[at] = byte;
            if let Ok(content) = compression.decompress(&Bytes::from(wire), 600) {
                prop_assert!(content.len() <= 600);
            }
            let _ = compression.decompress(&Bytes::from(data.clone()), 600);
        }
    }
}
