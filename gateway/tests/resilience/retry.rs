//! Further attempts: on what, how many, how soon.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::support::{Client, Site, grpc, service};

const ON: &str = "retry = { attempts = 3, on = ['connect-failure', '5xx', 'unavailable'], backoff = '1ms', budget_percent = '100%' }";

fn retries(site: &Site, result: &str) -> Option<f64> {
    site.metric(&format!(
        "causeway_retries_total{{service=\"backend\",result=\"{result}\"}}"
    ))
}

fn fails(backend: &Backend, status: u16, times: i32) {
    backend.answers(status);
    backend.does.failing.store(times, Ordering::Relaxed);
}

#[test]
fn n4_a_dead_backend_is_called_at_most_a_fifth_more_often() {
    let backend = Backend::start();
    backend.answers(503);
    let more = "retry = { attempts = 5, on = ['5xx'], backoff = '1ms' }";
    let site = Site::start("local", 2, &service("http", &[backend.address], more));
    let calls: u32 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(site.address()).unwrap();
                    let failed = (0..75).filter(|_| client.ask("GET", "/x", "", "").unwrap().status == 503);
                    u32::try_from(failed.count()).unwrap()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(calls, 600, "every client is told");
    let seen = backend.calls();
    assert!(seen > 600, "the budget is used");
    // Ten a worker are allowed before a share of its calls is that much.
    assert!(
        f64::from(seen) <= f64::from(calls) * 1.2 + 10.0,
        "{calls} calls became {seen}"
    );
    assert!(retries(&site, "no_budget") > Some(0.0));
    assert_eq!(retries(&site, "made"), Some(f64::from(seen - calls)));
}

#[test]
fn a_reply_that_is_listed_is_asked_for_again_and_its_connection_kept() {
    for version in ["http1", "http2"] {
        let backend = Backend::start();
        let more = format!("{ON}\nversion = '{version}'");
        let site = Site::start("local", 1, &service("http", &[backend.address], &more));
        for _ in 0..5 {
            fails(&backend, 503, 2);
            assert_eq!(site.get("/x"), 200, "{version}");
        }
        assert_eq!(backend.calls(), 15);
        assert_eq!(
            backend.does.connected.load(Ordering::Relaxed),
            1,
            "{version}: drained and used again"
        );
        fails(&backend, 503, 3);
        assert_eq!(site.get("/x"), 503, "the last answer is passed on");
        fails(&backend, 404, 1);
        assert_eq!(site.get("/x"), 404, "not listed");
    }
}

#[test]
fn the_body_is_sent_again_with_a_call_that_may_be_made_twice_only() {
    let backend = Backend::start();
    let site = Site::start("local", 1, &service("http", &[backend.address], ON));
    fails(&backend, 500, 1);
    let put = site.ask("PUT", "/x", "", "what was sent").unwrap();
    assert_eq!((put.status, put.body.as_slice()), (200, &b"what was sent"[..]));
    assert_eq!(backend.calls(), 2);
    fails(&backend, 500, 1);
    assert_eq!(site.ask("POST", "/x", "", "once").unwrap().status, 500);
    assert_eq!(backend.calls(), 3, "a POST is made once");
    let always = ON.replace("retry = {", "retry = { non_idempotent = true,");
    let site = Site::start("local", 1, &service("http", &[backend.address], &always));
    fails(&backend, 500, 1);
    let post = site.ask("POST", "/x", "", "twice").unwrap();
    assert_eq!((post.status, post.body.as_slice()), (200, &b"twice"[..]));
}

#[test]
fn a_post_is_tried_again_where_it_cannot_have_arrived() {
    let backend = Backend::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let site = Site::start("local", 1, &service("http", &[gone, backend.address], ON));
    for _ in 0..6 {
        assert_eq!(site.ask("POST", "/x", "", "once").unwrap().status, 200);
    }
    assert_eq!(backend.calls(), 6);
}

#[test]
fn a_grpc_method_is_tried_again_where_the_service_says_that_it_may() {
    let backend = Backend::start();
    let more = format!("{ON}\nidempotent_methods = ['shop.Orders/Get', 'shop.Search']");
    let site = Site::start("local", 1, &service("grpc", &[backend.address], &more));
    let mut seen = 0;
    for (path, code, tries) in [
        ("/shop.Orders/Get", 0, 2),
        ("/shop.Search/Any", 0, 2),
        ("/shop.Orders/Put", 14, 1),
    ] {
        backend.does.code.store(14, Ordering::Relaxed);
        backend.does.failing.store(1, Ordering::Relaxed);
        assert_eq!(grpc(site.address(), path).unwrap(), code, "{path}");
        seen += tries;
        assert_eq!(backend.calls(), seen, "{path}");
    }
    // After a message it is too late: the client has had it.
    backend.does.late.store(true, Ordering::Relaxed);
    backend.does.failing.store(1, Ordering::Relaxed);
    assert_eq!(grpc(site.address(), "/shop.Orders/Get").unwrap(), 14);
}

#[test]
fn a_backend_that_says_when_to_come_again_is_obeyed_or_left_alone() {
    let backend = Backend::start();
    let site = Site::start("local", 1, &service("http", &[backend.address], ON));
    let says = |after: &str| {
        *backend.does.field.lock().unwrap() = Some(("retry-after", after.to_owned()));
        fails(&backend, 503, 1);
        let began = Instant::now();
        (site.get("/x"), began.elapsed())
    };
    let (status, took) = says("1");
    assert!(
        status == 200 && took >= Duration::from_secs(1),
        "{status} after {took:?}"
    );
    let calls = backend.calls();
    assert_eq!(says("3600").0, 503);
    assert_eq!(backend.calls(), calls + 1, "it said not now");
}

#[test]
fn an_attempt_that_takes_too_long_is_made_again_elsewhere() {
    let (slow, quick) = (Backend::start(), Backend::start());
    slow.does.pause.store(60_000, Ordering::Relaxed);
    let more = "retry = { attempts = 2, per_try = '100ms' }";
    let site = Site::start("local", 1, &service("http", &[slow.address, quick.address], more));
    for _ in 0..4 {
        assert_eq!(site.get("/x"), 200);
    }
    assert_eq!(quick.calls(), 4);
    assert!(slow.calls() >= 1);
}

#[test]
fn attempts_are_no_more_than_the_route_says() {
    let backend = Backend::start();
    backend.answers(503);
    let tables = |backend: SocketAddr| service("http", &[backend], ON) + "retry = { attempts = 1 }\n";
    let site = Site::start("local", 1, &tables(backend.address));
    assert_eq!(site.get("/x"), 503);
    assert_eq!(backend.calls(), 1);
}
