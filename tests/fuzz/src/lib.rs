//! What is fuzzed: a function for each decoder, which takes any bytes and panics where a rule of ours does not hold.
//!
//! The rules beside "no panic": however the bytes are cut, the same comes out; what was accepted is accepted again in the form
//! it was brought into; and nothing is consumed that was not there.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use causeway_protocols::fields::Fields;
use causeway_protocols::framing::lines::Wrapping;
use causeway_protocols::framing::{self, Decoder, Socket, grpc, json_array, lines, sse, whole};
use causeway_protocols::http1::{Asked, ChunkedDecoder, Decoded, Limits, Parsed, request, response};
use causeway_protocols::message::Kind;
use causeway_protocols::transcode::{Schema, compile};
use causeway_protocols::tunnel::{GrowthLedger, Hello, Incoming, Role, Session, Settings};
use causeway_protocols::websocket::{Direction, Tracker, TrackerLimits, handshake};
use causeway_protocols::{Authority, Scheme, Target};

/// A decoder, and inputs to begin with that get far into it.
pub struct Fuzzed {
    /// The name of its file in `fuzz_targets`.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Good or nearly good inputs.
    pub seeds: &'static [&'static [u8]],
}

/// All of them.
pub const ALL: &[Fuzzed] = &[
    Fuzzed {
        name: "request_head",
        run: request_head,
        seeds: &[
            b"GET /a/../b?c=%41 HTTP/1.1\r\nhost: a.example\r\nconnection: keep-alive, upgrade\r\nupgrade: websocket\r\n\r\n",
            b"POST http://a.example:80/x HTTP/1.1\r\nHost: a.example:80\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
            b"PUT / HTTP/1.0\r\nhost: [::1]:8080\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello",
        ],
    },
    Fuzzed {
        name: "response_head",
        run: response_head,
        seeds: &[
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204\r\n\r\n",
            b"HTTP/1.0 304 Not Modified\r\nconnection: keep-alive\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        ],
    },
    Fuzzed {
        name: "chunked",
        run: chunked,
        seeds: &[
            b"5\r\nhello\r\n0\r\n\r\n",
            b"a;x=\"y\"\r\n0123456789\r\n00000\r\nx-trailer: v\r\n\r\nrest",
            b"ffffffffffffffff\r\n",
        ],
    },
    Fuzzed {
        name: "target",
        run: target,
        seeds: &[
            b"a.example:80\n/a/b;c/%7Euser/./..//x?y=%00#z",
            b"[2001:db8::1]\n/%2e%2e/%c0%af/\xc3\xbc",
            b"\n*",
        ],
    },
    Fuzzed {
        name: "tunnel_session",
        run: tunnel_session,
        seeds: &[
            b"\0\0\0\0\0\x08\x0a\0pingpong\0\0\0\x01\0\x04\x08\0\0\0\xff\xff",
            b"\0\0\0\x02\0\x01\x05\x01x\0\0\0\x02\0\x01\x07\0\x01\0\0\0\0\0\x09\x0c\0\0\0\0\x01\x01\0\0\0\0",
        ],
    },
    Fuzzed {
        name: "tunnel_head",
        run: tunnel_head,
        seeds: &[b"\x01\x01\0\x01\x01\x02\0\x03GET\x03\0\x01\x01\x05\0\x01/\x06\0\x06orders\x08\0\x01\x05\0"],
    },
    Fuzzed {
        name: "websocket_tracker",
        run: websocket_tracker,
        seeds: &[
            b"\x81\x05hello\x89\x02hi\x88\x02\x03\xe8",
            b"\x01\x83abcd123\x80\x80abcd\xc1\xfe\0\x80abcd",
            b"\x82\x7f\0\0\0\0\0\x01\0\0",
        ],
    },
    Fuzzed {
        name: "websocket_handshake",
        run: websocket_handshake,
        seeds: &[b"dGhlIHNhbXBsZSBub25jZQ==\n13\nchat, superchat\npermessage-deflate; client_max_window_bits=\"15\""],
    },
    Fuzzed {
        name: "websocket_socket",
        run: websocket_socket,
        seeds: &[b"\x81\x85abcd\x09\x07\x0f\x08\x0e\x88\x82abcd\x62\x8a", b"\x01\x81abcd\xa2\x80\x81abcd\xdd"],
    },
    Fuzzed {
        name: "grpc_messages",
        run: grpc_messages,
        seeds: &[b"\0\0\0\0\x05hello\0\0\0\0\0", b"\x01\0\0\0\x03abc", b"\0\xff\xff\xff\xff"],
    },
    Fuzzed {
        name: "text_messages",
        run: text_messages,
        seeds: &[
            b"[{\"a\":[1,2.5e3,\"\\ud83c\\udf0d\"]} , null,true]",
            b"{\"a\":1}\n\r\n{\"result\":{\"b\":2}}\n{\"error\":{\"code\":5}}",
            b"id: 7\r\nretry: 10\r\nevent: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n: c\n\ndata:2\n\n",
        ],
    },
    Fuzzed {
        name: "transcode_message",
        run: transcode_message,
        seeds: &[
            b"{\"name\":\"a\",\"big\":\"-9223372036854775808\",\"raw\":\"AQI=\",\"tree\":{\"tree\":{\"many\":[1,2]}},\"when\":\"2026-01-02T03:04:05Z\"}",
            b"{\"map\":{\"x\":1.5,\"y\":\"NaN\"},\"kind\":\"KIND_B\",\"wrapped\":null,\"any\":{\"@type\":\"type.googleapis.com/f.M\",\"name\":\"b\"}}",
            b"\x0a\x01a\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x1a\x02\x01\x02\x22\x04\x22\x02\x2a\0",
        ],
    },
    Fuzzed {
        name: "transcode_request",
        run: transcode_request,
        seeds: &[b"/v1/names/a%2Fb\nbig=7&many=1&many=2&tree.name=x\n", b"/v1/names/a:do\n\n{\"name\":\"b\"}"],
    },
    Fuzzed {
        name: "schema",
        run: schema,
        seeds: &[
            b"\x0a\x1d\x0a\x07a.proto\x12\x01a\x22\x07\x0a\x01M\x12\x02\x0a\0b\x06proto3",
            // A type that is not there, in the first file of the set.
            b"\n\x1d\n\x07a.p\x01oto\x12\x01a\"\x07\n\x01M\x12\x02\n\0b\x06p\x01oto3",
            b"syntax = \"proto3\"; package a; message M { repeated M m = 1; map<string, M> x = 2; }",
        ],
    },
    Fuzzed {
        name: "config",
        run: config,
        seeds: &[
            b"[site]\nname = 'a'\ntrust_domain = 'a.example'\n[[listeners]]\nname = 'p'\nbind = '127.0.0.1:0'\n[[services]]\nname = 's'\n\
              protocol = 'http'\nendpoints = 'dns:a:80'\n[[routes]]\nmatch = { path = '/{x}/{rest*}', headers = { a = '~b+' } }\nto = 's'\n",
            b"[limits]\nhead = '1KiB'\n[telemetry]\nsample_ratio = '10%'\n[timeouts]\nhead = '10s'\n",
        ],
    },
];

fn request_head(bytes: &[u8]) {
    let limits = Limits::default();
    match request::parse(bytes, &limits, Scheme::Http) {
        Ok(Parsed::Complete { head, consumed }) => {
            assert!(consumed <= bytes.len());
            let target = &head.head.target;
            let again = Target::parse(target.authority.clone(), target.path_and_query().as_bytes());
            assert_eq!(
                again.map(|again| again.path_and_query().to_owned()),
                Ok(target.path_and_query().to_owned())
            );
            // Whatever follows, and however little of it has come, the head is the same.
            let alone = request::parse(&bytes[..consumed], &limits, Scheme::Http);
            assert!(matches!(alone, Ok(Parsed::Complete { consumed: same, .. }) if same == consumed));
            let early = request::parse(&bytes[..consumed - 1], &limits, Scheme::Http);
            assert!(matches!(early, Ok(Parsed::Partial)), "{early:?}");
        }
        Ok(Parsed::Partial) => {}
        Err(error) => {
            let longer = [bytes, b"\r\n\r\n"].concat();
            let later = request::parse(&longer, &limits, Scheme::Http).err();
            assert_eq!(later, Some(error), "what cannot become a request never does");
        }
    }
}

fn response_head(bytes: &[u8]) {
    for asked in [Asked::Plain(&http::Method::GET), Asked::Plain(&http::Method::HEAD)] {
        if let Ok(Parsed::Complete { consumed, .. }) = response::parse(bytes, &Limits::default(), asked) {
            assert!(consumed <= bytes.len());
            let early = response::parse(&bytes[..consumed - 1], &Limits::default(), asked);
            assert!(matches!(early, Ok(Parsed::Partial)), "{early:?}");
        }
    }
}

fn chunked(bytes: &[u8]) {
    let decode = |step: usize| {
        let (mut decoder, mut input, mut data) = (ChunkedDecoder::new(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut input) {
                    Ok(Decoded::Data(some)) => data.extend_from_slice(&some),
                    Ok(Decoded::NeedMore) => break,
                    Ok(Decoded::End(_)) => return (data, "end"),
                    Err(error) => return (data, error.label()),
                }
            }
        }
        (data, "more")
    };
    let whole = decode(bytes.len().max(1));
    assert_eq!(decode(1), whole);
    assert_eq!(decode(3), whole);
}

