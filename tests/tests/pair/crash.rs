//! Gateways that die and come back.

use std::time::Duration;

use causeway_tests::{Pair, client, holds_within, until};

use crate::backends::Running;

/// After its return, either gateway is of use again within this.
const HEALED: Duration = Duration::from_secs(2);

fn answers(pair: &Pair) -> bool {
    client::get(pair.aws.public(), "/").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn the_pair_heals_within_two_seconds_of_the_return_of_the_far_gateway() {
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    assert!(answers(&pair));
    for round in 0..3 {
        pair.azure.kill();
        until("calls fail", Duration::from_secs(10), || !answers(&pair));
        let refused = client::get(pair.aws.public(), "/").unwrap();
        assert!(
            matches!(refused.status, 502..=504),
            "round {round}: {} {}",
            refused.status,
            refused.text()
        );
        pair.azure.restart();
        let healed = holds_within(HEALED, || answers(&pair));
        assert!(
            healed.is_some(),
            "round {round}: no answer within {HEALED:?} of the return"
        );
    }
}

#[test]
fn the_pair_heals_within_two_seconds_of_the_return_of_the_entry_gateway() {
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    for round in 0..3 {
        assert!(answers(&pair), "round {round}");
        pair.aws.restart();
        let healed = holds_within(HEALED, || answers(&pair));
        assert!(
            healed.is_some(),
            "round {round}: no answer within {HEALED:?} of the return"
        );
    }
}

#[test]
fn a_call_under_way_when_the_far_gateway_dies_ends_with_an_error() {
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    let entry = pair.aws.public();
    let asking = std::thread::spawn(move || client::get(entry, "/hang"));
    let waits = || {
        let counters = client::get(backends.upstreams().http, "/counters").unwrap().json();
        counters["waiting"] == 1
    };
    until("the call has reached the backend", Duration::from_secs(5), waits);
    pair.azure.kill();
    let answer = asking.join().unwrap().unwrap();
    assert!(
        matches!(answer.status, 502..=504),
        "{} {}",
        answer.status,
        answer.text()
    );
}
