//! `[routes.quota]`.

use std::io::{Read, Write};

use causeway_gateway::demo::backend::proto::CountRequest;
use tempfile::TempDir;

use crate::clients::{grpc, http, say, websocket};
use crate::place::{Place, Where, runtime};

const THREE: &str = "[routes.quota]\nrequests = 3\nper = \"month\"\n";

#[test]
fn a_spent_quota_refuses_until_its_period_is_over_in_every_protocol() {
    for at in Where::ALL {
        let place = Place::start(at, "", THREE);
        let address = place.address();
        for nth in 0..3 {
            let answer = http(address, "/bytes/1", &[]);
            assert_eq!(answer.status, 200, "{at:?}");
            assert_eq!(answer.field("ratelimit-policy"), Some("\"default\";q=3;w=2678400"));
            assert!(
                answer
                    .field("ratelimit")
                    .unwrap()
                    .starts_with(&format!("\"default\";r={};t=", 2 - nth))
            );
        }
        let refused = http(address, "/bytes/1", &[]);
        assert_eq!(refused.status, 429);
        assert!(refused.body.contains("\"code\":\"quota_exceeded\""), "{}", refused.body);
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!(wait <= 31 * 86_400);

        for _ in 0..3 {
            assert_eq!(websocket(address, "/echo", &[]).0.status, 101);
        }
        assert_eq!(websocket(address, "/echo", &[]).0.status, 429, "before the upgrade");

        let mut client = grpc(address);
        for _ in 0..3 {
            say(&mut client, &[]).unwrap();
        }
        let refused = say(&mut client, &[]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refused.message(), "the quota of this period is spent");
        assert!(!refused.details().is_empty());
        place.drain();
    }
}

#[test]
fn bytes_are_counted_as_they_pass_and_end_what_has_no_end() {
    for at in Where::ALL {
        let place = Place::start(
            at,
            "",
            "[routes.quota]\nbytes = \"20KiB\"\nper = \"month\"\nkey = \"route\"\n",
        );
        let address = place.address();
        let first = http(address, "/bytes/15000", &[]);
        assert_eq!((first.status, first.length), (200, 15_000));
        let policy = "\"default\";q=20480;qu=\"content-bytes\";w=2678400";
        assert_eq!(first.field("ratelimit-policy"), Some(policy));
        let second = http(address, "/bytes/15000", &[]);
        assert_eq!(
            (second.status, second.length),
            (200, 15_000),
            "a call that has begun is finished"
        );
        assert_eq!(http(address, "/bytes/1", &[]).status, 429, "{at:?}");

        let (answer, mut socket) = websocket(address, "/echo", &[]);
        assert_eq!(answer.status, 101);
        // 16 frames of 1,000 bytes, masked with zeros, come back and are more than is left.
        let mut frame = vec![0x82, 0x80 | 126, 3, 232, 0, 0, 0, 0];
        frame.resize(8 + 1000, b'x');
        for _ in 0..16 {
            // The end may come before all is written.
            if socket.write_all(&frame).is_err() {
                break;
            }
        }
        let mut back = Vec::new();
        socket.read_to_end(&mut back).ok();
        assert!(back.len() < 16 * 1004, "{at:?}: it was ended: {}", back.len());
        assert_eq!(websocket(address, "/echo", &[]).0.status, 429);

        let mut client = grpc(address);
        let endless = CountRequest {
            to: u32::MAX,
            reply_bytes: 1000,
            ..CountRequest::default()
        };
        let ended = runtime().block_on(async {
            let mut stream = client.count(endless).await.unwrap().into_inner();
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it has no end of its own"),
                    Err(status) => break status,
                }
            }
        });
        assert_eq!(ended.code(), tonic::Code::ResourceExhausted, "{at:?}");
        place.drain();
    }
}

#[test]
fn quotas_survive_a_drain_and_a_reload() {
    let folder = TempDir::new().unwrap();
    let keys = format!("state_dir = {:?}\n", folder.path());
    let place = Place::start_with(Where::Here, &keys, "", THREE);
    for _ in 0..2 {
        assert_eq!(http(place.address(), "/bytes/1", &[]).status, 200);
    }
    place.reload("[limits]\nfields = 99\n", THREE);
    place.drain();
    let place = Place::start_with(Where::Here, &keys, "", THREE);
    let statuses = [(); 2].map(|()| http(place.address(), "/bytes/1", &[]).status);
    assert_eq!(statuses, [200, 429]);
    let said = std::fs::read_to_string(folder.path().join("quotas")).unwrap();
    assert!(!said.contains("127.0.0.1"), "{said}");
    place.drain();
}

#[test]
fn a_disk_that_cannot_be_written_refuses_no_call() {
    let folder = TempDir::new().unwrap();
    let keys = format!("state_dir = {:?}\n", folder.path());
    let place = Place::start_with(Where::Here, &keys, "", THREE);
    // Not even root can write a list where a directory is in the way.
    std::fs::remove_file(folder.path().join("quotas")).unwrap();
    std::fs::create_dir_all(folder.path().join("quotas/x")).unwrap();
    std::fs::create_dir_all(folder.path().join("quotas.new")).unwrap();
    for _ in 0..3 {
        assert_eq!(http(place.address(), "/bytes/1", &[]).status, 200);
    }
    assert_eq!(http(place.address(), "/bytes/1", &[]).status, 429);
    place.drain();
}
