//! The text forms of `Timestamp`, `Duration` and `FieldMask` (proto3, "JSON Mapping").

use super::text;

const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// 0001-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;
/// About 10,000 years.
const LONGEST: i64 = 315_576_000_000;

/// Reads RFC 3339 as seconds since 1970 and nanoseconds.
pub(super) fn parse_timestamp(text: &[u8]) -> Result<(i64, i32), &'static str> {
    const WRONG: &str = "expected a time like \"2026-01-31T12:00:00.5Z\"";
    let (date, rest) = text.split_first_chunk::<19>().ok_or(WRONG)?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| date[*at] != *byte) {
        return Err(WRONG);
    }
    let number = |from: usize, to: usize| digits(&date[from..to]).ok_or(WRONG);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let exists = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if year == 0 || !exists || hour > 23 || minute > 59 || second > 59 {
        return Err("there is no such time");
    }
    let (nanos, zone) = fraction(rest).ok_or(WRONG)?;
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2]).ok_or(WRONG)?, digits(&[*m1, *m2]).ok_or(WRONG)?);
            if hours > 23 || minutes > 59 {
                return Err("there is no such offset");
            }
            (hours * 60 + minutes) * if *sign == b'+' { 60 } else { -60 }
        }
        _ => return Err(WRONG),
    };
    let seconds = days_before(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) {
        return Err("times go from the year 1 to the year 9999");
    }
    Ok((seconds, nanos))
}

/// Appends RFC 3339 in quotes.
pub(super) fn print_timestamp(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Result<(), &'static str> {
    if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) || !(0..NANOS).contains(&i64::from(nanos)) {
        return Err("a timestamp outside of the years 1 to 9999");
    }
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let time = seconds.rem_euclid(DAY);
    out.push(b'"');
    padded(year, 4, out);
    out.push(b'-');
    padded(month, 2, out);
    out.push(b'-');
    padded(day, 2, out);
    out.push(b'T');
    padded(time / 3600, 2, out);
    out.push(b':');
    padded(time / 60 % 60, 2, out);
    out.push(b':');
    padded(time % 60, 2, out);
    print_fraction(nanos.into(), out);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Reads seconds with a fraction and `s`, as seconds and nanoseconds of the same sign.
pub(super) fn parse_duration(text: &[u8]) -> Result<(i64, i32), &'static str> {
    const WRONG: &str = "expected a duration like \"1.5s\"";
    let (sign, text) = match text {
        [b'-', text @ ..] => (-1, text),
        text => (1, text),
    };
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (seconds, rest) = text.split_at(whole);
    let (nanos, b"s") = fraction(rest).ok_or(WRONG)? else {
        return Err(WRONG);
    };
    if seconds.is_empty() {
        return Err(WRONG);
    }
    let seconds = digits(seconds).filter(|seconds| *seconds <= LONGEST);
    let seconds = seconds.ok_or("durations go up to 315,576,000,000 seconds")?;
    Ok((sign * seconds, sign as i32 * nanos))
}

/// Appends a duration in quotes.
pub(super) fn print_duration(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let nanos = i64::from(nanos);
    let signs_differ = seconds.signum() * nanos.signum() < 0;
    if seconds.unsigned_abs() > LONGEST as u64 || nanos.abs() >= NANOS || signs_differ {
        return Err("a duration outside of its range");
    }
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    text::integer(seconds.unsigned_abs(), out);
    print_fraction(nanos.abs(), out);
    out.extend_from_slice(b"s\"");
    Ok(())
}

/// Calls `path` with each path of a field mask, in the names of the `.proto` file.
pub(super) fn parse_mask(text: &[u8], mut path: impl FnMut(&[u8])) -> Result<(), &'static str> {
    if text.is_empty() {
        return Ok(());
    }
    let mut snake = Vec::new();
    for camel in text.split(|byte| *byte == b',') {
        snake.clear();
        for byte in camel {
            match byte {
                b'A'..=b'Z' => snake.extend([b'_', byte.to_ascii_lowercase()]),
                b'_' => return Err("a field mask in JSON has lowerCamelCase names"),
                byte => snake.push(*byte),
            }
        }
        path(&snake);
    }
    Ok(())
}

/// Appends one path of a field mask, in lowerCamelCase.
pub(super) fn print_mask(path: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    const LOSSY: &str = "a field mask whose path has no JSON form";
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => match bytes.next() {
                Some(letter @ b'a'..=b'z') => out.push(letter.to_ascii_uppercase()),
                _ => return Err(LOSSY),
            },
            b'a'..=b'z' | b'0'..=b'9' | b'.' => out.push(*byte),
            _ => return Err(LOSSY),
        }
    }
    Ok(())
}

