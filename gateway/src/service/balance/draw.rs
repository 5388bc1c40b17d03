//! The better of two drawn at random: the less busy one, or the one that would answer sooner.

use super::{EndpointSet, Member, Random};

/// Draws before the members are gone through one by one.
const TRIES: usize = 6;

/// What makes one better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Fewer calls under way per weight.
    InFlight,
    /// A lower cost per weight.
    Cost,
}

/// The weights of one tier, added up.
#[derive(Debug)]
pub(super) struct Draw {
    /// Sum of the weights up to and with each member.
    sums: Vec<u64>,
}

impl Draw {
    pub(super) fn new(members: &[Member]) -> Self {
        let sums = members
            .iter()
            .scan(0u64, |sum, member| {
                *sum += u64::from(member.weight);
                Some(*sum)
            })
            .collect();
        Self { sums }
    }

    pub(super) fn pick(
        &self,
        members: &[Member],
        set: &impl EndpointSet,
        tried: &[u64],
        by: By,
        random: &Random,
    ) -> Option<usize> {
        let open = |member: &Member| member.is_open(set, tried);
        let first = self.draw(members, random, open)?;
        let second = self.draw(members, random, |member| member.index != first.index && open(member));
        let Some(second) = second else {
            return Some(first.index);
        };
        // Load / weight, multiplied out. Alike: the one drawn first, so that idle endpoints are used by weight.
        let better = match by {
            By::InFlight => {
                let load =
                    |member: Member, other: Member| u64::from(set.in_flight(member.index)) * u64::from(other.weight);
                load(second, first) < load(first, second)
            }
            By::Cost => {
                let load = |member: Member, other: Member| set.cost(member.index) * other.weight as f32;
                load(second, first) < load(first, second)
            }
        };
        if better { Some(second.index) } else { Some(first.index) }
    }

    /// One of those that `open` admits, by weight.
    fn draw(&self, members: &[Member], random: &Random, open: impl Fn(&Member) -> bool) -> Option<Member> {
        let total = *self.sums.last()?;
        for _ in 0..TRIES {
            let point = random.below(total);
            let place = self.sums.partition_point(|sum| *sum <= point);
            if let Some(member) = members.get(place)
                && open(member)
            {
                return Some(*member);
            }
        }
        // Few are open, or one outweighs the rest.
        let total = members
            .iter()
            .filter(|member| open(member))
            .map(|member| u64::from(member.weight))
            .sum();
        let mut point = random.below(total);
        for member in members.iter().filter(|member| open(member)) {
            let weight = u64::from(member.weight);
            if point < weight {
                return Some(*member);
            }
            point -= weight;
        }
        None
    }
}
