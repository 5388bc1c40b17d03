//! A body that arrives on a stream.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use causeway_protocols::tunnel::Inbox;
use causeway_protocols::{End, FailureKind};
use h2::RecvStream;

use super::client::Flight;
use super::head;
use crate::clock::Timer;
use crate::edge;
use crate::http1::Side;
use crate::payload::{Broken, Chunk};

/// Frames up to this size are put together.
const SMALL: usize = 512;

/// The body of a request or reply over HTTP/2.
///
/// A frame that waits in `h2` costs some 256 bytes however short it is. Bodies therefore take over what has arrived when
/// it is short, and also while nobody reads on, so that a slow reader costs a window of memory and not many times that.
#[derive(Debug)]
pub struct Http2Body {
    stream: RecvStream,
    side: Side,
    /// What was taken over and is still to be handed out.
    inbox: Inbox,
    /// Bytes handed out, whose window is given back when the next are asked for.
    taken: usize,
    allowed: u64,
    /// Bytes that `content-length` promises, if it was there.
    promised: Option<u64>,
    /// The longest pause, if there is one.
    pause: Option<(Timer, Duration)>,
    pausing: bool,
    data_ended: bool,
    broken: Option<Broken>,
    /// The stream's place on a backend connection.
    flight: Option<Flight>,
}

impl Http2Body {
    /// The body of a stream; more than `limit` bytes are refused.
    pub fn new(stream: RecvStream, side: Side, limit: u64, promised: Option<u64>) -> Self {
        Self {
            stream,
            side,
            inbox: Inbox::new(),
            taken: 0,
            allowed: limit,
            promised,
            pause: None,
            pausing: false,
            data_ended: false,
            broken: None,
            flight: None,
        }
    }

    /// Breaks the body after a pause of this length.
    pub fn with_pause(mut self, timer: Timer, pause: Duration) -> Self {
        self.pause = Some((timer, pause));
        self
    }

    /// Keeps the stream's place on its connection until the body is dropped.
    pub fn with_flight(mut self, flight: Flight) -> Self {
        self.flight = Some(flight);
        self
    }

    /// The next piece.
    ///
    /// # Errors
    /// When the stream is reset, the connection is lost, or the body is not as long as it should be.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            // Fails only when the stream is gone, which the next poll tells.
            self.stream.flow_control().release_capacity(taken).ok();
        }
        if self.inbox.is_empty()
            && let Some(data) = self.poll_frame(cx)
        {
            if data.len() > SMALL {
                return Poll::Ready(self.took(data));
            }
            self.inbox.push(data);
            self.absorb(cx);
        }
        if let Some(data) = self.inbox.pop() {
            return Poll::Ready(self.took(data));
        }
        if let Some(broken) = &self.broken {
            return Poll::Ready(Err(broken.clone()));
        }
        if !self.data_ended {
            return self.poll_pause(cx);
        }
        if self.promised.is_some_and(|left| left > 0) {
            return Poll::Ready(Err(Broken::new(
                self.fault(),
                "body is shorter than its content-length",
            )));
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(None) => Poll::Ready(Ok(Chunk::End(End::default()))),
            Ok(Some(trailers)) => {
                let mut trailers =
                    head::trailers(&trailers).map_err(|error| Broken::new(self.fault(), error.to_string()))?;
                if self.side == Side::Client {
                    edge::strip_request(&mut trailers);
                }
                Poll::Ready(Ok(Chunk::End(End { trailers })))
            }
            Err(error) => Poll::Ready(Err(broken(self.side, &error))),
        }
    }

    /// Takes over what has arrived. The window, which is given back only for what is handed out, bounds it.
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        while let Some(data) = self.poll_frame(cx) {
            self.inbox.push(data);
        }
    }

    /// The next frame that has arrived and is not empty.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        while !self.data_ended && self.broken.is_none() {
            let Poll::Ready(data) = self.stream.poll_data(cx) else {
                return None;
            };
            self.pausing = false;
            match data {
                // Empty frames are not passed on: the next hop counts them as an attack.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Some(data),
                Some(Err(error)) => self.broken = Some(broken(self.side, &error)),
                None => self.data_ended = true,
            }
        }
        None
    }

    fn took(&mut self, data: Bytes) -> Result<Chunk, Broken> {
        self.taken = data.len();
        let count = data.len() as u64;
        let too_large = || Broken::new(FailureKind::TooLarge, "body is over its limit");
        self.allowed = self.allowed.checked_sub(count).ok_or_else(too_large)?;
        let fault = self.fault();
        if let Some(promised) = &mut self.promised {
            let too_long = || Broken::new(fault, "body is longer than its content-length");
            *promised = promised.checked_sub(count).ok_or_else(too_long)?;
        }
        Ok(Chunk::Data(data))
    }

    /// Nothing has arrived: the clock runs from here, and not while we ourselves did not want more.
    fn poll_pause(&mut self, cx: &Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let Some((timer, pause)) = &self.pause else {
            return Poll::Pending;
        };
        if !std::mem::replace(&mut self.pausing, true) {
            timer.arm(*pause);
        }
        timer.poll(cx).map(|()| {
            Err(Broken::new(
                FailureKind::ClientTimeout,
                "the body made too long a pause",
            ))
        })
    }

    fn fault(&self) -> FailureKind {
        match self.side {
            Side::Client => FailureKind::BadRequest,
            Side::Backend => FailureKind::Protocol,
        }
    }
}

/// What an error of `h2` on a side means.
pub(super) fn broken(side: Side, error: &h2::Error) -> Broken {
    let kind = match side {
        Side::Client => FailureKind::Cancelled,
        Side::Backend => FailureKind::Protocol,
    };
    Broken::new(kind, error.to_string())
}
