//! What a gateway has under way at a service at most.

use std::sync::atomic::Ordering;

use crate::backend::Backend;
use crate::support::{Client, Site, service, until};

fn refused(site: &Site, limit: &str) -> Option<f64> {
    site.metric(&format!(
        "causeway_service_refused_total{{service=\"backend\",limit=\"{limit}\"}}"
    ))
}

/// Sends so many requests at a time, each on a connection of its own; the statuses, and the heads of refusals.
fn at_once(site: &Site, count: usize) -> Vec<(u16, String)> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(site.address()).unwrap()).collect();
    for client in &mut clients {
        client.send("GET", "/x", "", "").unwrap();
    }
    let answers = clients.iter_mut().map(|client| client.answer().unwrap());
    answers.map(|answer| (answer.status, answer.head)).collect()
}

#[test]
fn no_more_calls_than_max_requests_are_under_way_over_all_workers() {
    let backend = Backend::start();
    backend.does.pause.store(500, Ordering::Relaxed);
    let site = Site::start(
        "local",
        2,
        &service("http", &[backend.address], "breaker = { max_requests = 5 }"),
    );
    let answers = at_once(&site, 12);
    let good = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(good, 5, "{answers:?}");
    for (status, head) in answers.iter().filter(|(status, _)| *status != 200) {
        assert_eq!(*status, 503);
        assert!(head.contains("retry-after: 1\n"), "{head}");
    }
    assert_eq!(backend.does.most.load(Ordering::Relaxed), 5);
    assert_eq!(refused(&site, "max_requests"), Some(7.0));
    backend.does.pause.store(0, Ordering::Relaxed);
    until("the places come back", || {
        at_once(&site, 5).iter().all(|(status, _)| *status == 200)
    });
}

#[test]
fn no_more_connections_than_max_connections_stand_over_all_workers_and_nobody_starves() {
    for version in ["http1", "http2"] {
        let (one, two) = (Backend::start(), Backend::start());
        let more = format!("version = '{version}'\nbreaker = {{ max_connections = 2 }}");
        let site = Site::start("local", 2, &service("http", &[one.address, two.address], &more));
        for backend in [&one, &two] {
            backend.does.pause.store(20, Ordering::Relaxed);
        }
        for _ in 0..3 {
            for (status, _) in at_once(&site, 12) {
                assert_eq!(status, 200, "{version}");
            }
        }
        let most = |backend: &Backend| backend.does.most_connections.load(Ordering::Relaxed);
        assert!(
            most(&one) <= 2 && most(&two) <= 2,
            "{version}: {} and {}",
            most(&one),
            most(&two)
        );
        assert!(most(&one) + most(&two) > 0);
        assert_eq!(refused(&site, "max_connections"), None);
    }
}

#[test]
fn no_more_calls_than_max_pending_wait_for_a_connection() {
    let backend = Backend::start();
    backend.does.pause.store(500, Ordering::Relaxed);
    let more = "breaker = { max_connections = 1, max_pending = 2 }";
    let site = Site::start("local", 2, &service("http", &[backend.address], more));
    let answers = at_once(&site, 8);
    let good = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(good, 3, "one is served and two wait: {answers:?}");
    assert_eq!(refused(&site, "max_pending"), Some(5.0));
    assert_eq!(backend.does.most.load(Ordering::Relaxed), 1);
}

#[test]
fn a_place_is_given_back_when_the_client_goes_away() {
    let backend = Backend::start();
    backend.does.pause.store(60_000, Ordering::Relaxed);
    let site = Site::start(
        "local",
        1,
        &service("http", &[backend.address], "breaker = { max_requests = 1 }"),
    );
    let mut client = Client::connect(site.address()).unwrap();
    client.send("GET", "/x", "", "").unwrap();
    until("the call is under way", || backend.calls() == 1);
    assert_eq!(site.get("/x"), 503);
    drop(client);
    backend.does.pause.store(0, Ordering::Relaxed);
    until("the place is free", || site.get("/x") == 200);
}
