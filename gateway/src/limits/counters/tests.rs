use std::num::NonZeroU64;
use std::time::Duration;

use causeway_config as config;

use super::*;

fn bucket(amount: u64, per: Duration, burst: u64) -> Bucket {
    let amount = NonZeroU64::new(amount).unwrap();
    Bucket::new(config::Rate { amount, per }, burst)
}

fn key(rule: &Rule, text: &str) -> u64 {
    let mut hasher = rule.hasher();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn granted(taken: Taken) -> bool {
    matches!(taken, Taken::Granted { .. })
}

#[test]
fn workers_at_ten_times_the_limit_are_granted_exactly_the_limit_together() {
    let rule = Arc::new(Counters::new(1000)).rule("r");
    let bucket = bucket(1000, Duration::from_secs(3600), 1000);
    let now = Instant::now();
    let key = key(&rule, "one");
    let total: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..1250).filter(|_| granted(rule.take(key, &bucket, 1, now))).count()))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(total, 1000);
}

#[test]
fn rules_and_keys_are_counted_apart() {
    let counters = Arc::new(Counters::new(1000));
    let bucket = bucket(1, Duration::from_secs(60), 1);
    let now = Instant::now();
    for rule in ["a", "b"] {
        let rule = counters.rule(rule);
        for text in ["x", "y"] {
            assert!(granted(rule.take(key(&rule, text), &bucket, 1, now)), "{text}");
            assert!(!granted(rule.take(key(&rule, text), &bucket, 1, now)), "{text}");
        }
    }
}

#[test]
fn r1_a_reload_does_not_reset_what_was_spent() {
    let counters = Arc::new(Counters::new(1000));
    let bucket = bucket(1, Duration::from_secs(60), 1);
    let now = Instant::now();
    let before = counters.rule(("orders", "default"));
    assert!(granted(before.take(key(&before, "x"), &bucket, 1, now)));
    drop(before);
    let after = counters.rule(("orders", "default"));
    assert!(!granted(after.take(key(&after, "x"), &bucket, 1, now)));
}

#[test]
fn r1_made_up_keys_never_give_a_spent_key_a_fresh_bucket() {
    let counters = Arc::new(Counters::new(SHARDS * 4));
    let rule = counters.rule("r");
    let bucket = bucket(1, Duration::from_secs(60), 1);
    let now = Instant::now();
    let victim = key(&rule, "spent");
    assert!(granted(rule.take(victim, &bucket, 1, now)));
    for nth in 0..50_000 {
        rule.take(key(&rule, &nth.to_string()), &bucket, 1, now + Duration::from_secs(1));
        assert!(
            counters
                .shards
                .iter()
                .all(|shard| shard.read().unwrap().full_at.len() <= 4)
        );
    }
    assert!(!granted(rule.take(victim, &bucket, 1, now + Duration::from_secs(2))));
    assert!(counters.crowded() > 40_000, "{}", counters.crowded());
    // Newcomers of a full table get less than they should, not more: one bucket a shard among them.
    let late = now + Duration::from_secs(3);
    let newcomers = (0..10_000)
        .filter(|nth| granted(rule.take(key(&rule, &format!("n{nth}")), &bucket, 1, late)))
        .count();
    assert!(newcomers <= SHARDS, "{newcomers}");
}

#[test]
fn counters_that_are_full_again_make_room() {
    let counters = Arc::new(Counters::new(SHARDS * 4));
    let rule = counters.rule("r");
    let bucket = bucket(1, Duration::from_secs(1), 1);
    let now = Instant::now();
    for nth in 0..5000 {
        rule.take(key(&rule, &nth.to_string()), &bucket, 1, now);
    }
    let later = now + Duration::from_secs(5);
    let before = counters.crowded();
    // So few that no shard gets more of them than it has room for, however keys are hashed.
    for nth in 0..SHARDS / 32 {
        assert!(granted(rule.take(key(&rule, &format!("n{nth}")), &bucket, 1, later)));
    }
    assert_eq!(counters.crowded(), before);
}

#[test]
fn r1_a_million_keys_take_less_than_64_mib() {
    let counters = Arc::new(Counters::new(KEYS));
    let rule = counters.rule("r");
    let bucket = bucket(1, Duration::from_secs(3600), 1);
    let now = Instant::now();
    // Twice as many as there is room for; multiplied, because the keys of a table are hashes.
    for nth in 0..2 * KEYS as u64 {
        rule.take(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15), &bucket, 1, now);
    }
    assert!(counters.keys() > KEYS * 9 / 10 && counters.keys() <= KEYS + SHARDS);
    // The table has room for 8/7 of its capacity, with one more byte for each place.
    let bytes: usize = counters
        .shards
        .iter()
        .map(|shard| shard.read().unwrap().full_at.capacity() * 8 / 7 * (size_of::<(u64, AtomicU64)>() + 1))
        .sum();
    assert!(bytes < 64 << 20, "{bytes}");
}
