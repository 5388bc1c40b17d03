//! Attacks that make the gateway, or a backend, work for nothing; and heads that are bombs.

use std::time::Duration;

use crate::backend::Recorder;
use crate::site::{Canary, Site, alone, beside, memory, to, until};
use crate::wire::{
    self, CALM, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, PRIORITY, RESET,
    Wire, frame, get, head, reset, window,
};

const STREAMS: usize = 128;

async fn site(recorder: &Recorder, more: &str) -> Site {
    Site::start(&format!("{more}{}", to(recorder.address, ""))).await
}

#[tokio::test]
async fn h1_rapid_reset_ends_the_connection_and_barely_reaches_the_backend() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "").await;
    let canary = Canary::start(site.address).await;
    for _ in 0..10 {
        let before = recorder.count();
        let mut wire = Wire::open(site.address, &[]).await;
        let mut stream = 1;
        'attack: for _ in 0..20 {
            let mut batch = Vec::new();
            for _ in 0..100 {
                batch.extend(get(stream, "/hang"));
                batch.extend(reset(stream, CANCEL));
                stream += 2;
            }
            if wire.send(&batch).await.is_err() {
                break 'attack;
            }
        }
        assert_eq!(wire.goaway().await, Some(CALM));
        assert!(
            recorder.count() - before <= STREAMS + 20,
            "{}",
            recorder.count() - before
        );
    }
    until("cancelled calls leave the backend", || recorder.hanging() == 0).await;
    canary.check().await;
}

#[tokio::test]
async fn h1_rapid_reset_that_waits_for_each_call_to_begin_ends_the_connection_too() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "").await;
    let canary = Canary::start(site.address).await;
    let mut wire = Wire::open(site.address, &[]).await;
    let mut stream = 1;
    for round in 1..=20 {
        let begun = stream;
        let mut heads = Vec::new();
        for _ in 0..50 {
            heads.extend(get(stream, "/hang"));
            stream += 2;
        }
        if wire.send(&heads).await.is_err() {
            break;
        }
        let wanted = round * 50;
        let deadline = std::time::Instant::now() + Duration::from_secs(2);
        while recorder.count() < wanted && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if recorder.count() < wanted {
            break;
        }
        let resets: Vec<u8> = (begun..stream)
            .step_by(2)
            .flat_map(|stream| reset(stream, CANCEL))
            .collect();
        if wire.send(&resets).await.is_err() {
            break;
        }
    }
    assert_eq!(wire.goaway().await, Some(CALM));
    assert!(recorder.count() <= 300, "{}", recorder.count());
    until("cancelled calls leave the backend", || recorder.hanging() == 0).await;
    canary.check().await;
}

/// Frames on an open or half-closed stream that make the gateway reset it (CVE-2025-8671).
#[tokio::test]
async fn h2_streams_that_the_client_makes_us_reset_end_the_connection() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "").await;
    let canary = Canary::start(site.address).await;
    type Attack = fn(u32) -> Vec<u8>;
    #[rustfmt::skip]
    let table: [(&str, Attack); 6] = [
        ("window of 0",           |id| [get(id, "/hang"), window(id, 0)].concat()),
        ("window overflow",       |id| [get(id, "/hang"), window(id, 0x7fff_ffff)].concat()),
        ("data after the end",    |id| [get(id, "/hang"), frame(DATA, 0, id, b"x")].concat()),
        ("head after the end",    |id| [get(id, "/hang"), get(id, "/hang")].concat()),
        ("short body",            |id| [head(id, "POST", "/hang", &[("content-length", "9")], false), frame(DATA, END_STREAM, id, b"x")].concat()),
        ("dependency on itself",  |id| [get(id, "/hang"), frame(PRIORITY, 0, id, &[id.to_be_bytes().as_slice(), b"\x10"].concat())].concat()),
    ];
    for (name, attack) in table {
        let before = recorder.count();
        let mut wire = Wire::open(site.address, &[]).await;
        for round in 0..400u32 {
            if wire.send(&attack(round * 2 + 1)).await.is_err() {
                break;
            }
            if round % 50 == 49 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if name == "dependency on itself" {
            // Priorities are not used, so nothing is reset: the streams beyond the limit are refused, and those count.
            assert!(
                recorder.count() - before <= STREAMS,
                "{name}: {}",
                recorder.count() - before
            );
            continue;
        }
        let end = wire.until(|frame| frame.kind == GOAWAY).await;
        assert!(
            end.is_some_and(|frame| frame.code() != 0),
            "{name}: the connection ends"
        );
        assert!(
            recorder.count() - before <= STREAMS + 120,
            "{name}: {}",
            recorder.count() - before
        );
        drop(wire);
        until("the backend is left alone", || recorder.hanging() == 0).await;
    }
    until("the backend is left alone", || recorder.hanging() == 0).await;
    canary.check().await;
}