fn target(bytes: &[u8]) {
    let (authority, path) = two(bytes);
    let Ok(authority) = Authority::parse(authority) else {
        return;
    };
    assert_eq!(Authority::parse(authority.as_str().as_bytes()).as_ref(), Ok(&authority));
    let Ok(target) = Target::parse(authority.clone(), path) else {
        return;
    };
    let again = Target::parse(authority, target.path_and_query().as_bytes()).expect("a normal form is one");
    assert_eq!(again.path_and_query(), target.path_and_query());
    assert!(!target.path().split('/').any(|segment| matches!(segment, "." | "..")));
}

fn hello() -> Hello {
    Hello {
        features: 0,
        workers: 2,
        window: 64 * 1024,
        max_calls: 16,
        site: "aws".to_owned(),
        gateway: "gw".to_owned(),
    }
}

/// A session that has had its peer's HELLO.
fn session(now: Instant) -> Session {
    let make = |role| {
        let settings = Settings {
            max_calls: 16,
            ..Settings::new(Arc::new(GrowthLedger::new(1 << 20)))
        };
        Session::new(role, settings, hello(), now).expect("our own HELLO fits")
    };
    let mut session = make(Role::Acceptor);
    let mut greeting = make(Role::Dialler).output().split();
    assert!(matches!(
        session.receive(&mut greeting, now),
        Ok(Some(Incoming::Hello(_)))
    ));
    session
}

