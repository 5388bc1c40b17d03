//! Answers from several calls, as clients see them.

use serde_json::json;

use crate::policy::testing::origin::{Gate, Origin, Said, until};
use crate::policy::testing::{Sites, http};

fn good(body: &serde_json::Value) -> Said {
    (200, "content-type: application/json\r\n".into(), body.to_string())
}

const LEGS: &str = "
[[routes]]
match = { path = '/overview/{id}' }
[routes.aggregate]
partial_status = 207
[[routes.aggregate.legs]]
name = 'user'
to = 'origin@@'
path = '/users/{id}'
pick = '/data'
[[routes.aggregate.legs]]
name = 'team'
to = 'origin@@'
path = '/teams/{user:/team}?full=true'
[[routes.aggregate.legs]]
name = 'said'
to = 'demo-grpc@@'
path = '/causeway.demo.v1.Chat/Say'
body = { text = '{user:/name}' }
optional = true
[[routes.aggregate.legs]]
name = 'news'
to = 'origin@@'
path = '/news'
optional = true
timeout = '300ms'
";

fn origin() -> Origin {
    Origin::start(|seen| match seen.target.as_str() {
        "/users/7" => good(&json!({ "data": { "name": "ann", "team": "a b", "auth": seen.header("authorization") } })),
        "/users/9" => (404, "content-type: text/plain\r\n".into(), "no such user".into()),
        "/users/8" => good(&json!({ "data": { "name": "bob" } })),
        "/teams/a%20b?full=true" => good(&json!(["ann", "bob"])),
        "/news" => (500, String::new(), "broken".into()),
        other => (404, String::new(), other.into()),
    })
}

#[test]
fn legs_run_over_protocols_and_sites_and_what_is_missing_is_marked() {
    let origin = origin();
    let sites = Sites::start_with("", &origin.service(), LEGS);
    for (place, at) in sites.entries() {
        let answer = http(
            at,
            "GET",
            "/overview/7",
            "authorization: me\r\nif-none-match: *\r\n",
            b"",
        );
        assert_eq!(answer.status, 207, "{place}: {}", answer.text());
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
        let body = answer.json();
        assert_eq!(
            body["user"],
            json!({ "name": "ann", "team": "a b", "auth": "me" }),
            "{place}"
        );
        assert_eq!(body["team"], json!(["ann", "bob"]), "{place}");
        assert_eq!(body["errors"]["news"], json!({ "status": 500 }), "{place}: {body}");
        let missing = http(at, "GET", "/overview/9", "", b"");
        assert_eq!(
            (missing.status, missing.text()),
            (404, "no such user".into()),
            "{place}"
        );
        let incomplete = http(at, "GET", "/overview/8", "", b"");
        assert_eq!(
            incomplete.status, 400,
            "{place}: a leg that is needed lacks what it needs"
        );
        let strange = sites.grpc(at, "/overview/7", b"", &[]);
        assert_ne!(strange.header("grpc-status").as_deref(), Some("0"), "{place}");
    }
}

#[test]
fn legs_that_need_nothing_of_each_other_run_at_once_and_a_late_one_is_given_up() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        if seen.target == "/slow" {
            held.pass();
        }
        good(&json!({ "deep": { "from": seen.target.clone() }, seen.target.trim_start_matches('/'): 1 }))
    });
    let tables = "
[[routes]]
match = { path = '/' }
[routes.aggregate]
merge = 'deep'
legs = [
  { name = 'slow', to = 'origin@@', path = '/slow', optional = true, timeout = '500ms' },
  { name = 'a', to = 'origin@@', path = '/a' },
  { name = 'b', to = 'origin@@', path = '/b', after = ['a'] },
]
";
    let sites = Sites::start_with("", &origin.service(), tables);
    for (place, at) in sites.entries() {
        let answer = http(at, "GET", "/", "", b"");
        assert_eq!(answer.status, 200, "{place}");
        let body = answer.json();
        assert_eq!(
            body["errors"]["slow"],
            json!({ "status": 504, "code": "deadline_exceeded" }),
            "{place}: {body}"
        );
        assert_eq!(
            (&body["a"], &body["b"], &body["deep"]["from"]),
            (&json!(1), &json!(1), &json!("/b")),
            "{place}"
        );
    }
    gate.open();
    until("all were asked", || origin.count("/b") == 2);
}
