//! What the tests of every format share: running a decoder over a stream that is cut into chunks.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Decoder, Encoder, Fault, FramingError, Limits};
use crate::message::{Event, Message, Outcome};

/// What came out, and the error that ended it.
pub(super) type Decoded = (Vec<Event>, Option<FramingError>);

/// Small limits, so that tests reach them.
pub(super) fn small() -> Limits {
    Limits {
        message: 1000,
        depth: 16,
        fragments: 8,
        write: 4096,
    }
}

/// Decodes a stream that comes in these chunks.
pub(super) fn decode(mut decoder: Decoder, chunks: impl IntoIterator<Item = Bytes>) -> Decoded {
    let mut events = Vec::new();
    let mut chunks = chunks.into_iter();
    let mut finished = false;
    loop {
        match decoder.next() {
            Err(error) => {
                assert_eq!(decoder.next(), Err(error), "an error stays");
                return (events, Some(error));
            }
            Ok(Some(event)) => events.push(event),
            Ok(None) if finished => return (events, None),
            Ok(None) => match chunks.next() {
                Some(chunk) => decoder.push(chunk),
                None => {
                    decoder.finish();
                    finished = true;
                }
            },
        }
    }
}

/// Decodes a stream that comes at once.
pub(super) fn decode_all(decoder: Decoder, wire: &[u8]) -> Decoded {
    decode(decoder, [Bytes::copy_from_slice(wire)])
}

/// The fault that a stream ends with.
pub(super) fn fault(decoder: Decoder, wire: &[u8]) -> Option<Fault> {
    decode_all(decoder, wire).1.map(|error| error.fault)
}

/// The messages of a stream that has no end record and no fault.
pub(super) fn messages(decoder: Decoder, wire: &[u8]) -> Vec<Message> {
    let (events, error) = decode_all(decoder, wire);
    assert_eq!(error, None);
    let messages = events.into_iter().map(|event| match event {
        Event::Message(message) => message,
        Event::End(outcome) => panic!("unexpected end {outcome:?}"),
    });
    messages.collect()
}

/// Asserts that the same comes out at once, byte by byte, and cut at these places.
pub(super) fn assert_same_however_cut(wire: &[u8], cuts: &[usize], decoder: impl Fn() -> Decoder) {
    let whole = decode_all(decoder(), wire);
    let bytes = wire.iter().map(|byte| Bytes::copy_from_slice(&[*byte]));
    assert_eq!(decode(decoder(), bytes), whole, "byte by byte");
    assert_eq!(decode(decoder(), cut(wire, cuts)), whole, "cut at {cuts:?}");
}

/// The stream in pieces; cuts beyond its end do nothing.
pub(super) fn cut(wire: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|at| at % (wire.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(wire.len());
    let mut start = 0;
    let pieces = cuts.into_iter().map(|end| {
        let piece = Bytes::copy_from_slice(&wire[start..end]);
        start = end;
        piece
    });
    pieces.collect()
}

/// Writes messages and, if there is one, the end.
pub(super) fn encode(mut encoder: Encoder, messages: &[Message], end: Option<&Outcome>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for message in messages {
        encoder.message(message, &mut out).expect("the format can carry it");
    }
    if let Some(outcome) = end {
        encoder.end(outcome, &mut out);
    }
    out.to_vec()
}

/// Places to cut a stream at.
pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<usize>(), 0..6)
}

/// What is done to a stream to make it wrong: bytes are replaced, and the end is cut off.
pub(super) fn damage() -> impl Strategy<Value = Damage> {
    (
        vec((any::<usize>(), any::<u8>()), 0..4),
        proptest::option::of(any::<usize>()),
    )
        .prop_map(|(bytes, length)| Damage { bytes, length })
}

/// See [`damage`].
#[derive(Clone, Debug)]
pub(super) struct Damage {
    bytes: Vec<(usize, u8)>,
    length: Option<usize>,
}

impl Damage {
    /// The stream, damaged.
    pub(super) fn of(&self, mut wire: Vec<u8>) -> Vec<u8> {
        if !wire.is_empty() {
            for (at, byte) in &self.bytes {
                let at = at % wire.len();
                wire[at] = *byte;
            }
        }
        if let Some(length) = self.length {
            wire.truncate(length % (wire.len() + 1));
        }
        wire
    }
}

/// Messages of JSON text.
pub(super) fn json_messages() -> impl Strategy<Value = Vec<Message>> {
    let value = prop_oneof![
        Just(String::from("{}")),
        Just(String::from("[[], {\"a\": [1, -2.5e+3, 0]}]")),
        Just(String::from("null")),
        "-?[1-9][0-9]{0,8}",
        "\"[a-z ,\\]\\[{}é\u{1f600}]{0,20}(\\\\\"|\\\\u00e9|\\\\ud83d\\\\ude00)?\"",
        "\\{\"[a-z]{1,5}\":(true|false|\"x\")\\}",
    ];
    vec(value.prop_map(|text| Message::text(text.into_bytes())), 0..5)
}
