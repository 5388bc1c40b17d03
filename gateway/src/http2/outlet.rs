//! A body that leaves on a stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use causeway_protocols::{End, FailureKind, Reset};
use h2::{Reason, SendStream};

use super::body::broken;
use super::head;
use crate::clock::Timer;
use crate::http1::Side;
use crate::payload::Broken;
use crate::refuse;

/// The body of a request or reply over HTTP/2.
#[derive(Debug)]
pub struct Http2Outlet {
    stream: SendStream<Bytes>,
    side: Side,
    reserved: usize,
    /// How long the other side may give (almost) no window, if that is bounded.
    stall: Option<(Timer, std::time::Duration)>,
    stalled: bool,
    /// Bytes sent since it stalled.
    progress: usize,
    /// A gRPC reply: cut short, it ends with a status that says why.
    status: bool,
    ended: bool,
}

/// A client that stalls and then gives window by the byte has not gone on (CVE-2019-9511, "data dribble").
const PROGRESS: usize = 1024;

impl Http2Outlet {
    /// The outlet of a stream whose head has been sent.
    pub fn new(stream: SendStream<Bytes>, side: Side) -> Self {
        Self {
            stream,
            side,
            reserved: 0,
            stall: None,
            stalled: false,
            progress: 0,
            status: false,
            ended: false,
        }
    }

    /// Ends a reply that is cut short with the trailers of a gRPC status.
    pub fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    /// Breaks when the other side gives less window than for 1 KiB in this time.
    pub fn with_stall(mut self, timer: Timer, stall: std::time::Duration) -> Self {
        self.stall = Some((timer, stall));
        self
    }

    /// Takes bytes from the front of `data` as far as the window goes.
    ///
    /// # Errors
    /// When the stream is reset or the connection lost.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<(), Broken>> {
        while !data.is_empty() {
            if self.reserved != data.len() {
                self.stream.reserve_capacity(data.len());
                self.reserved = data.len();
            }
            let room = match self.stream.capacity() {
                0 => match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(self.side, &error))),
                    Poll::Ready(None) => return Poll::Ready(Err(self.gone())),
                    Poll::Pending => return self.poll_stall(cx),
                },
                room => room,
            };
            if room == 0 {
                continue;
            }
            let part = data.split_to(room.min(data.len()));
            self.progress += part.len();
            if self.stalled
                && (self.progress >= PROGRESS || data.is_empty())
                && let Some((timer, _)) = &self.stall
            {
                timer.disarm();
                self.stalled = false;
            }
            self.reserved = data.len();
            self.stream
                .send_data(part, false)
                .map_err(|error| broken(self.side, &error))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if let Poll::Ready(broken) = self.poll_reset(cx) {
            return Poll::Ready(Err(broken));
        }
        let Some((timer, stall)) = &self.stall else {
            return Poll::Pending;
        };
        if !std::mem::replace(&mut self.stalled, true) {
            self.progress = 0;
            timer.arm(*stall);
        }
        ready!(timer.poll(cx));
        Poll::Ready(Err(Broken::new(
            FailureKind::Cancelled,
            "the client does not read its reply",
        )))
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_end(&mut self, _cx: &Context<'_>, end: &mut Option<End>) -> Poll<Result<(), Broken>> {
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(Ok(()));
        }
        let trailers = head::header_map(&end.take().unwrap_or_default().trailers);
        let sent = if trailers.is_empty() {
            self.stream.send_data(Bytes::new(), true)
        } else {
            self.stream.send_trailers(trailers)
        };
        Poll::Ready(sent.map_err(|error| broken(self.side, &error)))
    }

    /// Notices that a client has reset its stream, while there is nothing to send. What a backend resets is told by
    /// its reply.
    pub fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match self.side {
            Side::Client => self.poll_reset(cx),
            Side::Backend => Poll::Pending,
        }
    }

    /// Notices that the other side has reset the stream, while there is nothing to send.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.stream.poll_reset(cx).map(|reset| match reset {
            Ok(reason) => self.reset(reason),
            Err(error) => broken(self.side, &error),
        })
    }

    /// Ends the stream short: by RST_STREAM, or by trailers that say why where the other side knows what they mean.
    pub fn abort(&mut self, broken: &Broken) {
        if self.status && !self.ended && broken.kind != FailureKind::Cancelled {
            self.ended = true;
            let trailers = refuse::grpc_end(broken.kind).trailers;
            if self.stream.send_trailers(head::header_map(&trailers)).is_ok() {
                return;
            }
            self.ended = false;
        }
        self.reset_stream(broken.reset());
    }

    fn reset_stream(&mut self, reset: Reset) {
        if !std::mem::replace(&mut self.ended, true) {
            self.stream.send_reset(reason(reset));
        }
    }

    fn reset(&self, reason: Reason) -> Broken {
        let kind = match (self.side, reason) {
            (Side::Client, _) => FailureKind::Cancelled,
            // The backend wants no more of the body; its reply is whole (RFC 9113, section 8.1).
            (Side::Backend, Reason::NO_ERROR) => FailureKind::Cancelled,
            (Side::Backend, _) => FailureKind::Protocol,
        };
        Broken::new(kind, format!("the stream was reset: {reason}"))
    }

    fn gone(&self) -> Broken {
        self.reset(Reason::CANCEL)
    }
}

impl Drop for Http2Outlet {
    fn drop(&mut self) {
        self.reset_stream(Reset::Cancel);
    }
}

fn reason(reset: Reset) -> Reason {
    match reset {
        Reset::Refused => Reason::REFUSED_STREAM,
        Reset::Flow => Reason::FLOW_CONTROL_ERROR,
        Reset::Internal | Reset::Protocol => Reason::INTERNAL_ERROR,
        _ => Reason::CANCEL,
    }
}
