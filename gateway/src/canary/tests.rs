//! Who gets which service.

use super::share;
use crate::policy::testing::origin::Origin;
use crate::policy::testing::{Sites, http};

fn sites(one: &Origin, two: &Origin, keys: &str) -> Sites {
    let services = one.service() + &two.service().replace("\"origin\"", "\"second\"");
    let tables = format!(
        "[[routes]]\nmatch = {{ path_prefix = '/' }}\nto = [\n{{ service = 'origin@@', weight = 50 }},\n\
         {{ service = 'second@@', weight = 50, canary = {{ header = 'x-canary=yes', cookie = 'beta' }} }},\n]\n{keys}\n"
    );
    Sites::start_with("", &services, &tables)
}

fn origins() -> (Origin, Origin) {
    let named = |name: &'static str| Origin::start(move |_| (200, String::new(), name.into()));
    (named("one"), named("two"))
}

#[test]
fn who_asks_for_the_canary_gets_it_whatever_the_weights() {
    let (one, two) = origins();
    let sites = sites(&one, &two, "");
    for (place, at) in sites.entries() {
        for lines in ["x-canary: yes\r\n", "cookie: a=b; beta=1\r\n", "cookie: beta=\r\n"] {
            for _ in 0..16 {
                assert_eq!(http(at, "GET", "/", lines, b"").text(), "two", "{place} {lines}");
            }
        }
        let others: Vec<_> = (0..64)
            .map(|_| http(at, "GET", "/", "x-canary: no\r\n", b"").text())
            .collect();
        assert!(others.iter().any(|name| name == "one"), "{place}");
    }
}

#[test]
fn a_caller_with_the_cookie_stays_where_it_was() {
    let (one, two) = origins();
    let sites = sites(&one, &two, "sticky = { by = 'cookie', cookie = 'v', ttl = '1h' }");
    for (place, at) in sites.entries() {
        for _ in 0..8 {
            let first = http(at, "GET", "/", "", b"");
            let cookie = first.header("set-cookie").unwrap();
            assert!(
                cookie.contains("; Max-Age=3600") && cookie.contains("; HttpOnly"),
                "{cookie}"
            );
            let pair = cookie.split(';').next().unwrap();
            for _ in 0..8 {
                let again = http(at, "GET", "/", &format!("cookie: {pair}\r\n"), b"");
                assert_eq!(
                    (again.text(), again.header("set-cookie")),
                    (first.text(), None),
                    "{place}"
                );
            }
        }
        let odd = http(at, "GET", "/", "cookie: v=nowhere\r\n", b"");
        assert!(
            odd.header("set-cookie").is_some(),
            "{place}: a name of nothing is replaced"
        );
    }
}

#[test]
fn a_caller_stays_by_its_address() {
    let (one, two) = origins();
    let sites = sites(&one, &two, "sticky = { by = 'address' }");
    for (place, at) in sites.entries() {
        let first = http(at, "GET", "/", "", b"").text();
        for _ in 0..16 {
            assert_eq!(http(at, "GET", "/", "", b"").text(), first, "{place}");
        }
    }
}

#[test]
fn shares_are_even_and_a_share_that_grows_moves_nobody_back() {
    let shares: Vec<u64> = (0..10_000)
        .map(|who: u32| share("route", who.to_string().as_bytes()))
        .collect();
    for percent in [1, 10, 50, 90] {
        let below = shares
            .iter()
            .filter(|share| (u128::from(**share) * 100) >> 64 < percent)
            .count();
        let want = 100 * percent as usize;
        assert!(
            below.abs_diff(want) < 150 + want / 10,
            "{percent} percent: {below} of 10000"
        );
    }
    assert_ne!(share("route", b"a"), share("other", b"a"));
}
