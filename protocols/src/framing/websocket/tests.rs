use std::cell::RefCell;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::framing::testing::{Decoded, cut, cuts, damage, decode, small};
use crate::framing::{Decoder as Any, Encoder as AnyEncoder, JsonFault};
use crate::message::{Event, Outcome};
use crate::status::{Code, Status};

/// A frame as a server sends it; the lengths of tests fit in seven bits.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

fn client() -> Socket {
    Socket::new(Side::Client, small())
}

fn server() -> Socket {
    Socket::new(Side::Server, small())
}

/// Everything that comes out of a socket for these bytes.
fn events(socket: &mut Socket, wire: &[u8]) -> (Vec<SocketEvent>, Option<FramingError>) {
    let mut events = Vec::new();
    socket.receive(Bytes::copy_from_slice(wire));
    loop {
        match socket.next() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

fn text(text: &str) -> SocketEvent {
    SocketEvent::Message(Message::text(text.to_owned()))
}

fn fault(wire: &[u8]) -> Option<Fault> {
    events(&mut client(), wire).1.map(|error| error.fault)
}

/// The code and reason of the close frame that a socket of ours has sent, read by the other end.
fn told(socket: &mut Socket) -> Option<Close> {
    let mut peer = match socket.side() {
        Side::Client => server(),
        Side::Server => client(),
    };
    let output = socket.take_output();
    match events(&mut peer, &output).0.pop() {
        Some(SocketEvent::Closed(close)) => Some(close),
        _ => None,
    }
}

fn close(code: u16, reason: &str) -> Close {
    Close {
        code,
        reason: reason.to_owned(),
    }
}

#[test]
fn two_ends_understand_each_other() {
    let (mut client, mut server) = (client(), server());
    client.send(&Message::text("é")).unwrap();
    client.send(&Message::binary(vec![7; 900])).unwrap();
    let (read, error) = events(&mut server, &client.take_output());
    assert_eq!(error, None);
    assert_eq!(read, [text("é"), SocketEvent::Message(Message::binary(vec![7; 900]))]);
    server.send(&Message::text("")).unwrap();
    server.close(4005, "no such order");
    let (read, _) = events(&mut client, &server.take_output());
    assert_eq!(read, [text(""), SocketEvent::Closed(close(4005, "no such order"))]);
    assert!(!client.is_open() && client.is_closed());
    let (read, _) = events(&mut server, &client.take_output());
    assert_eq!(read, [SocketEvent::Closed(close(4005, "no such order"))]);
    assert!(server.is_closed());
    assert_eq!(server.send(&Message::text("late")), Err(Fault::Closed.at(0)));
}

#[test]
fn pings_are_answered_and_seen_by_nobody() {
    let mut socket = client();
    let wire = [
        frame(0x01, b"a"),
        frame(0x89, b"p"),
        frame(0x80, b"b"),
        frame(0x8a, b""),
    ]
    .concat();
    assert_eq!(events(&mut socket, &wire), (vec![text("ab")], None));
    assert_eq!(socket.counts().control, 2);
    let mut server = server();
    assert_eq!(events(&mut server, &socket.take_output()), (vec![], None));
    assert_eq!(server.counts().control, 1, "one pong");
}

#[test]
fn w2_fragments_are_counted_also_when_they_are_empty() {
    let mut wire = frame(0x01, b"");
    for _ in 1..8 {
        wire.extend(frame(0x00, b""));
    }
    assert_eq!(fault(&wire), None);
    let (_, error) = events(&mut client(), &[wire.clone(), frame(0x00, b"")].concat());
    assert_eq!(error, Some(Fault::WebSocket(WsViolation::Fragments).at(16)));
    assert_eq!(fault(&[wire, frame(0x89, b"")].concat()), None, "a ping is no fragment");
}

#[test]
fn w2_a_message_over_the_limit_is_refused_when_its_length_is_known() {
    let over = [0x82, 126, 0x03, 0xe9];
    let mut socket = client();
    let (_, error) = events(&mut socket, &over);
    let error = error.unwrap();
    assert_eq!(error.fault, Fault::WebSocket(WsViolation::FrameTooLarge));
    assert_eq!(
        (error.fault.code(), error.fault.http().as_u16()),
        (Code::ResourceExhausted, 413)
    );
    assert_eq!(told(&mut socket), Some(close(1009, "frame_too_large")));
    // Over several frames.
    let half = [vec![0x02, 126, 0x02, 0x58], vec![0; 600]].concat();
    let both = [half, vec![0x80, 126, 0x02, 0x58]].concat();
    assert_eq!(fault(&both), Some(Fault::WebSocket(WsViolation::MessageTooLarge)));
}

#[test]
fn w4_frames_that_break_a_rule_are_refused() {
    for (wire, violation) in [
        (&[0xc1, 0x00][..], WsViolation::Reserved),
        (&[0x83, 0x00], WsViolation::Opcode),
        (&[0x8b, 0x00], WsViolation::Opcode),
        (&[0x81, 0x80, 0, 0, 0, 0], WsViolation::Masked),
        (&[0x81, 126, 0, 1, b'x'], WsViolation::LengthForm),
        (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], WsViolation::LengthForm),
        (&[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], WsViolation::LengthRange),
        (&[0x89, 126, 0, 126], WsViolation::ControlLength),
        (&[0x09, 0x00], WsViolation::ControlFragment),
        (&[0x80, 0x00], WsViolation::Continuation),
        (&[0x01, 0x00, 0x81, 0x00], WsViolation::Interleaved),
        (&[0x88, 0x01, 0x03], WsViolation::ClosePayload),
    ] {
        assert_eq!(fault(wire), Some(Fault::WebSocket(violation)), "{wire:?}");
    }
    let (_, error) = events(&mut server(), &[0x81, 0x01, b'x']);
    assert_eq!(error, Some(Fault::WebSocket(WsViolation::Unmasked).at(0)));
}

#[test]
fn messages_before_a_fault_are_read_before_it() {
    let mut socket = client();
    let wire = [frame(0x81, b"good"), frame(0x83, b"")].concat();
    let (read, error) = events(&mut socket, &wire);
    assert_eq!(read, [text("good")]);
    assert_eq!(error, Some(Fault::WebSocket(WsViolation::Opcode).at(6)));
    assert_eq!(told(&mut socket), Some(close(1002, "opcode")));
    assert_eq!(
        events(&mut socket, &frame(0x81, b"more")).0,
        [],
        "nothing is read after it"
    );
}

#[test]
fn w5_utf_8_may_be_split_across_frames_and_is_judged_early() {
    let wire = [frame(0x01, b"\xe2\x82"), frame(0x80, b"\xac")].concat();
    assert_eq!(events(&mut client(), &wire), (vec![text("€")], None));
    // Without waiting for the end of the message.
    let mut socket = client();
    assert_eq!(
        events(&mut socket, &frame(0x01, b"a\xff")).1.map(|error| error.fault),
        Some(Fault::Utf8)
    );
    assert_eq!(told(&mut socket), Some(close(1007, "utf8")));
    assert_eq!(fault(&frame(0x81, b"\xe2\x82")), Some(Fault::Utf8), "cut off");
    assert_eq!(fault(&frame(0x81, b"\xed\xa0\x80")), Some(Fault::Utf8), "a surrogate");
    assert_eq!(client().send(&Message::text(&b"\xff"[..])), Err(Fault::Utf8.at(0)));
}

#[test]
fn w5_close_codes_that_must_not_be_on_the_wire_are_answered_as_a_violation() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let mut socket = client();
        let (read, _) = events(&mut socket, &frame(0x88, &code.to_be_bytes()));
        assert_eq!(read, [SocketEvent::Closed(close(1002, "Protocol violation"))], "{code}");
        assert_eq!(told(&mut socket).map(|close| close.code), Some(1002), "{code}");
    }
    for code in [1000u16, 1001, 1003, 1007, 1011, 1012, 1013, 3000, 4999] {
        let (read, _) = events(&mut client(), &frame(0x88, &code.to_be_bytes()));
        assert_eq!(read, [SocketEvent::Closed(close(code, ""))], "{code}");
    }
}

