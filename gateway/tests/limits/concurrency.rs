//! `[routes.concurrency]`.

use std::net::TcpStream;

use causeway_gateway::demo::backend::proto::CountRequest;

use crate::clients::{begin, grpc, http, say, websocket};
use crate::place::{Place, Where, runtime, until, waiting};

const TWO: &str = "[routes.concurrency]\ncalls = 2\n";

#[test]
fn what_is_open_counts_until_it_ends_in_every_protocol() {
    for at in Where::ALL {
        let place = Place::start(at, "", TWO);
        let address = place.address();

        let mut hanging: Vec<TcpStream> = (0..2).map(|_| begin(address, "/hang")).collect();
        until("the backend has both", || waiting() == 2);
        let refused = http(address, "/bytes/1", &[]);
        assert_eq!(refused.field("retry-after"), Some("1"));
        assert_eq!(http(address, "/unlimited", &[]).status, 200, "another route goes on");
        hanging.pop();
        until("one that was given up counts no more", || {
            http(address, "/bytes/1", &[]).status == 200
        });

        let mut open: Vec<_> = (0..2).map(|_| websocket(address, "/echo", &[])).collect();
        assert!(open.iter().all(|(answer, _)| answer.status == 101), "{at:?}");
        let (refused, _) = websocket(address, "/echo", &[]);
        assert_eq!(refused.status, 429, "before the upgrade");
        place.reload("[limits]\nfields = 99\n", TWO);
        assert_eq!(
            websocket(address, "/echo", &[]).0.status,
            429,
            "what is open still counts"
        );
        open.pop();
        until("a WebSocket that was closed counts no more", || {
            websocket(address, "/echo", &[]).0.status == 101
        });

        let mut client = grpc(address);
        let endless = CountRequest {
            to: u32::MAX,
            ..CountRequest::default()
        };
        let mut streams: Vec<_> = (0..2)
            .map(|_| runtime().block_on(client.count(endless)).unwrap())
            .collect();
        let refused = say(&mut client, &[]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        streams.pop();
        until("a stream that was given up counts no more", || {
            say(&mut client, &[]).is_ok()
        });
        drop((streams, hanging, open));
        place.drain();
    }
}

#[test]
fn each_key_has_a_count_of_its_own_and_a_dry_run_refuses_nothing() {
    let rules = "[routes.concurrency]\ncalls = 1\nkey = { header = \"x-key\" }\n";
    let place = Place::start(Where::Here, "", rules);
    let address = place.address();
    let (answer, _open) = websocket(address, "/echo", &[("x-key", "a")]);
    assert_eq!(answer.status, 101);
    assert_eq!(websocket(address, "/echo", &[("x-key", "a")]).0.status, 429);
    assert_eq!(websocket(address, "/echo", &[("x-key", "b")]).0.status, 101);
    place.reload("", &format!("{rules}dry_run = true\n"));
    assert_eq!(websocket(address, "/echo", &[("x-key", "a")]).0.status, 101);
    place.drain();
}
