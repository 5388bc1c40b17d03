//! M1 to M3: slow readers cost bounded memory in both gateways and hold nobody else up, and short memory refuses new calls.

use std::fs;
use std::time::{Duration, Instant};

use causeway_tests::client::{self, Connection};
use causeway_tests::until::holds_within;
use causeway_tests::{Pair, Site, pair, until};

use crate::backends::Running;

/// Clients that ask for much and read nothing.
const READERS: u64 = 200;
/// Per call: its window and what is being copied, at each of two gateways, with room for what the allocator keeps.
const PER_CALL_KIB: u64 = 2 * 192;
/// What a gateway may grow by without any of that.
const SLACK_KIB: u64 = 16 << 10;

/// Resident memory in KiB.
pub(crate) fn resident(site: &mut Site) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.process().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn m1_slow_readers_cost_bounded_memory_and_m2_hold_nobody_up() {
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    let entry = pair.aws.public();
    for _ in 0..50 {
        assert_eq!(client::get(entry, "/bytes/100000").unwrap().status, 200);
    }
    let quiet = (resident(&mut pair.aws), resident(&mut pair.azure));
    let before = quiet.0 + quiet.1;

    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Connection::open(entry).unwrap();
        reader
            .send(b"GET /bytes/104857600 HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        readers.push(reader);
    }
    // Without backpressure the backend, which is on the same machine, would have sent gigabytes within this time.
    let limit = before + READERS * PER_CALL_KIB + 2 * SLACK_KIB;
    let (mut most, mut each) = (0, quiet);
    let over = holds_within(Duration::from_secs(5), || {
        let now = (resident(&mut pair.aws), resident(&mut pair.azure));
        each = (each.0.max(now.0), each.1.max(now.1));
        most = most.max(now.0 + now.1);
        most > limit
    });
    causeway_tests::tools::say(&format!(
        "{READERS} slow readers of 100 MiB: aws from {} to {} KiB, azure from {} to {} KiB, {} KiB a reader in both",
        quiet.0,
        each.0,
        quiet.1,
        each.1,
        most.saturating_sub(before) / READERS,
    ));
    assert!(
        over.is_none(),
        "{READERS} slow readers: from {before} KiB to {most} KiB, allowed {limit} KiB"
    );

    let mut times = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        assert_eq!(client::get(entry, "/bytes/1000").unwrap().status, 200);
        times.push(began.elapsed());
    }
    times.sort();
    assert!(
        times[48] < Duration::from_millis(250),
        "small calls beside slow readers took up to {:?}",
        times[49]
    );

    for reader in &mut readers[..3] {
        let answer = reader.receive("GET").unwrap().unwrap();
        assert_eq!(
            answer.body.len(),
            104_857_600,
            "a slow reader that reads on gets everything"
        );
    }
}

#[test]
fn m3_when_memory_is_short_new_calls_are_refused_and_the_gateway_lives_on() {
    let backends = Running::start("local");
    let setup = pair::local(&backends.upstreams());
    let mut quiet = setup.clone().start();
    quiet.wait_ready();
    for _ in 0..20 {
        assert_eq!(client::get(quiet.public(), "/bytes/100000").unwrap().status, 200);
    }
    // What it needs anyway and 24 MiB more is below the 80 percent.
    let limit = (resident(&mut quiet) + (24 << 10)) * 1024 * 100 / 80;
    drop(quiet);
    let mut site = setup
        .environment("CAUSEWAY_LIMITS__MEMORY", &format!("{limit}B"))
        .start();
    site.wait_ready();
    let entry = site.public();
    let answer = || client::get(entry, "/bytes/10").unwrap();
    assert_eq!(answer().status, 200);

    // Heads that never end, each as large as a head may be.
    let piece = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}", "x".repeat(31 << 10));
    let mut held = Vec::new();
    let began = Instant::now();
    while answer().status == 200 {
        assert!(
            held.len() < 8000,
            "{} KiB are in use, allowed are {} KiB",
            resident(&mut site),
            limit / 1024
        );
        assert!(began.elapsed() < Duration::from_secs(60), "{} connections", held.len());
        for _ in 0..50 {
            let mut connection = Connection::open(entry).unwrap();
            connection.send(piece.as_bytes()).unwrap();
            held.push(connection);
        }
    }
    let refused = answer();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    assert!(site.process().runs());
    assert_eq!(site.admin("/livez").status, 200, "who asks whether it lives is told");
    assert!(site.metrics().sum("causeway_limit_hit_total", &["limit=\"memory\""]) > 0.0);
    let most = resident(&mut site);
    assert!(
        most < limit / 1024,
        "the limit itself is never reached: {most} KiB of {} KiB",
        limit / 1024
    );
    causeway_tests::tools::say(&format!(
        "{} heads of 31 KiB: {most} KiB of {} KiB",
        held.len(),
        limit / 1024
    ));
    drop(held);
    until("new calls are taken again", Duration::from_secs(20), || {
        answer().status == 200
    });
}
