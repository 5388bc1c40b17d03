//! Two sessions joined by a pipe, under random schedules.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::frame::MAX_DATA;
use super::*;

/// One call at one side.
struct Work {
    /// Bytes still to send, and those handed to `send` already.
    left: usize,
    sent: usize,
    in_hand: Bytes,
    /// The last byte has been handed over, and the end.
    ended: bool,
    waits: bool,
    inbox: Inbox,
    read: usize,
    expected: usize,
    peer_ended: bool,
    called: bool,
    slow: bool,
}

/// A session, what it was given to do, and what comes in.
struct Side {
    session: Session,
    input: BytesMut,
    work: BTreeMap<u32, Work>,
    done: usize,
}

/// Bodies differ per call and direction, so that mixed-up bytes are seen.
fn byte(call: u32, called: bool, at: usize) -> u8 {
    (at as u32)
        .wrapping_mul(31)
        .wrapping_add(call * 7 + u32::from(called))
        .to_le_bytes()[(at / 251) % 2]
}

/// What is to be sent both ways is written into the export's name.
fn export(up: usize, down: usize, slow: bool) -> String {
    format!("{up}.{down}.{slow}")
}

impl Side {
    fn new(role: Role, window: u32, now: Instant) -> Self {
        let mut settings = settings();
        settings.window = window;
        settings.max_calls = 16;
        Self {
            session: Session::new(role, settings, hello(), now).unwrap(),
            input: BytesMut::new(),
            work: BTreeMap::new(),
            done: 0,
        }
    }