#[test]
fn w5_codes_that_must_not_be_sent_make_a_close_without_one() {
    for code in [0, 999, 1005, 1006, 1015, 5000] {
        let mut socket = client();
        socket.close(code, "never seen");
        assert_eq!(told(&mut socket), Some(close(1005, "")), "{code}");
    }
}

#[test]
fn w5_the_reason_of_a_close_is_utf_8_and_fits() {
    let mut socket = client();
    assert_eq!(
        events(&mut socket, &frame(0x88, b"\x03\xe8\xff"))
            .1
            .map(|error| error.fault),
        Some(Fault::Utf8)
    );
    assert_eq!(told(&mut socket), Some(close(1007, "utf8")));
    let mut socket = server();
    socket.close(4003, &"é".repeat(100));
    assert_eq!(told(&mut socket), Some(close(4003, &"é".repeat(61))));
}

#[test]
fn bytes_that_end_without_a_close_are_1006_once() {
    let mut socket = client();
    socket.finish();
    assert_eq!(socket.next(), Ok(Some(SocketEvent::Closed(close(1006, "")))));
    assert_eq!(socket.next(), Ok(None));
}

#[test]
fn w6_answers_to_pings_do_not_pile_up_when_nothing_is_written() {
    let mut socket = client();
    let pings = frame(0x89, &[1; 100]).repeat(1000);
    for _ in 0..20 {
        assert_eq!(events(&mut socket, &pings), (vec![], None));
        assert!(
            socket.pending_output() < small().write + 200,
            "{}",
            socket.pending_output()
        );
    }
    // The last is answered when there is room again.
    let _ = socket.take_output();
    assert_eq!(events(&mut socket, &frame(0x89, b"last")), (vec![], None));
    assert!(socket.pending_output() > 0);
}

