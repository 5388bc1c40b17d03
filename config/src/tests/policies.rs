//! The policies of routes: what loads, and in which words a mistake is told.

use std::time::Duration;

use super::*;
use crate::{LimitKey, OnError, OnExcess, Period, QuotaAmount};

/// A route with these lines in it.
fn route(lines: &str) -> String {
    format!("[[routes]]\nfixed = {{}}\n{lines}\n")
}

#[test]
fn a_rate_limit_may_be_one_rule_or_several() {
    let one = load_with_route("[routes.rate_limit]\nrate = '100/s'");
    let [rule] = &one.routes[0].policies.rate_limit[..] else {
        panic!()
    };
    assert_eq!(
        (&*rule.name, rule.burst, rule.cost, rule.fields),
        ("default", 100, 1, true)
    );
    assert_eq!((rule.rate.amount.get(), rule.rate.per), (100, Duration::from_secs(1)));
    assert_eq!(rule.key, LimitKey::Address { ipv6_prefix: 64 });

    let several = load_with_route(
        "[[routes.rate_limit]]\nrate = '5/1m30s'\nkey = { header = 'X-Key' }\nburst = 7\ncost = 7\n\
         [[routes.rate_limit]]\nrate = '1/250ms'\nipv6_prefix = 48\ndry_run = true\nfields = false\n",
    );
    let [first, second] = &several.routes[0].policies.rate_limit[..] else {
        panic!()
    };
    assert_eq!(first.key, LimitKey::Header("x-key".to_owned()));
    assert_eq!(
        (first.burst, first.cost, first.rate.per),
        (7, 7, Duration::from_secs(90))
    );
    assert_eq!(second.key, LimitKey::Address { ipv6_prefix: 48 });
    assert_eq!(
        (&*second.name, second.dry_run, second.fields),
        ("default-2", true, false)
    );
}

#[test]
fn a_concurrency_limit_needs_a_number() {
    let config = load_with_route("[routes.concurrency]\ncalls = 3\nkey = 'site'");
    let [rule] = &config.routes[0].policies.concurrency[..] else {
        panic!()
    };
    assert_eq!(
        (&*rule.name, rule.calls.get(), &rule.key),
        ("default", 3, &LimitKey::Site)
    );
    for (lines, wanted) in [
        ("", "concurrency.calls: is missing"),
        ("calls = 0", "concurrency.calls: must be between 1 and 1000000"),
        ("calls = 1\nkey = 7", "concurrency.key: must be a string or a table"),
    ] {
        let told = told(&route(&format!("[routes.concurrency]\n{lines}")));
        assert!(told.contains(wanted), "{lines}: {told}");
    }
}

#[test]
fn a_quota_has_an_amount_and_a_period() {
    let config = load_with_route(
        "[[routes.quota]]\nrequests = 100\nper = 'day'\n\
         [[routes.quota]]\nbytes = '1GiB'\nper = 'month'\nkey = 'plan'\nname = 'traffic'\n",
    );
    let [first, second] = &config.routes[0].policies.quota[..] else {
        panic!()
    };
    assert_eq!(
        (first.amount, first.per, &first.key),
        (QuotaAmount::Requests(100), Period::Day, &LimitKey::Identity)
    );
    assert_eq!(
        (second.amount, second.per, &*second.name),
        (QuotaAmount::Bytes(1 << 30), Period::Month, "traffic")
    );
    for (lines, wanted) in [
        ("per = 'day'", "quota.requests: is missing"),
        ("requests = 1", "quota.per: is missing"),
        (
            "requests = 1\nbytes = 1\nper = 'day'",
            "quota.bytes: stands beside `requests`",
        ),
        ("requests = 0\nper = 'day'", "quota.requests: must be between 1 and"),
        (
            "requests = 1\nper = 'year'",
            "quota.per: must be one of `hour`, `day`, `week`, `month`",
        ),
    ] {
        let told = told(&route(&format!("[routes.quota]\n{lines}")));
        assert!(told.starts_with("configuration has 1 problem\n"), "{lines}: {told}");
        assert!(told.contains(wanted), "{lines}: {told}");
    }
    let told = told_first("state_dir = 'nowhere'");
    assert!(told.contains("state_dir: reading `nowhere`: No such file"), "{told}");
}