    fn start(&mut self, up: usize, down: usize, slow: bool, now: Instant) -> bool {
        let mut head = posting();
        head.export = export(up, down, slow);
        match self.session.open(&head, false, now) {
            Ok(call) => {
                self.work.insert(call.number(), Work::new(up, down, false, slow));
                true
            }
            Err(OpenError::NotReady | OpenError::TooManyCalls) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self, now: Instant) {
        while let Some(event) = self.session.receive(&mut self.input, now).unwrap() {
            match event {
                Incoming::Hello(_) | Incoming::Pong { .. } => {}
                Incoming::Open { call, head, end } => {
                    let mut parts = head.export.split('.');
                    let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
                    let (up, down) = (number(), number());
                    let slow = parts.next().unwrap() == "true";
                    assert!(!end);
                    self.work.insert(call.number(), Work::new(down, up, true, slow));
                    self.session.reply(call, &ok()).unwrap();
                }
                Incoming::Reply { call, head } => {
                    assert!(!self.work[&call.number()].called && head.status == StatusCode::OK);
                }
                Incoming::Data { call, data, end } => {
                    let window = self.session.window(call) as usize;
                    let work = self.work.get_mut(&call.number()).unwrap();
                    work.inbox.push(data);
                    work.peer_ended |= end;
                    assert!(work.inbox.len() <= window, "credit was exceeded");
                }
                Incoming::End { call, outcome } => {
                    assert_eq!(outcome, Ended::Trailers(Fields::new()));
                    self.work.get_mut(&call.number()).unwrap().peer_ended = true;
                }
                Incoming::Window { call } => {
                    if let Some(work) = self.work.get_mut(&call.number()) {
                        work.waits = false;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lets one call send up to `most` bytes.
    fn send(&mut self, number: u32, most: usize) {
        let Some(work) = self.work.get_mut(&number) else { return };
        // The called side ends last: its END would end the caller's direction too.
        let may_end = !work.called || (work.peer_ended && work.inbox.is_empty() && work.read == work.expected);
        if work.ended || work.waits {
            return;
        }
        if work.in_hand.is_empty() {
            let count = work.left.min(most);
            work.in_hand = (0..count).map(|at| byte(number, work.called, work.sent + at)).collect();
            work.left -= count;
            work.sent += count;
        }
        let end = work.left == 0 && may_end;
        match self.session.send(CallId(number), &mut work.in_hand, end) {
            Sent::All => work.ended = end,
            Sent::NoCredit | Sent::NoRoom => work.waits = true,
            Sent::Gone => panic!("call {number} is gone"),
        }
        self.complete(number);
    }

    /// Lets one call read a chunk.
    fn read(&mut self, number: u32, now: Instant) {
        let Some(work) = self.work.get_mut(&number) else { return };
        if let Some(chunk) = work.inbox.pop() {
            for (at, seen) in chunk.iter().enumerate() {
                assert_eq!(
                    *seen,
                    byte(number, !work.called, work.read + at),
                    "byte {at} of call {number}"
                );
            }
            work.read += chunk.len();
            self.session.consumed(CallId(number), chunk.len(), now);
        }
        self.complete(number);
    }

    /// Finishes a call at once when both directions have ended: once END is on its way, the caller believes it over and
    /// may open another in its place.
    fn complete(&mut self, number: u32) {
        let work = &self.work[&number];
        if work.ended && work.peer_ended && work.inbox.is_empty() {
            assert_eq!(work.read, work.expected, "call {number} was cut");
            self.work.remove(&number);
            self.session.finished(CallId(number));
            self.done += 1;
        }
    }

    fn turns(&mut self) {
        while let Some(call) = self.session.next_turn() {
            self.work.get_mut(&call.number()).unwrap().waits = false;
            self.send(call.number(), 50_000);
        }
    }

    fn nth(&self, at: usize) -> Option<u32> {
        self.work.keys().nth(at % self.work.len().max(1)).copied()
    }
}

impl Work {
    fn new(left: usize, expected: usize, called: bool, slow: bool) -> Self {
        Self {
            left,
            sent: 0,
            in_hand: Bytes::new(),
            ended: false,
            waits: false,
            inbox: Inbox::new(),
            read: 0,
            expected,
            peer_ended: false,
            called,
            slow,
        }
    }
}

/// Moves up to `most` bytes from one side to the other.
fn carry(from: &mut Side, to: &mut Side, most: usize, now: Instant) {
    let out = from.session.output();
    let count = out.len().min(most);
    to.input.extend_from_slice(&out.split_to(count));
    from.session.flushed();
    let heads = 40 * 300;
    assert!(from.session.buffered() <= 64 * 1024 + HEADER + MAX_DATA + heads);
    from.turns();
    to.receive(now);
}

/// Runs everything that may run, without the slow readers where `patient`; true when something is left to do.
fn settle(sides: &mut [Side; 2], now: &mut Instant, with_slow: bool) {
    for _ in 0..20_000 {
        *now += Duration::from_millis(1);
        for side in sides.iter_mut() {
            let numbers: Vec<_> = side.work.keys().copied().collect();
            for number in numbers {
                side.send(number, 30_000);
                if side.work.get(&number).is_some_and(|work| with_slow || !work.slow) {
                    side.read(number, *now);
                }
            }
            side.turns();
        }
        let [a, b] = sides;
        carry(a, b, usize::MAX, *now);
        carry(b, a, usize::MAX, *now);
        let idle = |side: &Side| side.work.values().all(|work| work.slow && !with_slow);
        if sides.iter().all(idle) {
            return;
        }
    }
    panic!("calls are stuck");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_in_order_under_any_schedule(
        window in prop::sample::select(vec![1u32, 1000, 16 * 1024, 64 * 1024]),
        steps in prop::collection::vec((0u8..12, any::<u16>(), any::<u16>()), 1..400),
    ) {
        // With a window of a byte every byte is a frame.
        let largest = if window < 1000 { 300 } else { 200_000 };
        let mut now = Instant::now();
        let mut sides = [Side::new(Role::Dialler, window, now), Side::new(Role::Acceptor, window, now)];
        let mut started = 0;
        for (what, x, y) in steps {
            let (x, y) = (usize::from(x), usize::from(y));
            now += Duration::from_micros(x as u64);
            let [a, b] = &mut sides;
            let (near, far) = if y % 2 == 0 { (a, b) } else { (b, a) };
            match what {
                0 | 1 => {
                    let (up, down) = (x * 37 % largest, y * 41 % largest);
                    started += usize::from(near.start(up, down, x % 5 == 0, now));
                }
                2..=5 => {
                    if let Some(number) = near.nth(x) {
                        near.send(number, y);
                    }
                }
                6 | 7 => {
                    if let Some(number) = near.nth(x).filter(|number| !near.work[number].slow) {
                        near.read(number, now);
                    }
                }
                // Small pieces: headers and heads arrive cut.
                8 => carry(near, far, x % 50, now),
                _ => carry(near, far, x, now),
            }
        }
        // Nobody reads the slow calls: every other one ends all the same.
        settle(&mut sides, &mut now, false);
        settle(&mut sides, &mut now, true);
        for side in &sides {
            prop_assert_eq!(side.session.open_calls(), 0);
            prop_assert_eq!(side.session.counts(), Counts::default());
            prop_assert_eq!(side.session.waiting_calls(), 0);
            prop_assert_eq!(side.session.settings.ledger.used(), 0);
            prop_assert_eq!(side.done, started);
        }
    }
}