#[test]
fn w6_messages_do_not_pile_up_when_nothing_is_written() {
    let mut socket = client();
    let large = Message::binary(vec![0; 10_000]);
    socket.send(&large).unwrap();
    assert_eq!(socket.send(&large), Err(Fault::WriteBuffer.at(0)));
    assert!(socket.take_output().len() > 10_000);
    socket.send(&large).unwrap();
}

/// A client's end that speaks JSON, and ours.
fn json_pair() -> (AnyEncoder, Any, Rc<RefCell<Socket>>) {
    let theirs = Rc::new(RefCell::new(client()));
    let ours = Rc::new(RefCell::new(server()));
    let encoder = AnyEncoder::WebSocket(Encoder::new(theirs, Form::Json));
    let decoder = Any::WebSocket(Decoder::new(Rc::clone(&ours), Form::Json));
    (encoder, decoder, ours)
}

fn sent(encoder: &mut AnyEncoder, message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    encoder.message(message, &mut out).unwrap();
    out.freeze()
}

fn ended(encoder: &mut AnyEncoder, status: Status) -> Bytes {
    let mut out = BytesMut::new();
    encoder.end(&Outcome::new(status), &mut out);
    out.freeze()
}

#[test]
fn an_empty_text_is_a_half_close_and_a_close_is_a_cancel() {
    let (mut encoder, mut decoder, _) = json_pair();
    decoder.push(sent(&mut encoder, &Message::text("{\"a\":1}")));
    assert_eq!(decoder.next(), Ok(Some(Event::Message(Message::text("{\"a\":1}")))));
    decoder.push(ended(&mut encoder, Status::new(Code::Ok, "")));
    assert_eq!(
        decoder.next(),
        Ok(Some(Event::End(Outcome::new(Status::new(Code::Ok, "")))))
    );
    assert_eq!(decoder.next(), Ok(None));
    decoder.finish();
    let Ok(Some(Event::End(outcome))) = decoder.next() else {
        panic!("no end");
    };
    assert_eq!(outcome.status.code, Code::Cancelled);
}