#[test]
fn a_message_limit_limits_something() {
    let config = load_with_route("[routes.message_limit]\nbytes = '1MiB/s'\non_excess = 'close'\ndirection = 'up'");
    let limit = config.routes[0].policies.message_limit.unwrap();
    assert_eq!(limit.bytes.unwrap().amount.get(), 1 << 20);
    assert_eq!((limit.on_excess, limit.up, limit.down), (OnExcess::Close, true, false));
    for (lines, wanted) in [
        ("", "message_limit: limits nothing"),
        ("messages = '1KiB/s'", "message_limit.messages: `1KiB/s` is not a rate"),
        ("bytes = '1MiB'", "message_limit.bytes: `1MiB` is not a rate"),
        ("max_message = 0", "message_limit.max_message: must be between 1B and"),
        (
            "messages = '1/s'\non_excess = 'drop'",
            "message_limit.on_excess: must be one of `close`, `pause`",
        ),
        (
            "messages = '1/s'\ndirection = 'left'",
            "message_limit.direction: must be one of `both`, `down`, `up`",
        ),
    ] {
        let told = told(&route(&format!("[routes.message_limit]\n{lines}")));
        assert!(told.starts_with("configuration has 1 problem\n"), "{lines}: {told}");
        assert!(told.contains(wanted), "{lines}: {told}");
    }
}

