//! Weighted turns: who is due first is next.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{EndpointSet, Member, Random};

/// The turns of one tier.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When each member, by its place in the tier, is due. A 128-bit clock does not run over.
    due: BinaryHeap<Reverse<(u128, usize)>>,
    /// When the last call was due.
    now: u128,
    /// Members that had to be passed over in the pick under way.
    passed: Vec<(u128, usize)>,
}

/// Time between two calls to a member.
fn stride(weight: u32) -> u128 {
    (1 << 64) / u128::from(weight.max(1))
}

impl Turn {
    /// Members that were there before keep their turn; new ones come in at random within one stride.
    pub(super) fn new(members: &[Member], before: Option<(Self, &[Member])>, random: &Random) -> Self {
        let (before, old) = before.unwrap_or_default();
        let known: HashMap<u64, u128> = before
            .due
            .iter()
            .filter_map(|Reverse((due, place))| old.get(*place).map(|member| (member.key, *due)))
            .collect();
        let now = before.now;
        let due = members
            .iter()
            .enumerate()
            .map(|(place, member)| {
                let stride = stride(member.weight);
                let due = match known.get(&member.key) {
                    // A greater weight than before shortens the wait.
                    Some(due) => (*due).min(now + stride),
                    None => now + u128::from(random.below(u64::try_from(stride).unwrap_or(u64::MAX))),
                };
                Reverse((due, place))
            })
            .collect();
        Self {
            due,
            now,
            passed: Vec::new(),
        }
    }

    pub(super) fn pick(&mut self, members: &[Member], set: &impl EndpointSet, tried: &[u64]) -> Option<usize> {
        let mut picked = None;
        while let Some(mut first) = self.due.peek_mut() {
            let Reverse((due, place)) = *first;
            match members.get(place) {
                Some(member) if member.is_open(set, tried) => {
                    *first = Reverse((due + stride(member.weight), place));
                    self.now = self.now.max(due);
                    picked = Some(member.index);
                    break;
                }
                _ => {
                    std::collections::binary_heap::PeekMut::pop(first);
                    self.passed.push((due, place));
                }
            }
        }
        for (due, place) in self.passed.drain(..) {
            let tried = members.get(place).is_some_and(|member| tried.contains(&member.key));
            // One that was tried is still owed its turn; one that is not usable does not save turns up.
            let due = if tried { due } else { due.max(self.now) };
            self.due.push(Reverse((due, place)));
        }
        picked
    }
}
