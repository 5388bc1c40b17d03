//! Attempts beside one that takes long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::backend::Backend;
use crate::support::{Site, grpc, service, until};

fn made(site: &Site) -> Option<f64> {
    site.metric("causeway_hedges_total{service=\"backend\",result=\"made\"}")
}

#[test]
fn the_quicker_of_two_attempts_wins_and_the_slower_is_cancelled() {
    let (slow, quick) = (Backend::start(), Backend::start());
    slow.does.pause.store(60_000, Ordering::Relaxed);
    let more = "hedge = { after = '20ms' }\nretry = { attempts = 1 }";
    let site = Site::start("local", 1, &service("http", &[slow.address, quick.address], more));
    for _ in 0..6 {
        let answer = site.ask("PUT", "/x", "", "what was sent").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"what was sent"[..]));
    }
    assert_eq!(quick.calls(), 6);
    assert!(slow.calls() >= 1);
    assert_eq!(made(&site), Some(f64::from(slow.calls())));
    until("the slower ones are cancelled", || {
        slow.does.under_way.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn what_may_not_be_made_twice_is_not() {
    let backend = Backend::start();
    backend.does.pause.store(100, Ordering::Relaxed);
    let more = "hedge = { after = '5ms' }";
    let site = Site::start("local", 1, &service("http", &[backend.address], more));
    assert_eq!(site.ask("POST", "/x", "", "once").unwrap().status, 200);
    assert_eq!(backend.calls(), 1);
    let more = "hedge = { after = '5ms' }\nidempotent_methods = ['shop.Orders/Get']";
    let site = Site::start("local", 1, &service("grpc", &[backend.address], more));
    assert_eq!(grpc(site.address(), "/shop.Orders/Put").unwrap(), 0);
    assert_eq!(backend.calls(), 2);
    assert_eq!(grpc(site.address(), "/shop.Orders/Get").unwrap(), 0);
    assert_eq!(backend.calls(), 4, "the method says that it may");
}

#[test]
fn hedges_count_in_the_retry_budget() {
    let backend = Backend::start();
    backend.does.pause.store(60, Ordering::Relaxed);
    let more = "hedge = { after = '5ms' }";
    let site = Site::start("local", 1, &service("http", &[backend.address], more));
    for _ in 0..20 {
        assert_eq!(site.get("/x"), 200);
    }
    assert_eq!(
        made(&site),
        Some(10.0),
        "ten are always allowed, and a fifth of 20 is less"
    );
    let denied = site.metric("causeway_hedges_total{service=\"backend\",result=\"no_budget\"}");
    assert_eq!(denied, Some(10.0));
}

#[test]
fn a_percentile_is_waited_for_that_recent_replies_gave() {
    let (one, two) = (Backend::start(), Backend::start());
    let more = "hedge = { after = 'p95' }\nretry = { attempts = 1 }\ntimeouts = { total = '10s' }";
    let site = Site::start("local", 1, &service("http", &[one.address, two.address], more));
    // Quick replies for longer than it takes until the percentile is looked at: those that are given up below must not be
    // the first that it is made of.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        assert_eq!(site.get("/x"), 200);
    }
    one.does.pause.store(60_000, Ordering::Relaxed);
    until("a hedge is made", || {
        let mut client = crate::support::Client::connect(site.address()).unwrap();
        client.send("GET", "/x", "", "").unwrap();
        std::thread::park_timeout(Duration::from_millis(50));
        drop(client);
        made(&site).is_some()
    });
    for _ in 0..4 {
        assert_eq!(site.get("/x"), 200);
    }
}
