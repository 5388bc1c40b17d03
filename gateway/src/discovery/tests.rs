mod server;
mod srv;

use std::time::Duration;

use causeway_config::StaticEndpoint;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Record, RecordType};

use super::*;
use server::{Reply, Server, address, alias, of_kind};

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);

fn dns(server: &Server) -> Dns {
    Dns {
        servers: vec![server.address],
        timeout: DEADLINE,
        min_ttl: TICK,
        max_ttl: 3 * TICK,
        max_stale: Duration::from_secs(3600),
        max_endpoints: 256,
    }
}

/// For servers that keep silent.
fn hasty(server: &Server) -> Dns {
    Dns {
        timeout: Duration::from_millis(250),
        ..dns(server)
    }
}

fn discovery(dns: &Dns) -> Discovery {
    Discovery::new(dns, Handle::current())
}

fn host(name: &str, port: u16) -> Discover {
    Discover::Dns {
        host: name.to_owned(),
        port,
    }
}

fn service(name: &str) -> Discover {
    Discover::Srv { name: name.to_owned() }
}

async fn until(watched: &Watched, condition: impl Fn(&Answer) -> bool) -> Arc<Answer> {
    let mut changes = watched.changes.clone();
    let found = tokio::time::timeout(DEADLINE, changes.wait_for(|answer| condition(answer))).await;
    match found {
        Ok(answer) => Arc::clone(&answer.expect("the look-ups go on")),
        Err(_) => panic!("never came about; now: {:?}", watched.current()),
    }
}

/// For what is not published.
async fn eventually(mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "never came about");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn addresses(answer: &Answer) -> Vec<String> {
    answer
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

fn why(answer: &Answer) -> Option<Failure> {
    match answer.state {
        State::Stale { why, .. } | State::Failed { why } => Some(why),
        State::Fresh | State::Pending => None,
    }
}

/// A good answer is followed by bad ones, and these by a good one.
async fn last_good_is_kept(bad: Reply, expected: Failure) {
    let good = |name: &str, kind| of_kind(name, kind, 0, &["10.0.0.1", "10.0.0.2"]);
    let server = Server::start(good).await;
    let discovery = discovery(&hasty(&server));
    let watched = discovery.watch(&host("orders.internal", 80));
    until(&watched, |answer| answer.endpoints.len() == 2).await;

    server.say(move |_, _| bad.clone());
    let stale = until(&watched, |answer| why(answer) == Some(expected)).await;
    assert!(matches!(stale.state, State::Stale { .. }));
    assert_eq!(addresses(&stale), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert!(watched.stats().failed(expected) > 0);
    assert_eq!(watched.stats().endpoints(), 2);

    server.say(|name, kind| of_kind(name, kind, 0, &["10.0.0.3"]));
    let fresh = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&fresh), ["10.0.0.3:80"]);
    assert!(fresh.generation > stale.generation);

    // The same failure with nothing to fall back on.
    server.say(|_, _| Reply::Code(ResponseCode::Refused));
    let other = discovery.watch(&host("other.internal", 80));
    let failed = until(&other, |answer| answer.state != State::Pending).await;
    assert_eq!(
        (failed.state, failed.endpoints.len()),
        (State::Failed { why: Failure::Refused }, 0)
    );
}

#[tokio::test]
async fn d1_servfail_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::Code(ResponseCode::ServFail), Failure::ServFail).await;
}

#[tokio::test]
async fn d1_nxdomain_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::Code(ResponseCode::NXDomain), Failure::NxDomain).await;
}

#[tokio::test]
async fn d1_refused_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::Code(ResponseCode::Refused), Failure::Refused).await;
}

#[tokio::test]
async fn d1_timeout_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::Silence, Failure::Timeout).await;
}

#[tokio::test]
async fn d1_empty_noerror_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::Answer(Vec::new()), Failure::Empty).await;
}

#[tokio::test]
async fn d1_garbage_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::Garbage, Failure::Malformed).await;
}