#[tokio::test]
async fn h3_continuation_floods_end_the_connection() {
    let _turn = alone().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "").await;
    let canary = Canary::start(site.address).await;
    let quiet = memory();
    let filler = wire::block(&[("x-filler", "y".repeat(16_000))]);
    for (name, payload, count) in [
        ("large", &filler[..], 2_000),
        ("one byte", &b"\x00"[..], 200_000),
        ("empty", &b""[..], 200_000),
    ] {
        let mut wire = Wire::open(site.address, &[]).await;
        let first = frame(HEADERS, END_STREAM, 1, &wire::block(&[(":method", "GET")]));
        wire.send(&first).await.unwrap();
        let one = frame(CONTINUATION, 0, 1, payload);
        let batch = one.repeat(100);
        let mut sent = 0;
        while sent < count && wire.send(&batch).await.is_ok() {
            sent += 100;
        }
        // GOAWAY, or cut without: never an answer.
        let end = wire.until(|frame| frame.kind == GOAWAY || frame.kind == HEADERS).await;
        assert!(end.is_none_or(|frame| frame.kind == GOAWAY), "{name}");
    }
    assert_eq!(recorder.count(), 0);
    assert!(memory() < quiet + (32 << 20));
    canary.check().await;
}

/// One small entry of the table, and a reference of one byte for each field.
fn bomb(id: u32, name: &str, value: &str, references: usize) -> Vec<u8> {
    let mut block = wire::block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a.example"),
    ]);
    block.push(0x40);
    block.push(name.len() as u8);
    block.extend_from_slice(name.as_bytes());
    let mut length = value.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push((length % 128) as u8 | 128);
            length /= 128;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(value.as_bytes());
    block.extend(std::iter::repeat_n(0xbe, references));
    frame(HEADERS, END_HEADERS | END_STREAM, id, &block)
}

#[tokio::test]
async fn h4_many_fields_of_few_bytes_are_refused() {
    let _turn = alone().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "").await;
    let canary = Canary::start(site.address).await;
    let quiet = memory();
    #[rustfmt::skip]
    let table = [
        // name, value, references, expected
        ("a", "", 98, 200), ("a", "", 100, 431), ("a", "", 800, 431), ("a", "", 15_000, 431),
        ("cookie", "a=b", 150, 200), ("cookie", "a=b", 250, 431), ("cookie", "", 15_000, 431),
    ];
    for (name, value, references, expected) in table {
        let mut wire = Wire::open(site.address, &[]).await;
        wire.send(&bomb(1, name, value, references)).await.unwrap();
        let answer = wire.answer(1).await;
        let status = answer
            .as_ref()
            .filter(|frame| frame.kind == HEADERS)
            .map(wire::Frame::status);
        assert!(
            status == Some(expected) || (expected != 200 && answer.is_none_or(|frame| frame.kind != HEADERS)),
            "{references} times `{name}`: {status:?}"
        );
    }
    let before = recorder.count();
    for _ in 0..20 {
        let mut wire = Wire::open(site.address, &[(INITIAL_WINDOW, 0)]).await;
        let mut stream = 1;
        for _ in 0..100 {
            if wire.send(&bomb(stream, "cookie", "", 15_000)).await.is_err() {
                break;
            }
            stream += 2;
        }
    }
    assert_eq!(recorder.count(), before, "none of them got through");
    assert!(memory() < quiet + (64 << 20), "{} MiB more", (memory() - quiet) >> 20);
    canary.check().await;
}