fn receive(session: &mut Session, bytes: &[u8], now: Instant) {
    let mut input = BytesMut::from(bytes);
    loop {
        match session.receive(&mut input, now) {
            Ok(Some(Incoming::Open { call, end, .. })) => {
                session.permit(call);
                if end {
                    session.finished(call);
                }
            }
            Ok(Some(Incoming::Data { call, data, .. })) => session.consumed(call, data.len(), now),
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => return,
        }
        assert!(session.open_there() <= 16);
        session.output().clear();
        session.flushed();
    }
    session.tick(now + Duration::from_secs(3));
}

fn tunnel_session(bytes: &[u8]) {
    let now = Instant::now();
    receive(&mut session(now), bytes, now);
    // Not a word before HELLO.
    let settings = Settings::new(Arc::new(GrowthLedger::new(1 << 20)));
    let mut silent = Session::new(Role::Dialler, settings, hello(), now).expect("our own HELLO fits");
    receive(&mut silent, bytes, now);
}

/// The bytes as the payload of a HEAD.
fn tunnel_head(bytes: &[u8]) {
    let now = Instant::now();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).min(16_000);
    let mut frame = 1u32.to_be_bytes().to_vec();
    frame.extend(length.to_be_bytes());
    frame.extend([2, 0]);
    frame.extend(&bytes[..length.into()]);
    let mut session = session(now);
    let mut input = BytesMut::from(&frame[..]);
    if let Ok(Some(Incoming::Open { head, .. })) = session.receive(&mut input, now) {
        // What one site takes, the next one does, too.
        let mut next = self::session(now);
        next.open(&*head, false, now).expect("a head that has come goes on");
    }
}

