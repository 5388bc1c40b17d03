//! Framing that two recipients could read differently (threat S1): none of it comes through.

use super::*;
use crate::call::Length;

#[test]
fn s1_every_disguise_of_transfer_encoding_is_refused_or_means_nothing() {
    use RequestError as E;
    // What must be refused, with the reason; bytes follow `POST / HTTP/1.1`, `Host: a`.
    #[rustfmt::skip]
    let refusals: &[(&[u8], RequestError)] = &[
        // the value
        (b"Transfer-Encoding: xchunked\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: chunkedx\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: chunke\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: cow\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: identity\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: gzip\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: gzip, chunked\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: identity, chunked\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: chunk\xc3\xa9d\r\n", E::Coding),
        (b"Transfer-Encoding:\r\n", E::Coding),
        (b"Transfer-Encoding: \r\n", E::Coding),
        (b"Transfer-Encoding: ,\r\n", E::Coding),
        (b"Transfer-Encoding: ,chunked\r\n", E::Coding),
        (b"Transfer-Encoding: chunked,\r\n", E::Coding),
        (b"Transfer-Encoding: , chunked\r\n", E::Coding),
        (b"Transfer-Encoding: chunked, chunked\r\n", E::Coding),
        (b"Transfer-Encoding: chunked, identity\r\n", E::Coding),
        (b"Transfer-Encoding: chunked, gzip\r\n", E::Coding),
        (b"Transfer-Encoding: chunked cow\r\n", E::Coding),
        (b"Transfer-Encoding: chunked;q=1\r\n", E::Coding),
        (b"Transfer-Encoding: chunked;foo\r\n", E::Coding),
        (b"Transfer-Encoding: \"chunked\"\r\n", E::Coding),
        (b"Transfer-Encoding: 'chunked'\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: chunked#\r\n", E::CodingUnknown),
        (b"Transfer-Encoding: (chunked)\r\n", E::Coding),
        (b"Transfer-Encoding: @chunked\r\n", E::Coding),
        (b"Transfer-Encoding: chunked\xa0\r\n", E::Coding),
        (b"Transfer-Encoding: \xa0chunked\r\n", E::Coding),
        (b"Transfer-Encoding: \x85chunked\r\n", E::Coding),
        (b"Transfer-Encoding: \xff\r\n", E::Coding),
        (b"Transfer-Encoding: chun\0ked\r\n", E::Line(LineError::Nul)),
        (b"Transfer-Encoding: \0chunked\r\n", E::Line(LineError::Nul)),
        (b"Transfer-Encoding: chunked\0\r\n", E::Line(LineError::Nul)),
        (b"Transfer-Encoding: \x0bchunked\r\n", E::Line(LineError::Value)),
        (b"Transfer-Encoding: chunked\x0b\r\n", E::Line(LineError::Value)),
        (b"Transfer-Encoding: \x0cchunked\r\n", E::Line(LineError::Value)),
        (b"Transfer-Encoding: chunked\x7f\r\n", E::Line(LineError::Value)),
        (b"Transfer-Encoding: \x1fchunked\r\n", E::Line(LineError::Value)),
        // around the name
        (b"Transfer-Encoding : chunked\r\n", E::Line(LineError::SpaceBeforeColon)),
        (b"Transfer-Encoding\t: chunked\r\n", E::Line(LineError::SpaceBeforeColon)),
        (b"Transfer-Encoding \t : chunked\r\n", E::Line(LineError::SpaceBeforeColon)),
        (b"Transfer Encoding: chunked\r\n", E::Line(LineError::SpaceBeforeColon)),
        (b"Transfer-Encoding chunked\r\n", E::Line(LineError::SpaceBeforeColon)),
        (b"Transfer-Encoding\x0b: chunked\r\n", E::Line(LineError::Name)),
        (b"Transfer-Encoding\x0c: chunked\r\n", E::Line(LineError::Name)),
        (b"Transfer-Encoding\xa0: chunked\r\n", E::Line(LineError::Name)),
        (b"Transfer-Encoding\0: chunked\r\n", E::Line(LineError::Nul)),
        (b"Transfer-Encoding\x7f: chunked\r\n", E::Line(LineError::Name)),
        (b"\0Transfer-Encoding: chunked\r\n", E::Line(LineError::Nul)),
        (b"\x0bTransfer-Encoding: chunked\r\n", E::Line(LineError::Name)),
        (b"\x85Transfer-Encoding: chunked\r\n", E::Line(LineError::Name)),
        (b"\"Transfer-Encoding\": chunked\r\n", E::Line(LineError::Name)),
        (b"Transfer-Encoding= chunked\r\n", E::Line(LineError::Name)),
        (b"Transf\xc3\xa9r-Encoding: chunked\r\n", E::Line(LineError::Name)),
        (b" Transfer-Encoding: chunked\r\n", E::Line(LineError::Fold)),
        (b"\tTransfer-Encoding: chunked\r\n", E::Line(LineError::Fold)),
        // across lines
        (b"Transfer-Encoding:\r\n chunked\r\n", E::Line(LineError::Fold)),
        (b"Transfer-Encoding:\r\n\tchunked\r\n", E::Line(LineError::Fold)),
        (b"Transfer-Encoding: chunked\r\n \r\n", E::Line(LineError::Fold)),
        (b"X: y\r\n Transfer-Encoding: chunked\r\n", E::Line(LineError::Fold)),
        (b"Transfer-Encoding\r\n : chunked\r\n", E::Line(LineError::Name)),
        (b"Transfer-Encoding:\n chunked\r\n", E::Line(LineError::BareLf)),
        (b"Transfer-Encoding: chunked\n", E::Line(LineError::BareLf)),
        (b"X: y\nTransfer-Encoding: chunked\r\n", E::Line(LineError::BareLf)),
        (b"X: y\n\rTransfer-Encoding: chunked\r\n", E::Line(LineError::BareLf)),
        (b"X: y\rTransfer-Encoding: chunked\r\n", E::Line(LineError::BareCr)),
        (b"X: y\r\rTransfer-Encoding: chunked\r\n", E::Line(LineError::BareCr)),
        (b"Transfer-Encoding: chunked\r\r\n", E::Line(LineError::BareCr)),
        (b"Transfer-Encoding: \rchunked\r\n", E::Line(LineError::BareCr)),
        (b"Transfer-Encoding: chunked\r \r\n", E::Line(LineError::BareCr)),
        // more than one
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", E::CodingRepeated),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", E::CodingRepeated),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", E::CodingRepeated),
        (b"Transfer-Encoding: chunked\r\ntransfer-encoding:\r\n", E::CodingRepeated),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", E::CodingUnknown),
        (b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", E::Coding),
        // hidden by Connection
        (b"Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n", E::Reserved),
        (b"Content-Length: 5\r\nConnection: content-length\r\n", E::Reserved),
    ];
    for (lines, error) in refusals {
        for rest in [&b""[..], b"Content-Length: 4\r\n"] {
            let before = refused(&post(&[rest, lines].concat()));
            let after = refused(&post(&[lines, rest].concat()));
            for found in [before, after] {
                assert!(
                    found == *error || matches!(found, E::LengthAndCoding | E::LengthRepeated),
                    "{}: {found:?}",
                    lines.escape_ascii()
                );
            }
        }
        assert_eq!(refused(&post(lines)), *error, "{}", lines.escape_ascii());
    }
    // What is another field, and is neither framing nor (where a server could take it for that) passed on.
    for (lines, kept) in [
        ("Transfer_Encoding: chunked\r\n", 0),
        ("transfer_encoding: chunked\r\n", 0),
        ("TransferEncoding: chunked\r\n", 1),
        ("X-Transfer-Encoding: chunked\r\n", 1),
        ("Transfer-Encoding-X: chunked\r\n", 1),
        ("Content-Encoding: chunked\r\n", 1),
        ("TE: chunked\r\n", 0),
        ("X: Transfer-Encoding: chunked\r\n", 1),
        ("Content_Length: 5\r\n", 0),
        ("Content-Length-X: 5\r\n", 1),
    ] {
        let request = legal(&post(lines.as_bytes()));
        assert_eq!(request.framing, BodyFraming::Empty, "{lines}");
        assert_eq!(request.head.fields.len(), kept, "{lines}");
    }
    for value in [
        "chunked",
        "Chunked",
        "CHUNKED",
        " chunked",
        "\tchunked\t",
        "chunked \t ",
        "  chunked",
    ] {
        let request = legal(&post(format!("Transfer-Encoding:{value}\r\n").as_bytes()));
        assert_eq!(
            (request.framing, request.head.length),
            (BodyFraming::Chunked, Length::Streamed),
            "{value}"
        );
    }
}

