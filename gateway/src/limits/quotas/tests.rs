use super::*;

fn key(rule: &QuotaRule, text: &str) -> SipHasher13 {
    let mut hasher = rule.hasher();
    hasher.write(text.as_bytes());
    hasher
}

#[test]
fn a_quota_is_spent_once_and_begins_anew_with_its_period() {
    let rule = Arc::new(Quotas::default()).rule(&["r"]);
    let one = key(&rule, "one");
    for spent in 1..=3 {
        assert_eq!(rule.spend(&one, 1, 3, 10, 100), Spending { spent, granted: true });
    }
    assert_eq!(
        rule.spend(&one, 1, 3, 99, 100),
        Spending {
            spent: 3,
            granted: false
        }
    );
    assert_eq!(
        rule.spend(&one, 1, 3, 100, 200),
        Spending {
            spent: 1,
            granted: true
        }
    );
    assert_eq!(rule.spend(&key(&rule, "other"), 1, 3, 10, 100).spent, 1);
    // A clock that is set back finds the period that it knows.
    assert_eq!(
        rule.spend(&one, 1, 3, 99, 100),
        Spending {
            spent: 2,
            granted: true
        }
    );
}

#[test]
fn workers_at_ten_times_the_quota_are_granted_exactly_the_quota_together() {
    let rule = Arc::new(Quotas::default()).rule(&["r"]);
    let total: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..1250)
                        .filter(|_| rule.spend(&key(&rule, "x"), 1, 1000, 1, 2).granted)
                        .count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(total, 1000);
}

#[test]
fn r1_made_up_keys_never_give_a_spent_key_a_fresh_quota() {
    let quotas = Arc::new(Quotas::new(1, SHARDS * 4));
    let rule = quotas.rule(&["r"]);
    let victim = key(&rule, "spent");
    assert!(rule.spend(&victim, 1, 1, 10, 100).granted);
    for nth in 0..20_000 {
        rule.spend(&key(&rule, &nth.to_string()), 1, 1, 10 + nth / 1000, 100);
    }
    assert!(!rule.spend(&victim, 1, 1, 50, 100).granted);
    assert!(
        quotas.len() <= SHARDS * 4 + 1,
        "and one that is shared: {}",
        quotas.len()
    );
    assert!(quotas.crowded() > 10_000);
    // With the period over there is room again.
    let crowded = quotas.crowded();
    assert!(rule.spend(&key(&rule, "new"), 1, 1, 150, 200).granted);
    assert_eq!(quotas.crowded(), crowded);
}
