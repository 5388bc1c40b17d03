//! Services found by a real DNS server.

use std::collections::BTreeSet;
use std::time::Duration;

use causeway_tests::client;
use causeway_tests::dns::Dns;
use causeway_tests::python::Python;
use causeway_tests::tools::run;
use causeway_tests::{Site, SiteSetup, until};
use serde_json::Value;

use crate::backends::Running;

/// What dnsmasq says for these records is what the gateway is meant to understand: a check of the tests themselves.
#[test]
fn dnsmasq_answers_as_consul_and_kubernetes_do() {
    let (Some(python), Some(dns)) = (Python::find(), Dns::start(&RECORDS)) else {
        return;
    };
    let questions = [
        "orders.service.consul/A",
        "_orders._tcp.service.consul/SRV",
        "_grpc._tcp.orders.ns.internal/SRV",
    ];
    let said = run(python
        .script("dns_query.py")
        .arg(dns.address().to_string())
        .args(questions));
    let answers = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect::<Vec<_>>();
    assert_eq!(answers[0]["records"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(answers[1]["records"].as_array().unwrap().len(), 2, "{answers:?}");
    assert_eq!(
        answers[1]["more"]["node1.node.consul."], "127.0.0.1",
        "targets come along: {answers:?}"
    );
    assert_eq!(answers[2]["records"][0], "0 10 8080 pod1.orders.ns.internal.");
}

const RECORDS: [&str; 7] = [
    "host-record=orders.service.consul,127.0.0.1",
    "host-record=node1.node.consul,127.0.0.1",
    "host-record=node2.node.consul,127.0.0.1",
    "srv-host=_orders._tcp.service.consul,node1.node.consul,8080,1,1",
    "srv-host=_orders._tcp.service.consul,node2.node.consul,8081,1,1",
    "host-record=pod1.orders.ns.internal,127.0.0.1",
    "srv-host=_grpc._tcp.orders.ns.internal,pod1.orders.ns.internal,8080,0,10",
];

fn site(dns: &Dns, endpoints: &str) -> Site {
    let site = SiteSetup::new("local")
        .with(&format!(
            "[dns]\nservers = [\"{}\"]\nmin_ttl = \"1s\"\nmax_ttl = \"1s\"\ntimeout = \"500ms\"\n",
            dns.address()
        ))
        .with(&format!(
            "[[services]]\nname = \"orders\"\nprotocol = \"http\"\nendpoints = \"{endpoints}\"\n"
        ))
        .with("[[routes]]\nmatch = { path_prefix = \"/\" }\nto = \"orders\"\n")
        .start();
    site.wait_ready();
    site
}

/// The names of the backends that answer twenty requests; a failure is a name too.
fn answering(site: &Site) -> BTreeSet<String> {
    let ask = |_| match client::get(site.public(), "/") {
        Ok(answer) if answer.status == 200 => answer.header("demo-backend").unwrap_or("nameless").to_owned(),
        Ok(answer) => answer.status.to_string(),
        Err(error) => error.to_string(),
    };
    (0..20).map(ask).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn srv(node: &str, port: u16, priority: u16) -> [String; 2] {
    let host = format!("{node}.internal");
    [
        format!("host-record={host},127.0.0.1"),
        format!("srv-host=_http._tcp.orders.internal,{host},{port},{priority},10"),
    ]
}

#[test]
fn d1_a_service_follows_its_a_record_and_keeps_the_last_good_answer() {
    let backend = Running::start("one");
    let port = backend.upstreams().http.port();
    let Some(mut dns) = Dns::start(&["host-record=orders.internal,127.0.0.1"]) else {
        return;
    };
    let site = site(&dns, &format!("dns:orders.internal:{port}"));
    until("the service answers", Duration::from_secs(5), || {
        answering(&site) == names(&["one"])
    });

    let asked = site.metrics();
    dns.change(&[]);
    let later = |site: &Site| site.metrics() != asked;
    until("the empty answer was looked at", Duration::from_secs(10), || {
        later(&site)
    });
    assert_eq!(
        answering(&site),
        names(&["one"]),
        "an answer without addresses empties nothing"
    );
    dns.stop();
    assert_eq!(answering(&site), names(&["one"]), "nor does a server that is gone");
}

#[test]
fn d1_a_service_follows_its_srv_records_with_port_and_priority() {
    let (first, second, third) = (
        Running::start("first"),
        Running::start("second"),
        Running::start("third"),
    );
    let port = |backend: &Running| backend.upstreams().http.port();
    let (a, b) = (srv("node1", port(&first), 0), srv("node2", port(&second), 0));
    let fallback = srv("node3", port(&third), 10);
    let records = |parts: &[&[String; 2]]| parts.iter().flat_map(|part| part.iter().cloned()).collect::<Vec<_>>();
    let start = records(&[&a, &b, &fallback]);
    let start = start.iter().map(String::as_str).collect::<Vec<_>>();
    let Some(mut dns) = Dns::start(&start) else { return };
    let site = site(&dns, "srv:_http._tcp.orders.internal");
    until(
        "both of the first tier answer, and only they",
        Duration::from_secs(5),
        || answering(&site) == names(&["first", "second"]),
    );

    let fewer = records(&[&b, &fallback]);
    dns.change(&fewer.iter().map(String::as_str).collect::<Vec<_>>());
    until("the removed one is left", Duration::from_secs(10), || {
        answering(&site) == names(&["second"])
    });

    drop(second);
    until("the second tier takes over", Duration::from_secs(10), || {
        answering(&site) == names(&["third"])
    });
}
