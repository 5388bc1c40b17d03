use std::collections::BTreeMap;

use causeway_protocols::Length;

use super::*;

fn now() -> SystemTime {
    parse_date("Wed, 25 Nov 2026 12:00:00 GMT").unwrap()
}

fn rules() -> config::Cache {
    config::Cache {
        ttl: None,
        negative: BTreeMap::new(),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        per_identity: false,
        key_headers: Vec::new(),
        query: config::CacheQuery::default(),
        grpc_methods: Vec::new(),
        wait: Duration::from_secs(5),
        max_entry: None,
        obey_clients: false,
        status_field: true,
    }
}

const PLAIN: Asked = Asked {
    credentials: false,
    cookies: false,
    no_store: false,
    took: Duration::ZERO,
};

fn reply(status: u16, lines: &str) -> ReplyHead {
    let mut head = ReplyHead::new(StatusCode::from_u16(status).unwrap(), Length::Streamed);
    for line in lines.lines() {
        let (name, value) = line.trim().split_once(": ").unwrap();
        head.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

fn lifetime(rules: &config::Cache, asked: Asked, status: u16, lines: &str) -> Result<u64, Unkept> {
    terms(rules, asked, &reply(status, lines), now()).map(|terms| terms.lifetime.as_secs())
}

#[test]
fn what_a_reply_says_decides_whether_it_is_kept() {
    for (status, lines, want) in [
        (200, "", Err(Unkept::NotFresh)),
        (200, "cache-control: max-age=60", Ok(60)),
        (200, "cache-control: s-maxage=10, max-age=60", Ok(10)),
        (200, "cache-control: max-age=0", Err(Unkept::NotFresh)),
        (200, "cache-control: max-age=0\netag: \"a\"", Ok(0)),
        (200, "cache-control: no-cache, max-age=60\netag: \"a\"", Ok(0)),
        (200, "cache-control: no-cache, max-age=60", Err(Unkept::NotFresh)),
        (200, "cache-control: no-store, max-age=60", Err(Unkept::Forbidden)),
        (200, "cache-control: private, max-age=60", Err(Unkept::Forbidden)),
        (
            200,
            "cache-control: max-age=60\nset-cookie: a=b",
            Err(Unkept::Forbidden),
        ),
        (
            200,
            "cache-control: public, max-age=60\nset-cookie: a=b",
            Err(Unkept::Forbidden),
        ),
        (200, "cache-control: max-age=60\nvary: accept, *", Err(Unkept::Vary)),
        (200, "expires: Wed, 25 Nov 2026 12:01:00 GMT", Ok(60)),
        (
            200,
            "date: Wed, 25 Nov 2026 11:59:30 GMT\nexpires: Wed, 25 Nov 2026 12:01:00 GMT",
            Ok(90),
        ),
        (200, "expires: 0", Err(Unkept::NotFresh)),
        (
            200,
            "expires: Wed, 25 Nov 2020 12:01:00 GMT\ncache-control: max-age=5",
            Ok(5),
        ),
        (206, "cache-control: max-age=60", Err(Unkept::Status)),
        (
            200,
            "cache-control: max-age=60\ncontent-range: bytes 0-1/2",
            Err(Unkept::Status),
        ),
        (304, "cache-control: max-age=60", Err(Unkept::Status)),
        (401, "cache-control: max-age=60", Err(Unkept::Status)),
        (400, "cache-control: max-age=60", Err(Unkept::Status)),
        (404, "cache-control: max-age=60", Ok(60)),
        (404, "", Err(Unkept::NotFresh)),
        (503, "cache-control: max-age=2", Ok(2)),
        (302, "", Err(Unkept::NotFresh)),
    ] {
        assert_eq!(lifetime(&rules(), PLAIN, status, lines), want, "{status} {lines}");
    }
}

#[test]
fn the_route_decides_where_a_reply_says_nothing() {
    let mut rules = rules();
    rules.ttl = Some(Duration::from_secs(30));
    rules.negative = BTreeMap::from([(404, Duration::from_secs(3))]);
    let cookies = Asked { cookies: true, ..PLAIN };
    assert_eq!(lifetime(&rules, PLAIN, 200, ""), Ok(30));
    assert_eq!(lifetime(&rules, PLAIN, 404, ""), Ok(3));
    assert_eq!(lifetime(&rules, PLAIN, 500, ""), Err(Unkept::NotFresh));
    assert_eq!(lifetime(&rules, PLAIN, 200, "cache-control: max-age=5"), Ok(5));
    assert_eq!(lifetime(&rules, PLAIN, 404, "cache-control: max-age=5"), Ok(5));
    assert_eq!(lifetime(&rules, cookies, 200, ""), Err(Unkept::NotFresh));
    assert_eq!(lifetime(&rules, cookies, 200, "cache-control: max-age=5"), Ok(5));
}

#[test]
fn c2_the_answer_to_credentials_is_kept_only_where_it_says_that_it_is_for_all() {
    let asked = Asked {
        credentials: true,
        ..PLAIN
    };
    let mut rules = rules();
    rules.ttl = Some(Duration::from_secs(30));
    for (control, want) in [
        ("max-age=60", Err(Unkept::Forbidden)),
        ("public, max-age=60", Ok(60)),
        ("s-maxage=60", Ok(60)),
        ("must-revalidate, max-age=60", Ok(60)),
        ("private, max-age=60", Err(Unkept::Forbidden)),
    ] {
        let lines = format!("cache-control: {control}");
        assert_eq!(lifetime(&rules, asked, 200, &lines), want, "{control}");
    }
    assert_eq!(lifetime(&rules, asked, 200, ""), Err(Unkept::Forbidden));
}

#[test]
fn c3_the_age_is_what_the_reply_says_or_what_its_date_shows_whichever_is_more() {
    for (lines, took, want) in [
        ("", 0, 0),
        ("age: 30", 2, 32),
        ("date: Wed, 25 Nov 2026 11:59:00 GMT", 0, 60),
        ("date: Wed, 25 Nov 2026 11:59:00 GMT\nage: 90", 1, 91),
        // A clock that is ahead makes nothing older than it is, nor younger.
        ("date: Wed, 25 Nov 2026 13:00:00 GMT", 3, 3),
        ("age: -5", 0, 0),
        ("age: many", 0, 0),
    ] {
        let asked = Asked {
            took: Duration::from_secs(took),
            ..PLAIN
        };
        let lines = format!("cache-control: max-age=600\n{lines}");
        let terms = terms(&rules(), asked, &reply(200, lines.trim()), now()).unwrap();
        assert_eq!(terms.age.as_secs(), want, "{lines}");
    }
}

#[test]
fn c3_nothing_is_served_stale_that_says_it_must_not_be() {
    let mut rules = rules();
    rules.stale_while_revalidate = Duration::from_secs(7);
    rules.stale_if_error = Duration::from_secs(9);
    for (control, want) in [
        ("max-age=1", (7, 9)),
        ("max-age=1, stale-while-revalidate=2, stale-if-error=3", (2, 3)),
        ("max-age=1, must-revalidate, stale-if-error=3", (0, 0)),
        ("max-age=1, proxy-revalidate", (0, 0)),
        ("s-maxage=1", (0, 0)),
        ("s-maxage=1, stale-while-revalidate=5", (5, 0)),
    ] {
        let head = reply(200, &format!("cache-control: {control}"));
        let terms = terms(&rules, PLAIN, &head, now()).unwrap();
        let got = (terms.while_revalidate.as_secs(), terms.if_error.as_secs());
        assert_eq!(got, want, "{control}");
    }
}
