//! Numbers as JSON has them, made into those of protobuf: exact, or refused.

use super::json::number_length;

/// Why a text is not the number that was wanted.
pub(super) type Reason = &'static str;

/// An integer in decimal; `1.0` and `1e3` are integers too.
///
/// Within the range of `i64` and `u64` together; the caller narrows it.
pub(super) fn integer(text: &[u8]) -> Result<i128, Reason> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Up to 19 digits fit any u64, and leading zeros were refused by the grammar.
    let magnitude = if (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        digits
            .iter()
            .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
    } else {
        exact(digits)?
    };
    let value = i128::from(magnitude);
    Ok(if negative { -value } else { value })
}

/// The magnitude of a number with a fraction or an exponent, if it is whole.
fn exact(text: &[u8]) -> Result<u64, Reason> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let digits = || mantissa.iter().filter(|byte| **byte != b'.');
    // How many of the digits are before the point, once the exponent has moved it.
    let whole = point as i64 + exponent;
    let mut value = 0_u64;
    let mut at = 0_i64;
    for digit in digits() {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        if at < whole {
            let next = value.checked_mul(10).and_then(|value| value.checked_add(digit));
            value = next.ok_or("the number is out of range")?;
        } else if digit != 0 {
            return Err("expected an integer");
        }
        at += 1;
    }
    while value != 0 && at < whole {
        value = value.checked_mul(10).ok_or("the number is out of range")?;
        at += 1;
    }
    Ok(value)
}

/// Exponents beyond what any number here can use are as good as the limit.
fn exponent(text: &[u8]) -> i64 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let value = digits.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit.wrapping_sub(b'0'))).min(1_000_000)
    });
    sign * value
}

/// A number in quotes must be a JSON number and nothing else.
pub(super) fn quoted(text: &[u8]) -> Result<&[u8], Reason> {
    match number_length(text) {
        Some(length) if length == text.len() && length <= super::json::NUMBER => Ok(text),
        _ => Err("not a number"),
    }
}

/// A double; too large is refused, too small is zero.
pub(super) fn double(text: &[u8]) -> Result<f64, Reason> {
    let value: f64 = parse(text)?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err("the number is out of range")
    }
}

/// A float, rounded once.
pub(super) fn float(text: &[u8]) -> Result<f32, Reason> {
    let value: f32 = parse(text)?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err("the number is out of range")
    }
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Result<T, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| "not a number")?;
    text.parse().map_err(|_| "not a number")
}

/// The words that stand for what JSON has no number for.
pub(super) fn word(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_in_every_way_of_writing_them() {
        #[rustfmt::skip]
        let whole = [
            ("0", 0), ("-0", 0), ("7", 7), ("-7", -7), ("1.0", 1), ("1.50e1", 15), ("1e3", 1000), ("100e-2", 1), ("0.0", 0), ("0e999999999", 0),
            ("18446744073709551615", u64::MAX.into()), ("-9223372036854775808", i64::MIN.into()), ("1.8446744073709551615e19", u64::MAX.into()),
            ("9007199254740993", 9_007_199_254_740_993), ("0.000e5", 0), ("12e0", 12),
        ];
        for (text, value) in whole {
            assert_eq!(integer(text.as_bytes()), Ok(value), "{text}");
        }
        for text in [
            "1.5",
            "1e-1",
            "18446744073709551616",
            "1e20",
            "1e999999999999",
            "1e-999999999999",
        ] {
            assert!(integer(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn floats_out_of_range_are_refused() {
        assert_eq!(double(b"1.7976931348623157e308"), Ok(f64::MAX));
        assert_eq!(double(b"5e-400"), Ok(0.0));
        assert!(double(b"1e400").is_err());
        assert!(double(b"-1e400").is_err());
        assert_eq!(float(b"3.4028235e38"), Ok(f32::MAX));
        assert!(float(b"3.5e38").is_err());
    }

    #[test]
    fn a_number_in_quotes_has_nothing_around_it() {
        assert!(quoted(b"12").is_ok());
        for text in ["", " 1", "1 ", "01", "+1", "0x1", "1,000", "NaN", "-", "1."] {
            assert!(quoted(text.as_bytes()).is_err(), "{text}");
        }
    }
}
