//! Copies as both services and the client see them.

use crate::policy::testing::origin::{Gate, Origin, until};
use crate::policy::testing::{Sites, http};

const TABLES: &str = "
[[routes]]
name = 'moving'
match = { path_prefix = '/' }
to = 'origin@@'
[routes.mirror]
to = 'second@@'
compare = { headers = ['x-kind'], ignore = ['/time'], values = true }
";

fn second(origin: &Origin) -> String {
    origin.service().replace("\"origin\"", "\"second\"")
}

fn json(body: &str) -> (u16, String, String) {
    (
        200,
        "content-type: application/json\r\nx-kind: a\r\n".into(),
        body.into(),
    )
}

#[test]
fn copies_are_compared_and_differences_are_reported_with_samples() {
    let one = Origin::start(|seen| {
        json(&format!(
            "{{\"time\": 1, \"said\": \"{}\"}}",
            String::from_utf8_lossy(&seen.body)
        ))
    });
    let two = Origin::start(|seen| match seen.target.as_str() {
        "/other" => json("{\"said\": \"no\"}"),
        _ => json(&format!(
            "{{\"said\": \"{}\", \"time\": 2}}",
            String::from_utf8_lossy(&seen.body)
        )),
    });
    let sites = Sites::start_with("", &(one.service() + &second(&two)), TABLES);
    for (place, at) in sites.entries() {
        let app = if place == "local" { &sites.local } else { &sites.near };
        let report = || app.shared().policies.mirrors.show()["routes"]["moving"].clone();
        let answer = http(at, "POST", "/same", "", b"hello");
        assert_eq!(answer.json()["said"], "hello", "{place}");
        until("it was compared", || report()["copies"]["same"] == 1);
        let copy = two.seen("/same").pop().unwrap();
        assert_eq!(
            (copy.method.as_str(), copy.body.as_slice()),
            ("POST", &b"hello"[..]),
            "{place}"
        );
        assert_eq!(
            http(at, "POST", "/other", "", b"hello").json()["said"],
            "hello",
            "{place}"
        );
        until("it was compared", || report()["copies"]["different"] == 1);
        let sample = &report()["samples"][0];
        assert_eq!(
            (&sample["method"], &sample["path"]),
            (&"POST".into(), &"/other".into()),
            "{sample}"
        );
        let differences = sample["differences"].as_array().unwrap();
        assert_eq!(differences.len(), 1, "{place}: what is to be ignored is: {sample}");
        assert_eq!(differences[0]["what"], "body /said");
        assert_eq!(report()["differing"]["body"], 1);
    }
}

#[test]
fn a_second_service_that_is_slow_dead_or_asked_too_much_changes_nothing_for_the_client() {
    let gate = Gate::default();
    let held = gate.clone();
    let one = Origin::start(|_| json("{}"));
    let two = Origin::start(move |_| {
        held.pass();
        json("{}")
    });
    let tables = TABLES.replace("compare =", "calls = 1\ncompare =");
    let sites = Sites::start_with("", &(one.service() + &second(&two)), &tables);
    let (_, at) = sites.entries()[0];
    let report = || sites.local.shared().policies.mirrors.show()["routes"]["moving"]["copies"].clone();
    for _ in 0..3 {
        assert_eq!(http(at, "GET", "/", "", b"").text(), "{}");
    }
    assert_eq!(report()["busy"], 2);
    let large = vec![b'x'; 65 * 1024];
    assert_eq!(http(at, "POST", "/", "", &large).text(), "{}");
    assert_eq!(report()["too_large"], 1);
    gate.open();
    until("the one copy is done", || report()["same"] == 1);
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = second(&one).replace(&one.address.to_string(), &free.local_addr().unwrap().to_string());
    drop(free);
    let sites = Sites::start_with("", &(one.service() + &dead), TABLES);
    for (place, at) in sites.entries() {
        let app = if place == "local" { &sites.local } else { &sites.near };
        let report = || app.shared().policies.mirrors.show()["routes"]["moving"]["copies"].clone();
        assert_eq!(http(at, "GET", "/", "", b"").text(), "{}", "{place}");
        until("the copy has failed", || report()["failed"] == 1);
    }
}
