//! W5 and W6: WebSocket text, closes and floods, frame by frame, through the running pair.
//!
//! The gateways pass frames on without reading what is in them, so that judging UTF-8 and close codes is the backend's: what
//! a client sees through the pair must be what it sees without. The cases are those of Autobahn's sections 6 and 7.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use causeway_tests::{Pair, until};

use crate::backends::Running;
use crate::backpressure::resident;

/// A WebSocket client that sends whatever it is told.
struct Raw(TcpStream);

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

impl Raw {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "GET /socket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Self(stream)
    }

    /// The end of a conversation may come before all of it has been sent.
    fn send(&mut self, frames: &[u8]) {
        self.0.write_all(frames).ok();
    }

    /// The next frame: its first byte and its payload; none when the connection has ended.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        let length = match head[1] {
            126 => {
                let mut more = [0; 2];
                self.0.read_exact(&mut more).ok()?;
                u16::from_be_bytes(more).into()
            }
            127 => {
                let mut more = [0; 8];
                self.0.read_exact(&mut more).ok()?;
                usize::try_from(u64::from_be_bytes(more)).unwrap()
            }
            short => short.into(),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[0], payload))
    }

    /// Everything up to the end, as one line a frame; the close of the client is answered, so that it comes.
    fn rest(mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some((first, payload)) = self.next() {
            let text = match (first & 0x0f, payload.split_at_checked(2)) {
                (CLOSE, Some((code, reason))) => {
                    let code = u16::from_be_bytes([code[0], code[1]]);
                    // The words of a violation are each implementation's own.
                    let reason = if code == 1000 || code >= 3000 { reason } else { b"" };
                    format!("close {code} {}", reason.escape_ascii())
                }
                (CLOSE, None) => "close".to_owned(),
                _ => format!("{first:#x} {}", payload.escape_ascii()),
            };
            let closed = first & 0x0f == CLOSE;
            seen.push(text);
            if closed {
                self.send(&frame(FIN | CLOSE, &payload[..payload.len().min(2)]));
            }
        }
        seen
    }
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()).unwrap() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 126);
            frame.extend(long.to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason);
    frame(FIN | CLOSE, &payload)
}

/// A text message cut into fragments of these bytes.
fn fragments(parts: &[&[u8]]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { 0 };
        let fin = if index + 1 == parts.len() { FIN } else { 0 };
        frames.extend(frame(fin | opcode, part));
    }
    frames
}

/// Each case is followed by a good end, for those that are no violation.
fn same_as_without_gateways(cases: &[(String, Vec<u8>)]) -> Vec<Vec<String>> {
    let backends = Running::start("azure");
    let pair = Pair::start(&backends.upstreams());
    let mut all = Vec::new();
    for (what, frames) in cases {
        let talk = |address: SocketAddr| {
            let mut raw = Raw::open(address);
            let mut whole = frames.clone();
            whole.extend(close(1000, b"done"));
            raw.send(&whole);
            raw.rest()
        };
        let direct = talk(backends.upstreams().websocket);
        let through = talk(pair.aws.public());
        assert_eq!(through, direct, "{what}");
        all.push(through);
    }
    all
}

#[test]
fn w5_text_is_judged_as_without_gateways_wherever_it_is_cut() {
    // Greek, four-byte characters, the borders of each length, and everything that is no UTF-8 (Autobahn 6.2 to 6.23).
    let good: [&[u8]; 6] = [
        "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!".as_bytes(),
        "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes(),
        "\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}".as_bytes(),
        "\u{fffd}\u{fdd0}\u{1fffe}".as_bytes(),
        b"",
        b"\0",
    ];
    let bad: [&[u8]; 14] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xbf\xbf",
        b"\xfe",
        b"\xff\xff",
        b"\xf8\x88\x80\x80\x80",
        b"abc\xc3",
        b"abc\xe2\x82",
    ];
    let mut cases = Vec::new();
    for text in good.iter().chain(&bad) {
        cases.push((format!("{} whole", text.escape_ascii()), fragments(&[text])));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        if !bytes.is_empty() {
            cases.push((format!("{} by the byte", text.escape_ascii()), fragments(&bytes)));
        }
        let (before, behind) = text.split_at(text.len() / 2);
        let mut with_ping = frame(TEXT, before);
        with_ping.extend(frame(FIN | PING, b"between"));
        with_ping.extend(frame(FIN, behind));
        cases.push((format!("{} around a ping", text.escape_ascii()), with_ping));
    }
    let seen = same_as_without_gateways(&cases);
    for ((what, _), seen) in cases.iter().zip(&seen) {
        let last = seen.last().map_or("", String::as_str);
        let is_good = good
            .iter()
            .any(|text| what.starts_with(&format!("{} ", text.escape_ascii())));
        // This backend breaks off where it finds what is no text.
        assert_eq!(last == "close 1000 done", is_good, "{what}: {seen:?}");
        assert!(
            is_good || !seen.iter().any(|line| line.starts_with("0x81")),
            "{what}: {seen:?}"
        );
    }
}

#[test]
fn w5_invalid_text_ends_the_socket_before_its_message_is_whole() {
    let backends = Running::start("azure");
    let pair = Pair::start(&backends.upstreams());
    let mut raw = Raw::open(pair.aws.public());
    raw.send(&frame(TEXT, b"\xce\xba\xed\xa0\x80"));
    let began = Instant::now();
    assert_eq!(raw.rest(), Vec::<String>::new());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nobody waits for the rest of the message"
    );
}

