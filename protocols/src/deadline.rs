//! `grpc-timeout`: how much time a call has left, as told to the next hop.

use std::time::Duration;

/// Why a `grpc-timeout` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is not one to eight digits and one of H, M, S, m, u, n")]
pub struct MalformedTimeout;

/// Reads a `grpc-timeout` value (gRPC over HTTP/2, "Timeout"): one to eight digits and a unit.
///
/// # Errors
/// [`MalformedTimeout`] for anything else; no sign, space or fraction is let through.
pub fn parse(value: &[u8]) -> Result<Duration, MalformedTimeout> {
    let (unit, digits) = value.split_last().ok_or(MalformedTimeout)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MalformedTimeout);
    }
    let number = digits
        .iter()
        .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(MalformedTimeout),
    }
}

/// Writes a `grpc-timeout` value: the finest unit that fits in eight digits, rounded down, so that the next hop never
/// believes it has longer than the client gave. Above 99,999,999 hours it says that.
pub fn format(left: Duration) -> String {
    const LIMIT: u128 = 100_000_000;
    let units = [
        (1u128, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
    ];
    let nanos = left.as_nanos();
    for (unit, letter) in units {
        if nanos / unit < LIMIT {
            return format!("{}{letter}", nanos / unit);
        }
    }
    format!("{}H", (nanos / 3_600_000_000_000).min(LIMIT - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_read_and_malformed_values_refused() {
        for (text, nanos) in [
            ("1H", 3_600_000_000_000u128),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("4m", 4_000_000),
            ("5u", 5_000),
            ("99999999n", 99_999_999),
            ("0n", 0),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|left| left.as_nanos()), Ok(nanos), "{text}");
        }
        for text in [
            "",
            "S",
            "1",
            "123456789S",
            "+1S",
            "-1S",
            " 1S",
            "1.5S",
            "1s",
            "1h",
            "1SS",
            "\u{ff11}S",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(MalformedTimeout), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_next_hop_is_never_given_more(nanos in 0u64..) {
            let left = Duration::from_nanos(nanos);
            let told = parse(format(left).as_bytes()).unwrap();
            prop_assert!(told <= left);
            prop_assert!(told.as_nanos() * 10 >= left.as_nanos() * 9 || left.as_nanos() < 10);
        }
    }
}
