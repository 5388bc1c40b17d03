//! Credit that is given back to the other side, and windows that grow.

use std::time::Instant;

use super::calls::CallId;
use super::frame::{self, Kind};
use super::session::Session;

impl Session {
    /// Gives a call that was opened with HOLD its first credit: its body is wanted. Does nothing a second time.
    pub fn permit(&mut self, call: CallId) {
        if let Some(exchange) = self.calls.get_mut(&call.0)
            && exchange.held
            && exchange.live
        {
            exchange.held = false;
            exchange.granted = exchange.window;
            frame::put(&mut self.out, call.0, Kind::Window, 0, &exchange.window.to_be_bytes());
        }
    }

    /// Says that so many bytes of a call's DATA have left this process; not when they are taken from a queue into
    /// another one. Credit goes back once half a window is consumed.
    ///
    /// A window that was consumed within two round trips doubles, up to `max_window`, if the ledger has room: the
    /// reader keeps up, and the distance is what limits it.
    pub fn consumed(&mut self, call: CallId, bytes: usize, now: Instant) {
        let Some(exchange) = self.calls.get_mut(&call.0) else {
            return;
        };
        if !exchange.receiving {
            return;
        }
        // More than has arrived cannot have been consumed.
        let queued = exchange
            .window
            .saturating_sub(exchange.granted)
            .saturating_sub(exchange.returned);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(queued);
        exchange.returned += bytes;
        exchange.measured = exchange.measured.saturating_add(bytes);
        if exchange.returned < exchange.window.div_ceil(2) {
            return;
        }
        let mut credit = exchange.returned;
        let mut measured = false;
        if exchange.measured >= exchange.window {
            let took = now.saturating_duration_since(exchange.since);
            let fast = self.liveness.rtt().is_some_and(|rtt| took <= rtt * 2);
            let more = exchange
                .window
                .min(self.settings.max_window.saturating_sub(exchange.window));
            if fast && more > 0 && self.settings.ledger.take(more) {
                exchange.window += more;
                exchange.grown += more;
                credit += more;
            }
            exchange.measured = 0;
            exchange.since = now;
            measured = true;
        }
        exchange.returned = 0;
        exchange.granted += credit;
        frame::put(&mut self.out, call.0, Kind::Window, 0, &credit.to_be_bytes());
        if measured {
            self.refresh_rtt(now);
        }
    }
}
