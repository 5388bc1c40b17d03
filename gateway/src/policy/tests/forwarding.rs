//! What is told of the client to the backend, and of the gateways to both.

use serde_json::Value;

use super::super::testing::{Sites, http, raw, upgrade};
use super::CATCH_ALL;

/// The values of a field that the backend got, joined.
fn got(told: &Value, name: &str) -> Option<String> {
    let values = told["headers"][name].as_array()?;
    let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
    Some(values.join(", "))
}

#[test]
fn one_id_is_in_the_request_the_reply_and_the_logs_of_both_sites() {
    let sites = Sites::start("trusted_proxies = ['127.0.0.0/8']", CATCH_ALL);
    for (place, at) in sites.entries() {
        let answer = http(at, "GET", "/x", "x-request-id: order-7\r\n", b"");
        assert_eq!(answer.header("x-request-id").as_deref(), Some("order-7"), "{place}");
        assert_eq!(
            got(&answer.json(), "x-request-id").as_deref(),
            Some("order-7"),
            "{place}"
        );

        let answer = http(at, "GET", "/x", "x-request-id: two words\r\n", b"");
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(id.len(), 36, "{place}: {id}");
        assert_eq!(got(&answer.json(), "x-request-id"), Some(id), "{place}");

        let answer = upgrade(at, "/echo", "x-request-id: socket-7\r\n");
        assert_eq!(
            (answer.status, answer.header("x-request-id").as_deref()),
            (101, Some("socket-7")),
            "{place}"
        );
        let answer = sites.grpc(at, "/causeway.demo.v1.Chat/Count", b"", &[("x-request-id", "rpc-7")]);
        assert_eq!(answer.header("x-request-id").as_deref(), Some("rpc-7"), "{place}");
        let answer = http(at, "GET", "/status/404", "x-request-id: none-7\r\n", b"");
        assert_eq!(answer.header("x-request-id").as_deref(), Some("none-7"), "{place}");
    }
    for site in ["local", "near", "far"] {
        let ids: Vec<_> = sites
            .access_log(site, 5)
            .into_iter()
            .map(|line| line["request_id"].clone())
            .collect();
        assert!(
            ids.contains(&"order-7".into()) && ids.contains(&"rpc-7".into()),
            "{site}: {ids:?}"
        );
    }
}

#[test]
fn a_client_that_is_no_proxy_gets_an_id_of_ours() {
    let sites = Sites::start("", CATCH_ALL);
    for (place, at) in sites.entries() {
        let answer = http(at, "GET", "/x", "x-request-id: mine\r\n", b"");
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(
            (id.len(), got(&answer.json(), "x-request-id")),
            (36, Some(id)),
            "{place}"
        );
    }
}

#[test]
fn via_names_each_gateway_once_on_both_ways() {
    let sites = Sites::start("", CATCH_ALL);
    let expected = [
        ("1.1 causeway-local", "1.1 causeway-local"),
        (
            "1.1 causeway-near, causeway/1 causeway-far",
            "1.1 causeway-far, causeway/1 causeway-near",
        ),
    ];
    for ((place, at), (up, down)) in sites.entries().into_iter().zip(expected) {
        let answer = http(at, "GET", "/x", "", b"");
        assert_eq!(got(&answer.json(), "via").as_deref(), Some(up), "{place}");
        assert_eq!(answer.header("via").as_deref(), Some(down), "{place}");
        let answer = http(at, "GET", "/x", "via: 1.0 fred\r\n", b"");
        assert_eq!(got(&answer.json(), "via"), Some(format!("1.0 fred, {up}")), "{place}");
        let own = if place == "local" {
            "causeway-local"
        } else {
            "causeway-near"
        };
        let round = format!("via: 1.1 {own}, 1.1 a\r\nvia: 1.1 {own}, 2 {own}\r\n");
        let answer = http(at, "GET", "/x", &round, b"");
        assert_eq!(answer.status, 508, "{place}");
        assert_eq!(
            answer.header("proxy-status"),
            Some(format!("{own}; error=proxy_loop_detected"))
        );
    }
}

