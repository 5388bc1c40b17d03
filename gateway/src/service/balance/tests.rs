use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Fake {
    generation: u64,
    list: Vec<(Shape, bool, Cell<u32>)>,
}

impl EndpointSet for Fake {
    fn generation(&self) -> u64 {
        self.generation
    }
    fn len(&self) -> usize {
        self.list.len()
    }
    fn shape(&self, index: usize) -> Shape {
        self.list[index].0
    }
    fn usable(&self, index: usize) -> bool {
        self.list[index].1
    }
    fn in_flight(&self, index: usize) -> u32 {
        self.list[index].2.get()
    }
    /// As if the busy ones were the slow ones.
    fn cost(&self, index: usize) -> f32 {
        self.list[index].2.get() as f32
    }
}

fn tried_of(tried: &[u64]) -> Ask<'_> {
    Ask {
        tried,
        ..Ask::default()
    }
}

/// Key, weight, tier.
fn fleet(shapes: &[(u64, u32, u16)]) -> Fake {
    let list = shapes
        .iter()
        .map(|&(key, weight, priority)| (Shape { key, weight, priority }, true, Cell::new(0)))
        .collect();
    Fake { generation: 1, list }
}

fn count(balancer: &Balancer, set: &Fake, calls: usize) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        let index = balancer.pick(set, &Ask::default()).unwrap();
        *counts.entry(set.list[index].0.key).or_insert(0) += 1;
    }
    counts
}

const BOTH: [Balance; 2] = [Balance::RoundRobin, Balance::LeastRequest];
const ALL: [Balance; 4] = [
    Balance::RoundRobin,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::RingHash,
];

