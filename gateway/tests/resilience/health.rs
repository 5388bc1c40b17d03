//! Active health checks.

use std::sync::atomic::Ordering;

use crate::backend::Backend;
use crate::support::{Site, service, until};

const QUICK: &str = "interval = '100ms', timeout = '1s', healthy_threshold = 2, unhealthy_threshold = 2";

fn healthy(site: &Site, backend: &Backend) -> Option<f64> {
    let series = format!(
        "causeway_endpoint_healthy{{service=\"backend\",endpoint=\"{}\"}}",
        backend.address
    );
    site.metric(&series)
}

/// Two backends, of which one fails its checks and comes back.
fn leaves_out_who_fails_its_checks(protocol: &str, check: &str) {
    let (one, two) = (Backend::start(), Backend::start());
    let more = format!("health = {{ {check}, {QUICK} }}");
    let tables = service(protocol, &[one.address, two.address], &more);
    let site = Site::start("local", 2, &tables);
    until("both are checked", || {
        one.does.checks.load(Ordering::Relaxed) > 0 && two.does.checks.load(Ordering::Relaxed) > 0
    });
    assert_eq!(healthy(&site, &one), Some(1.0));
    one.does.unwell.store(true, Ordering::Relaxed);
    until("one is left out", || healthy(&site, &one) == Some(0.0));
    let before = one.calls();
    let call = || match protocol {
        "grpc" => assert_eq!(crate::support::grpc(site.address(), "/shop.Orders/Get").unwrap(), 0),
        _ => assert_eq!(site.get("/x"), 200),
    };
    (0..20).for_each(|_| call());
    assert_eq!(one.calls(), before, "whoever is unwell gets no calls");
    // What is known is kept over a reload, and the checks go on.
    site.reload("local", 2, &(tables + "[limits]\nhandshakes = 7\n"));
    (0..20).for_each(|_| call());
    assert_eq!(one.calls(), before, "nor after a reload");
    one.does.unwell.store(false, Ordering::Relaxed);
    until("one is taken in again", || healthy(&site, &one) == Some(1.0));
    until("one gets calls again", || {
        call();
        one.calls() > before
    });
    let failures = site.metric("causeway_health_checks_total{service=\"backend\",result=\"failure\"}");
    assert!(failures >= Some(2.0), "{failures:?}");
}

#[test]
fn an_http_backend_that_fails_its_checks_gets_no_calls_until_it_is_well() {
    leaves_out_who_fails_its_checks("http", "kind = 'http', path = '/health'");
}

#[test]
fn checks_speak_the_http_version_of_the_service() {
    let backend = Backend::start();
    let more =
        format!("version = 'http2'\nhealth = {{ kind = 'http', path = '/health', start = 'unhealthy', {QUICK} }}");
    let site = Site::start("local", 1, &service("http", &[backend.address], &more));
    until("it is found healthy", || healthy(&site, &backend) == Some(1.0));
}

#[test]
fn a_grpc_backend_is_asked_by_the_health_protocol() {
    leaves_out_who_fails_its_checks("grpc", "kind = 'grpc'");
}

#[test]
fn a_backend_that_takes_no_connection_is_unwell() {
    let (one, two) = (Backend::start(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let gone = two.local_addr().unwrap();
    drop(two);
    let more = format!("health = {{ kind = 'tcp', {QUICK} }}\nretry = {{ attempts = 1 }}");
    let site = Site::start("local", 2, &service("http", &[one.address, gone], &more));
    let series = format!("causeway_endpoint_healthy{{service=\"backend\",endpoint=\"{gone}\"}}");
    until("it is left out", || site.metric(&series) == Some(0.0));
    // The workers look at their next call.
    for _ in 0..20 {
        assert_eq!(site.get("/x"), 200);
    }
}

#[test]
fn a_pool_is_never_empty_because_of_checks() {
    let backend = Backend::start();
    backend.does.unwell.store(true, Ordering::Relaxed);
    let more = format!("health = {{ kind = 'http', path = '/health', {QUICK} }}");
    let site = Site::start("local", 1, &service("http", &[backend.address], &more));
    until("it is unwell", || healthy(&site, &backend) == Some(0.0));
    until("everybody is told", || {
        site.metric("causeway_service_panic{service=\"backend\"}") == Some(1.0)
    });
    assert_eq!(site.get("/x"), 200);
}
