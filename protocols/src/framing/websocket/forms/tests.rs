use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{cut, cuts, decode, small};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder};

/// What improbable-eng's client sends: its head, messages in envelopes, and the byte that ends them.
fn client_frames(frames: &[&[u8]]) -> Bytes {
    let mut socket = Socket::new(Side::Client, small());
    let mut wire = BytesMut::new();
    for frame in frames {
        socket.send(&Message::binary(frame.to_vec())).unwrap();
        socket.write_output(&mut wire);
    }
    wire.freeze()
}

fn ours() -> Rc<RefCell<Socket>> {
    Rc::new(RefCell::new(Socket::new(Side::Server, small())))
}

const HEAD: &[u8] = b"content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n";

/// The fault of a stream of frames, and what came before it.
fn refused(frames: &[&[u8]]) -> (Vec<Event>, Option<Fault>) {
    let decoder = Any::WebSocket(Decoder::new(ours(), Form::GrpcWebSockets));
    let (events, error) = decode(decoder, [client_frames(frames)]);
    (events, error.map(|error| error.fault))
}

#[test]
fn a_call_over_grpc_websockets_has_its_head_its_messages_and_a_half_close() {
    let mut decoder = Decoder::new(ours(), Form::GrpcWebSockets);
    decoder.push(client_frames(&[HEAD, b"\0\0\0\0\0\x02hi\0", b"\0\0\0\0\x01x", b"\x01"]));
    for text in ["hi", "x"] {
        assert_eq!(decoder.next(), Ok(Some(Event::Message(Message::binary(text)))));
    }
    let head = decoder.head().unwrap();
    assert_eq!(head.get_named("content-type"), Some(&b"application/grpc-web+proto"[..]));
    assert_eq!(
        decoder.next(),
        Ok(Some(Event::End(Outcome::new(Status::new(Code::Ok, "")))))
    );
    assert_eq!(decoder.next(), Ok(None));
    decoder.finish();
    let Ok(Some(Event::End(outcome))) = decoder.next() else {
        panic!("no end");
    };
    assert_eq!(outcome.status.code, Code::Cancelled, "the socket was lost");
}

#[test]
fn g5_frames_that_are_none_of_grpc_websockets_are_refused() {
    for (frames, fault) in [
        (&[&b"no head"[..]][..], Fault::GrpcWebSockets),
        (&[HEAD, b""], Fault::GrpcWebSockets),
        (&[HEAD, b"\x02"], Fault::GrpcWebSockets),
        (&[HEAD, b"\x01\0"], Fault::GrpcWebSockets),
        (&[HEAD, b"\0\x80\0\0\0\0"], Fault::Flags(0x80)),
        (&[HEAD, b"\0\0\xff\xff\xff\xff"], Fault::TooLarge { limit: 1000 }),
        (&[HEAD, b"\0\0\0\0\0\x02x", b"\x01"], Fault::Truncated),
    ] {
        assert_eq!(refused(frames), (vec![], Some(fault)), "{frames:?}");
    }
    let (events, fault) = refused(&[HEAD, b"\x01", b"\0\0\0\0\0\0"]);
    assert_eq!((events.len(), fault), (1, Some(Fault::AfterEnd)));
    assert_eq!(head_of(&Message::text("a: b")), Err(Fault::Text));
}

#[test]
fn a_reply_over_grpc_websockets_has_its_head_first_and_its_trailers_last() {
    for has_head in [true, false] {
        let mut encoder = Encoder::new(ours(), Form::GrpcWebSockets);
        let mut wire = BytesMut::new();
        if has_head {
            let mut head = Fields::new();
            head.push(b"x-served-by", b"us").unwrap();
            encoder.head(&head, &mut wire).unwrap();
        }
        let mut encoder = AnyEncoder::WebSocket(encoder);
        encoder.message(&Message::binary("hi"), &mut wire).unwrap();
        encoder.end(&Outcome::new(Status::new(Code::NotFound, "no")), &mut wire);

        let peer = Rc::new(RefCell::new(Socket::new(Side::Client, small())));
        let (events, error) = decode(Any::WebSocket(Decoder::new(peer, Form::Any)), [wire.freeze()]);
        assert_eq!(error, None);
        let head: &[u8] = if has_head {
            b"\x80\0\0\0\x11x-served-by: us\r\n"
        } else {
            b"\x80\0\0\0\0"
        };
        let expected = [
            head,
            b"\0\0\0\0\x02hi",
            b"\x80\0\0\0\x22grpc-status: 5\r\ngrpc-message: no\r\n",
        ];
        let mut expected: Vec<Event> = expected
            .iter()
            .map(|data| Event::Message(Message::binary(data.to_vec())))
            .collect();
        expected.push(Event::End(Outcome::new(Status::new(Code::Ok, ""))));
        assert_eq!(events, expected);
    }
}

proptest! {
    #[test]
    fn nothing_depends_on_where_the_frames_are_cut(
        frames in vec(prop_oneof![
            Just(&b"\0\0\0\0\0\x02hi"[..]), Just(&b"\0\0\0"[..]), Just(&b"\0\0\0\x01x"[..]), Just(&b"\x01"[..]), Just(&b"\x03"[..]),
        ], 0..6),
        at in cuts(),
    ) {
        let wire = client_frames(&[&[HEAD], &frames[..]].concat());
        let run = |at: &[usize]| {
            let decoder = Any::WebSocket(Decoder::new(ours(), Form::GrpcWebSockets));
            let (events, error) = decode(decoder, cut(&wire, at));
            (events, error.map(|error| error.fault))
        };
        prop_assert_eq!(run(&at), run(&[]));
    }
}
