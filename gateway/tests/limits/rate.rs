//! `[routes.rate_limit]`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clients::{grpc, http, say, websocket};
use crate::place::{Place, Where};

/// Five at once, and then nothing for as long as a test runs.
const FIVE: &str = "[routes.rate_limit]\nrate = \"5/1h\"\n";

/// A client at this address.
fn from(address: &str) -> [(&'static str, &str); 1] {
    [("x-forwarded-for", address)]
}

#[test]
fn a_client_is_refused_with_the_time_to_come_again_in_its_own_protocol() {
    for at in Where::ALL {
        let place = Place::start(at, "", FIVE);
        let address = place.address();

        for nth in 1..=5 {
            let answer = http(address, "/echo", &[]);
            assert_eq!(answer.status, 200, "{at:?}");
            assert_eq!(answer.field("ratelimit-policy"), Some("\"default\";q=5;w=3600"));
            let told = answer.field("ratelimit").unwrap();
            assert!(told.starts_with(&format!("\"default\";r={};t=", 5 - nth)), "{told}");
        }
        let refused = http(address, "/echo", &[]);
        assert_eq!(refused.status, 429, "{at:?}");
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((700..=720).contains(&wait), "{wait}");
        assert!(refused.field("ratelimit").unwrap().starts_with("\"default\";r=0;t="));
        assert!(refused.body.contains("\"code\":\"rate_limited\""), "{}", refused.body);
        assert_eq!(refused.field("content-type"), Some("application/problem+json"));

        for nth in 0..5 {
            assert_eq!(websocket(address, "/echo", &[]).0.status, 101, "{at:?} {nth}");
        }
        let (refused, _) = websocket(address, "/echo", &[]);
        assert_eq!(refused.status, 429, "before the upgrade");
        assert!(refused.field("retry-after").is_some());

        let mut client = grpc(address);
        for nth in 0..5 {
            say(&mut client, &[]).unwrap_or_else(|status| panic!("{at:?} {nth} {status}"));
        }
        let refused = say(&mut client, &[]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refused.message(), "too many requests");
        assert!(refused.metadata().contains_key("retry-after"), "{refused:?}");
        assert!(refused.metadata().contains_key("ratelimit"), "{refused:?}");
        let text = b"type.googleapis.com/google.rpc.RetryInfo";
        assert!(
            refused.details().windows(text.len()).any(|part| part == text),
            "{refused:?}"
        );

        assert_eq!(http(address, "/unlimited", &[]).status, 200, "another route goes on");
        let series = "causeway_policy_refusals_total{route=\"http\",policy=\"rate_limit\",mode=\"enforce\"}";
        assert_eq!(place.metric(series), Some(1.0));
        place.drain();
    }
}

#[test]
fn ten_times_the_limit_by_many_connections_admits_exactly_the_limit() {
    let place = Place::start(
        Where::Here,
        "",
        "[routes.rate_limit]\nrate = \"100/1h\"\nkey = \"route\"\n",
    );
    let address = place.address();
    let admitted = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..50 {
                    if http(address, "/echo", &[]).status == 200 {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let admitted = admitted.into_inner();
    // One more comes back every 36 s.
    let most = 100 + (began.elapsed().as_secs() / 36) as usize;
    println!("local: 1000 calls at a limit of 100: {admitted} admitted");
    assert!((100..=most).contains(&admitted), "{admitted}");
    place.drain();
}

#[test]
fn r1_a_forged_address_gets_no_bucket_of_its_own() {
    let direct = "[[listeners]]\nname = \"direct\"\nbind = \"127.0.0.1:0\"\n";
    let place = Place::start(Where::Here, direct, FIVE);
    let address = place.entry.bound().listeners["direct"];
    let statuses: Vec<_> = (0..20)
        .map(|nth| http(address, "/echo", &from(&format!("10.0.0.{nth}"))).status)
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        5,
        "{statuses:?}"
    );

    // What a trusted proxy says counts; what the client put before it does not.
    let address = place.address();
    for nth in 0..5 {
        let stated = format!("10.9.9.{nth}, 192.0.2.1");
        assert_eq!(http(address, "/echo", &from(&stated)).status, 200);
    }
    assert_eq!(http(address, "/echo", &from("10.9.9.9, 192.0.2.1")).status, 429);
    assert_eq!(http(address, "/echo", &from("192.0.2.2")).status, 200);
    place.drain();
}

#[test]
fn r1_all_addresses_of_an_ipv6_network_share_a_bucket() {
    let place = Place::start(Where::Here, "", FIVE);
    let address = place.address();
    for nth in 0..5 {
        assert_eq!(http(address, "/echo", &from(&format!("2001:db8::{nth}:1"))).status, 200);
    }
    assert_eq!(
        http(address, "/echo", &from("2001:db8::ffff:ffff:ffff:ffff")).status,
        429
    );
    assert_eq!(http(address, "/echo", &from("2001:db8:0:1::1")).status, 200);
    place.drain();
}

#[test]
fn r1_writing_a_path_or_a_name_in_another_way_changes_nothing() {
    let place = Place::start(
        Where::Here,
        "",
        "[routes.rate_limit]\nrate = \"5/1h\"\nkey = { header = \"X-Key\" }\n",
    );
    let address = place.address();
    let variants = ["/echo", "//echo", "/%65cho", "/./echo", "/echo?x=1", "/ECHO"];
    let statuses = variants.map(|path| http(address, path, &[("x-KEY", "a")]).status);
    assert_eq!(statuses[5], 429, "{statuses:?}");
    assert_eq!(http(address, "/echo", &[("X-Key", "b")]).status, 200);
    // Without the field there is one bucket for all, not none.
    let statuses: Vec<_> = (0..6).map(|_| http(address, "/echo", &[]).status).collect();
    assert_eq!(statuses[5], 429, "{statuses:?}");
    place.drain();

    let place = Place::start(
        Where::Here,
        "",
        "[routes.rate_limit]\nrate = \"2/1h\"\nkey = { query = \"k\" }\n",
    );
    let address = place.address();
    let variants = ["/echo?k=a%20b", "/echo?x=1&k=a+b", "/echo?%6B=a%20%62"];
    assert_eq!(
        variants.map(|target| http(address, target, &[]).status),
        [200, 200, 429]
    );
    place.drain();

    let place = Place::start(
        Where::Here,
        "",
        "[routes.rate_limit]\nrate = \"1/1h\"\nkey = { cookie = \"s\" }\n",
    );
    let address = place.address();
    let variants = ["s=1", "a=2; s=1", "s=2"];
    assert_eq!(
        variants.map(|cookie| http(address, "/echo", &[("cookie", cookie)]).status),
        [200, 429, 200]
    );
    place.drain();
}

#[test]
fn r1_a_reload_neither_resets_a_bucket_nor_keeps_an_old_rule() {
    let place = Place::start(Where::Here, "", FIVE);
    let address = place.address();
    for _ in 0..5 {
        assert_eq!(http(address, "/echo", &[]).status, 200);
    }
    place.reload("[limits]\nfields = 99\n", FIVE);
    assert_eq!(http(address, "/echo", &[]).status, 429, "the same rule goes on");
    place.reload("", "[routes.rate_limit]\nname = \"other\"\nrate = \"5/1h\"\n");
    assert_eq!(http(address, "/echo", &[]).status, 200, "another rule begins anew");
    place.reload("", "");
    assert!(http(address, "/echo", &[]).field("ratelimit").is_none());
    place.drain();
}

#[test]
fn several_rules_must_all_agree_and_a_dry_run_refuses_nothing() {
    let rules = "[[routes.rate_limit]]\nname = \"each\"\nrate = \"2/1h\"\nkey = { header = \"x-key\" }\n\
                 [[routes.rate_limit]]\nname = \"all\"\nrate = \"3/1h\"\nkey = \"route\"\n\
                 [[routes.rate_limit]]\nname = \"tried\"\nrate = \"1/1h\"\nkey = \"route\"\nfields = false\ndry_run = true\n";
    let place = Place::start(Where::Here, "", rules);
    let address = place.address();
    let answer = http(address, "/echo", &[("x-key", "a")]);
    assert_eq!(answer.status, 200);
    let policies = answer.field("ratelimit-policy").unwrap();
    assert!(policies.contains("\"each\";q=2") && policies.contains("\"all\";q=3") && !policies.contains("tried"));
    let statuses = ["a", "a", "b", "c"].map(|key| http(address, "/echo", &[("x-key", key)]).status);
    assert_eq!(statuses, [200, 429, 200, 429], "a has two, and all have three");
    let series = "causeway_policy_refusals_total{route=\"http\",policy=\"rate_limit\",mode=\"dry_run\"}";
    assert_eq!(place.metric(series), Some(2.0));
    place.drain();
}

#[test]
fn a_bucket_fills_again_at_its_rate() {
    let place = Place::start(Where::Here, "", "[routes.rate_limit]\nrate = \"20/1s\"\nburst = 1\n");
    let address = place.address();
    let began = Instant::now();
    let mut admitted = 0;
    while admitted < 11 {
        if http(address, "/echo", &[]).status == 200 {
            admitted += 1;
        }
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    // Ten intervals of 50 ms lie between eleven calls.
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    place.drain();
}
