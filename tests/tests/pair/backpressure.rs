//! M1 and M2: slow readers cost bounded memory in both gateways, and hold nobody else up.

use std::fs;
use std::time::{Duration, Instant};

use causeway_tests::client::{self, Connection};
use causeway_tests::until::holds_within;
use causeway_tests::{Pair, Site};

use crate::backends::Running;

/// Clients that ask for much and read nothing.
const READERS: u64 = 200;
/// Per call: its window and what is being copied, at each of two gateways, with room for what the allocator keeps.
const PER_CALL_KIB: u64 = 2 * 192;
/// What a gateway may grow by without any of that.
const SLACK_KIB: u64 = 16 << 10;

/// Resident memory in KiB.
fn resident(site: &mut Site) -> u64 {
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
    let before = resident(&mut pair.aws) + resident(&mut pair.azure);

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
    let mut most = 0;
    let over = holds_within(Duration::from_secs(5), || {
        most = most.max(resident(&mut pair.aws) + resident(&mut pair.azure));
        most > limit
    });
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