fn websocket_tracker(bytes: &[u8]) {
    let limits = TrackerLimits {
        frame: 1000,
        fragments: 4,
        message: 2000,
        rsv1: false,
    };
    for direction in [Direction::Client, Direction::Server] {
        let follow = |step: usize| {
            let mut tracker = Tracker::new(direction, limits);
            let verdict = bytes.chunks(step).try_for_each(|piece| tracker.pass(piece).map(drop));
            (verdict.map_err(|violation| violation.rule), tracker.counts().frames)
        };
        let whole = follow(bytes.len().max(1));
        assert_eq!(follow(1), whole);
        assert_eq!(follow(5), whole);
    }
}

fn websocket_handshake(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut next = || parts.next();
    let (key, version, protocol, extension) = (next(), next(), next(), next());
    let mut fields = Fields::default();
    for (name, value) in [
        ("sec-websocket-protocol", protocol),
        ("sec-websocket-extensions", extension),
    ] {
        if let Some(value) = value {
            fields.push(name.as_bytes(), value).ok();
        }
    }
    if let Ok(key) = handshake::accept_request(key, version, &fields) {
        assert!(key.is_answered_by(key.accept().as_bytes()));
        assert!(handshake::protocols(&fields).all(|protocol| !protocol.is_empty()));
    }
    handshake::check_choice(&fields, &fields).ok();
    handshake::uses_rsv1(&fields);
}

fn websocket_socket(bytes: &[u8]) {
    let run = |step: usize| {
        let mut socket = Socket::new(framing::websocket::Side::Server, small());
        let mut events = Vec::new();
        for piece in bytes.chunks(step) {
            socket.receive(Bytes::copy_from_slice(piece));
            loop {
                match socket.next() {
                    Ok(Some(event)) => events.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(error) => return (events, Some(error.fault)),
                }
            }
            assert!(socket.pending_output() <= small().write + 1024);
        }
        (events, None)
    };
    assert_eq!(run(1).1, run(bytes.len().max(1)).1);
}

fn small() -> framing::Limits {
    framing::Limits {
        message: 1000,
        depth: 16,
        fragments: 8,
        write: 4096,
    }
}

/// What a decoder makes of the bytes in pieces of this size.
fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> Vec<String> {
    let mut events = Vec::new();
    let mut pieces = bytes.chunks(step);
    let mut finished = false;
    loop {
        match decoder.next() {
            Ok(Some(event)) => events.push(format!("{event:?}")),
            Err(error) => {
                events.push(format!("{:?}", error.fault));
                return events;
            }
            Ok(None) if finished => return events,
            Ok(None) => match pieces.next() {
                Some(piece) => decoder.push(Bytes::copy_from_slice(piece)),
                None => {
                    decoder.finish();
                    finished = true;
                }
            },
        }
    }
}

fn wherever_it_is_cut(bytes: &[u8], decoder: impl Fn() -> Decoder) {
    let whole = decode(decoder(), bytes, bytes.len().max(1));
    assert_eq!(decode(decoder(), bytes, 1), whole);
    assert_eq!(decode(decoder(), bytes, 4), whole);
}

