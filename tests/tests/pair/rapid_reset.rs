//! H1: streams that are opened and reset at once.

use std::time::Duration;

use causeway_tests::recorder::Recorder;
use causeway_tests::{Connection, SiteSetup, client};

/// An HTTP/2 frame: 24 bits of length, type, flags, stream (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("frames of this test are small")
        .to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block without any table: GET, http, `/`, and the authority `x` as a literal (RFC 7541).
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'x'];

#[test]
fn h1_rapid_reset_is_answered_with_goaway_and_hurts_nobody() {
    let origin = Recorder::start();
    let site = SiteSetup::new("local")
        .with(&format!(
            "[[services]]\nname = \"raw\"\nprotocol = \"http\"\nendpoints = [\"{}\"]\n",
            origin.address()
        ))
        .with("[[routes]]\nmatch = { path_prefix = \"/\" }\nto = \"raw\"\n")
        .start();
    site.wait_ready();

    let mut attacker = Connection::open(site.public()).unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for index in 0..20_000 {
        let stream = 2 * index + 1;
        // HEADERS with END_STREAM and END_HEADERS, then RST_STREAM with CANCEL.
        bytes.extend(frame(1, 0x5, stream, GET));
        bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    // The gateway may close in the middle of it, which is the point.
    let _ = attacker.send(&bytes);
    let said = attacker.rest(Duration::from_secs(5));
    let calm = 11_u32.to_be_bytes();
    let told = said.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == calm);
    assert!(
        told || said.len() < 64 << 10,
        "GOAWAY with ENHANCE_YOUR_CALM, or a closed connection; {} bytes came",
        said.len()
    );

    for _ in 0..20 {
        assert_eq!(client::get(site.public(), "/canary").unwrap().status, 200);
    }
    let reached = origin
        .requests()
        .iter()
        .filter(|line| line.starts_with("GET / "))
        .count();
    assert!(
        reached <= 128 + 20,
        "{reached} of 20,000 reset requests reached the origin"
    );
}
