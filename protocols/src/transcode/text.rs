//! Text forms of JSON that both directions need: quoted strings, base64, integers, floats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The length of the start of `text` that needs no look: no `"`, no `\`, no control character.
///
/// Also says whether all of that start is ASCII.
pub(super) fn plain_run(text: &[u8]) -> (usize, bool) {
    let mut high = 0;
    let (words, rest) = text.as_chunks::<8>();
    for (word, at) in words.iter().zip((0..).step_by(8)) {
        let word = u64::from_le_bytes(*word);
        let hits = escapes(word);
        if hits != 0 {
            let bits = hits.trailing_zeros() & !7;
            high |= word & HIGHS & ((1 << bits) - 1);
            return (at + bits as usize / 8, high == 0);
        }
        high |= word & HIGHS;
    }
    // What is left is in the last eight bytes, if there are as many: those before it are known to be plain.
    if let (false, Some(last)) = (rest.is_empty(), text.last_chunk::<8>()) {
        let word = u64::from_le_bytes(*last);
        let bits = escapes(word).trailing_zeros() & !7;
        high |= word & HIGHS & 1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
        return (text.len() - 8 + bits as usize / 8, high == 0);
    }
    let plain = rest.iter().take_while(|byte| !matches!(**byte, b'"' | b'\\' | 0..0x20));
    let mut length = words.len() * 8;
    for byte in plain {
        high |= u64::from(*byte) & HIGHS;
        length += 1;
    }
    (length, high == 0)
}

/// Flags the bytes that end a plain run. The lowest flag is exact; above it a borrow may flag too many.
#[inline]
fn escapes(word: u64) -> u64 {
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_in(word ^ (ONES * 0x22)) | zero_in(word ^ (ONES * 0x5c)) | controls) & HIGHS
}

/// Appends a JSON string, quotes included, if it is UTF-8. Most strings are ASCII without escapes: those are looked at
/// once.
pub(super) fn checked_and_quoted(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (plain, ascii) = plain_run(text);
    if ascii && plain == text.len() {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return true;
    }
    let valid = std::str::from_utf8(text).is_ok();
    if valid {
        quoted(text, out);
    }
    valid
}

/// Appends a JSON string, quotes included. `text` is UTF-8.
pub(super) fn quoted(mut text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        let (plain, _) = plain_run(text);
        out.extend_from_slice(&text[..plain]);
        let Some(byte) = text.get(plain) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                let hex = |nibble: u8| b"0123456789abcdef"[nibble as usize & 15];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(*byte)]);
            }
        }
        text = &text[plain + 1..];
    }
    out.push(b'"');
}

/// Appends standard base64 with padding, in quotes.
pub(super) fn quoted_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    base64(bytes, out);
    out.push(b'"');
}

/// Appends standard base64 with padding.
pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("four characters hold three bytes");
    out.truncate(start + written);
}

/// Appends what base64 text stands for: the standard alphabet or the one for URLs, with padding or without.
///
/// Fails with the reason.
pub(super) fn unbase64(text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    if padding > 0 && !text.len().is_multiple_of(4) {
        return Err("base64 with padding of the wrong length");
    }
    let text = &text[..text.len() - padding];
    if text.len() % 4 == 1 {
        return Err("base64 of an impossible length");
    }
    out.reserve(text.len() / 4 * 3 + 2);
    let sextet = |byte: u8| match SEXTETS[byte as usize] {
        NO_SEXTET => Err("not base64"),
        sextet => Ok(u32::from(sextet)),
    };
    let (groups, rest) = text.as_chunks::<4>();
    for [a, b, c, d] in groups {
        let bits = sextet(*a)? << 18 | sextet(*b)? << 12 | sextet(*c)? << 6 | sextet(*d)?;
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    let mut bits = 0;
    for byte in rest {
        bits = bits << 6 | sextet(*byte)?;
    }
    match rest.len() {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => {}
    }
    Ok(())
}

const NO_SEXTET: u8 = 0xff;

const SEXTETS: [u8; 256] = {
    let mut table = [NO_SEXTET; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut at = 0;
    while at < alphabet.len() {
        table[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    table[b'+' as usize] = 62;
    table[b'-' as usize] = 62;
    table[b'/' as usize] = 63;
    table[b'_' as usize] = 63;
    table
};

/// Appends an integer.
pub(super) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an integer in quotes: 64-bit numbers are strings, because JavaScript would lose digits.
pub(super) fn quoted_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.push(b'"');
    integer(value, out);
    out.push(b'"');
}

/// Appends the shortest text that reads back as the same number; what JSON has no number for is a string.
pub(super) fn float(value: impl zmij::Float + Into<f64> + Copy, out: &mut Vec<u8>) {
    let wide: f64 = value.into();
    if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if wide == f64::INFINITY {
        out.extend_from_slice(b"\"Infinity\"");
    } else if wide == f64::NEG_INFINITY {
        out.extend_from_slice(b"\"-Infinity\"");
    } else {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_json_must_escape_ends_a_plain_run_at_every_place() {
        for length in 0..40 {
            for at in 0..length {
                for byte in [0, 1, 0x1f, b'"', b'\\'] {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    assert_eq!(plain_run(&text), (at, true), "{byte} at {at} of {length}");
                    text[0..at].fill(0xc3);
                    assert_eq!(plain_run(&text), (at, at == 0));
                }
            }
            let others: Vec<u8> = (0x20..=0xff)
                .filter(|byte| !matches!(byte, b'"' | b'\\'))
                .take(length)
                .collect();
            assert_eq!(plain_run(&others), (length, true));
        }
        assert_eq!(plain_run(&[0xff; 9]), (9, false));
    }

    #[test]
    fn quoting_is_what_serde_json_reads_back() {
        let text: String = (0..0x250).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        quoted(text.as_bytes(), &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        for length in 0..50 {
            let bytes: Vec<u8> = (0..length).map(|at: u8| at.wrapping_mul(251)).collect();
            let mut standard = Vec::new();
            base64(&bytes, &mut standard);
            let url: Vec<u8> = standard
                .iter()
                .map(|byte| match byte {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => *other,
                })
                .collect();
            for text in [&standard, &url] {
                let bare = text.len() - text.iter().filter(|byte| **byte == b'=').count();
                for text in [&text[..], &text[..bare]] {
                    let mut back = Vec::new();
                    unbase64(text, &mut back).unwrap();
                    assert_eq!(back, bytes);
                }
            }
        }
        for bad in ["A", "A===", "AA=", "AAA==", "=", "====", "A A=", "AA==AA==", "\u{e9}A"] {
            assert!(unbase64(bad.as_bytes(), &mut Vec::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn floats_are_short_and_read_back_the_same() {
        #[rustfmt::skip]
        let table = [
            (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (0.1, "0.1"), (1e300, "1e300"), (-2.5, "-2.5"), (1e21, "1e21"),
            (f64::NAN, "\"NaN\""), (f64::INFINITY, "\"Infinity\""), (f64::NEG_INFINITY, "\"-Infinity\""),
        ];
        for (value, text) in table {
            let mut out = Vec::new();
            float(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap().replace("e+", "e"), text);
        }
        let mut out = Vec::new();
        float(0.1f32, &mut out);
        assert_eq!(out, b"0.1");
    }
}
