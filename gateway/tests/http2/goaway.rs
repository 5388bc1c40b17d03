//! Connections that end in order: from the client's side, from ours, from the backend's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use causeway_gateway::drain::Drained;
use tokio::net::TcpListener;

use crate::backend::Recorder;
use crate::site::{Canary, Site, beside, call, connect, request, to, until};
use crate::wire::{
    self, ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, PING, Wire, frame, get, head, settings,
    window,
};

#[tokio::test]
async fn h9_misused_stream_ids_end_the_connection() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let canary = Canary::start(site.address).await;
    #[rustfmt::skip]
    let table: [(&str, Vec<u8>); 6] = [
        ("even",             get(2, "/")),
        ("zero",             get(0, "/")),
        ("decreasing",       [get(5, "/"), get(3, "/")].concat()),
        ("data on idle",     frame(DATA, 0, 7, b"x")),
        ("window on idle",   window(9, 1)),
        ("settings on one",  frame(wire::SETTINGS, 0, 1, b"")),
    ];
    for (name, attack) in table {
        let mut wire = Wire::open(site.address, &[]).await;
        wire.send(&attack).await.unwrap();
        let code = wire.goaway().await;
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
    }
    canary.check().await;
}

#[tokio::test]
async fn h9_a_window_that_shrinks_below_zero_and_grows_again_loses_nothing() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let mut wire = Wire::open(site.address, &[(INITIAL_WINDOW, 1000)]).await;
    wire.send(&get(1, "/big")).await.unwrap();
    let mut got = 0;
    while got < 1000 {
        let frame = wire.until(|frame| frame.kind == DATA).await.unwrap();
        got += frame.payload.len();
    }
    assert_eq!(got, 1000);
    // -1000, then open.
    wire.send(&settings(&[(INITIAL_WINDOW, 0)])).await.unwrap();
    wire.send(&window(1, 500)).await.unwrap();
    wire.send(&settings(&[(INITIAL_WINDOW, 1 << 20)])).await.unwrap();
    wire.send(&window(0, 8 << 20)).await.unwrap();
    wire.send(&window(1, 8 << 20)).await.unwrap();
    loop {
        let frame = wire.until(|frame| frame.kind == DATA).await.unwrap();
        got += frame.payload.len();
        if frame.ends() {
            break;
        }
    }
    assert_eq!(got, crate::backend::BIG);
}

#[tokio::test]
async fn h9_a_drain_finishes_what_it_accepted_also_what_came_before_the_client_knew() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&to(recorder.address, "")).await;
    let mut wire = Wire::open(site.address, &[(INITIAL_WINDOW, 1 << 23)]).await;
    wire.send(&window(0, 1 << 23)).await.unwrap();
    wire.send(&head(1, "POST", "/upload", &[], false)).await.unwrap();
    until("the call has begun", || recorder.count() == 1).await;
    let draining = site.drain();
    let first = wire.until(|frame| frame.kind == GOAWAY).await.unwrap();
    assert_eq!(first.code(), 0);
    // The client has not seen it yet, and opens a stream.
    wire.send(&get(3, "/big")).await.unwrap();
    wire.send(&frame(DATA, END_STREAM, 1, b"hello")).await.unwrap();
    let ping = wire.until(|frame| frame.kind == PING && frame.flags & ACK == 0).await;
    if let Some(ping) = ping {
        wire.send(&frame(PING, ACK, 0, &ping.payload)).await.unwrap();
    }
    let (mut ended, mut bytes) = (Vec::new(), 0);
    while let Some(frame) = wire.until(|frame| frame.kind == DATA || frame.kind == HEADERS).await {
        if frame.kind == DATA && frame.stream == 3 {
            bytes += frame.payload.len();
        }
        if frame.ends() {
            ended.push(frame.stream);
        }
        if ended.len() == 2 {
            break;
        }
    }
    ended.sort_unstable();
    assert_eq!((ended, bytes), (vec![1, 3], crate::backend::BIG));
    drop(wire);
    assert_eq!(draining.join().unwrap(), Drained::Clean);
}

