//! Bytes in: frames are taken off the front of the input, held to the protocol, and become events.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;

use super::calls::{CallId, Exchange};
use super::control::{GoAway, Hello};
use super::event::{Incoming, Origin, Violation};
use super::frame::{self, END, HEADER, HOLD, Header, IGNORABLE, Kind};
use super::head::{self, HeadError, OpenHead};
use super::reply::{self, Ended};
use super::session::{HEADS_LIMIT, MAX_CREDIT, Session};
use crate::call::Length;
use crate::failure::Reset;

/// Most interim heads of one call.
pub(super) const MAX_INTERIMS: u8 = 32;
/// DATA from this size on is handed out as a slice of the input; less is copied, so that a few queued bytes never
/// keep a whole read buffer alive.
const SLICE: usize = 2048;
/// Most bytes of answers (PONG, and RESET of calls that are not let in) that wait for a peer that does not read.
const MAX_ANSWERED: usize = 64 * 1024;

impl Session {
    /// Takes frames off the front of `input` until one is worth telling. None: read more, then call again.
    ///
    /// After an error the tunnel is of no use. `input` never has to hold more than one frame of 64 KiB.
    ///
    /// # Errors
    /// See [`Violation`].
    pub fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Result<Option<Incoming>, Violation> {
        loop {
            while let Some(number) = self.unprocessed.pop() {
                if let Some(told) = self.refused_by_goaway(number) {
                    return Ok(Some(told));
                }
            }
            let Some(header) = Header::peek(input) else {
                return Ok(None);
            };
            let kind = self.check(header)?;
            let length = usize::from(header.length);
            if input.len() < HEADER + length {
                return Ok(None);
            }
            self.liveness.heard(now);
            input.advance(HEADER);
            let Some(kind) = kind else {
                input.advance(length);
                self.counts.ignored += 1;
                continue;
            };
            let told = if kind == Kind::Data {
                self.on_data(header, input)
            } else {
                let told = self.on_other(kind, header, &input[..length], now);
                input.advance(length);
                told?
            };
            if self.answered > MAX_ANSWERED {
                return Err(Violation::Unread);
            }
            if told.is_some() {
                return Ok(told);
            }
        }
    }

    /// Judges a frame by its header, before its payload is waited for. None: to be ignored.
    fn check(&self, header: Header) -> Result<Option<Kind>, Violation> {
        let Some(kind) = Kind::from_wire(header.kind) else {
            return match header.kind {
                _ if self.peer.is_none() => Err(Violation::NoHello),
                IGNORABLE.. => Ok(None),
                unknown => Err(Violation::Kind(unknown)),
            };
        };
        match (kind, &self.peer) {
            (Kind::Hello, Some(_)) => return Err(Violation::SecondHello),
            (Kind::Hello, None) | (_, Some(_)) => {}
            (_, None) => return Err(Violation::NoHello),
        }
        let call = header.call;
        if kind.is_of_tunnel() != (call == 0) {
            return Err(Violation::Call { kind, call });
        }
        let (fewest, most) = kind.limits();
        if !(fewest..=most).contains(&usize::from(header.length)) {
            return Err(Violation::Length {
                kind,
                length: header.length,
            });
        }
        if kind == Kind::Head {
            if !self.is_theirs(call) || call <= self.last {
                return Err(Violation::Order(call));
            }
        } else if call != 0 {
            let opened = if self.is_theirs(call) {
                call <= self.last
            } else {
                call < self.next
            };
            if !opened {
                return Err(Violation::Unopened { kind, call });
            }
        }
        Ok(Some(kind))
    }