fn grpc_messages(bytes: &[u8]) {
    let compression = framing::Compression::of_name(b"gzip");
    for compression in [None, compression] {
        wherever_it_is_cut(bytes, || {
            Decoder::Grpc(grpc::Decoder::new(small(), compression, Kind::Binary))
        });
    }
    wherever_it_is_cut(bytes, || {
        Decoder::Whole(whole::Decoder::new(small(), None, Kind::Binary))
    });
}

fn text_messages(bytes: &[u8]) {
    wherever_it_is_cut(bytes, || Decoder::JsonArray(json_array::Decoder::new(small(), None)));
    for wrapping in [Wrapping::Bare, Wrapping::Result] {
        wherever_it_is_cut(bytes, || Decoder::Lines(lines::Decoder::new(small(), None, wrapping)));
    }
    wherever_it_is_cut(bytes, || Decoder::Sse(sse::Decoder::new(small(), None)));
}

/// Every kind of field.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = "syntax = \"proto3\"; package f;
        import \"google/protobuf/any.proto\"; import \"google/protobuf/struct.proto\"; import \"google/protobuf/timestamp.proto\";
        import \"google/protobuf/wrappers.proto\"; import \"google/api/annotations.proto\";
        enum Kind { KIND_A = 0; KIND_B = 1; }
        message M {
          string name = 1; int64 big = 2; bytes raw = 3; M tree = 4; repeated uint32 many = 5; map<string, double> map = 6; Kind kind = 7;
          google.protobuf.Timestamp when = 8; google.protobuf.Int32Value wrapped = 9; google.protobuf.Any any = 10;
          google.protobuf.Struct free = 11; oneof one { bool yes = 12; sint32 no = 13; }
        }
        service S { rpc Get(M) returns (M) {
          option (google.api.http) = { get: \"/v1/{name=names/*}\" additional_bindings { post: \"/v1/{name=names/**}:do\" body: \"*\" } };
        } }";
    let set = compile(&[("f.proto".to_owned(), text.to_owned())]).expect("the schema is good");
    Schema::from_descriptor_set(&set).expect("the schema is good")
});

fn transcode_message(bytes: &[u8]) {
    let plan = SCHEMA.message("f.M").expect("it is in the schema");
    let (mut proto, mut json) = (Vec::new(), Vec::new());
    if plan.from_json(bytes, &mut proto).is_ok() {
        plan.to_json(&proto, &mut json).expect("what we wrote can be read");
        let mut again = Vec::new();
        plan.from_json(&json, &mut again).expect("what we wrote can be read");
    } else {
        assert!(proto.is_empty(), "nothing is left of what failed");
    }
    json.clear();
    if plan.to_json(bytes, &mut json).is_ok() {
        assert!(std::str::from_utf8(&json).is_ok(), "JSON is UTF-8");
    }
}

fn transcode_request(bytes: &[u8]) {
    let (path, rest) = two(bytes);
    let (query, body) = two(rest);
    let (Ok(path), Ok(query)) = (std::str::from_utf8(path), std::str::from_utf8(query)) else {
        return;
    };
    for method in [http::Method::GET, http::Method::POST] {
        if let Ok(found) = SCHEMA.find(&method, path) {
            let mut out = Vec::new();
            if found.request(Some(query), Some(body), &mut out).is_err() {
                assert!(out.is_empty());
            }
        }
    }
}

fn schema(bytes: &[u8]) {
    Schema::from_descriptor_set(bytes).ok();
    if let Ok(text) = std::str::from_utf8(bytes) {
        compile(&[("a.proto".to_owned(), text.to_owned())]).ok();
    }
}

fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match causeway_config::load_str("fuzz.toml", text) {
            Ok(config) => assert!(!config.effective.is_empty()),
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }
    }
}

/// Two inputs in one, with a line end between.
fn two(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}

/// Runs one of them by its name.
///
/// # Panics
/// Where a rule does not hold, and when there is none of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let fuzzed = ALL.iter().find(|fuzzed| fuzzed.name == name);
    (fuzzed.expect("a target of this name").run)(bytes);
}
