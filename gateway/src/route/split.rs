//! Choice between the targets of a route: the best tier that can take calls, and there by weight.

use causeway_config::WeightedTarget;

/// The target that a random number falls on, by its place; each gets its weight's share of all numbers, one of weight 0
/// none. Only those that are `able` to take calls are chosen, of the lowest tier that has one; where none is, all are.
///
/// None when there is no target or all weights are 0, which a checked configuration does not have.
pub fn pick(targets: &[WeightedTarget], able: impl Fn(usize) -> bool, random: u64) -> Option<usize> {
    if let [only] = targets {
        return (only.weight > 0).then_some(0);
    }
    let best = |able: &dyn Fn(usize) -> bool| {
        let open = targets.iter().enumerate();
        let open = open.filter(|(at, target)| target.weight > 0 && able(*at));
        open.map(|(_, target)| target.priority).min()
    };
    match best(&able) {
        Some(tier) => by_weight(targets, tier, able, random),
        None => by_weight(targets, best(&|_| true)?, |_| true, random),
    }
}

fn by_weight(targets: &[WeightedTarget], tier: u16, able: impl Fn(usize) -> bool, random: u64) -> Option<usize> {
    let open = || {
        let all = targets.iter().enumerate();
        all.filter(|(at, target)| target.priority == tier && able(*at))
    };
    let total: u64 = open().map(|(_, target)| u64::from(target.weight)).sum();
    // Scales to 0..total without the bias of a remainder.
    let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    for (at, target) in open() {
        let weight = u64::from(target.weight);
        if left < weight {
            return Some(at);
        }
        left -= weight;
    }
    None
}

/// Where a call goes on that nobody took at `chosen`: of each later tier the heaviest target that is able, tier by tier.
pub fn later(targets: &[WeightedTarget], able: impl Fn(usize) -> bool, chosen: usize) -> Vec<usize> {
    let Some(from) = targets.get(chosen).map(|target| target.priority) else {
        return Vec::new();
    };
    let mut open: Vec<(usize, &WeightedTarget)> = targets
        .iter()
        .enumerate()
        .filter(|(at, target)| target.priority > from && target.weight > 0 && able(*at))
        .collect();
    open.sort_by_key(|(_, target)| (target.priority, std::cmp::Reverse(target.weight)));
    open.dedup_by_key(|(_, target)| target.priority);
    open.into_iter().map(|(at, _)| at).collect()
}
