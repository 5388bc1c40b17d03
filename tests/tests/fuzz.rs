//! Every fuzz target for a while, with inputs that are changed at random from good ones.
//!
//! The targets are those of `../fuzz`, which `cargo fuzz` drives by coverage. Here they run on the stable toolchain within the
//! ordinary tests: the same changes on each run, for `CAUSEWAY_FUZZ_SECONDS` (default 1) each. A failure prints the input.

#![expect(
    clippy::unwrap_used,
    reason = "a test may; the lint knows functions with `#[test]` only"
)]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own for cargo fuzz")]
mod targets;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Largest input.
const LARGEST: usize = 4096;

/// Pieces that matter to one decoder or another.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"%",
    b"%2e",
    b"..",
    b"/",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u",
    b",",
    b"null",
    b"-",
    b"e+308",
    b"content-length: 1\r\n",
    b"transfer-encoding: chunked\r\n",
    b"host: a\r\n",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\0\0\0\x01",
    b"\x7f\xff",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x8c\x8d",
    b"1",
    b"data: ",
    b"= ",
    b"'''",
    b"@type",
    b"$",
    b"~",
];

/// Changes an input a little, or puts two together.
fn change(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut SmallRng) {
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=input.len());
        let end = random.random_range(at..=input.len().min(at + 32));
        match random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = random.random(),
            2 => input.insert(at, random.random()),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                let times = random.random_range(1..20);
                input.splice(at..at, piece.repeat(times));
            }
            5 => {
                let word = WORDS.choose(random).unwrap();
                input.splice(at..at, word.iter().copied());
            }
            6 => {
                let other = others.choose(random).unwrap();
                let from = random.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ if at < input.len() => input[at] = *[0, 1, 0x7f, 0x80, 0xff, b'0', b'9'].choose(random).unwrap(),
            _ => input.truncate(at),
        }
    }
    input.truncate(LARGEST);
}

#[test]
fn no_input_breaks_a_rule_of_its_decoder() {
    let seconds = std::env::var("CAUSEWAY_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let limit = Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(fuzzed) = targets::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(input) = fuzz(fuzzed, limit) {
                        let failure = format!("{}: b\"{}\"", fuzzed.name, input.escape_ascii());
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    assert_eq!(failures.into_inner().unwrap(), Vec::<String>::new());
}

/// The first input that breaks a rule.
fn fuzz(fuzzed: &targets::Fuzzed, limit: Duration) -> Option<Vec<u8>> {
    let seed = fuzzed
        .name
        .bytes()
        .fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut inputs: Vec<Vec<u8>> = fuzzed.seeds.iter().map(|seed| seed.to_vec()).collect();
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < limit {
        let mut input = inputs.choose(&mut random).unwrap().clone();
        // The seeds themselves come first.
        match fuzzed.seeds.get(runs) {
            Some(seed) => input = seed.to_vec(),
            None => change(&mut input, &inputs, &mut random),
        }
        runs += 1;
        if catch_unwind(|| targets::run(fuzzed.name, &input)).is_err() {
            return Some(input);
        }
        // A few of the changed ones are changed further.
        if inputs.len() < 200 && random.random_ratio(1, 50) {
            inputs.push(input);
        } else if random.random_ratio(1, 500) {
            let at = random.random_range(0..inputs.len());
            inputs[at] = input;
        }
    }
    causeway_tests::tools::say(&format!("{}: {runs} inputs", fuzzed.name));
    None
}

/// `cargo fuzz` and this test run the same.
#[test]
fn every_target_has_its_file() {
    let folder = causeway_tests::binary::workspace().join("tests/fuzz/fuzz_targets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<_> = targets::ALL.iter().map(|fuzzed| fuzzed.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
    let manifest = std::fs::read_to_string(causeway_tests::binary::workspace().join("tests/fuzz/Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
    }
}
