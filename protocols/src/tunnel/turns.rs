//! Whose turn it is to send DATA when more wants out than the socket takes.

use std::collections::VecDeque;

use super::calls::{CallId, Exchange, Place};
use super::frame::{HEADER, MAX_DATA};
use super::session::{OUT_LIMIT, Session};

/// Bytes of DATA that a call may send per turn.
pub(super) const QUANTUM: u32 = MAX_DATA as u32;

/// The queues of calls with data in hand; each call is in them at most once.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Calls that have sent less than a quantum so far: short answers overtake long ones.
    fresh: VecDeque<u32>,
    bulk: VecDeque<u32>,
    /// Calls that were told it is their turn and have not come yet.
    pub(super) out: usize,
}

impl Turns {
    /// Whether a call must wait although there is room, because others do.
    pub(super) fn contended(&self, exchange: &Exchange) -> bool {
        if is_fresh(exchange) {
            !self.fresh.is_empty()
        } else {
            !self.fresh.is_empty() || !self.bulk.is_empty() || self.out > 0
        }
    }

    pub(super) fn queue(&mut self, number: u32, exchange: &mut Exchange) {
        exchange.place = Place::Queued;
        self.queue_of(exchange).push_back(number);
    }

    /// Back to where it was: its turn came and there was no room after all.
    pub(super) fn queue_first(&mut self, number: u32, exchange: &mut Exchange) {
        exchange.place = Place::Queued;
        self.queue_of(exchange).push_front(number);
    }

    fn queue_of(&mut self, exchange: &Exchange) -> &mut VecDeque<u32> {
        if is_fresh(exchange) {
            &mut self.fresh
        } else {
            &mut self.bulk
        }
    }

    /// Uses up a turn; whether there was one.
    pub(super) fn take(&mut self, exchange: &mut Exchange) -> bool {
        let turn = exchange.place == Place::Turn;
        if turn {
            exchange.place = Place::Idle;
            self.out -= 1;
        }
        turn
    }

    /// Forgets a call that will send no more.
    pub(super) fn remove(&mut self, number: u32, exchange: &mut Exchange) {
        if !self.take(exchange) && exchange.place == Place::Queued {
            exchange.place = Place::Idle;
            self.queue_of(exchange).retain(|other| *other != number);
        }
    }

    fn has_turn(&self, waiting: usize) -> bool {
        waiting + self.out * (HEADER + MAX_DATA) < OUT_LIMIT && !(self.fresh.is_empty() && self.bulk.is_empty())
    }
}

fn is_fresh(exchange: &Exchange) -> bool {
    exchange.sent < QUANTUM
}

impl Session {
    /// The next call whose [`send`](Session::send) was answered by [`Sent::NoRoom`](super::Sent::NoRoom) and may go
    /// on. Wake it: it holds its place until it calls `send`, or ends.
    ///
    /// Ask until there is none after every flush, and whenever [`has_turn`](Session::has_turn) says so.
    pub fn next_turn(&mut self) -> Option<CallId> {
        while self.has_turn() {
            let number = match self.turns.fresh.pop_front() {
                Some(number) => number,
                None => self.turns.bulk.pop_front()?,
            };
            if let Some(exchange) = self.calls.get_mut(&number) {
                exchange.place = Place::Turn;
                exchange.allowance = (exchange.allowance + QUANTUM as i32).min(QUANTUM as i32);
                self.turns.out += 1;
                return Some(CallId(number));
            }
        }
        None
    }

    /// Whether [`next_turn`](Session::next_turn) has one. It may become so at a flush, and when a call that was told
    /// its turn ends or has nothing to send.
    pub fn has_turn(&self) -> bool {
        self.turns.has_turn(self.out.len())
    }

    /// Calls that wait for their turn.
    pub fn waiting_calls(&self) -> usize {
        self.turns.fresh.len() + self.turns.bulk.len()
    }
}
