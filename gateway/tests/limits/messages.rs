//! `[routes.message_limit]`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use causeway_gateway::demo::backend::proto::{CountRequest, SumRequest};

use crate::clients::{Frame, grpc, http, read_frame, send_frame, websocket};
use crate::place::{Place, Where, runtime};

fn open(place: &Place) -> TcpStream {
    let (answer, socket) = websocket(place.address(), "/echo", &[]);
    assert_eq!(answer.status, 101);
    socket
}

/// Sends messages of this size, one after another's echo, until the close frame; returns how many came back.
fn echoes_until_closed(socket: &mut TcpStream, size: usize, most: usize) -> (usize, Option<u16>) {
    for nth in 0..most {
        send_frame(socket, size);
        match read_frame(socket) {
            Frame::Data(length) => assert_eq!(length, size),
            Frame::Close(code) => return (nth, Some(code)),
        }
    }
    (most, None)
}

#[test]
fn a_websocket_over_its_rate_is_closed_with_1013_and_one_message_too_large_with_1009() {
    for at in Where::ALL {
        let limit = "[routes.message_limit]\nmessages = \"5/1h\"\nmax_message = \"1KiB\"\non_excess = \"close\"\n\
                     direction = \"up\"\n";
        let place = Place::start(at, "", limit);
        assert_eq!(
            echoes_until_closed(&mut open(&place), 100, 20),
            (5, Some(1013)),
            "{at:?}"
        );
        assert_eq!(
            echoes_until_closed(&mut open(&place), 1025, 20),
            (0, Some(1009)),
            "{at:?}"
        );
        assert_eq!(echoes_until_closed(&mut open(&place), 1024, 5), (5, None));

        let down = limit.replace("\"up\"", "\"down\"");
        place.reload("", &down);
        assert_eq!(
            echoes_until_closed(&mut open(&place), 100, 20),
            (5, Some(1013)),
            "{at:?} down"
        );
        assert_eq!(
            echoes_until_closed(&mut open(&place), 1025, 20),
            (0, Some(1009)),
            "{at:?} down"
        );
        place.drain();
    }
}

#[test]
fn many_messages_in_one_piece_are_counted_one_by_one() {
    let limit = "[routes.message_limit]\nmessages = \"5/1h\"\non_excess = \"close\"\ndirection = \"up\"\n";
    let place = Place::start(Where::Here, "", limit);
    let mut socket = open(&place);
    // Ten frames of one byte, masked with zeros.
    socket.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x'].repeat(10)).unwrap();
    let (mut echoed, mut code) = (0, None);
    while code.is_none() {
        match read_frame(&mut socket) {
            Frame::Data(1) => echoed += 1,
            Frame::Data(other) => panic!("{other}"),
            Frame::Close(told) => code = Some(told),
        }
    }
    // The echoes may be overtaken by the close frame, but no sixth can come.
    assert!(echoed <= 5, "{echoed}");
    assert_eq!(code, Some(1013));
    place.drain();
}

#[test]
fn a_paused_direction_keeps_to_its_rate_and_loses_nothing() {
    for at in Where::ALL {
        let place = Place::start(
            at,
            "",
            "[routes.message_limit]\nmessages = \"10/1s\"\ndirection = \"up\"\n",
        );
        let mut socket = open(&place);
        let began = Instant::now();
        assert_eq!(echoes_until_closed(&mut socket, 10, 21), (21, None));
        // Ten at once, and a tenth of a second for each of those between the eleventh and the last.
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "{at:?}: {:?}",
            began.elapsed()
        );
        place.drain();

        let place = Place::start(
            at,
            "",
            "[routes.message_limit]\nbytes = \"100KiB/1s\"\ndirection = \"down\"\n",
        );
        let began = Instant::now();
        let answer = http(place.address(), "/bytes/250000", &[]);
        assert_eq!(answer.length, 250_000);
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "{at:?}: {:?}",
            began.elapsed()
        );
        place.drain();
    }
}

#[test]
fn a_grpc_stream_over_its_limits_ends_with_resource_exhausted() {
    for at in Where::ALL {
        let limit = "[routes.message_limit]\nmessages = \"5/1h\"\nmax_message = \"1KiB\"\non_excess = \"close\"\n";
        let place = Place::start(at, "", limit);
        let mut client = grpc(place.address());
        let count = |reply_bytes| CountRequest {
            to: 100,
            pause_ms: 5,
            reply_bytes,
            ..CountRequest::default()
        };
        let (got, status) = runtime().block_on(async {
            let mut stream = client.count(count(10)).await.unwrap().into_inner();
            let mut got = 0;
            loop {
                match stream.message().await {
                    Ok(Some(_)) => got += 1,
                    Ok(None) => break (got, None),
                    Err(status) => break (got, Some(status.code())),
                }
            }
        });
        assert_eq!((got, status), (5, Some(tonic::Code::ResourceExhausted)), "{at:?}");

        let large = runtime().block_on(async {
            match client.count(count(2000)).await {
                Ok(reply) => reply.into_inner().message().await.unwrap_err(),
                Err(status) => status,
            }
        });
        assert_eq!(large.code(), tonic::Code::ResourceExhausted, "{at:?}");

        let numbers = futures_util::stream::iter((0..100).map(|number| SumRequest {
            number,
            ..SumRequest::default()
        }));
        let refused = runtime().block_on(client.sum(numbers)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{at:?}");
        place.drain();
    }
}

#[test]
fn what_is_open_obeys_new_limits_at_once_and_a_dry_run_ends_nothing() {
    let limit = "[routes.message_limit]\nmessages = \"1000/1h\"\non_excess = \"close\"\ndirection = \"up\"\n";
    let place = Place::start(Where::Here, "", limit);
    let mut socket = open(&place);
    assert_eq!(echoes_until_closed(&mut socket, 10, 20), (20, None));
    let stricter = limit.replace("1000/1h", "25/1h");
    place.reload("", &(stricter.clone() + "dry_run = true\n"));
    assert_eq!(echoes_until_closed(&mut socket, 10, 30), (30, None));
    place.reload("", &stricter);
    let (_, code) = echoes_until_closed(&mut socket, 10, 30);
    assert_eq!(code, Some(1013));
    let series = "causeway_policy_refusals_total{route=\"websocket\",policy=\"message_limit\",mode=\"enforce\"}";
    assert_eq!(place.metric(series), Some(1.0));

    place.reload("", "");
    let mut socket = open(&place);
    assert_eq!(
        echoes_until_closed(&mut socket, 10, 50),
        (50, None),
        "no limit, no meter"
    );
    let mut rest = Vec::new();
    drop(socket.set_read_timeout(Some(Duration::from_millis(1))));
    socket.read_to_end(&mut rest).ok();
    assert!(rest.is_empty());
    place.drain();
}
