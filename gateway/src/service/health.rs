//! What a row of health checks says of an endpoint. Pure: the keeper runs the checks.

use causeway_config as config;

/// The checks of one endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// In a row, of the kind that came last.
    length: u32,
    last: Option<Outcome>,
    /// When the next one is due, in milliseconds of the gateway.
    pub(super) due: u64,
    /// Whether it has been checked at all.
    checked: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Good,
    /// Otherwise, or not in time.
    Bad,
}

impl Streak {
    /// Takes a check in; what the endpoint is from now on, if that may be something else than before.
    pub fn on(&mut self, outcome: Outcome, health: &config::Health) -> Option<Outcome> {
        self.length = if self.last == Some(outcome) {
            self.length.saturating_add(1)
        } else {
            1
        };
        self.last = Some(outcome);
        let first = !std::mem::replace(&mut self.checked, true);
        let enough = match outcome {
            // Nothing speaks against one that was never unwell.
            Outcome::Good if first => 1,
            Outcome::Good => u32::from(health.healthy),
            Outcome::Bad => u32::from(health.unhealthy),
        };
        (self.length >= enough).then_some(outcome)
    }
}

/// Which endpoints are used: those that are well, unless that leaves too few.
///
/// `list` has the tier of each and whether it is well. Where no tier has `threshold` percent of its endpoints left, or
/// none is well at all, health is not looked at: the few that are well would break under the calls of all, and a pool is
/// never empty because of health.
pub fn is_panic(list: impl Iterator<Item = (u16, bool)>, threshold: u8) -> bool {
    let mut tiers: Vec<(u16, u64, u64)> = Vec::new();
    let (mut any, mut all_well) = (false, true);
    for (priority, well) in list {
        any |= well;
        all_well &= well;
        match tiers.iter_mut().find(|(tier, ..)| *tier == priority) {
            Some((_, count, good)) => {
                *count += 1;
                *good += u64::from(well);
            }
            None => tiers.push((priority, 1, u64::from(well))),
        }
    }
    if all_well {
        return false;
    }
    let threshold = u64::from(threshold);
    !any || tiers
        .iter()
        .all(|(_, count, good)| *good == 0 || good * 100 < count * threshold)
}

/// How calls are spread over the tiers where a tier hands on what it lacks: each priority with its share, in parts of
/// [`WHOLE`].
///
/// `list` has the tier of each endpoint, its weight, and whether it is usable. A tier whose usable share is `full` percent
/// takes all.
pub fn spread(list: impl Iterator<Item = (u16, u32, bool)>, full: u8) -> Vec<(u16, u32)> {
    let mut tiers: Vec<(u16, u64, u64)> = Vec::new();
    for (priority, weight, usable) in list {
        let weight = u64::from(weight);
        let good = if usable { weight } else { 0 };
        match tiers.iter_mut().find(|(tier, ..)| *tier == priority) {
            Some((_, all, usable)) => {
                *all += weight;
                *usable += good;
            }
            None => tiers.push((priority, weight, good)),
        }
    }
    tiers.sort_unstable_by_key(|(priority, ..)| *priority);
    let mut left = WHOLE;
    let mut shares: Vec<_> = tiers
        .iter()
        .map(|(priority, all, usable)| {
            let able = usable * 100 * u64::from(WHOLE) / (all * u64::from(full)).max(1);
            let share = u32::try_from(able).unwrap_or(WHOLE).min(left);
            left -= share;
            (*priority, share)
        })
        .collect();
    // All together lack something: each bears its part of that.
    let taken = u64::from(WHOLE - left);
    if left > 0 && taken > 0 {
        for (_, share) in &mut shares {
            *share = u32::try_from(u64::from(*share) * u64::from(WHOLE) / taken).unwrap_or(WHOLE);
        }
    }
    shares
}

/// All calls, of which [`spread`] gives shares.
pub const WHOLE: u32 = 10_000;

/// How many percent of its weight an endpoint has so long after it became usable, where its share grows over `slow_start`.
pub fn ramp(since: std::time::Duration, slow_start: std::time::Duration) -> u32 {
    if since >= slow_start {
        return 100;
    }
    let percent = since.as_millis() * 100 / slow_start.as_millis().max(1);
    u32::try_from(percent).unwrap_or(100).clamp(10, 100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn health() -> config::Health {
        config::Health {
            check: config::HealthCheck::Tcp,
            port: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy: 2,
            unhealthy: 3,
            jitter: 10,
            start: config::Start::Healthy,
        }
    }

    #[test]
    fn only_rows_of_checks_change_anything_but_for_a_good_first_one() {
        use Outcome::{Bad, Good};
        let told = |checks: &[Outcome]| {
            let mut streak = Streak::default();
            checks
                .iter()
                .map(|check| streak.on(*check, &health()))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&[Good]), [Some(Good)]);
        assert_eq!(told(&[Bad, Bad, Bad, Bad]), [None, None, Some(Bad), Some(Bad)]);
        assert_eq!(
            told(&[Bad, Bad, Good, Bad, Bad, Good, Good]),
            [None, None, None, None, None, None, Some(Good)]
        );
    }

    #[test]
    fn a_pool_is_never_empty_because_of_health() {
        type Row<'a> = (&'a [(u16, bool)], u8, bool);
        let table: [Row<'_>; 9] = [
            (&[], 30, false),
            (&[(0, true), (0, true)], 100, false),
            (&[(0, false)], 0, true),
            (&[(0, false), (0, true)], 50, false),
            (&[(0, false), (0, true)], 51, true),
            (&[(0, false), (0, false), (0, true)], 0, false),
            (&[(0, false), (0, false), (1, true)], 30, false),
            (&[(0, false), (1, false)], 0, true),
            (&[(0, true), (0, false), (0, false), (0, false), (1, false)], 30, true),
        ];
        for (list, threshold, panic) in table {
            assert_eq!(
                is_panic(list.iter().copied(), threshold),
                panic,
                "{list:?} at {threshold}%"
            );
        }
    }

    #[test]
    fn a_tier_hands_on_what_it_lacks() {
        type Row<'a> = (&'a [(u16, u32, bool)], &'a [(u16, u32)]);
        let table: [Row<'_>; 6] = [
            (&[(0, 1, true), (1, 1, true)], &[(0, 10_000), (1, 0)]),
            (&[(1, 1, true), (0, 1, false)], &[(0, 0), (1, 10_000)]),
            // 35 percent usable of the 70 that are enough: half.
            (
                &[(0, 35, true), (0, 65, false), (1, 1, true)],
                &[(0, 5_000), (1, 5_000)],
            ),
            (&[(0, 70, true), (0, 30, false), (1, 1, true)], &[(0, 10_000), (1, 0)]),
            // Both lack something: it is borne alike.
            (
                &[(0, 35, true), (0, 65, false), (1, 175, true), (1, 825, false)],
                &[(0, 6_666), (1, 3_333)],
            ),
            (&[(0, 1, false), (1, 1, false)], &[(0, 0), (1, 0)]),
        ];
        for (list, shares) in table {
            assert_eq!(spread(list.iter().copied(), 70), shares, "{list:?}");
        }
    }

    #[test]
    fn a_share_grows_from_a_tenth_to_all() {
        let seconds = Duration::from_secs;
        let shares: Vec<_> = [0, 1, 3, 15, 29, 30, 99]
            .map(|since| ramp(seconds(since), seconds(30)))
            .to_vec();
        assert_eq!(shares, [10, 10, 10, 50, 96, 100, 100]);
    }
}