    fn on_other(
        &mut self,
        kind: Kind,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<Option<Incoming>, Violation> {
        let call = CallId(header.call);
        Ok(match kind {
            Kind::Hello => {
                let hello = Hello::decode(payload).ok_or(Violation::Malformed(kind))?;
                self.peer = Some(hello.clone());
                // The first round trip; a busy tunnel would otherwise never measure one.
                self.ping(now);
                Some(Incoming::Hello(hello))
            }
            Kind::Head => self.on_head(header, payload, now),
            Kind::Info => self.on_info(call, payload),
            Kind::Reply => self.on_reply(call, payload),
            Kind::End => self.on_end(call, payload),
            Kind::Reset => {
                let reset = payload.first().and_then(|byte| Reset::from_wire(*byte));
                self.live(call).is_some().then(|| {
                    self.close(call.0);
                    Incoming::Reset {
                        call,
                        reset: reset.unwrap_or(Reset::Internal),
                        origin: Origin::Peer,
                    }
                })
            }
            Kind::Window => {
                let credit = super::reader::Reader::new(payload)
                    .u32()
                    .ok_or(Violation::Malformed(kind))?;
                self.on_window(call, credit)
            }
            Kind::Ping => {
                self.answer(0, Kind::Pong, payload);
                None
            }
            Kind::Pong => self.liveness.pong(payload, now).map(|rtt| Incoming::Pong { rtt }),
            Kind::GoAway => {
                let away = GoAway::decode(payload).ok_or(Violation::Malformed(kind))?;
                Some(self.on_goaway(away))
            }
            // Taken by on_data.
            Kind::Data => None,
        })
    }

    fn on_head(&mut self, header: Header, payload: &[u8], now: Instant) -> Option<Incoming> {
        let number = header.call;
        self.last = number;
        // A peer that sends calls and does not read the replies is given no more of them.
        let unread = self.out.len() >= HEADS_LIMIT;
        if self.open_there >= self.settings.max_calls || self.told_away.is_some() || unread {
            self.counts.refused += 1;
            self.answer(number, Kind::Reset, &[Reset::Refused.wire()]);
            return None;
        }
        let end = header.flags & END != 0;
        // What a backend is told of the body must agree with where it ends.
        let legal = |head: &OpenHead| !end || matches!(head.call.length, Length::Empty | Length::Exactly(0));
        let decoded = match head::decode(payload) {
            Ok(head) if !legal(&head) => Err(HeadError::Body),
            decoded => decoded,
        };
        let mut head = match decoded {
            Ok(head) => head,
            Err(error) => {
                self.counts.malformed += 1;
                self.answer(number, Kind::Reset, &[Reset::Protocol.wire()]);
                return Some(Incoming::Malformed {
                    call: CallId(number),
                    error,
                });
            }
        };
        head.call.hold = header.flags & HOLD != 0 && !end;
        let mut exchange = self.exchange(Origin::Peer, head.call.hold, now);
        exchange.receiving = !end;
        self.calls.insert(number, exchange);
        self.open_there += 1;
        Some(Incoming::Open {
            call: CallId(number),
            head: Box::new(head),
            end,
        })
    }

    fn on_info(&mut self, call: CallId, payload: &[u8]) -> Option<Incoming> {
        let exchange = self.live(call)?;
        let legal = exchange.opener == Origin::Here && !exchange.replied && exchange.interims < MAX_INTERIMS;
        exchange.interims = exchange.interims.saturating_add(1);
        match reply::decode(payload) {
            Ok(head) if legal && is_interim(head.status) => Some(Incoming::Info { call, head }),
            _ => self.fail(call, Reset::Protocol),
        }
    }

    fn on_reply(&mut self, call: CallId, payload: &[u8]) -> Option<Incoming> {
        let exchange = self.live(call)?;
        let legal = exchange.opener == Origin::Here && !exchange.replied;
        exchange.replied = true;
        match reply::decode(payload) {
            Ok(head) if legal && !is_interim(head.status) => Some(Incoming::Reply { call, head }),
            _ => self.fail(call, Reset::Protocol),
        }
    }

    fn on_end(&mut self, call: CallId, payload: &[u8]) -> Option<Incoming> {
        let exchange = self.live(call)?;
        let (ours, replied) = (exchange.opener == Origin::Here, exchange.replied);
        match reply::decode_end(payload) {
            Ok(outcome) if ours && (replied || matches!(outcome, Ended::Failed(_))) => {
                self.close(call.0);
                Some(Incoming::End { call, outcome })
            }
            _ => self.fail(call, Reset::Protocol),
        }
    }

    /// Takes a DATA payload off the front of `input`, whatever becomes of it.
    fn on_data(&mut self, header: Header, input: &mut BytesMut) -> Option<Incoming> {
        let call = CallId(header.call);
        let count = usize::from(header.length);
        let end = header.flags & END != 0;
        let refusal = match self.live(call) {
            None => {
                input.advance(count);
                return None;
            }
            Some(exchange) => take_credit(exchange, header.length, end).err(),
        };
        if let Some(reset) = refusal {
            input.advance(count);
            return self.fail(call, reset);
        }
        let data = if count >= SLICE {
            input.split_to(count).freeze()
        } else {
            let data = Bytes::copy_from_slice(&input[..count]);
            input.advance(count);
            data
        };
        Some(Incoming::Data { call, data, end })
    }

    fn on_window(&mut self, call: CallId, credit: u32) -> Option<Incoming> {
        let exchange = self.live(call)?;
        if !exchange.sending {
            return None;
        }
        if credit == 0 {
            return self.fail(call, Reset::Protocol);
        }
        match exchange.credit.checked_add(credit).filter(|sum| *sum <= MAX_CREDIT) {
            Some(sum) => {
                let had_none = exchange.credit == 0;
                exchange.credit = sum;
                had_none.then_some(Incoming::Window { call })
            }
            None => self.fail(call, Reset::Flow),
        }
    }

    fn on_goaway(&mut self, away: GoAway) -> Incoming {
        self.peer_away = Some(away);
        let ours = self
            .calls
            .iter()
            .filter(|(number, exchange)| exchange.live && exchange.opener == Origin::Here && **number > away.last_call);
        self.unprocessed = ours.map(|(number, _)| *number).collect();
        // Told from the back: lowest first.
        self.unprocessed.sort_unstable_by(|a, b| b.cmp(a));
        Incoming::GoAway(away)
    }

    fn refused_by_goaway(&mut self, number: u32) -> Option<Incoming> {
        let call = CallId(number);
        self.live(call)?;
        self.close(number);
        Some(Incoming::Reset {
            call,
            reset: Reset::Refused,
            origin: Origin::Peer,
        })
    }

    /// A call that has not ended; frames for others are ignored.
    fn live(&mut self, call: CallId) -> Option<&mut Exchange> {
        self.calls.get_mut(&call.0).filter(|exchange| exchange.live)
    }

    /// Ends one call because the other side broke a rule; the tunnel lives.
    fn fail(&mut self, call: CallId, reset: Reset) -> Option<Incoming> {
        match reset {
            Reset::Flow => self.counts.flow += 1,
            _ => self.counts.protocol += 1,
        }
        self.reset(call, reset);
        Some(Incoming::Reset {
            call,
            reset,
            origin: Origin::Here,
        })
    }

    /// Writes a frame that only answers the other side's; what piles up unread is counted.
    fn answer(&mut self, call: u32, kind: Kind, payload: &[u8]) {
        self.answered += HEADER + payload.len();
        frame::put(&mut self.out, call, kind, 0, payload);
    }
}

/// 101 is the reply of a WebSocket and ends the interim heads.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Holds a DATA frame to the state and the credit of its call.
fn take_credit(exchange: &mut Exchange, length: u16, end: bool) -> Result<(), Reset> {
    let called = exchange.opener == Origin::Here;
    if !exchange.receiving || (called && (end || !exchange.replied)) || (length == 0 && !end) {
        return Err(Reset::Protocol);
    }
    exchange.granted = exchange.granted.checked_sub(u32::from(length)).ok_or(Reset::Flow)?;
    exchange.receiving = !end;
    Ok(())
}