#[test]
fn s1_no_byte_put_anywhere_into_a_transfer_encoding_line_makes_two_readings() {
    let line = b"Transfer-Encoding: chunked\r\n";
    for at in 0..=line.len() {
        for byte in 0..=255u8 {
            for replace in [false, true] {
                if replace && at == line.len() {
                    continue;
                }
                let mut mutated = line.to_vec();
                if replace {
                    mutated[at] = byte;
                } else {
                    mutated.insert(at, byte);
                }
                // With a length beside it, a line that anybody could take for chunked must not come through.
                let bytes = post(&[b"Content-Length: 4\r\n", &mutated[..]].concat());
                if let Ok(Parsed::Complete { head, .. }) = request(&bytes) {
                    assert_eq!(head.framing, BodyFraming::Length(4));
                    let name = &mutated[..mutated.iter().position(|byte| *byte == b':').unwrap_or(0)];
                    assert!(
                        !name.eq_ignore_ascii_case(b"transfer-encoding")
                            && name.iter().all(|byte| byte.is_ascii_graphic()),
                        "{}",
                        mutated.escape_ascii()
                    );
                }
            }
        }
    }
}

#[test]
fn s1_content_length_is_one_plain_decimal_number() {
    use RequestError as E;
    #[rustfmt::skip]
    let refusals = [
        "", " ", "+1", "-1", "+0", "-0", "0x10", "0X1", "0b1", "0o7", "1_0", "1,0", "1.0", "1e3", "1 0", "1\t0", "1;", "\"1\"", "'1'",
        "a", "1a", "a1", "NaN", "5, 5", "5,5", "5,", ",5", "5, 6", "18446744073709551616", "18446744073709551615", "10000000000000000000",
        "99999999999999999999999999999999", "00000000000000000005", "\u{661}", "\u{ff11}", "1\u{a0}", "4 chunked", "$1", "#5", "5\\",
    ];
    for value in refusals {
        assert_eq!(
            refused(&post(format!("Content-Length: {value}\r\n").as_bytes())),
            E::Length,
            "{value}"
        );
    }
    #[rustfmt::skip]
    let lines: &[(&[u8], RequestError)] = &[
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", E::LengthRepeated),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", E::LengthRepeated),
        (b"Content-Length: 0\r\ncontent-length: 44\r\n", E::LengthRepeated),
        (b"Content-Length: 5\r\nContent-Length:\r\n", E::LengthRepeated),
        (b"Content-Length:\r\nContent-Length: 5\r\n", E::Length),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", E::LengthAndCoding),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", E::LengthAndCoding),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", E::LengthAndCoding),
        (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", E::LengthAndCoding),
        (b"Content-Length : 5\r\n", E::Line(LineError::SpaceBeforeColon)),
        (b"Content-Length\0: 5\r\n", E::Line(LineError::Nul)),
        (b"Content-Length: 5\0\r\n", E::Line(LineError::Nul)),
        (b"Content-Length: \x0b5\r\n", E::Line(LineError::Value)),
        (b"Content-Length: 5\x0c\r\n", E::Line(LineError::Value)),
        (b"Content-Length:\r\n 5\r\n", E::Line(LineError::Fold)),
        (b"Content-Length: 1\r\n 5\r\n", E::Line(LineError::Fold)),
        (b"Content-Length: 5\nX: y\r\n", E::Line(LineError::BareLf)),
        (b"Content-Length: 5\rX: y\r\n", E::Line(LineError::BareCr)),
    ];
    for (lines, error) in lines {
        assert_eq!(refused(&post(lines)), *error, "{}", lines.escape_ascii());
    }
    for (value, length) in [
        ("0", 0),
        ("5", 5),
        ("  5\t", 5),
        ("010", 10),
        ("9999999999999999999", 9_999_999_999_999_999_999u64),
    ] {
        let request = legal(&post(format!("Content-Length:{value}\r\n").as_bytes()));
        assert_eq!(request.head.length, Length::Exactly(length));
    }
}

#[test]
fn s1_a_length_on_a_get_is_believed_so_that_its_body_is_no_second_request() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let Ok(Parsed::Complete { head, consumed }) = request(bytes) else {
        panic!("a legal request");
    };
    assert_eq!((head.framing, consumed), (BodyFraming::Length(33), 47));
}
