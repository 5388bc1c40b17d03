//! What is kept, for how long, and what is made of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::policy::testing::origin::until;

#[test]
fn a_fresh_reply_is_served_again_without_asking_the_service() {
    let origin = Origin::start(|seen| fresh(&seen.target));
    let sites = sites(&origin, "");
    for (place, at) in sites.entries() {
        let path = format!("/{place}/a?x=1");
        let first = get(at, &path, "");
        assert_eq!(
            (first.status, first.text(), did(&first).as_str()),
            (200, path.clone(), "fwd=uri-miss; stored"),
            "{place}"
        );
        until("it is kept", || did(&get(at, &path, "")) == "hit");
        let asked = origin.count(&path);
        let again = get(at, &path, "");
        assert_eq!((again.text(), did(&again).as_str()), (path.clone(), "hit"), "{place}");
        assert!(again.header("age").is_some() && again.header("date").is_some());
        assert_eq!(origin.count(&path), asked, "{place}");
        let head = http(at, "HEAD", &path, "", b"");
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some(path.len().to_string())),
            "{place}"
        );
        assert_eq!(
            origin.count(&path),
            asked,
            "{place}: HEAD is answered from what GET has kept"
        );
        let part = get(at, &path, "range: bytes=1-3\r\n");
        assert_eq!((part.status, part.text()), (206, path[1..4].to_owned()), "{place}");
        assert_eq!(part.header("content-range"), Some(format!("bytes 1-3/{}", path.len())));
        assert_eq!(origin.count(&path), asked, "{place}: parts are cut from the whole");
    }
}

#[test]
fn c3_a_stale_reply_is_confirmed_by_its_tag_and_the_clients_condition_is_answered_here() {
    let origin = Origin::start(|seen| match seen.header("if-none-match") {
        "\"v1\"" => (
            304,
            "etag: \"v1\"\r\nx-new: yes\r\ncache-control: no-cache\r\n".into(),
            String::new(),
        ),
        _ => (
            200,
            "etag: \"v1\"\r\ncontent-type: text/plain\r\ncache-control: no-cache\r\n".into(),
            "one".into(),
        ),
    });
    let sites = sites(&origin, "");
    for (place, at) in sites.entries() {
        let path = format!("/{place}");
        assert_eq!(did(&get(at, &path, "")), "fwd=uri-miss; stored");
        until("it is kept", || did(&get(at, &path, "")) == "fwd=stale; fwd-status=304");
        let confirmed = get(at, &path, "");
        assert_eq!((confirmed.status, confirmed.text()), (200, "one".into()), "{place}");
        assert_eq!(confirmed.header("x-new").as_deref(), Some("yes"), "{place}");
        assert_eq!(
            confirmed.header("content-type").as_deref(),
            Some("text/plain"),
            "{place}"
        );
        let unchanged = get(at, &path, "if-none-match: W/\"v1\"\r\n");
        assert_eq!((unchanged.status, unchanged.text()), (304, String::new()), "{place}");
        // Somebody else's tag does not reach the service: it would get the wrong 304.
        let other = get(at, &path, "if-none-match: \"v0\"\r\n");
        assert_eq!((other.status, other.text()), (200, "one".into()), "{place}");
        assert!(
            origin
                .seen(&path)
                .iter()
                .all(|seen| seen.header("if-none-match") != "\"v0\""),
            "{place}"
        );
    }
}

#[test]
fn a_stale_reply_is_served_while_a_fresh_one_is_fetched() {
    let version = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let version = version.fetch_add(1, Ordering::Relaxed);
        let lines = format!("etag: \"{version}\"\r\ncache-control: max-age=0, stale-while-revalidate=60\r\n");
        (200, lines, version.to_string())
    });
    let sites = sites(&origin, "");
    let (_, at) = sites.entries()[0];
    assert_eq!(get(at, "/", "").text(), "0");
    until("it is kept", || did(&get(at, "/", "")) == "hit");
    // Whatever it is now, it is replaced behind the back of the calls that it answers.
    let before = get(at, "/", "").text();
    until("a newer one is kept", || {
        let now = get(at, "/", "");
        did(&now) == "hit" && now.text() != before
    });
}

#[test]
fn a_stale_reply_is_served_when_the_service_fails_and_the_reply_allows_that() {
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let failing = std::sync::Arc::clone(&fails);
    let origin = Origin::start(move |seen| {
        if failing.load(Ordering::Relaxed) {
            return (503, String::new(), "down".into());
        }
        let control = if seen.target.ends_with("strict") {
            "max-age=0, must-revalidate, stale-if-error=60"
        } else {
            "max-age=0, stale-if-error=60"
        };
        (200, format!("etag: \"1\"\r\ncache-control: {control}\r\n"), "up".into())
    });
    let sites = sites(&origin, "");
    for (place, at) in sites.entries() {
        fails.store(false, Ordering::Relaxed);
        for path in [format!("/{place}/loose"), format!("/{place}/strict")] {
            get(at, &path, "");
            until("it is kept", || did(&get(at, &path, "")).starts_with("fwd=stale"));
        }
        fails.store(true, Ordering::Relaxed);
        let loose = get(at, &format!("/{place}/loose"), "");
        assert_eq!(
            (loose.status, loose.text(), did(&loose).as_str()),
            (200, "up".into(), "hit"),
            "{place}"
        );
        let strict = get(at, &format!("/{place}/strict"), "");
        assert_eq!((strict.status, strict.text()), (503, "down".into()), "{place}");
    }
}

