//! What limits keep when a gateway is killed.

#![expect(
    clippy::unwrap_used,
    reason = "a test may; the lint knows functions with `#[test]` only"
)]

use std::fs;
use std::time::{Duration, Instant};

use causeway_tests::SiteSetup;
use causeway_tests::client::get;
use causeway_tests::until::until;
use tempfile::TempDir;

/// Calls that are let through, and those that are refused.
fn calls(site: &causeway_tests::Site, count: usize) -> (usize, usize) {
    let statuses: Vec<_> = (0..count).map(|_| get(site.public(), "/").unwrap().status).collect();
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 429)),
        "{statuses:?}"
    );
    (admitted, count - admitted)
}

#[test]
fn a_killed_gateway_loses_at_most_the_last_second_of_its_quotas() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().to_str().unwrap();
    let mut site = SiteSetup::new("aws")
        .environment("CAUSEWAY_STATE_DIR", state)
        .with("[[routes]]\nfixed = {}\n[routes.quota]\nrequests = 50\nper = \"month\"\n")
        .start();
    assert_eq!(calls(&site, 20), (20, 0));
    let list = folder.path().join("quotas");
    let began = Instant::now();
    until("it is written down", Duration::from_secs(10), || {
        fs::read_to_string(&list)
            .unwrap_or_default()
            .trim_end()
            .ends_with(" 20")
    });
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // What comes now may be lost, and nothing else.
    assert_eq!(calls(&site, 5), (5, 0));
    site.kill();
    site.restart();
    let (admitted, _) = calls(&site, 40);
    assert!((25..=30).contains(&admitted), "{admitted}");
}

#[test]
fn a_second_gateway_cannot_take_the_state_of_the_first() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().to_str().unwrap();
    let routes = "[[routes]]\nfixed = {}\n[routes.quota]\nrequests = 50\nper = \"month\"\n";
    let _site = SiteSetup::new("aws")
        .environment("CAUSEWAY_STATE_DIR", state)
        .with(routes)
        .start();
    let second = std::panic::catch_unwind(|| {
        SiteSetup::new("aws")
            .environment("CAUSEWAY_STATE_DIR", state)
            .with(routes)
            .start()
    });
    let told = second.unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("is in use by another gateway"), "{told}");
}