#[tokio::test]
async fn d1_an_answer_with_a_wrong_id_is_not_believed() {
    let spoofed = Reply::WrongId(vec![address("orders.internal.", 0, "10.6.6.6")]);
    last_good_is_kept(spoofed, Failure::Timeout).await;
}

#[tokio::test]
async fn d1_a_cname_loop_ends_and_keeps_the_last_good_answer() {
    let records = vec![
        alias("orders.internal.", 0, "b.internal."),
        alias("b.internal.", 0, "orders.internal."),
    ];
    last_good_is_kept(Reply::Answer(records), Failure::Empty).await;
}

#[tokio::test]
async fn d1_an_alias_is_followed() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("orders.internal.", _) => Reply::Answer(vec![alias(name, 5, "lb.cloud.")]),
        (_, RecordType::A) => Reply::Answer(vec![address("lb.cloud.", 5, "10.0.0.1")]),
        _ => Reply::Answer(Vec::new()),
    })
    .await;
    let watched = discovery(&dns(&server)).watch(&host("orders.internal", 80));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["10.0.0.1:80"]);
    assert_eq!(&*answer.endpoints[0].host, "orders.internal");
}

#[tokio::test]
async fn d1_a_truncated_answer_is_asked_for_again_over_tcp() {
    let server = Server::start(|name, kind| match of_kind(name, kind, 60, &["10.0.0.1"]) {
        Reply::Answer(records) => Reply::TooLong(records),
        other => other,
    })
    .await;
    let watched = discovery(&dns(&server)).watch(&host("orders.internal", 80));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["10.0.0.1:80"]);
    assert!(server.asked().iter().any(|asked| asked.tcp));
}

#[tokio::test]
async fn d1_an_answer_truncated_over_tcp_too_keeps_the_last_good_answer() {
    last_good_is_kept(Reply::TruncatedAlways, Failure::Truncated).await;
}

#[tokio::test]
async fn d1_of_4_000_records_the_first_256_in_order_are_taken() {
    let server = Server::start(|name, kind| {
        let records: Vec<Record> = (0..4000)
            .rev()
            .map(|n| address(name, 60, &format!("10.0.{}.{}", n / 250, n % 250)))
            .collect();
        match kind {
            RecordType::A => Reply::TooLong(records),
            _ => Reply::Answer(Vec::new()),
        }
    })
    .await;
    let watched = discovery(&dns(&server)).watch(&host("many.internal", 80));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(answer.endpoints.len(), 256);
    assert_eq!(addresses(&answer)[..2], ["10.0.0.0:80", "10.0.0.1:80"]);
}

#[tokio::test]
async fn d1_flapping_never_empties_the_pool() {
    let mut turn = 0;
    let server = Server::start(move |name, kind| {
        turn += 1;
        match turn / 2 % 4 {
            1 => Reply::Code(ResponseCode::ServFail),
            2 => Reply::Code(ResponseCode::NXDomain),
            3 => Reply::Answer(Vec::new()),
            _ => of_kind(name, kind, 0, &["10.0.0.1"]),
        }
    })
    .await;
    let watched = discovery(&dns(&server)).watch(&host("flap.internal", 80));
    until(&watched, |answer| answer.endpoints.len() == 1).await;
    let mut changes = watched.changes.clone();
    for _ in 0..6 {
        tokio::time::timeout(DEADLINE, changes.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(addresses(&changes.borrow()), ["10.0.0.1:80"]);
    }
}

#[tokio::test]
async fn d1_a_ttl_of_0_is_asked_for_no_sooner_than_the_floor() {
    let server = Server::start(|name, kind| of_kind(name, kind, 0, &["10.0.0.1"])).await;
    let watched = discovery(&dns(&server)).watch(&host("zero.internal", 80));
    eventually(|| server.times("zero.internal.", RecordType::A) >= 4).await;
    let times: Vec<_> = server
        .asked()
        .into_iter()
        .filter(|asked| asked.kind == RecordType::A)
        .map(|asked| asked.at)
        .collect();
    // A moment less: the question is on its way before the clock of the server is read.
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > TICK / 2), "{times:?}");
    assert_eq!(watched.current().generation, 1, "the same answer is no change");
}

