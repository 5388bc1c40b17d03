//! Weighted choice between the services of a route.

use causeway_config::{ServiceRef, WeightedTarget};

/// The service that a random number falls on; each gets its weight's share of all numbers, one of weight 0 none.
///
/// None when there is no target or all weights are 0, which a checked configuration does not have.
pub fn pick(targets: &[WeightedTarget], random: u64) -> Option<&ServiceRef> {
    if let [only] = targets {
        return (only.weight > 0).then_some(&only.service);
    }
    let total: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    // Scales to 0..total without the bias of a remainder.
    let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    for target in targets {
        let weight = u64::from(target.weight);
        if left < weight {
            return Some(&target.service);
        }
        left -= weight;
    }
    None
}
