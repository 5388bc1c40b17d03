//! CORS, lists of networks, fields for browsers.

use super::super::testing::{Sites, http, raw, upgrade};
use super::CATCH_ALL;

const COUNT: &str = "/causeway.demo.v1.Chat/Count";

#[test]
fn pages_of_other_origins_call_as_the_route_says() {
    let sites = Sites::start(
        "",
        "
[[routes]]
match = { path_prefix = '/api', methods = ['GET', 'PUT'] }
to = 'demo-http@@'
[routes.cors]
origins = ['https://app.example', '*.acme.example']
methods = ['GET', 'PUT']
headers = ['x-one']
expose = ['demo-backend']
credentials = true
max_age = '10m'
private_network = true
[routes.ip]
deny = ['192.0.2.0/24']

[[routes]]
match = { path_prefix = '/open' }
to = 'demo-http@@'
[routes.cors]
origins = ['*']

[[routes]]
match = { grpc = 'causeway.demo.v1.Chat', protocol = 'grpc' }
to = 'demo-grpc@@'
[routes.cors]
origins = ['https://app.example']
presets = ['grpc-web']
",
    );
    for (place, at) in sites.entries() {
        let app = "origin: https://app.example\r\n";
        let asks = |method: &str| format!("{app}access-control-request-method: {method}\r\n");

        let answer = http(
            at,
            "OPTIONS",
            "/api/x",
            &(asks("PUT")
                + "access-control-request-headers: x-one\r\naccess-control-request-private-network: true\r\n"),
            b"",
        );
        assert_eq!(answer.status, 204, "{place}: {answer:?}");
        let said = |name: &str| answer.header(name).unwrap_or_default();
        assert_eq!(said("access-control-allow-origin"), "https://app.example");
        assert_eq!(said("access-control-allow-credentials"), "true");
        assert_eq!(said("access-control-allow-methods"), "GET, PUT");
        assert_eq!(said("access-control-allow-headers"), "x-one");
        assert_eq!(said("access-control-max-age"), "600");
        assert_eq!(said("access-control-allow-private-network"), "true");
        assert!(said("vary").contains("origin"), "{place}: {answer:?}");

        let answer = http(at, "OPTIONS", "/api/x", &asks("DELETE"), b"");
        assert_eq!(
            answer.status, 405,
            "{place}: no route takes DELETE, and only a route has this policy"
        );
        let strange = "origin: https://evil.example\r\naccess-control-request-method: PUT\r\n";
        let answer = http(at, "OPTIONS", "/api/x", strange, b"");
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (403, None),
            "{place}"
        );

        let answer = http(at, "GET", "/api/x", app, b"");
        assert_eq!(answer.status, 200, "{place}");
        assert_eq!(
            answer.header("access-control-allow-origin").as_deref(),
            Some("https://app.example")
        );
        assert_eq!(
            answer.header("access-control-expose-headers").as_deref(),
            Some("demo-backend")
        );
        let answer = http(at, "GET", "/api/x", "", b"");
        assert_eq!(
            (
                answer.header("vary").as_deref(),
                answer.header("access-control-allow-origin")
            ),
            (Some("origin"), None),
            "{place}"
        );

        let answer = http(at, "GET", "/open/x", "origin: null\r\n", b"");
        assert_eq!(
            (
                answer.header("access-control-allow-origin").as_deref(),
                answer.header("vary")
            ),
            (Some("*"), None),
            "{place}"
        );

        let web = asks("POST") + "access-control-request-headers: content-type,x-grpc-web\r\n";
        let answer = http(at, "OPTIONS", COUNT, &web, b"");
        assert_eq!(answer.status, 204, "{place}: {answer:?}");
        assert!(
            answer
                .header("access-control-allow-headers")
                .unwrap()
                .contains("x-grpc-web")
        );
        let answer = sites.grpc(at, COUNT, b"", &[("origin", "https://app.example")]);
        assert!(
            answer
                .header("access-control-expose-headers")
                .unwrap()
                .contains("grpc-status-details-bin"),
            "{place}: {answer:?}"
        );
    }
}