#[test]
fn calls_are_shared_by_weight() {
    #[rustfmt::skip]
    let cases: &[&[u32]] = &[&[1], &[1, 1, 1], &[5, 1, 1], &[90, 10], &[1, 2, 3, 4], &[200, 1], &[65_535, 65_535], &[u32::MAX, u32::MAX], &[3, 0, 1]];
    for balance in BOTH {
        for weights in cases {
            let shapes: Vec<_> = weights
                .iter()
                .enumerate()
                .map(|(key, weight)| (key as u64, *weight, 0))
                .collect();
            let counts = count(&Balancer::seeded(balance, 7), &fleet(&shapes), 20_000);
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (key, weight) in weights.iter().enumerate() {
                let share = 20_000.0 * f64::from(*weight) / total as f64;
                let found = counts.get(&(key as u64)).copied().unwrap_or(0) as f64;
                // Turns are exact; draws are random.
                let off = match balance {
                    Balance::RoundRobin => 1.0,
                    _ => 5.0 * share.sqrt(),
                };
                assert!((found - share).abs() <= off, "{balance:?} {weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn turns_are_spread_evenly() {
    let set = fleet(&[(0, 5, 0), (1, 1, 0), (2, 1, 0)]);
    for seed in 0..50 {
        let balancer = Balancer::seeded(Balance::RoundRobin, seed);
        let order: Vec<_> = (0..70).map(|_| balancer.pick(&set, &Ask::default()).unwrap()).collect();
        for window in order.windows(7) {
            let first = window.iter().filter(|index| **index == 0).count();
            assert!((4..=6).contains(&first), "{order:?}");
        }
    }
    let alike = fleet(&[(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)]);
    let balancer = Balancer::seeded(Balance::RoundRobin, 3);
    let order: Vec<_> = (0..40)
        .map(|_| balancer.pick(&alike, &Ask::default()).unwrap())
        .collect();
    assert!(order.windows(5).all(|window| window[0] == window[4]), "{order:?}");
}

#[test]
fn workers_begin_at_different_endpoints() {
    let set = fleet(&[(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)]);
    let mut first = [0; 4];
    for seed in 0..400u64 {
        let balancer = Balancer::seeded(Balance::RoundRobin, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        first[balancer.pick(&set, &Ask::default()).unwrap()] += 1;
    }
    assert!(first.iter().all(|count| (50..150).contains(count)), "{first:?}");
}

#[test]
fn a_tier_is_used_only_when_those_before_it_have_nobody_left() {
    for balance in BOTH {
        let mut set = fleet(&[(10, 1, 5), (11, 1, 0), (12, 1, 0), (13, 1, 9)]);
        let balancer = Balancer::seeded(balance, 1);
        let keys = |set: &Fake| count(&balancer, set, 100).into_keys().collect::<Vec<_>>();
        assert_eq!(keys(&set), [11, 12]);
        set.list[1].1 = false;
        assert_eq!(keys(&set), [12]);
        set.list[2].1 = false;
        assert_eq!(keys(&set), [10]);
        set.list[0].1 = false;
        assert_eq!(keys(&set), [13]);
        set.list[3].1 = false;
        assert_eq!(balancer.pick(&set, &Ask::default()), None);
        set.list[2].1 = true;
        assert_eq!(keys(&set), [12], "back again");
    }
}

#[test]
fn what_was_tried_is_not_tried_again() {
    for balance in ALL {
        let set = fleet(&[(10, 100, 0), (11, 1, 0), (12, 1, 1)]);
        let balancer = Balancer::seeded(balance, 1);
        for _ in 0..50 {
            let mut tried = Vec::new();
            while let Some(index) = balancer.pick(&set, &tried_of(&tried)) {
                tried.push(set.list[index].0.key);
            }
            assert_eq!(tried.len(), 3);
            assert_eq!(tried[2], 12, "the next tier comes last");
        }
    }
}

#[test]
fn there_is_none_in_an_empty_set_and_none_without_weight() {
    for balance in BOTH {
        let balancer = Balancer::new(balance);
        assert_eq!(balancer.pick(&fleet(&[]), &Ask::default()), None);
        assert!(fleet(&[]).is_empty());
        let mut idle = fleet(&[(1, 0, 0)]);
        idle.generation = 2;
        assert_eq!(balancer.pick(&idle, &Ask::default()), None);
    }
}

#[test]
fn a_change_of_the_endpoints_does_not_begin_the_turns_anew() {
    // With a change before every call, a balancer that began anew would be as good as random or stick to the first.
    let balancer = Balancer::seeded(Balance::RoundRobin, 5);
    let mut counts = [0usize; 3];
    for generation in 0..3000 {
        // The order changes, and a fourth comes and goes.
        let mut shapes = vec![(0, 2, 0), (1, 1, 0), (2, 1, 0)];
        shapes.rotate_left(generation % 3);
        let mut set = fleet(&shapes);
        set.generation = generation as u64;
        let index = balancer.pick(&set, &Ask::default()).unwrap();
        counts[set.list[index].0.key as usize] += 1;
    }
    assert!(
        counts
            .iter()
            .zip([1500, 750, 750])
            .all(|(found, share)| found.abs_diff(share) <= 1),
        "{counts:?}"
    );
}

#[test]
fn an_endpoint_that_comes_back_or_is_new_gets_no_burst() {
    let balancer = Balancer::seeded(Balance::RoundRobin, 5);
    let mut three = fleet(&[(0, 1, 0), (1, 1, 0), (2, 1, 0)]);
    three.list[2].1 = false;
    count(&balancer, &three, 1000);
    three.list[2].1 = true;
    let counts = count(&balancer, &three, 30);
    assert!(counts[&2] <= 11, "{counts:?}");
    let mut four = fleet(&[(0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)]);
    four.generation = 2;
    let counts = count(&balancer, &four, 40);
    assert!(counts.values().all(|count| (9..=11).contains(count)), "{counts:?}");
}

#[test]
fn the_less_busy_is_preferred_in_proportion_to_weight() {
    let balancer = Balancer::seeded(Balance::LeastRequest, 5);
    let pair = fleet(&[(0, 1, 0), (1, 1, 0)]);
    pair.list[0].2.set(1);
    assert_eq!(count(&balancer, &pair, 100).get(&0), None);
    // Three under way of weight 4 are less than one of weight 1.
    let uneven = Fake {
        generation: 2,
        ..fleet(&[(0, 4, 0), (1, 1, 0)])
    };
    uneven.list[0].2.set(3);
    uneven.list[1].2.set(1);
    assert_eq!(count(&balancer, &uneven, 100).get(&1), None);
    // Calls that never end fill all up by weight.
    let shapes: Vec<_> = (0..64).map(|key| (key, 1 + key as u32 % 2, 0)).collect();
    let many = Fake {
        generation: 3,
        ..fleet(&shapes)
    };
    for _ in 0..96 * 20 {
        let index = balancer.pick(&many, &Ask::default()).unwrap();
        many.list[index].2.set(many.list[index].2.get() + 1);
    }
    for (shape, _, busy) in &many.list {
        let share = 20 * shape.weight;
        assert!(
            busy.get().abs_diff(share) <= 6,
            "weight {}: {}",
            shape.weight,
            busy.get()
        );
    }
}

#[test]
fn calls_that_are_alike_go_to_the_same_endpoint_and_a_change_moves_only_its_share() {
    let balancer = Balancer::seeded(Balance::RingHash, 1);
    let shapes: Vec<_> = (0..10).map(|key| (key * 7919, 1, 0)).collect();
    let placed = |set: &Fake| -> Vec<u64> {
        let ask = |hash| Ask { hash, ..Ask::default() };
        let keys = (0..4000).map(|hash| balancer.pick(set, &ask(hash)).unwrap());
        keys.map(|index| set.list[index].0.key).collect()
    };
    let ten = placed(&fleet(&shapes));
    assert_eq!(ten, placed(&fleet(&shapes)));
    for (key, ..) in &shapes {
        let share = ten.iter().filter(|placed| *placed == key).count();
        assert!((250..=550).contains(&share), "{key}: {share} of 4000");
    }
    let nine = placed(&Fake {
        generation: 2,
        ..fleet(&shapes[1..])
    });
    for (before, after) in ten.iter().zip(&nine) {
        assert!(before == after || *before == shapes[0].0, "{before} became {after}");
    }
    // Whoever is not usable is stood in for, and nobody else is moved.
    let mut down = Fake {
        generation: 3,
        ..fleet(&shapes)
    };
    down.list[3].1 = false;
    for (before, after) in ten.iter().zip(&placed(&down)) {
        assert!(before == after || *before == shapes[3].0);
    }
}

#[test]
fn a_hot_key_is_shared_when_its_endpoint_has_far_more_to_do_than_the_others() {
    let balancer = Balancer::seeded(Balance::RingHash, 1);
    let set = fleet(&[(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 0)]);
    for _ in 0..400 {
        let index = balancer.pick(&set, &Ask::default()).unwrap();
        set.list[index].2.set(set.list[index].2.get() + 1);
    }
    let busy: Vec<_> = set.list.iter().map(|(_, _, busy)| busy.get()).collect();
    assert!(busy.iter().all(|busy| *busy <= 126), "{busy:?}");
    assert_eq!(busy.iter().sum::<u32>(), 400);
    let few = Fake {
        generation: 2,
        ..fleet(&[(1, 1, 0), (2, 1, 0)])
    };
    for _ in 0..8 {
        let index = balancer.pick(&few, &Ask::default()).unwrap();
        few.list[index].2.set(few.list[index].2.get() + 1);
    }
    assert!(
        few.list.iter().any(|(_, _, busy)| busy.get() == 8),
        "a few calls stay together"
    );
}

#[test]
fn the_sooner_of_two_gets_the_call() {
    let balancer = Balancer::seeded(Balance::PeakEwma, 1);
    let pair = fleet(&[(0, 1, 0), (1, 1, 0)]);
    pair.list[0].2.set(1);
    assert_eq!(count(&balancer, &pair, 100).get(&0), None);
}

#[test]
fn a_tier_that_is_asked_first_is_left_when_it_has_nobody() {
    for balance in ALL {
        let balancer = Balancer::seeded(balance, 1);
        let mut set = fleet(&[(0, 1, 0), (1, 1, 1)]);
        let ask = Ask {
            tier: Some(1),
            ..Ask::default()
        };
        assert_eq!(balancer.pick(&set, &ask), Some(1));
        set.list[1].1 = false;
        assert_eq!(balancer.pick(&set, &ask), Some(0));
    }
}

proptest! {
    /// Whatever is unusable, tried or changed: never one of those, never a later tier while an earlier one has somebody,
    /// and always somebody while there is one.
    #[test]
    fn a_pick_is_open_and_of_the_first_tier_that_has_one(
        steps in proptest::collection::vec(
            (proptest::collection::vec((0..12u64, 0..4u32, 0..3u16, any::<bool>(), 0..5u32), 0..10), proptest::collection::vec(0..12u64, 0..4)),
            1..12,
        ),
        balance in 0..4usize,
        hash: u64,
        seed: u64,
    ) {
        let balancer = Balancer::seeded(ALL[balance], seed);
        for (generation, (list, tried)) in steps.into_iter().enumerate() {
            let list: Vec<_> = list
                .into_iter()
                .map(|(key, weight, priority, usable, busy)| (Shape { key, weight, priority }, usable, Cell::new(busy)))
                .collect();
            let set = Fake { generation: generation as u64, list };
            let open = |(shape, usable, _): &&(Shape, bool, Cell<u32>)| {
                *usable && shape.weight > 0 && !tried.contains(&shape.key)
            };
            let best = set.list.iter().filter(open).map(|(shape, _, _)| shape.priority).min();
            for _ in 0..4 {
                let ask = Ask { hash, ..tried_of(&tried) };
                let picked = balancer.pick(&set, &ask).map(|index| &set.list[index]);
                prop_assert_eq!(picked.map(|(shape, _, _)| shape.priority), best);
                prop_assert!(picked.iter().all(open));
            }
        }
    }
}