/// The nanoseconds of an optional `.digits`, and what follows.
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let [b'.', rest @ ..] = text else {
        return Some((0, text));
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let value = digits(&rest[..length])? * 10_i64.pow(9 - length as u32);
    Some((value as i32, &rest[length..]))
}

/// No fraction, or one of 3, 6 or 9 digits.
fn print_fraction(nanos: i64, out: &mut Vec<u8>) {
    let (value, width) = match nanos {
        0 => return,
        nanos if nanos % 1_000_000 == 0 => (nanos / 1_000_000, 3),
        nanos if nanos % 1_000 == 0 => (nanos / 1_000, 6),
        nanos => (nanos, 9),
    };
    out.push(b'.');
    padded(value, width, out);
}

fn padded(mut value: i64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A number of digits only, at most 18 of them without leading zeros.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date; years that begin in March put the leap day last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

/// The date of a number of days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(text: &str) -> Result<String, &'static str> {
        let (seconds, nanos) = parse_timestamp(text.as_bytes())?;
        let mut out = Vec::new();
        print_timestamp(seconds, nanos, &mut out)?;
        Ok(String::from_utf8(out).unwrap().trim_matches('"').to_owned())
    }

    #[test]
    fn times_are_utc_with_no_three_six_or_nine_digits() {
        #[rustfmt::skip]
        let table = [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"), ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
            ("2000-02-29T12:34:56.1Z", "2000-02-29T12:34:56.100Z"), ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999900Z"),
            ("2026-01-01T01:00:00+02:00", "2025-12-31T23:00:00Z"), ("2026-01-01T01:00:00-08:30", "2026-01-01T09:30:00Z"),
        ];
        for (given, printed) in table {
            assert_eq!(timestamp(given).unwrap(), printed);
        }
        assert_eq!(parse_timestamp(b"2026-11-25T03:18:35Z").unwrap().0, 1_795_576_715);
        #[rustfmt::skip]
        let wrong = [
            "", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01t00:00:00Z", "2026-01-01T00:00:00z", "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z", "0000-01-01T00:00:00Z",
            "2026-01-01T00:00:00.1234567890Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Z ", "+026-01-01T00:00:00Z", "2026-01-01T00:00:00+0100",
        ];
        for text in wrong {
            assert!(timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_the_day_after_the_one_before() {
        let mut expected = (1, 1, 1);
        for days in FIRST_SECOND / DAY..=FIRST_SECOND / DAY + 366 * 800 {
            assert_eq!(date(days), expected);
            let (year, month, day) = expected;
            assert_eq!(days_before(year, month, day), days);
            expected = match day == days_of(year, month) {
                false => (year, month, day + 1),
                true if month == 12 => (year + 1, 1, 1),
                true => (year, month + 1, 1),
            };
        }
    }

    #[test]
    fn durations_keep_their_sign_and_their_nanoseconds() {
        #[rustfmt::skip]
        let table = [
            ("0s", (0, 0)), ("1.5s", (1, 500_000_000)), ("-0.5s", (0, -500_000_000)), ("-3.000000001s", (-3, -1)),
            ("315576000000s", (LONGEST, 0)), ("-315576000000s", (-LONGEST, 0)),
        ];
        for (text, value) in table {
            assert_eq!(parse_duration(text.as_bytes()), Ok(value));
            let mut out = Vec::new();
            print_duration(value.0, value.1, &mut out).unwrap();
            let printed = String::from_utf8(out).unwrap();
            assert_eq!(
                parse_duration(printed.trim_matches('"').as_bytes()),
                Ok(value),
                "{printed}"
            );
        }
        for text in [
            "",
            "s",
            "1",
            ".5s",
            "1.s",
            "1.0000000001s",
            "315576000001s",
            "+1s",
            "1 s",
            "1ss",
            "--1s",
        ] {
            assert!(parse_duration(text.as_bytes()).is_err(), "{text}");
        }
        for (seconds, nanos) in [(1, -1), (-1, 1), (LONGEST + 1, 0), (0, 1_000_000_000), (i64::MIN, 0)] {
            assert!(print_duration(seconds, nanos, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn a_field_mask_changes_case_or_is_refused() {
        let mut paths = Vec::new();
        parse_mask(b"fooBar,baz.quxQuux", |path| {
            paths.push(String::from_utf8(path.to_vec()).unwrap())
        })
        .unwrap();
        assert_eq!(paths, ["foo_bar", "baz.qux_quux"]);
        assert!(parse_mask(b"foo_bar", |_| ()).is_err());
        let mut out = Vec::new();
        print_mask(b"foo_bar.baz", &mut out).unwrap();
        assert_eq!(out, b"fooBar.baz");
        for path in ["fooBar", "foo__bar", "foo_3", "foo_"] {
            assert!(print_mask(path.as_bytes(), &mut Vec::new()).is_err(), "{path}");
        }
    }
}
