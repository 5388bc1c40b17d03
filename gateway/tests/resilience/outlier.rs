//! Ejection of endpoints whose calls fail.

use std::sync::atomic::Ordering;

use crate::backend::Backend;
use crate::support::{Site, grpc, service, until};

/// A quick ejection, and no second attempt that would hide a failure.
const RULE: &str = "retry = { attempts = 1 }\n\
                    outlier = { consecutive = 3, base_ejection = '1s', max_ejection = '2s', interval = '200ms' }";

fn ejections(site: &Site) -> Option<f64> {
    site.metric("causeway_endpoint_ejections_total{service=\"backend\",reason=\"consecutive\"}")
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_left_out_for_a_while() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.answers(500);
    let site = Site::start("local", 2, &service("http", &[good.address, bad.address], RULE));
    let mut failures = 0;
    until("it is ejected", || {
        failures += u32::from(site.get("/x") == 500);
        ejections(&site).is_some()
    });
    // What was under way when the third came in is not called back.
    assert!((3..=4).contains(&failures), "{failures} calls failed");
    bad.answers(200);
    let before = bad.calls();
    assert_eq!(site.get("/x"), 200);
    assert_eq!(bad.calls(), before, "it gets nothing while it is out");
    until("it gets calls again", || {
        assert_eq!(site.get("/x"), 200);
        bad.calls() > before
    });
}

#[test]
fn a_grpc_status_counts_wherever_it_comes() {
    for late in [false, true] {
        let (good, bad) = (Backend::start(), Backend::start());
        bad.does.code.store(14, Ordering::Relaxed);
        bad.does.late.store(late, Ordering::Relaxed);
        let site = Site::start("local", 1, &service("grpc", &[good.address, bad.address], RULE));
        let mut failures = 0;
        until("it is ejected", || {
            failures += u32::from(grpc(site.address(), "/shop.Orders/Get").unwrap() == 14);
            ejections(&site).is_some()
        });
        assert_eq!(failures, 3, "late: {late}");
    }
}

#[test]
fn a_grpc_status_that_is_the_clients_fault_ejects_nobody() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.does.code.store(5, Ordering::Relaxed);
    let site = Site::start("local", 1, &service("grpc", &[good.address, bad.address], RULE));
    for _ in 0..20 {
        grpc(site.address(), "/shop.Orders/Get").unwrap();
    }
    assert_eq!(bad.calls(), 10);
    assert_eq!(ejections(&site), None);
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_is_ejected() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.does.pause.store(60_000, Ordering::Relaxed);
    let more = format!("{RULE}\ntimeouts = {{ total = '100ms' }}");
    let site = Site::start("local", 1, &service("http", &[good.address, bad.address], &more));
    until("it is ejected", || {
        site.get("/x");
        ejections(&site).is_some()
    });
    assert_eq!(bad.calls(), 3);
}

#[test]
fn the_last_endpoint_is_never_ejected() {
    let bad = Backend::start();
    bad.answers(503);
    let site = Site::start("local", 1, &service("http", &[bad.address], RULE));
    for _ in 0..10 {
        assert_eq!(site.get("/x"), 503);
    }
    assert_eq!(ejections(&site), None);
    assert_eq!(bad.calls(), 10);
}

#[test]
fn a_share_of_failures_ejects_after_an_interval() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.answers(500);
    let more = "retry = { attempts = 1 }\noutlier = { consecutive = 0, failure_percent = '50%', min_requests = 5, interval = '200ms' }";
    let site = Site::start("local", 2, &service("http", &[good.address, bad.address], more));
    until("it is ejected", || {
        site.get("/x");
        site.metric("causeway_endpoint_ejections_total{service=\"backend\",reason=\"failure_percent\"}")
            .is_some()
    });
    for _ in 0..10 {
        assert_eq!(site.get("/x"), 200);
    }
}