#[test]
fn w5_closes_are_answered_as_without_gateways() {
    let mut cases = Vec::new();
    let good = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    let bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
    for code in good.into_iter().chain(bad) {
        cases.push((format!("close {code}"), close(code, b"why")));
    }
    cases.push(("no code".to_owned(), frame(FIN | CLOSE, b"")));
    cases.push(("the longest reason".to_owned(), close(1000, &[b'x'; 123])));
    cases.push((
        "a reason of other letters".to_owned(),
        close(1000, "gr\u{fc}\u{df}e".as_bytes()),
    ));
    cases.push((
        "a reason that is no text".to_owned(),
        close(1000, b"\xce\xba\xed\xa0\x80"),
    ));
    let mut behind = close(1000, b"");
    behind.extend(frame(FIN | TEXT, b"too late"));
    behind.extend(frame(FIN | PING, b"too late"));
    cases.push(("a message and a ping behind the close".to_owned(), behind));
    let mut before = frame(FIN | TEXT, b"in time");
    before.extend(close(1000, b""));
    before.extend(close(1001, b""));
    cases.push(("a message before two closes".to_owned(), before));
    let mut unfinished = frame(TEXT, b"begun");
    unfinished.extend(close(1000, b""));
    cases.push(("a close inside of a message".to_owned(), unfinished));
    let seen = same_as_without_gateways(&cases);
    for ((what, _), seen) in cases.iter().zip(&seen) {
        assert!(
            seen.iter().filter(|line| line.starts_with("close")).count() <= 1,
            "{what}: one close: {seen:?}"
        );
        assert!(!seen.iter().any(|line| line.contains("too late")), "{what}: {seen:?}");
    }
    // Of a close with half a code already its length is wrong, so that the entry says so in the backend's place.
    let backends = Running::start("azure");
    let pair = Pair::start(&backends.upstreams());
    let mut raw = Raw::open(pair.aws.public());
    raw.send(&frame(FIN | CLOSE, b"\x03"));
    assert_eq!(raw.rest(), ["close 1002 "]);
    // The gateways cannot be made to say what no endpoint may say.
    for forbidden in ["close 1005", "close 1006", "close 1015"] {
        assert!(
            !seen.iter().flatten().any(|line| line.starts_with(forbidden)),
            "{forbidden}"
        );
    }
}

#[test]
fn w6_pings_of_a_client_that_does_not_read_cost_bounded_memory_and_nobody_else_anything() {
    const FLOODS: u64 = 8;
    /// Windows that have grown to their largest, twice, with what lies in between: the backend reads as fast as it can.
    const PER_FLOOD_KIB: u64 = 8 << 10;
    let backends = Running::start("azure");
    let mut pair = Pair::start(&backends.upstreams());
    let entry = pair.aws.public();
    let mut canary = Raw::open(entry);
    let echo = |canary: &mut Raw| {
        canary.send(&frame(FIN | TEXT, b"canary"));
        assert_eq!(canary.next(), Some((FIN | TEXT, b"canary".to_vec())));
    };
    echo(&mut canary);
    let before = resident(&mut pair.aws) + resident(&mut pair.azure);
    let batch = frame(FIN | PING, &[7; 125]).repeat(64);
    let floods: Vec<_> = (0..FLOODS)
        .map(|_| {
            let mut raw = Raw::open(entry);
            raw.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let batch = batch.clone();
            // 130 MB of each, far more than may be held, should they or their answers be held.
            std::thread::spawn(move || {
                let mut sent = 0;
                while sent < 1_000_000 {
                    match raw.0.write_all(&batch) {
                        Ok(()) => sent += 64,
                        // It is stopped, or even given up.
                        Err(_) => break,
                    }
                }
                (raw, sent)
            })
        })
        .collect();
    let mut most = 0;
    let began = Instant::now();
    while floods.iter().any(|flood| !flood.is_finished()) {
        echo(&mut canary);
        most = most.max(resident(&mut pair.aws) + resident(&mut pair.azure));
        assert!(began.elapsed() < Duration::from_secs(60), "nothing stops the floods");
    }
    let held: Vec<_> = floods.into_iter().map(|flood| flood.join().unwrap()).collect();
    let sent: u64 = held.iter().map(|(_, sent)| sent).sum();
    causeway_tests::tools::say(&format!(
        "{sent} pings unread: from {before} KiB to {most} KiB in both gateways"
    ));
    assert!(
        most < before + FLOODS * PER_FLOOD_KIB + (16 << 10),
        "from {before} KiB to {most} KiB"
    );
    // Who reads on gets answers to what was read.
    for (mut raw, _) in held {
        if let Some(next) = raw.next() {
            assert_eq!(next, (FIN | PONG, vec![7; 125]));
        }
    }
    echo(&mut canary);
}

#[test]
fn w6_a_client_that_ends_its_half_is_gone_and_leaves_nothing_behind() {
    let backends = Running::start("azure");
    let pair = Pair::start(&backends.upstreams());
    let mut raw = Raw::open(pair.aws.public());
    raw.send(&frame(FIN | TEXT, b"hello"));
    assert_eq!(raw.next(), Some((FIN | TEXT, b"hello".to_vec())));
    raw.0.shutdown(Shutdown::Write).unwrap();
    let _ = raw.rest();
    until("both gateways have let go of it", Duration::from_secs(15), || {
        let open = |name: &str| pair.aws.metrics().sum(name, &[]) + pair.azure.metrics().sum(name, &[]);
        open("causeway_connections") == 0.0 && open("causeway_tunnel_calls") == 0.0
    });
}
