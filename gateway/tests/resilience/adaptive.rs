//! A limit that follows from how long replies take, and who is refused first.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::backend::Backend;
use crate::support::{Client, Site, service, until};

const RULE: &str = "adaptive = { min = 2, max = 64, window = '100ms' }";

/// Clients that never pause, each with a connection of its own.
fn load(address: SocketAddr, clients: usize, stop: &AtomicBool, refused: &AtomicU32) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::connect(address).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if client.ask("GET", "/x", "", "").unwrap().status == 503 {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn a_service_that_slows_down_under_load_is_given_fewer_calls_and_a_quick_one_all() {
    let backend = Backend::start();
    let site = Site::start("local", 2, &service("http", &[backend.address], RULE));
    let limit = || site.metric("causeway_service_limit{service=\"backend\"}");
    let (stop, refused) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| load(site.address(), 16, &stop, &refused));
        backend.does.pause.store(5, Ordering::Relaxed);
        until("some windows have passed", || backend.calls() > 500);
        let early = refused.load(Ordering::Relaxed);
        // Much slower at once, as when all wait for one database.
        backend.does.pause.store(100, Ordering::Relaxed);
        until("the limit has gone down", || limit() < Some(16.0));
        until("calls are refused", || refused.load(Ordering::Relaxed) > early);
        backend.does.pause.store(5, Ordering::Relaxed);
        until("the limit has grown again", || limit() >= Some(16.0));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(site.metric("causeway_service_refused_total{service=\"backend\",limit=\"adaptive\"}") > Some(0.0));
}

#[test]
fn calls_of_low_priority_are_refused_first() {
    let backend = Backend::start();
    backend.does.pause.store(60_000, Ordering::Relaxed);
    let tables = format!(
        "[[services]]\nname = 'backend'\nprotocol = 'http'\nendpoints = ['{}']\nbreaker = {{ max_requests = 5 }}\n\
         [[routes]]\nmatch = {{ path_prefix = '/low' }}\nto = 'backend'\npriority = 'low'\n\
         [[routes]]\nmatch = {{ path_prefix = '/' }}\nto = 'backend'\n",
        backend.address
    );
    let site = Site::start("local", 2, &tables);
    let mut held = Vec::new();
    let hold = |path: &str| {
        let mut client = Client::connect(site.address()).unwrap();
        client.send("GET", path, "", "").unwrap();
        client
    };
    for count in 1..=4 {
        held.push(hold("/low"));
        until("it is under way", || backend.calls() == count);
    }
    assert_eq!(site.get("/low"), 503, "four of five are all that low may have");
    held.push(hold("/normal"));
    until("a normal one is under way", || backend.calls() == 5);
    assert_eq!(site.get("/normal"), 503);
}
