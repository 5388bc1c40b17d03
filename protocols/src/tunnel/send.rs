//! Calls out: heads, bodies and ends, written into the session's buffer.

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::calls::CallId;
use super::event::Origin;
use super::frame::{self, END, HOLD, Kind, MAX_DATA, TooLarge};
use super::head::{self, Opening};
use super::receive::{MAX_INTERIMS, is_interim};
use super::reply::{self, Ended};
use super::session::{HEADS_LIMIT, OUT_LIMIT, Session};
use crate::call::{Length, ReplyHead};
use crate::failure::Reset;

/// Why a call could not be opened; nothing was sent, so it may be opened on another tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The other side's HELLO has not come.
    #[error("tunnel is not ready")]
    NotReady,
    /// The other side has said GOAWAY.
    #[error("tunnel is going away")]
    GoingAway,
    /// The socket takes nothing: 256 KiB wait for it.
    #[error("tunnel does not take what is written")]
    Stalled,
    /// As many calls as the other side takes are open, or as many as `max_calls`.
    #[error("tunnel has as many calls as it takes")]
    TooManyCalls,
    /// There is no body, and the head announces one; no tunnel takes it.
    #[error("head announces a body that does not follow")]
    Length,
    /// All ids were used: replace the tunnel.
    #[error("tunnel has used all its call ids")]
    IdsExhausted,
    /// The head does not fit into one frame; no tunnel takes it.
    #[error("head is too large")]
    HeadTooLarge,
}

/// Why a head or an end was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The call has ended, or this side has ended it.
    #[error("call has ended")]
    Gone,
    /// Not from this side, or not now: a second REPLY, INFO after it, trailers before it, an interim status as REPLY or
    /// a final one as INFO.
    #[error("not allowed in this state of the call")]
    Order,
    /// It does not fit into one frame.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// What became of the data given to [`Session::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// All of it was written, and the end if it was asked for.
    All,
    /// The rest waits for credit: [`Incoming::Window`](super::Incoming::Window) names the call.
    NoCredit,
    /// The rest waits for its turn: [`Session::next_turn`] names the call.
    NoRoom,
    /// The call has ended; the rest is of no use.
    Gone,
}