#[tokio::test]
async fn d1_a_ttl_of_2_31_is_asked_for_again_at_the_ceiling() {
    for ttl in [1 << 31, u32::MAX, (1 << 31) - 1] {
        let server = Server::start(move |name, kind| of_kind(name, kind, ttl, &["10.0.0.1"])).await;
        let _watched = discovery(&dns(&server)).watch(&host("long.internal", 80));
        eventually(|| server.times("long.internal.", RecordType::A) >= 3).await;
    }
}

#[tokio::test]
async fn d1_a_and_aaaa_are_mixed_in_order_and_the_first_does_not_wait_for_the_other() {
    let server = Server::start(|name, kind| match kind {
        RecordType::AAAA => Reply::Silence,
        _ => of_kind(name, kind, 60, &["10.0.0.2", "10.0.0.1"]),
    })
    .await;
    let watched = discovery(&dns(&server)).watch(&host("dual.internal", 80));
    let early = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&early), ["10.0.0.1:80", "10.0.0.2:80"]);
    // The question is sent again, and answered then.
    server.say(|name, kind| of_kind(name, kind, 60, &["10.0.0.2", "10.0.0.1", "fd00::1"]));
    let whole = until(&watched, |answer| answer.endpoints.len() == 3).await;
    assert_eq!(addresses(&whole), ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]);
}

#[tokio::test]
async fn d1_when_one_family_fails_its_last_addresses_stay() {
    let both = &["10.0.0.1", "fd00::1"];
    let server = Server::start(|name, kind| of_kind(name, kind, 0, both)).await;
    let watched = discovery(&dns(&server)).watch(&host("dual.internal", 80));
    until(&watched, |answer| answer.endpoints.len() == 2).await;
    server.say(|name, kind| match kind {
        RecordType::AAAA => Reply::Code(ResponseCode::ServFail),
        _ => of_kind(name, kind, 0, &["10.0.0.2"]),
    });
    let answer = until(&watched, |answer| {
        answer.endpoints[0].address.to_string() == "10.0.0.2:80"
    })
    .await;
    assert_eq!(addresses(&answer), ["10.0.0.2:80", "[fd00::1]:80"]);
    assert_eq!(answer.state, State::Fresh);
}

#[tokio::test]
async fn d1_a_name_with_v6_only_is_found() {
    let server = Server::start(|name, kind| of_kind(name, kind, 60, &["::1", "fd00::1"])).await;
    let watched = discovery(&dns(&server)).watch(&host("six.internal", 8080));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["[::1]:8080", "[fd00::1]:8080"]);
}

#[tokio::test]
async fn d1_a_name_has_one_look_up_under_way_however_many_watch_it() {
    let server = Server::held(|name, kind| of_kind(name, kind, 60, &["10.0.0.1"])).await;
    let settings = Dns {
        max_ttl: DEADLINE,
        ..dns(&server)
    };
    let discovery = discovery(&settings);
    let watches: Vec<Watched> = (0..50)
        .map(|n| discovery.watch(&host(if n % 2 == 0 { "one.internal" } else { "ONE.internal" }, 80)))
        .collect();
    for watched in &watches {
        watched.refresh();
    }
    eventually(|| server.times("one.internal.", RecordType::AAAA) > 0).await;
    eventually(|| server.times("one.internal.", RecordType::A) > 0).await;
    assert_eq!(server.times("one.internal.", RecordType::A), 1);
    assert_eq!(discovery.stats().len(), 1);
    server.release();
    for watched in &watches {
        until(watched, |answer| answer.state == State::Fresh).await;
    }
    // All 50 wishes became one look-up after the first.
    eventually(|| watches[0].stats().answered() >= 2).await;
    assert_eq!(server.times("one.internal.", RecordType::A), 2);
}

#[tokio::test]
async fn d2_a_name_that_flips_to_the_metadata_address_is_not_followed() {
    let bad = Reply::Answer(vec![address("orders.internal.", 0, "169.254.169.254")]);
    last_good_is_kept(bad, Failure::Forbidden).await;
}

