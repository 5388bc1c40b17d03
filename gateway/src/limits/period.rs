//! Periods of quotas, aligned to the clock in UTC: when the present one ends.

use causeway_config::Period;
use time::{Duration, Month, OffsetDateTime, Time};

/// The first second after the period that a moment is in; both in seconds of Unix time. Weeks begin on Monday.
pub fn end(period: Period, now: u64) -> u64 {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match period {
        Period::Hour => after(now, HOUR, 0),
        Period::Day => after(now, DAY, 0),
        // The first day of Unix time was a Thursday.
        Period::Week => after(now, 7 * DAY, 3 * DAY),
        Period::Month => month(now).unwrap_or_else(|| after(now, 30 * DAY, 0)),
    }
}

/// The seconds of a whole period, at most: what clients are told as its window.
pub fn length(period: Period) -> u64 {
    match period {
        Period::Hour => 3600,
        Period::Day => 86_400,
        Period::Week => 7 * 86_400,
        Period::Month => 31 * 86_400,
    }
}

fn after(now: u64, length: u64, shift: u64) -> u64 {
    now.saturating_add(length - now.saturating_add(shift) % length)
}

/// None beyond the year 9999.
fn month(now: u64) -> Option<u64> {
    let today = OffsetDateTime::from_unix_timestamp(i64::try_from(now).ok()?).ok()?;
    let first = today.replace_day(1).ok()?.replace_time(Time::MIDNIGHT);
    // The longest month and a little is in the next month, whichever this is.
    let next = first.checked_add(Duration::days(32))?.replace_day(1).ok()?;
    debug_assert!(next.month() != first.month() || first.month() == Month::December);
    u64::try_from(next.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn periods_end_when_the_clock_says_so() {
        #[rustfmt::skip]
        let table = [
            (Period::Hour, datetime!(2026-11-25 03:24:35 UTC), datetime!(2026-11-25 04:00 UTC)),
            (Period::Hour, datetime!(2026-11-25 04:00 UTC), datetime!(2026-11-25 05:00 UTC)),
            (Period::Day, datetime!(2026-02-28 23:59:59 UTC), datetime!(2026-03-01 00:00 UTC)),
            (Period::Day, datetime!(2026-03-01 00:00 UTC), datetime!(2026-03-02 00:00 UTC)),
            (Period::Week, datetime!(2026-11-25 12:00 UTC), datetime!(2026-11-30 00:00 UTC)),
            (Period::Week, datetime!(2026-11-29 23:59:59 UTC), datetime!(2026-11-30 00:00 UTC)),
            (Period::Week, datetime!(2026-11-30 00:00 UTC), datetime!(2026-12-07 00:00 UTC)),
            (Period::Month, datetime!(2026-12-31 23:59:59 UTC), datetime!(2027-01-01 00:00 UTC)),
            (Period::Month, datetime!(2028-02-29 00:00 UTC), datetime!(2028-03-01 00:00 UTC)),
            (Period::Month, datetime!(2026-01-31 10:00 UTC), datetime!(2026-02-01 00:00 UTC)),
        ];
        for (period, now, wanted) in table {
            let end = end(period, u64::try_from(now.unix_timestamp()).unwrap());
            let end = OffsetDateTime::from_unix_timestamp(i64::try_from(end).unwrap()).unwrap();
            assert_eq!(end, wanted, "{period:?} {now}");
        }
        assert!(end(Period::Month, u64::MAX / 2) > u64::MAX / 2);
    }

    #[test]
    fn an_end_lies_ahead_and_no_further_than_the_period_is_long() {
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            for now in (0..5_000_000_000).step_by(1_234_577) {
                let end = end(period, now);
                assert!(end > now && end - now <= length(period), "{period:?} {now}");
            }
        }
    }
}