#[tokio::test]
async fn h4_a_client_that_gives_no_window_or_gives_it_by_the_byte_is_given_up() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "timeouts = { write = \"300ms\" }\n").await;
    let canary = Canary::start(site.address).await;
    for drip in [false, true] {
        let mut wire = Wire::open(site.address, &[(INITIAL_WINDOW, 0)]).await;
        let heads: Vec<u8> = (0..50).flat_map(|at| get(at * 2 + 1, "/big")).collect();
        wire.send(&heads).await.unwrap();
        let mut left: Vec<u32> = (0..50).map(|at| at * 2 + 1).collect();
        let deadline = std::time::Instant::now() + Duration::from_secs(8);
        while !left.is_empty() {
            assert!(
                std::time::Instant::now() < deadline,
                "drip {drip}: {} streams are left",
                left.len()
            );
            if drip {
                let drops: Vec<u8> = left.iter().flat_map(|stream| window(*stream, 1)).collect();
                wire.send(&drops).await.unwrap();
            }
            while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(20), wire.next()).await {
                if frame.kind == RESET {
                    left.retain(|stream| *stream != frame.stream);
                }
            }
        }
    }
    // A refused head has an answer, too, and its client may not read it: that stream and its connection end.
    let mut wire = Wire::open(site.address, &[(INITIAL_WINDOW, 0)]).await;
    wire.send(&head(1, "CONNECT", "/", &[(":protocol", "nothing")], true))
        .await
        .unwrap();
    assert!(
        wire.until(|frame| frame.kind == RESET && frame.stream == 1)
            .await
            .is_some()
    );
    canary.check().await;
}

#[tokio::test]
async fn h5_tables_and_huffman_codes_that_are_bombs_or_broken_end_the_connection() {
    let _turn = alone().await;
    let recorder = Recorder::start().await;
    let site = site(&recorder, "").await;
    let canary = Canary::start(site.address).await;
    let quiet = memory();
    let large = "v".repeat(3_900);
    let pseudo = wire::block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a.example"),
    ]);
    let with = |block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&pseudo[..], block].concat());
    #[rustfmt::skip]
    let table: [(&str, Vec<u8>); 6] = [
        ("large entry, many references", bomb(1, "x", &large, 1_000)),
        ("table above what was allowed", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&[0x3f, 0xe1, 0xff, 0x03], &pseudo[..]].concat())),
        ("huffman padding of zeros",     with(&[0, 1, b'x', 0x81, 0b0001_1000])),
        ("huffman end of string",        with(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff])),
        ("index past the table",         with(&[0xff, 0xff, 0x7f])),
        ("integer without end",          with(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    ];
    for (name, attack) in table {
        for _ in 0..20 {
            let mut wire = Wire::open(site.address, &[]).await;
            wire.send(&attack).await.unwrap();
            let answer = wire.answer(1).await;
            let refused = match &answer {
                Some(frame) if frame.kind == HEADERS => frame.status() == 431,
                _ => true,
            };
            assert!(refused, "{name}: {answer:?}");
        }
    }
    assert_eq!(recorder.count(), 0);
    assert!(memory() < quiet + (32 << 20));
    canary.check().await;
}

#[tokio::test]
async fn h10_connect_is_for_websockets_where_the_listener_takes_them_and_nothing_else() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let closed = "listeners = [{ name = \"public\", bind = \"127.0.0.1:0\", websocket = false }]\n# [[listeners]]\n";
    for (open, tables) in [(true, ""), (false, closed)] {
        let site = site(&recorder, tables).await;
        let before = recorder.count();
        let plain = [(":method", "CONNECT"), (":authority", "10.0.0.1:22")];
        let with = |protocol| {
            vec![
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a.example"),
            ]
        };
        let on_get = [
            (":method", "GET"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a.example"),
        ];
        let version = [with("websocket"), vec![("sec-websocket-version", "12")]].concat();
        #[rustfmt::skip]
        let table = [
            ("plain CONNECT", plain.to_vec()), ("no path", plain.iter().copied().chain([(":protocol", "websocket")]).collect()),
            ("unknown protocol", with("connect-udp")), ("empty protocol", with("")), ("on GET", on_get.to_vec()), ("version", version),
        ];
        for (name, fields) in table {
            let mut wire = Wire::open(site.address, &[]).await;
            wire.send(&frame(HEADERS, END_HEADERS, 1, &wire::block(&fields)))
                .await
                .unwrap();
            let answer = wire.answer(1).await.expect("an answer");
            let refused = answer.kind != HEADERS || (400..=501).contains(&answer.status());
            assert!(refused, "{name}: {answer:?}");
        }
        assert_eq!(recorder.count(), before, "nothing was dialled");
        let mut wire = Wire::open(site.address, &[]).await;
        wire.send(&frame(HEADERS, END_HEADERS, 1, &wire::block(&with("websocket"))))
            .await
            .unwrap();
        if open {
            until("a WebSocket gets through", || recorder.count() == 1).await;
            assert!(
                recorder.heads()[0].contains("upgrade: websocket"),
                "{:?}",
                recorder.heads()
            );
        } else {
            let answer = wire.answer(1).await.unwrap();
            assert_eq!(answer.kind, RESET, "{answer:?}");
            assert_eq!(recorder.count(), 1, "no more than through the other listener");
        }
    }
}
