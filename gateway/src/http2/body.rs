//! A body that arrives on a stream.

use std::task::{Context, Poll, ready};

use causeway_protocols::{End, FailureKind};
use h2::RecvStream;

use super::client::Flight;
use super::head;
use crate::clock::Timer;
use crate::http1::Side;
use crate::payload::{Broken, Chunk};

/// The body of a request or reply over HTTP/2.
#[derive(Debug)]
pub struct Http2Body {
    stream: RecvStream,
    side: Side,
    /// Bytes handed out, whose window is given back when the next are asked for.
    taken: usize,
    allowed: u64,
    /// Bytes that `content-length` promises, if it was there.
    promised: Option<u64>,
    /// The longest pause, if there is one.
    pause: Option<(Timer, std::time::Duration)>,
    data_ended: bool,
    /// The stream's place on a backend connection.
    flight: Option<Flight>,
}

impl Http2Body {
    /// The body of a stream; more than `limit` bytes are refused.
    pub fn new(stream: RecvStream, side: Side, limit: u64, promised: Option<u64>) -> Self {
        Self {
            stream,
            side,
            taken: 0,
            allowed: limit,
            promised,
            pause: None,
            data_ended: false,
            flight: None,
        }
    }

    /// Breaks the body after a pause of this length.
    pub fn with_pause(mut self, timer: Timer, pause: std::time::Duration) -> Self {
        timer.arm(pause);
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
        while !self.data_ended {
            let data = match self.stream.poll_data(cx) {
                Poll::Ready(data) => data,
                Poll::Pending => return self.poll_pause(cx),
            };
            match data {
                // Empty frames are not passed on: the next hop counts them as an attack.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Poll::Ready(self.took(data)),
                Some(Err(error)) => return Poll::Ready(Err(broken(self.side, &error))),
                None => self.data_ended = true,
            }
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
                let trailers = head::fields(&trailers).map_err(|error| Broken::new(self.fault(), error.to_string()))?;
                Poll::Ready(Ok(Chunk::End(End { trailers })))
            }
            Err(error) => Poll::Ready(Err(broken(self.side, &error))),
        }
    }

    fn took(&mut self, data: bytes::Bytes) -> Result<Chunk, Broken> {
        self.taken = data.len();
        if let Some((timer, pause)) = &self.pause {
            timer.arm(*pause);
        }
        let count = data.len() as u64;
        let too_large = || Broken::new(FailureKind::TooLarge, "body is over its limit");
        self.allowed = self.allowed.checked_sub(count).ok_or_else(too_large)?;
        if let Some(promised) = &mut self.promised {
            let fault = match self.side {
                Side::Client => FailureKind::BadRequest,
                Side::Backend => FailureKind::Protocol,
            };
            let too_long = || Broken::new(fault, "body is longer than its content-length");
            *promised = promised.checked_sub(count).ok_or_else(too_long)?;
        }
        Ok(Chunk::Data(data))
    }

    fn poll_pause(&self, cx: &Context<'_>) -> Poll<Result<Chunk, Broken>> {
        match &self.pause {
            None => Poll::Pending,
            Some((timer, _)) => timer.poll(cx).map(|()| {
                Err(Broken::new(
                    FailureKind::ClientTimeout,
                    "the body made too long a pause",
                ))
            }),
        }
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
