//! Floods of frames, and readers that do not read: memory stays bounded, and others are served.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::backend::Recorder;
use crate::site::{Canary, Site, alone, beside, memory, to, until};
use crate::wire::{self, CALM, DATA, INITIAL_WINDOW, PING, PRIORITY, WINDOW, Wire, frame, get, head};

#[tokio::test]
async fn h6_floods_of_control_frames_by_a_client_that_does_not_read_stay_bounded() {
    let _turn = alone().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let canary = Canary::start(site.address).await;
    let quiet = memory();
    #[rustfmt::skip]
    let table: [(&str, Vec<u8>); 5] = [
        ("PING",          frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS",      wire::settings(&[(INITIAL_WINDOW, 65_535)])),
        ("PRIORITY",      frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        ("unknown kind",  frame(0xbb, 0, 1, &[0; 8])),
        ("WINDOW_UPDATE", frame(WINDOW, 0, 0, &[0, 0, 0, 1])),
    ];
    for (name, one) in table {
        let mut wire = Wire::open(site.address, &[]).await;
        let batch = one.repeat(500);
        let mut sent = 0;
        // Until the gateway reads no more, because what it would say is not read either; or for so long.
        while sent < 4 << 20 {
            match tokio::time::timeout(Duration::from_millis(300), wire.stream.write_all(&batch)).await {
                Ok(Ok(())) => sent += batch.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        assert!(
            memory() < quiet + (32 << 20),
            "{name}: {} MiB more",
            (memory() - quiet) >> 20
        );
    }
    assert_eq!(recorder.count(), 0);
    canary.check().await;
}

#[tokio::test]
async fn h7_empty_data_frames_end_the_connection_and_never_reach_the_backend() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let canary = Canary::start(site.address).await;
    let mut wire = Wire::open(site.address, &[]).await;
    wire.send(&head(1, "POST", "/upload", &[], false)).await.unwrap();
    for _ in 0..100 {
        if wire.send(&frame(DATA, 0, 1, b"").repeat(100)).await.is_err() {
            break;
        }
    }
    assert_eq!(wire.goaway().await, Some(CALM));
    assert_eq!(recorder.body(), 0);
    canary.check().await;
}

/// Many windows of one-byte frames towards backends that do not read.
#[tokio::test]
async fn h7_one_byte_frames_for_slow_backends_cost_a_window_each_and_no_more() {
    let _turn = alone().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let canary = Canary::start(site.address).await;
    let quiet = memory();
    let mut wire = Wire::open(site.address, &[]).await;
    let one = frame(DATA, 0, 1, b"x");
    for stream in (1..40).step_by(2) {
        wire.send(&head(stream, "POST", "/unread", &[], false)).await.unwrap();
        until("the backend has the head", || {
            recorder.hanging() == (stream as usize).div_ceil(2)
        })
        .await;
        let mut batch = one.repeat(5_000);
        for at in (0..batch.len()).step_by(one.len()) {
            batch[at + 5..at + 9].copy_from_slice(&u32::to_be_bytes(stream));
        }
        // Less than the window and what the kernel's buffers take.
        for _ in 0..12 {
            wire.send(&batch).await.unwrap();
        }
    }
    // The connection lives, and so do its streams.
    wire.send(&get(101, "/")).await.unwrap();
    assert_eq!(wire.answer(101).await.unwrap().status(), 200);
    assert!(memory() < quiet + (48 << 20), "{} MiB more", (memory() - quiet) >> 20);
    canary.check().await;
}

#[tokio::test]
async fn h8_clients_that_do_not_read_large_replies_cost_a_window_each() {
    let _turn = alone().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let canary = Canary::start(site.address).await;
    let quiet = memory();
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(site.address, &[]).await;
        let heads: Vec<u8> = (0..25).flat_map(|at| get(at * 2 + 1, "/big")).collect();
        wire.send(&heads).await.unwrap();
        wires.push(wire);
    }
    until("all are under way", || recorder.count() == 100).await;
    // All that can be taken is taken: the canary sees a whole second of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The backend holds 4 MiB for each in this process, as one buffer; a window and a buffer for each are the gateway's.
    let backend = 100 * crate::backend::BIG as u64;
    let more = memory().saturating_sub(quiet);
    assert!(more < backend + 100 * 192 * 1024, "{} MiB more", more >> 20);
    canary.check().await;
}