#[test]
fn shared_counters_have_a_url_that_nobody_sees() {
    let text = format!("{LEAST}[redis]\nurl = 'redis://me:hush@host:6379/1'\n");
    let config = crate::load_str("c.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(!format!("{config:?}").contains("hush"));
    let redis = config.redis.unwrap();
    assert_eq!(
        (redis.timeout, redis.on_error, redis.connections),
        (Duration::from_millis(50), OnError::Local, 2)
    );
    for (lines, wanted) in [
        ("", "redis.url: is missing"),
        (
            "url = 'http://me:hush@host'",
            "redis.url: is not the URL of a Redis server",
        ),
        ("url = 'rediss://me:hush@host'", "hint: TLS to Redis is not supported"),
        (
            "url = 'redis://host'\non_error = 'panic'",
            "redis.on_error: must be one of `allow`, `local`, `refuse`",
        ),
        (
            "url = 'redis://host'\ntimeout = '1m'",
            "redis.timeout: must be between 1ms and 10s",
        ),
    ] {
        let told = told(&format!("[redis]\n{lines}\n"));
        assert!(told.starts_with("configuration has 1 problem\n"), "{lines}: {told}");
        assert!(told.contains(wanted) && !told.contains("hush"), "{lines}: {told}");
    }
}

/// What is printed about a key of the top level.
fn told_first(line: &str) -> String {
    crate::load_str("c.toml", &format!("{line}\n{LEAST}"))
        .unwrap_err()
        .to_string()
}

fn load_with_route(lines: &str) -> Config {
    crate::load_str("c.toml", &format!("{LEAST}{}", route(lines))).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn mistakes_in_a_rate_limit_are_told_at_their_key() {
    #[rustfmt::skip]
    let table = [
        ("", "rate_limit.rate: is missing"),
        ("rate = '100'", "rate_limit.rate: `100` is not a rate"),
        ("rate = '1/0s'", "rate_limit.rate: must be 1 to 1000000000 in 1ms to 24h"),
        ("rate = '0/1s'", "rate_limit.rate: must be 1 to"),
        ("rate = '1/25h'", "rate_limit.rate: must be 1 to"),
        ("rate = '1KiB/1s'", "rate_limit.rate: `1KiB/1s` is not a rate"),
        ("rate = '-1/1s'", "rate_limit.rate: `-1/1s` is not a rate"),
        ("rate = 5", "rate_limit.rate: a rate needs a span of time"),
        ("rate = '5/s'\ncost = 6", "rate_limit.cost: is more than `burst`"),
        ("rate = '5/s'\nburst = 0", "rate_limit.burst: must be between 1 and 1000000000"),
        ("rate = '5/s'\nkey = 'adress'", "rate_limit.key: must be one of `address`, `identity`, `plan`, `route`, `site`"),
        ("rate = '5/s'\nkey = {}", "rate_limit.key: must name one thing to count by"),
        ("rate = '5/s'\nkey = { header = 'a b' }", "rate_limit.key.header: `a b` is not the name of a header field"),
        ("rate = '5/s'\nkey = { cookie = '' }", "rate_limit.key.cookie: must have 1 to 255 characters"),
        ("rate = '5/s'\nkey = 'route'\nipv6_prefix = 56", "rate_limit.ipv6_prefix: has no effect"),
        ("rate = '5/s'\nipv6_prefix = 16", "rate_limit.ipv6_prefix: must be between 32 and 128"),
        ("rate = '5/s'\nrat = 1", "rate_limit.rat: unknown key"),
    ];
    for (lines, wanted) in table {
        let told = told(&route(&format!("[routes.rate_limit]\n{lines}")));
        assert!(told.starts_with("configuration has 1 problem\n"), "{lines}: {told}");
        assert!(told.contains(wanted), "{lines}: {told}");
    }
    let twice = told(&route(
        "[[routes.rate_limit]]\nrate = '1/s'\n[[routes.rate_limit]]\nrate = '1/s'\nname = 'default'",
    ));
    assert!(
        twice.contains("rate_limit[1].name: `default` is already the name of a rule here"),
        "{twice}"
    );
    let wrong = told(&route("rate_limit = 5"));
    assert!(
        wrong.contains("rate_limit: must be a table or a list of tables"),
        "{wrong}"
    );
}

#[test]
fn a_cache_needs_nothing_and_mistakes_in_it_are_told_at_their_key() {
    let plain = load_with_route("cache = {}");
    let cache = plain.routes[0].policies.cache.as_ref().unwrap();
    assert_eq!(
        (cache.ttl, cache.wait, cache.per_identity, cache.status_field),
        (None, Duration::from_secs(5), false, true)
    );
    assert_eq!((plain.cache.memory, plain.cache.max_entry), (64 << 20, 1 << 20));
    for (lines, wanted) in [
        (
            "negative = { 200 = '1s' }",
            "routes[0].cache.negative.200: is not a status that says no",
        ),
        (
            "negative = { 304 = '1s' }",
            "routes[0].cache.negative.304: is not a status that says no",
        ),
        (
            "key_headers = ['a b']",
            "routes[0].cache.key_headers[0]: `a b` is not a header name",
        ),
        (
            "query = { only = ['a'], ignore = ['b'] }",
            "routes[0].cache.query.ignore: stands beside `only`",
        ),
        (
            "query = { only = ['a=b'] }",
            "routes[0].cache.query.only[0]: `a=b` is not a parameter name",
        ),
        ("grpc_methods = ['a.B/C']", "routes[0].cache.ttl: is missing"),
        (
            "ttl = '1s'\ngrpc_methods = ['C']",
            "routes[0].cache.grpc_methods[0]: `C` is not a gRPC method",
        ),
        ("wait = '2m'", "routes[0].cache.wait: must be between 0s and 1m"),
    ] {
        let text = format!("{LEAST}{}", route(&format!("[routes.cache]\n{lines}")));
        let told = crate::load_str("c.toml", &text).unwrap_err().to_string();
        assert!(told.contains(wanted), "{lines}: {told}");
    }
}
