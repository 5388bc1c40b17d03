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
}