#[test]
fn what_the_json_form_does_not_allow_closes_the_socket() {
    for (message, fault, code) in [
        (Message::binary("{}"), Fault::Binary, 1003),
        (Message::text("{"), Fault::Json(JsonFault::Truncated), 1007),
        (Message::text(" "), Fault::Json(JsonFault::Truncated), 1007),
    ] {
        let (_, mut decoder, socket) = json_pair();
        let mut peer = client();
        peer.send(&message).unwrap();
        decoder.push(peer.take_output());
        assert_eq!(decoder.next().map_err(|error| error.fault), Err(fault));
        let (told, _) = events(&mut peer, &socket.borrow_mut().take_output());
        assert_eq!(told, [SocketEvent::Closed(close(code, fault.label()))]);
    }
    let (mut encoder, mut decoder, _) = json_pair();
    decoder.push(ended(&mut encoder, Status::new(Code::Ok, "")));
    assert!(decoder.next().is_ok());
    decoder.push(sent(&mut encoder, &Message::text("1")));
    assert_eq!(decoder.next().map_err(|error| error.fault), Err(Fault::AfterEnd));
    let mut out = BytesMut::new();
    assert_eq!(
        encoder.message(&Message::text(""), &mut out),
        Err(Fault::Unwritable.at(0))
    );
}

#[test]
fn a_status_goes_to_a_client_as_a_close_and_comes_from_a_backend_as_one() {
    let ours = Rc::new(RefCell::new(server()));
    let backend = Rc::new(RefCell::new(client()));
    let mut encoder = AnyEncoder::WebSocket(Encoder::new(ours, Form::Any));
    let mut decoder = Any::WebSocket(Decoder::new(backend, Form::Any));
    let status = Status::new(Code::NotFound, "no such order");
    decoder.push(ended(&mut encoder, status.clone()));
    assert_eq!(decoder.next(), Ok(Some(Event::End(Outcome::new(status)))));
    assert_eq!(decoder.next(), Ok(None));
}

/// What a decoder of a backend's bytes makes of them; where in the bytes a fault is known to be depends on the chunks.
fn decoded(wire: &[u8], at: &[usize]) -> Decoded {
    let socket = Rc::new(RefCell::new(client()));
    let (events, error) = decode(Any::WebSocket(Decoder::new(socket, Form::Any)), cut(wire, at));
    (events, error.map(|error| error.fault.at(0)))
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first = proptest::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88]);
    vec(
        (
            first,
            prop_oneof![Just(vec![]), vec(97u8..123, 1..20), vec(any::<u8>(), 0..20)],
        ),
        0..8,
    )
    .prop_map(|frames| {
        frames
            .iter()
            .flat_map(|(first, payload)| frame(*first, payload))
            .collect()
    })
}

proptest! {
    #[test]
    fn nothing_depends_on_where_the_stream_is_cut(wire in frames(), damage in damage(), cuts in cuts()) {
        let wire = damage.of(wire);
        let whole = decoded(&wire, &[]);
        prop_assert_eq!(&decoded(&wire, &cuts), &whole);
        let every: Vec<usize> = (0..wire.len()).collect();
        prop_assert_eq!(&decoded(&wire, &every), &whole);
    }

    #[test]
    fn no_bytes_make_it_panic(wire in vec(any::<u8>(), 0..300), cuts in cuts()) {
        prop_assert_eq!(decoded(&wire, &cuts), decoded(&wire, &[]));
        let _ = events(&mut server(), &wire);
    }

    #[test]
    fn messages_survive_the_socket(contents in vec((any::<bool>(), "[a-zé]{0,300}"), 0..5), cuts in cuts()) {
        let mut socket = server();
        let messages: Vec<Message> = contents
            .into_iter()
            .map(|(is_text, content)| if is_text { Message::text(content) } else { Message::binary(content) })
            .collect();
        let mut wire = BytesMut::new();
        for message in &messages {
            socket.send(message).unwrap();
            socket.write_output(&mut wire);
        }
        socket.close(1000, "");
        socket.write_output(&mut wire);
        let (events, error) = decoded(&wire, &cuts);
        prop_assert_eq!(error, None);
        let end = Event::End(Outcome::new(Status::new(Code::Ok, "")));
        let expected: Vec<Event> = messages.into_iter().map(Event::Message).chain([end]).collect();
        prop_assert_eq!(events, expected);
    }
}
