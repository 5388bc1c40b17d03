//! Calls that are alike go to the same member: a ring of points, and bounded load.
//!
//! Every member has points on a ring, as many as its weight says. A call goes to the member that has the next point after
//! its own number; a member that comes or goes takes or leaves only its share. A member that has more under way than a
//! quarter above its share hands on to the next on the ring ("consistent hashing with bounded loads").

use super::{EndpointSet, Member};

/// Points of a ring: this many per member on average, within these bounds.
const POINTS: u64 = 160;
const FEWEST: u64 = 1024;
const MOST: u64 = 65_536;
/// How much more than its share a member may have under way, in percent.
const SHARE: u64 = 125;
/// So many a member may always have under way: shares of few calls mean nothing.
const ALWAYS: u64 = 8;

/// The ring of one tier.
#[derive(Debug)]
pub(super) struct Ring {
    /// Where each point is, and the place of its member, ascending.
    points: Vec<(u64, u32)>,
    weight: u64,
}

impl Ring {
    pub(super) fn new(members: &[Member]) -> Self {
        let weight: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let size = (members.len() as u64 * POINTS).clamp(FEWEST, MOST);
        let mut points = Vec::with_capacity(size as usize + members.len());
        for (place, member) in members.iter().enumerate() {
            let share = (size * u64::from(member.weight)).div_ceil(weight.max(1)).max(1);
            for point in 0..share {
                points.push((mix(member.key ^ mix(point + 1)), place as u32));
            }
        }
        points.sort_unstable();
        Self { points, weight }
    }

    pub(super) fn pick(&self, members: &[Member], set: &impl EndpointSet, tried: &[u64], hash: u64) -> Option<usize> {
        let under_way: u64 = members
            .iter()
            .map(|member| u64::from(set.in_flight(member.index)))
            .sum();
        let start = self.points.partition_point(|(point, _)| *point < mix(hash));
        let (before, from) = self.points.split_at(start);
        let mut first = None;
        let mut seen = Vec::new();
        for (_, place) in from.iter().chain(before) {
            let Some(member) = members.get(*place as usize) else {
                continue;
            };
            if seen.contains(place) {
                continue;
            }
            if member.is_open(set, tried) {
                first.get_or_insert(member.index);
                if u64::from(set.in_flight(member.index)) < self.bound(member, under_way + 1) {
                    return Some(member.index);
                }
            }
            seen.push(*place);
            if seen.len() == members.len() {
                break;
            }
        }
        // All are at their bound, which can be where some are not usable: then the one that it is meant for.
        first
    }

    fn bound(&self, member: &Member, under_way: u64) -> u64 {
        let share = under_way * u64::from(member.weight) * SHARE;
        share.div_ceil(self.weight.max(1) * 100).max(ALWAYS)
    }
}

/// The finaliser of `splitmix64`: spreads numbers that lie close together.
fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