impl Session {
    /// Opens a call. `end`: there is no body, and its length must say so; otherwise `head.call.hold` asks the other side for credit first.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was written then.
    pub fn open<'a>(&mut self, head: impl Into<Opening<'a>>, end: bool, now: Instant) -> Result<CallId, OpenError> {
        let head = head.into();
        let peer = self.peer.as_ref().ok_or(OpenError::NotReady)?;
        if self.peer_away.is_some() {
            return Err(OpenError::GoingAway);
        }
        if self.out.len() >= HEADS_LIMIT {
            return Err(OpenError::Stalled);
        }
        if self.open_here >= peer.max_calls.min(self.settings.max_calls) {
            return Err(OpenError::TooManyCalls);
        }
        let number = self.next;
        let next = number.checked_add(2).ok_or(OpenError::IdsExhausted)?;
        if end && !matches!(head.call.length, Length::Empty | Length::Exactly(0)) {
            return Err(OpenError::Length);
        }
        let hold = head.call.hold && !end;
        let flags = if end { END } else { 0 } | if hold { HOLD } else { 0 };
        frame::put_with(&mut self.out, number, Kind::Head, flags, |out| head::encode(&head, out))
            .map_err(|TooLarge| OpenError::HeadTooLarge)?;
        self.next = next;
        self.open_here += 1;
        let mut exchange = self.exchange(Origin::Here, hold, now);
        exchange.sending = !end;
        self.calls.insert(number, exchange);
        Ok(CallId(number))
    }

    /// Sends an interim head (1xx) of the reply. While much waits for the socket it is left out.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn info(&mut self, call: CallId, head: &ReplyHead) -> Result<(), SendError> {
        let exchange = self
            .calls
            .get(&call.0)
            .filter(|exchange| exchange.live)
            .ok_or(SendError::Gone)?;
        if exchange.opener == Origin::Here || exchange.replied || !is_interim(head.status) {
            return Err(SendError::Order);
        }
        if exchange.interims >= MAX_INTERIMS || self.out.len() >= OUT_LIMIT {
            return Ok(());
        }
        frame::put_with(&mut self.out, call.0, Kind::Info, 0, |out| reply::encode(head, out))?;
        if let Some(exchange) = self.calls.get_mut(&call.0) {
            exchange.interims += 1;
        }
        Ok(())
    }

    /// Sends the head of the reply.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn reply(&mut self, call: CallId, head: &ReplyHead) -> Result<(), SendError> {
        let exchange = self
            .calls
            .get_mut(&call.0)
            .filter(|exchange| exchange.live)
            .ok_or(SendError::Gone)?;
        if exchange.opener == Origin::Here || exchange.replied || is_interim(head.status) {
            return Err(SendError::Order);
        }
        frame::put_with(&mut self.out, call.0, Kind::Reply, 0, |out| reply::encode(head, out))?;
        exchange.replied = true;
        Ok(())
    }

    /// Sends as much of `data` as credit and turn allow, and takes it off its front. `end`: nothing follows it; the
    /// calling side half-closes, the called side ends the call without trailers. After [`Sent::NoCredit`] and
    /// [`Sent::NoRoom`] call again with the rest, and with `end` as before.
    ///
    /// Before its REPLY the called side cannot send: [`Sent::Gone`].
    pub fn send(&mut self, call: CallId, data: &mut Bytes, end: bool) -> Sent {
        let Some(exchange) = self.calls.get_mut(&call.0) else {
            return Sent::Gone;
        };
        let called = exchange.opener == Origin::Peer;
        if !exchange.sending || (called && !exchange.replied) {
            return Sent::Gone;
        }
        let mut turn = self.turns.take(exchange);
        if exchange.place == super::calls::Place::Queued {
            return Sent::NoRoom;
        }
        let mut ended = false;
        while !data.is_empty() {
            if exchange.credit == 0 {
                return Sent::NoCredit;
            }
            let contended = self.turns.contended(exchange);
            if self.out.len() >= OUT_LIMIT || (contended && exchange.allowance <= 0) {
                if turn {
                    self.turns.queue_first(call.0, exchange);
                } else {
                    self.turns.queue(call.0, exchange);
                }
                return Sent::NoRoom;
            }
            let credit = usize::try_from(exchange.credit).unwrap_or(usize::MAX);
            let count = data.len().min(MAX_DATA).min(credit);
            ended = end && !called && count == data.len();
            frame::put(
                &mut self.out,
                call.0,
                Kind::Data,
                if ended { END } else { 0 },
                &data[..count],
            );
            data.advance(count);
            exchange.allowance = if contended {
                exchange.allowance - count as i32
            } else {
                0
            };
            let count = count as u32;
            exchange.credit -= count;
            exchange.sent = exchange.sent.saturating_add(count);
            turn = false;
        }
        if end {
            if called {
                frame::put(&mut self.out, call.0, Kind::End, 0, &[]);
                self.close(call.0);
            } else {
                if !ended {
                    frame::put(&mut self.out, call.0, Kind::Data, END, &[]);
                }
                exchange.sending = false;
            }
        }
        Sent::All
    }

    /// Ends a call from the called side, in both directions.
    ///
    /// # Errors
    /// See [`SendError`]. Trailers that are too large are not sent, and the call is still open.
    pub fn end(&mut self, call: CallId, ended: &Ended) -> Result<(), SendError> {
        let exchange = self
            .calls
            .get(&call.0)
            .filter(|exchange| exchange.live)
            .ok_or(SendError::Gone)?;
        let early = matches!(ended, Ended::Trailers(_)) && !exchange.replied;
        if exchange.opener == Origin::Here || early {
            return Err(SendError::Order);
        }
        frame::put_with(&mut self.out, call.0, Kind::End, 0, |out| reply::encode_end(ended, out))?;
        self.close(call.0);
        Ok(())
    }

    /// Ends a call before its end. Does nothing where it has ended.
    pub fn reset(&mut self, call: CallId, reset: Reset) {
        if self.calls.get(&call.0).is_some_and(|exchange| exchange.live) {
            self.close(call.0);
            frame::put(&mut self.out, call.0, Kind::Reset, 0, &[reset.wire()]);
        }
    }
}
