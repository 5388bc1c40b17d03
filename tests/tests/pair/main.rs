//! Other people's clients against the backends themselves, against one gateway, and through a pair of gateways.
//!
//! The `direct` runs need no gateway: they show that the scripts and the backends are right, so that what fails in
//! `local` or `tunnel` alone is the gateway's.

#![expect(
    clippy::unwrap_used,
    reason = "a test may; the lint knows functions with `#[test]` only"
)]

mod backends;
mod backpressure;
mod clients;
mod crash;
mod discovery;
mod federation;
mod frames;
mod malformed;
mod operator;
mod rapid_reset;
mod reload;
mod trace;

use causeway_tests::{Entry, Pair, Site, pair};

use self::backends::Running;

/// Something to aim clients at, with all that must live as long.
struct Place {
    entry: Entry,
    backends: Running,
    _gateways: Gateways,
}

#[expect(dead_code, reason = "held until the end of a test, then dropped")]
enum Gateways {
    None,
    One(Box<Site>),
    Two(Box<Pair>),
}

impl Place {
    fn direct() -> Self {
        let backends = Running::start("azure");
        Self {
            entry: Entry::direct(&backends.upstreams()),
            backends,
            _gateways: Gateways::None,
        }
    }

    fn local() -> Self {
        let backends = Running::start("local");
        let site = pair::local(&backends.upstreams()).start();
        site.wait_ready();
        let entry = Entry::gateway(site.public(), pair::EntryKind::Local);
        Self {
            entry,
            backends,
            _gateways: Gateways::One(Box::new(site)),
        }
    }

    fn tunnel() -> Self {
        let backends = Running::start("azure");
        let pair = Pair::start(&backends.upstreams());
        Self {
            entry: pair.entry(),
            backends,
            _gateways: Gateways::Two(Box::new(pair)),
        }
    }
}

/// Each scenario once for each kind of entry.
macro_rules! everywhere {
    ($($scenario:ident),* $(,)?) => {
        mod direct { $(#[test] fn $scenario() { crate::clients::$scenario(&crate::Place::direct()); })* }
        mod local { $(#[test] fn $scenario() { crate::clients::$scenario(&crate::Place::local()); })* }
        mod tunnel { $(#[test] fn $scenario() { crate::clients::$scenario(&crate::Place::tunnel()); })* }
    };
}

everywhere! {
    curl_speaks_both_versions_of_http,
    curl_uploads_and_downloads,
    h2load_fails_no_request,
    nghttp_speaks_http2,
    python_grpc_calls,
    python_http_calls,
    python_websocket_calls,
}

/// Through a pair whose entry has four workers and one tunnel: three of them borrow it.
mod bridge {
    use crate::{Place, clients};

    #[test]
    fn grpc_calls_over_a_borrowed_tunnel() {
        crate::borrowing(clients::python_grpc_calls);
    }

    #[test]
    fn websockets_over_a_borrowed_tunnel() {
        crate::borrowing(clients::python_websocket_calls);
    }

    #[test]
    fn http_over_a_borrowed_tunnel() {
        crate::borrowing(|place: &Place| {
            clients::curl_uploads_and_downloads(place);
            clients::python_http_calls(place);
        });
    }
}

fn borrowing(scenario: impl Fn(&Place)) {
    let backends = Running::start("azure");
    let narrow = |setup: causeway_tests::SiteSetup| {
        setup
            .environment("CAUSEWAY_WORKERS", "4")
            .environment("CAUSEWAY_FEDERATION__MAX_TUNNELS", "1")
    };
    let pair = Pair::start_with(&backends.upstreams(), narrow);
    let place = Place {
        entry: pair.entry(),
        backends,
        _gateways: Gateways::None,
    };
    scenario(&place);
    // Connections go to one of four workers: many calls at one of them only would be a wonder.
    for _ in 0..32 {
        assert_eq!(causeway_tests::client::get(pair.aws.public(), "/").unwrap().status, 200);
    }
    let metrics = pair.aws.metrics();
    assert!(metrics.sum("causeway_tunnel_borrowed_total", &["peer=\"azure\""]) > 0.0);
    assert_eq!(metrics.sum("causeway_tunnel_up", &["peer=\"azure\""]), 1.0);
    causeway_tests::until("the calls are gone", std::time::Duration::from_secs(5), || {
        pair.aws.metrics().sum("causeway_tunnel_calls", &[]) == 0.0
    });
}

/// The backend itself speaks WebSocket over HTTP/1.1 only: RFC 8441 is the gateway's.
#[test]
fn websocket_over_http2_through_one_gateway() {
    clients::python_websocket_over_http2(&Place::local());
}

#[test]
fn websocket_over_http2_through_a_tunnel() {
    clients::python_websocket_over_http2(&Place::tunnel());
}