#[test]
fn an_address_that_is_denied_is_refused_in_its_own_protocol() {
    let sites = Sites::start(
        "trusted_proxies = ['127.0.0.0/8']",
        &CATCH_ALL.replace("to = ", "cors = { origins = ['https://app.example'] }\nip = { allow = ['127.0.0.0/8', '203.0.113.0/24'], deny = ['203.0.113.7'] }\nto = "),
    );
    for (place, at) in sites.entries() {
        for (address, passes) in [("203.0.113.8", true), ("203.0.113.7", false), ("198.51.100.1", false)] {
            let from = format!("x-forwarded-for: {address}\r\norigin: https://app.example\r\n");
            let answer = http(at, "GET", "/x", &from, b"");
            assert_eq!(
                answer.status,
                if passes { 200 } else { 403 },
                "{place} {address}: {answer:?}"
            );
            assert_eq!(
                answer.header("access-control-allow-origin").as_deref(),
                Some("https://app.example"),
                "also on refusals"
            );
            let answer = upgrade(at, "/echo", &from);
            assert_eq!(
                answer.status,
                if passes { 101 } else { 403 },
                "{place} {address}: {answer:?}"
            );
            let answer = sites.grpc(at, COUNT, b"", &[("x-forwarded-for", address)]);
            let status = answer.header("grpc-status").unwrap();
            assert_eq!(status, if passes { "0" } else { "7" }, "{place} {address}: {answer:?}");
        }
    }
}

#[test]
fn a_listener_closes_connections_from_networks_that_it_does_not_let_in() {
    let sites = Sites::start("ip = { deny = ['127.0.0.0/8'] }", CATCH_ALL);
    for (place, at) in sites.entries() {
        let answer = raw(at, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n", false);
        assert_eq!(answer.status, 0, "{place}: {answer:?}");
    }
}

#[test]
fn a_dry_run_of_a_list_only_tells() {
    let sites = Sites::start(
        "",
        &CATCH_ALL.replace("to = ", "ip = { deny = ['127.0.0.0/8'], dry_run = true }\nto = "),
    );
    for (place, at) in sites.entries() {
        let answer = http(at, "GET", "/seen", "", b"");
        assert_eq!(
            (answer.status, answer.json()["path"].as_str()),
            (200, Some("/seen")),
            "{place}"
        );
    }
    for site in ["local", "near"] {
        let line = &sites.access_log(site, 1)[0];
        assert_eq!(line["would_be_refused"], "ip", "{line}");
    }
}

#[test]
fn browsers_are_told_to_be_careful_where_the_backend_does_not_say_it() {
    let preset = "security_headers = { content_security_policy = \"default-src 'self'\" }\nto = ";
    let sites = Sites::start("trusted_proxies = ['127.0.0.0/8']", &CATCH_ALL.replace("to = ", preset));
    for (place, at) in sites.entries() {
        for target in ["/x", "/status/500"] {
            let answer = http(at, "GET", target, "", b"");
            let said = |name: &str| answer.header(name).unwrap_or_default();
            assert_eq!(said("x-content-type-options"), "nosniff", "{place} {target}");
            assert_eq!(said("x-frame-options"), "DENY");
            assert_eq!(said("referrer-policy"), "strict-origin-when-cross-origin");
            assert_eq!(said("content-security-policy"), "default-src 'self'");
            assert_eq!(said("strict-transport-security"), "", "{place}: not over clear text");
        }
        let answer = http(at, "GET", "/x", "x-forwarded-proto: https\r\n", b"");
        let told = answer.header("strict-transport-security");
        assert_eq!(
            told.as_deref(),
            Some("max-age=31536000"),
            "{place}: a trusted proxy took TLS off"
        );
        let answer = sites.grpc(at, COUNT, b"", &[]);
        assert_eq!(answer.header("x-frame-options"), None, "{place}: no browser shows gRPC");
    }
}
