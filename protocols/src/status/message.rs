//! `grpc-message`: percent-encoded UTF-8 (gRPC over HTTP/2, "Status-Message").

/// The value of the field: everything but printable ASCII, and `%`, is encoded.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    out
}

/// The text of a field. It never fails: what is no escape stands for itself, and what is not UTF-8 is replaced.
pub fn decode(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escape = match after {
            [high, low, ..] if byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &after[2..];
            }
            None => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    // A hexadecimal digit is below 16.
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn g4_what_is_no_escape_stands_for_itself() {
        for (value, text) in [
            (&b"plain"[..], "plain"),
            (b"a%20b%C3%A9", "a bé"),
            (b"%", "%"),
            (b"%4", "%4"),
            (b"%zz%41", "%zzA"),
            (b"%ff", "\u{fffd}"),
            (b"100%%41", "100%A"),
        ] {
            assert_eq!(decode(value), text);
        }
        assert_eq!(encode("50% é\n"), "50%25 %C3%A9%0A");
    }

    proptest! {
        #[test]
        fn g4_a_message_survives_the_field(text in "\\PC{0,40}[\n\r\0%]{0,3}") {
            let value = encode(&text);
            prop_assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
            prop_assert_eq!(decode(value.as_bytes()), text);
        }
    }
}