#[tokio::test]
async fn s14_forbidden_addresses_are_left_out_and_counted_and_written_down_ones_are_taken() {
    let ips = &["169.254.169.254", "10.0.0.1", "fe80::1", "127.0.0.1", "0.0.0.0"];
    let server = Server::start(|name, kind| of_kind(name, kind, 60, ips)).await;
    let discovery = discovery(&dns(&server));
    let watched = discovery.watch(&host("mixed.internal", 80));
    eventually(|| watched.stats().refused_addresses() >= 3).await;
    assert_eq!(addresses(&watched.current()), ["10.0.0.1:80", "127.0.0.1:80"]);

    let listed = discovery.watch(&Discover::Static(vec![StaticEndpoint {
        address: "169.254.1.1:80".parse().unwrap(),
        weight: 3,
        priority: 1,
    }]));
    assert_eq!(listed.current().state, State::Fresh);
    assert_eq!(addresses(&listed.current()), ["169.254.1.1:80"]);
    let literal = discovery.watch(&host("[fe80::1]", 80));
    assert_eq!(addresses(&literal.current()), ["[fe80::1]:80"]);
    assert!(server.asked().iter().all(|asked| asked.name == "mixed.internal."));
}

#[tokio::test]
async fn a_refresh_looks_up_at_once_what_would_be_due_much_later() {
    let server = Server::start(|name, kind| of_kind(name, kind, 3600, &["10.0.0.1"])).await;
    let settings = Dns {
        max_ttl: Duration::from_secs(3600),
        ..dns(&server)
    };
    let watched = discovery(&settings).watch(&host("moved.internal", 80));
    eventually(|| watched.stats().answered() == 1).await;
    server.say(|name, kind| of_kind(name, kind, 3600, &["10.0.0.2"]));
    let answer = watched.refreshed(DEADLINE).await;
    assert_eq!(addresses(&answer), ["10.0.0.2:80"]);
    assert_eq!(watched.stats().answered(), 2);
}

#[tokio::test]
async fn look_ups_end_when_nobody_watches_and_start_again_for_a_new_watch() {
    let server = Server::start(|name, kind| of_kind(name, kind, 0, &["10.0.0.1"])).await;
    let discovery = discovery(&dns(&server));
    let first = discovery.watch(&host("gone.internal", 80));
    let second = discovery.watch(&host("gone.internal", 80));
    until(&first, |answer| answer.state == State::Fresh).await;
    let stats = discovery.stats().remove(0);
    drop(first);
    until(&second, |answer| answer.state == State::Fresh).await;
    drop(second);
    eventually(|| Arc::strong_count(&stats) == 1).await;
    assert!(discovery.stats().is_empty());
    let again = discovery.watch(&host("gone.internal", 80));
    until(&again, |answer| answer.state == State::Fresh).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_and_a_name_that_cannot_be_have_their_own_failures() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let discovery = discovery(&hasty(&server));
    let long = "x".repeat(64);
    let watched = discovery.watch(&host(&long, 80));
    let answer = until(&watched, |answer| answer.state != State::Pending).await;
    assert_eq!(why(&answer), Some(Failure::Malformed));

    let unused = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nowhere = Dns {
        servers: vec![unused.local_addr().unwrap()],
        ..hasty(&server)
    };
    drop(unused);
    let watched = Discovery::new(&nowhere, Handle::current()).watch(&host("a.internal", 80));
    let answer = until(&watched, |answer| answer.state != State::Pending).await;
    // Whether the port's refusal is heard of depends on the system.
    assert!(
        matches!(why(&answer), Some(Failure::Unreachable | Failure::Timeout)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn localhost_is_found_whatever_the_system_says_of_servers() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let system = Dns {
        servers: Vec::new(),
        ..dns(&server)
    };
    let watched = discovery(&system).watch(&host("localhost", 80));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert!(
        addresses(&answer)
            .iter()
            .any(|address| address == "127.0.0.1:80" || address == "[::1]:80")
    );
}