#[test]
fn proxy_status_is_on_what_the_gateway_answers_and_on_nothing_else() {
    let dead = "
[[services]]
name = 'dead'
protocol = 'http'
endpoints = ['127.0.0.1:1']
[[routes]]
match = { path_prefix = '/dead' }
to = 'dead'
[edge]
proxy_status = 'details'
";
    let sites = Sites::start("", &format!("{CATCH_ALL}{dead}"));
    for (place, at) in sites.entries() {
        assert_eq!(
            http(at, "GET", "/status/500", "", b"").header("proxy-status"),
            None,
            "{place}"
        );
        let answer = http(at, "GET", "/dead", "", b"");
        let told = answer.header("proxy-status").unwrap();
        assert_eq!(answer.status, 502, "{place}");
        assert!(
            told.contains("; error=connection_refused; details=\"") && told.contains("127.0.0.1:1"),
            "{place}: {told}"
        );
    }
}

#[test]
fn backends_are_told_of_the_client_in_the_way_that_is_wanted() {
    for (way, x, standard) in [
        ("x-forwarded", true, false),
        ("forwarded", false, true),
        ("both", true, true),
        ("none", false, false),
    ] {
        let sites = Sites::start(
            "trusted_proxies = ['127.0.0.0/8']",
            &format!("{CATCH_ALL}[edge]\nforwarded = '{way}'\n"),
        );
        let said = "x-forwarded-for: 192.0.2.9\r\nforwarded: for=192.0.2.9;proto=https\r\nx-forwarded-proto: https\r\n";
        let at = sites.entries()[0].1;
        let told = http(at, "GET", "/x", said, b"").json();
        assert_eq!(
            got(&told, "x-forwarded-for").as_deref(),
            x.then_some("192.0.2.9"),
            "{way}"
        );
        assert_eq!(
            got(&told, "x-forwarded-proto").as_deref(),
            x.then_some("https"),
            "{way}"
        );
        let element = "for=192.0.2.9;host=\"test\";proto=https";
        assert_eq!(got(&told, "forwarded").as_deref(), standard.then_some(element), "{way}");
    }
}

#[test]
fn a_balancer_says_by_the_proxy_protocol_who_connects() {
    let listener = "trusted_proxies = ['127.0.0.0/8']\nproxy_protocol = true\nip = { deny = ['198.51.100.0/24'] }";
    let sites = Sites::start(listener, CATCH_ALL);
    let get = "GET /x HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    for (place, at) in sites.entries() {
        let seen = |header: &[u8]| {
            let answer = raw(at, &[header, get.as_bytes()].concat(), false);
            (answer.status == 200).then(|| got(&answer.json(), "x-forwarded-for").unwrap())
        };
        let client = |address: &str| Some(address.to_owned());
        assert_eq!(
            seen(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n"),
            client("192.0.2.7"),
            "{place}"
        );
        assert_eq!(seen(b"PROXY UNKNOWN\r\n"), client("127.0.0.1"), "{place}");
        let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec();
        second.extend([192, 0, 2, 9, 192, 0, 2, 8, 1, 2, 0, 80, 4, 0, 0]);
        assert_eq!(seen(&second), client("192.0.2.9"), "{place}");
        assert_eq!(seen(b""), None, "{place}: without a header");
        assert_eq!(
            seen(b"PROXY TCP4 198.51.100.7 192.0.2.8 4711 80\r\n"),
            None,
            "{place}: a denied network"
        );
    }
}

#[test]
fn nobody_but_a_balancer_connects_where_balancers_are_expected() {
    let sites = Sites::start("trusted_proxies = ['192.0.2.0/24']\nproxy_protocol = true", CATCH_ALL);
    for (place, at) in sites.entries() {
        let answer = raw(at, b"PROXY UNKNOWN\r\nGET /x HTTP/1.1\r\nhost: test\r\n\r\n", false);
        assert_eq!(answer.status, 0, "{place}: {answer:?}");
    }
}
