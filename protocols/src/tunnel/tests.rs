//! Sessions against a hand-written peer, and two sessions joined by a pipe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use http::StatusCode;

use super::frame::{self, HEADER, Header, Kind};
use super::*;
use crate::call::{Length, ReplyHead};
use crate::fields::Fields;

mod cuts;
mod flow;
mod pair;
mod rules;

pub(super) fn hello() -> Hello {
    Hello {
        features: 0,
        workers: 2,
        window: 64 * 1024,
        max_calls: 1024,
        site: "aws".to_owned(),
        gateway: "gw-1".to_owned(),
    }
}

pub(super) fn settings() -> Settings {
    Settings::new(Arc::new(GrowthLedger::new(1 << 30)))
}

pub(super) fn ok() -> ReplyHead {
    ReplyHead::new(StatusCode::OK, Length::Streamed)
}

/// A head whose body is announced as streamed.
pub(super) fn posting() -> OpenHead {
    let mut head = head::tests::head("/");
    head.call.length = Length::Streamed;
    head
}

pub(super) fn getting() -> OpenHead {
    head::tests::head("/")
}

/// One session, and a peer that sends what a test wants.
pub(super) struct Alone {
    pub(super) session: Session,
    pub(super) now: Instant,
}

impl Alone {
    /// An accepting session that has had the peer's HELLO.
    pub(super) fn new(settings: Settings) -> Self {
        let mut alone = Self::silent(settings);
        let mut wire = BytesMut::new();
        frame::put_with(&mut wire, 0, Kind::Hello, 0, |out| hello().encode(out)).unwrap();
        assert!(matches!(alone.feed(&wire), Ok(events) if matches!(events[..], [Incoming::Hello(_)])));
        alone.sent();
        alone
    }

    /// An accepting session before the peer's HELLO.
    pub(super) fn silent(settings: Settings) -> Self {
        let now = Instant::now();
        let session = Session::new(Role::Acceptor, settings, hello(), now).unwrap();
        Self { session, now }
    }

    /// Everything that comes of these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Incoming>, Violation> {
        let mut input = BytesMut::from(bytes);
        let mut events = Vec::new();
        while let Some(event) = self.session.receive(&mut input, self.now)? {
            events.push(event);
        }
        Ok(events)
    }

    /// Everything that comes of one frame.
    pub(super) fn frame(
        &mut self,
        call: u32,
        kind: Kind,
        flags: u8,
        payload: &[u8],
    ) -> Result<Vec<Incoming>, Violation> {
        self.feed(&raw(call, kind.wire(), flags, payload))
    }

    /// Opens a call of the peer that has a body.
    pub(super) fn opened(&mut self, call: u32) -> CallId {
        let events = self.frame(call, Kind::Head, 0, &head_payload(&posting())).unwrap();
        assert!(matches!(events[..], [Incoming::Open { end: false, .. }]), "{events:?}");
        CallId(call)
    }

    /// The frames that wait for the socket, taken.
    pub(super) fn sent(&mut self) -> Vec<(u32, Kind, u8, Vec<u8>)> {
        let out = self.session.output().split();
        self.session.flushed();
        frames(&out)
    }
}

pub(super) fn raw(call: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        call,
        length: payload.len() as u16,
        kind,
        flags,
    };
    [&header.to_bytes()[..], payload].concat()
}

pub(super) fn head_payload(head: &OpenHead) -> Vec<u8> {
    let mut out = BytesMut::new();
    head::encode(&head.into(), &mut out).unwrap();
    out.to_vec()
}

pub(super) fn frames(mut wire: &[u8]) -> Vec<(u32, Kind, u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::peek(wire) {
        wire.advance(HEADER);
        let (payload, rest) = wire.split_at(usize::from(header.length));
        frames.push((
            header.call,
            Kind::from_wire(header.kind).unwrap(),
            header.flags,
            payload.to_vec(),
        ));
        wire = rest;
    }
    assert!(wire.is_empty(), "half a frame was sent");
    frames
}

#[test]
fn signs_of_life_take_seven_seconds_to_be_missed() {
    let mut alone = Alone::new(settings());
    let start = alone.now;
    let mut seen = Vec::new();
    for step in 1..=150u32 {
        alone.now = start + Duration::from_millis(50) * step;
        match alone.session.tick(alone.now) {
            Tick::Nothing => {}
            tick => seen.push((step * 50, tick)),
        }
        if seen.last().is_some_and(|(_, tick)| *tick == Tick::Dead) {
            break;
        }
    }
    let expected = [
        (2000, Tick::Pinged),
        (4000, Tick::Pinged),
        (6000, Tick::Pinged),
        (7000, Tick::Dead),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn any_frame_is_a_sign_of_life_and_a_stopped_process_pings_before_it_gives_up() {
    let mut alone = Alone::new(settings());
    for _ in 0..20 {
        alone.now += Duration::from_millis(1500);
        alone.frame(0, Kind::Pong, 0, &[0; 8]).unwrap();
        assert_eq!(alone.session.tick(alone.now), Tick::Nothing);
    }
    alone.now += Duration::from_secs(3600);
    assert_eq!(alone.session.tick(alone.now), Tick::Pinged);
    assert_eq!(alone.session.tick(alone.now), Tick::Nothing);
    alone.frame(0, Kind::Pong, 0, &[0; 8]).unwrap();
    assert_eq!(alone.session.tick(alone.now), Tick::Nothing);
}

#[test]
fn a_ping_measures_the_round_trip() {
    let mut alone = Alone::silent(settings());
    alone.sent();
    let mut wire = BytesMut::new();
    frame::put_with(&mut wire, 0, Kind::Hello, 0, |out| hello().encode(out)).unwrap();
    alone.feed(&wire).unwrap();
    let sent = alone.sent();
    let [(0, Kind::Ping, 0, number)] = &sent[..] else {
        panic!("{sent:?}");
    };
    alone.now += Duration::from_millis(40);
    assert!(
        alone.frame(0, Kind::Pong, 0, &[9; 8]).unwrap().is_empty(),
        "another number"
    );
    let events = alone.frame(0, Kind::Pong, 0, number).unwrap();
    assert!(matches!(events[..], [Incoming::Pong { rtt }] if rtt == Duration::from_millis(40)));
    assert!(
        alone.frame(0, Kind::Pong, 0, number).unwrap().is_empty(),
        "a second answer"
    );
    assert_eq!(alone.session.rtt(), Some(Duration::from_millis(40)));
    for (sample, smoothed) in [(120, 50), (30, 30)] {
        alone.session.ping(alone.now);
        let number = alone.sent().remove(0).3;
        alone.now += Duration::from_millis(sample);
        let events = alone.frame(0, Kind::Pong, 0, &number).unwrap();
        assert!(matches!(events[..], [Incoming::Pong { rtt }] if rtt == Duration::from_millis(smoothed)));
    }
}
