//! What a client must not be able to do to others (threats.md, C1 and C2).

use super::*;
use crate::policy::testing::origin::until;

#[test]
fn c1_nothing_that_is_not_in_the_key_reaches_the_reply() {
    let origin = Origin::start(|seen| fresh(&echo(seen)));
    let sites = sites(&origin, "query = { ignore = ['utm_*'] }");
    for (place, at) in sites.entries() {
        for (case, attack) in [
            "x-forwarded-host: evil.example\r\n",
            "x-forwarded-scheme: evil\r\n",
            "x-forwarded-port: 666\r\n",
            "x-original-url: /evil\r\n",
            "x-rewrite-url: /evil\r\n",
            "x-http-method-override: EVIL\r\n",
            "forwarded: host=evil.example\r\n",
        ]
        .iter()
        .enumerate()
        {
            let path = format!("/{place}/{case}");
            let first = get(at, &path, attack);
            assert!(!first.text().contains("evil"), "{attack}: {}", first.text());
            get(at, &path, "");
            until("it is kept", || did(&get(at, &path, "")) == "hit");
            assert!(!get(at, &path, "").text().contains("evil"), "{attack}");
        }
        let path = format!("/{place}/query");
        let first = get(at, &format!("{path}?utm_source=evil&a=1"), "");
        assert!(!first.text().contains("evil"), "{}", first.text());
        until("it is kept", || {
            did(&get(at, &format!("{path}?a=1&utm_id=2"), "")) == "hit"
        });
    }
}

#[test]
fn c1_a_get_with_a_body_or_another_host_has_no_part_in_it() {
    let origin = Origin::start(|seen| fresh(&format!("{}|{}", String::from_utf8_lossy(&seen.body), echo(seen))));
    let sites = sites(&origin, "");
    for (place, at) in sites.entries() {
        let path = format!("/{place}");
        let fat = http(at, "GET", &path, "", b"evil");
        assert_eq!(did(&fat), "fwd=bypass", "{place}");
        get(at, &path, "");
        until("it is kept", || did(&get(at, &path, "")) == "hit");
        assert!(!get(at, &path, "").text().contains("evil"), "{place}");
        let fat = http(at, "GET", &path, "", b"evil");
        assert!(fat.text().starts_with("evil"), "{place}: it is asked for itself");
        let other = crate::policy::testing::raw(
            at,
            format!("GET {path} HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n").as_bytes(),
            false,
        );
        assert!(did(&other).starts_with("fwd="), "{place}");
        // A part of it is never taken for the whole.
        let ranged = format!("{path}/ranged");
        get(at, &ranged, "range: bytes=0-0\r\n");
        assert!(get(at, &ranged, "").text().len() > 10, "{place}");
    }
}

#[test]
fn c1_an_error_that_one_request_made_is_not_kept_for_the_others() {
    let origin = Origin::start(|seen| match seen.header("x-odd") {
        "" => fresh("fine"),
        _ => (400, "cache-control: max-age=60\r\n".into(), "odd".into()),
    });
    let sites = sites(&origin, "");
    let (_, at) = sites.entries()[0];
    assert_eq!(get(at, "/", "x-odd: yes\r\n").status, 400);
    assert_eq!(get(at, "/", "").text(), "fine");
}

#[test]
fn c2_the_answer_to_one_caller_is_not_another_callers() {
    let origin = Origin::start(|seen| {
        let lines = match seen.target.rsplit('/').next().unwrap_or_default() {
            "cookie" => "cache-control: max-age=60\r\nset-cookie: session=1\r\n",
            "star" => "cache-control: max-age=60\r\nvary: *\r\n",
            "public" => "cache-control: public, max-age=60\r\n",
            "private" => "cache-control: private, max-age=60\r\n",
            "vary" => "cache-control: max-age=60\r\nvary: x-who\r\n",
            _ => "cache-control: max-age=60\r\n",
        };
        (
            200,
            lines.into(),
            format!("for {}{}", seen.header("x-who"), seen.header("authorization")),
        )
    });
    let sites = sites(&origin, "key_headers = ['x-tenant']");
    for (place, at) in sites.entries() {
        for (kind, lines, shared) in [
            ("cookie", ["x-who: a\r\n", "x-who: b\r\n"], false),
            ("star", ["x-who: a\r\n", "x-who: b\r\n"], false),
            ("private", ["x-who: a\r\n", "x-who: b\r\n"], false),
            ("vary", ["x-who: a\r\n", "x-who: b\r\n"], false),
            ("plain", ["authorization: a\r\n", "authorization: b\r\n"], false),
            ("plain", ["authorization: a\r\n", "x-who: b\r\n"], false),
            ("public", ["authorization: a\r\n", "authorization: b\r\n"], true),
            (
                "plain",
                ["x-tenant: 1\r\nx-who: a\r\n", "x-tenant: 2\r\nx-who: b\r\n"],
                false,
            ),
            (
                "plain",
                ["x-tenant: 3\r\nx-who: a\r\n", "x-tenant: 3\r\nx-who: b\r\n"],
                true,
            ),
        ] {
            let path = format!("/{place}/{}/{kind}", lines.concat().replace([':', '\r', '\n', ' '], ""));
            for _ in 0..3 {
                assert_eq!(get(at, &path, lines[0]).text(), "for a", "{place} {kind}");
            }
            if shared {
                until("it is kept", || did(&get(at, &path, lines[0])) == "hit");
            }
            let want = if shared { "for a" } else { "for b" };
            assert_eq!(get(at, &path, lines[1]).text(), want, "{place} {kind} {lines:?}");
        }
    }
}

#[test]
fn c2_each_caller_has_replies_of_his_own_where_the_route_says_so() {
    let origin = Origin::start(|seen| fresh(seen.header("authorization")));
    let sites = sites(&origin, "per_identity = true");
    for (place, at) in sites.entries() {
        let path = format!("/{place}");
        for who in ["alice", "bob"] {
            let line = format!("authorization: {who}\r\n");
            assert_eq!(get(at, &path, &line).text(), who, "{place}");
            until("it is kept", || did(&get(at, &path, &line)) == "hit");
            assert_eq!(get(at, &path, &line).text(), who, "{place}");
        }
        assert_eq!(get(at, &path, "").text(), "", "{place}");
    }
}

#[test]
fn c3_a_purge_takes_replies_by_uri_prefix_and_tag() {
    use crate::cache::store::{Gone, Purge};
    let origin = Origin::start(|seen| {
        let tag = seen.target.rsplit('/').next().unwrap_or_default();
        (
            200,
            format!("cache-control: max-age=60\r\ncache-tag: all, {tag}\r\n"),
            "x".into(),
        )
    });
    let sites = sites(&origin, "");
    let (_, at) = sites.entries()[0];
    let store = &sites.local.shared().policies.cache;
    for (what, count) in [
        (Purge::Uri(b"http://test/a/1"), 1),
        (Purge::Prefix(b"http://test/a/"), 2),
        (Purge::Tag("1"), 2),
        (Purge::Tag("all"), 4),
        (Purge::All, 4),
    ] {
        for path in ["/a/1", "/a/2", "/b/1", "/b/2"] {
            get(at, path, "");
            until("it is kept", || did(&get(at, path, "")) == "hit");
        }
        assert_eq!(store.purge(what, Gone::Purged), count, "{what:?}");
        assert_eq!(store.entries(), 4 - count as u64, "{what:?}");
    }
}