#[test]
fn negative_replies_are_kept_as_the_route_says() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/gone" => (404, String::new(), "no".into()),
        "/bad" => (500, String::new(), "broken".into()),
        _ => (200, String::new(), "ok".into()),
    });
    let sites = sites(&origin, "ttl = '1m'\nnegative = { 404 = '1m' }");
    let (_, at) = sites.entries()[0];
    for (path, kept) in [("/gone", true), ("/bad", false), ("/good", true)] {
        get(at, path, "");
        if kept {
            until("it is kept", || did(&get(at, path, "")) == "hit");
        } else {
            assert!(did(&get(at, path, "")).starts_with("fwd="), "{path}");
        }
    }
}

#[test]
fn a_body_over_the_limit_passes_whole_and_is_not_kept() {
    let origin = Origin::start(|seen| {
        let body = "0123456789".repeat(20_000);
        if seen.target.starts_with("/chunked") {
            let chunks: Vec<_> = body
                .as_bytes()
                .chunks(7_000)
                .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
                .collect();
            let lines = "transfer-encoding: chunked\r\ncache-control: max-age=60\r\n";
            return (200, lines.into(), chunks.concat() + "0\r\n\r\n");
        }
        fresh(&body)
    });
    let sites = sites(&origin, "max_entry = '64KiB'");
    for (place, at) in sites.entries() {
        for path in [format!("/chunked/{place}"), format!("/length/{place}")] {
            for _ in 0..2 {
                let answer = get(at, &path, "");
                assert_eq!((answer.status, answer.body.len()), (200, 200_000), "{path}");
                assert_ne!(did(&answer), "hit", "{path}");
            }
            assert_eq!(origin.count(&path), 2, "{path}");
        }
    }
}

#[test]
fn a_change_makes_what_was_kept_of_the_resource_untrue() {
    let version = std::sync::Arc::new(AtomicUsize::new(0));
    let now = std::sync::Arc::clone(&version);
    let origin = Origin::start(move |seen| match (seen.method.as_str(), seen.header("x-fail")) {
        ("GET", _) => fresh(&now.load(Ordering::Relaxed).to_string()),
        (_, "yes") => (409, String::new(), String::new()),
        _ => {
            now.fetch_add(1, Ordering::Relaxed);
            (201, "location: /items/other\r\n".into(), String::new())
        }
    });
    let tables = "[[routes]]\nmatch = { path_prefix = '/', methods = ['GET'] }\nto = 'origin@@'\n[routes.cache]\n\
                  [[routes]]\nmatch = { path_prefix = '/' }\nto = 'origin@@'\n";
    let sites = Sites::start_with("", &origin.service(), tables);
    for (place, at) in sites.entries() {
        let all = ["/items/1", "/items/other", "/items/2"];
        for path in all {
            get(at, path, "");
            until("it is kept", || did(&get(at, path, "")) == "hit");
        }
        assert_eq!(http(at, "PUT", "/items/1", "x-fail: yes\r\n", b"x").status, 409);
        assert_eq!(
            did(&get(at, "/items/1", "")),
            "hit",
            "{place}: a change that failed changes nothing"
        );
        assert_eq!(http(at, "PUT", "/items/1", "", b"x").status, 201);
        let kept = all.map(|path| did(&get(at, path, "")) == "hit");
        assert_eq!(kept, [false, false, true], "{place}");
    }
}

#[test]
fn grpc_replies_of_named_methods_are_kept_by_their_message() {
    let tables = "[[routes]]\nmatch = { protocol = 'grpc' }\nto = 'demo-grpc@@'\n[routes.cache]\nttl = '1m'\n\
                  grpc_methods = ['causeway.demo.v1.Chat/Say']\n";
    let sites = Sites::start("", tables);
    // SayRequest { name: "a" } and { name: "b" }.
    let (a, b) = (b"\x0a\x01a", b"\x0a\x01b");
    for (place, at) in sites.entries() {
        let say =
            |message: &[u8], headers: &[(&str, &str)]| sites.grpc(at, "/causeway.demo.v1.Chat/Say", message, headers);
        let first = say(a, &[]);
        assert_eq!(first.header("grpc-status").as_deref(), Some("0"), "{place}");
        until("it is kept", || did(&say(a, &[])) == "hit");
        let again = say(a, &[]);
        assert_eq!(
            (again.body.clone(), again.header("grpc-status")),
            (first.body.clone(), Some("0".into())),
            "{place}"
        );
        let other = say(b, &[]);
        assert!(did(&other).starts_with("fwd=") && other.body != first.body, "{place}");
        let secret = say(a, &[("authorization", "Bearer x")]);
        assert!(
            did(&secret).starts_with("fwd="),
            "{place}: credentials may have made the answer"
        );
        let sum = sites.grpc(at, "/causeway.demo.v1.Chat/Sum", b"", &[]);
        assert_eq!(did(&sum), "fwd=bypass", "{place}");
    }
}