#[tokio::test]
async fn h9_an_idle_connection_is_asked_to_go_and_then_closed() {
    let _turn = beside().await;
    let recorder = Recorder::start().await;
    let site = Site::start(&format!(
        "timeouts = {{ idle = \"300ms\", write = \"300ms\" }}\n{}",
        to(recorder.address, "")
    ))
    .await;
    // One that answers the PING, and one that is dead.
    for polite in [true, false] {
        let mut wire = Wire::open(site.address, &[]).await;
        wire.send(&get(1, "/")).await.unwrap();
        assert_eq!(wire.answer(1).await.unwrap().status(), 200);
        let begun = std::time::Instant::now();
        assert_eq!(wire.goaway().await, Some(0));
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        if polite {
            while wire.until(|_| false).await.is_some() {}
        } else {
            while wire.next().await.is_some() {}
        }
    }
    // A call in flight is not idle.
    let mut wire = Wire::open(site.address, &[]).await;
    wire.send(&get(1, "/hang")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(1200), wire.goaway()).await;
    assert!(ended.is_err(), "{ended:?}");
}

/// A backend that accepts `worked` streams of each connection, answers those, and says by GOAWAY that the rest were not
/// worked on.
async fn leaving_backend(worked: usize, reason: u32, answers: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let mut wire = Wire::of(stream);
                wire.preface().await;
                wire.send(&settings(&[])).await.unwrap();
                let mut ids = Vec::new();
                while ids.len() < worked {
                    let Some(frame) = wire.until(|frame| frame.kind == HEADERS).await else {
                        return;
                    };
                    ids.push(frame.stream);
                }
                let last = ids.last().copied().unwrap_or_default();
                let away = frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat());
                wire.send(&away).await.ok();
                for id in ids {
                    answers.fetch_add(1, Ordering::Relaxed);
                    let head = frame(HEADERS, END_HEADERS, id, &[0x88]);
                    wire.send(&head).await.ok();
                    wire.send(&frame(DATA, END_STREAM, id, b"worked on")).await.ok();
                }
                while wire.next().await.is_some() {}
            });
        }
    });
    address
}

#[tokio::test]
async fn h9_calls_that_a_leaving_backend_did_not_work_on_go_elsewhere_and_none_is_made_twice() {
    let _turn = beside().await;
    for reason in [0, 2] {
        let answers = Arc::new(AtomicUsize::new(0));
        let backend = leaving_backend(10, reason, Arc::clone(&answers)).await;
        let more = "version = \"http2\"\nretry = { attempts = 5, budget_percent = 100 }";
        let site = Site::start(&to(backend, more)).await;
        let sender = connect(site.address).await;
        let calls: Vec<_> = (0..30)
            .map(|_| {
                let sender = sender.clone();
                tokio::spawn(async move { call(&sender, request("POST", "/")).await })
            })
            .collect();
        let mut good = 0;
        for call in calls {
            let (status, body) = call.await.unwrap().unwrap();
            if status == 200 && body == b"worked on" {
                good += 1;
            }
        }
        assert_eq!(good, answers.load(Ordering::Relaxed), "each answer reached a call");
        assert_eq!(good, 30, "reason {reason}");
    }
}

#[tokio::test]
async fn h9_a_call_that_was_worked_on_is_not_made_again_when_we_break_the_connection_off() {
    let _turn = beside().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut wire = Wire::of(stream);
                wire.preface().await;
                wire.send(&settings(&[])).await.unwrap();
                if wire.until(|frame| frame.kind == HEADERS).await.is_some() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    // DATA on stream 0 breaks HTTP/2, so the gateway sends GOAWAY itself.
                    wire.send(&frame(DATA, 0, 0, b"x")).await.ok();
                    while wire.next().await.is_some() {}
                }
            });
        }
    });
    let more = "version = \"http2\"\nretry = { attempts = 5, budget_percent = 100 }";
    let site = Site::start(&to(address, more)).await;
    let sender = connect(site.address).await;
    let (status, _) = call(&sender, request("POST", "/")).await.unwrap();
    assert_eq!(status, 502);
    assert_eq!(
        seen.load(Ordering::Relaxed),
        1,
        "a POST that may have had effects is not repeated"
    );
}
