//! A call to an HTTP/1.1 backend: its head and body out, its reply back.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use causeway_protocols::Authority;
use causeway_protocols::http1::{self, Asked, Kind, ReplyFraming, RequestOptions, encode};
use causeway_protocols::websocket::{ClientKey, handshake};
use causeway_protocols::{CallHead, FailureKind, Fields, Length, Protocol, ReplyHead};
use http::{Method, StatusCode};

use super::endpoint::Used;
use crate::call::Reply;
use crate::clock::{Clock, Timer};
use crate::error::{CallError, Retry};
use crate::http1::{BodyKind, Http1Body, Http1Connection, Http1Outlet, OutletKind};
use crate::payload::{Body, Broken, Outlet, Pump, PumpError};

/// How long a backend that was asked for `100 Continue` is waited for before the body is sent anyway
/// (RFC 9110, section 10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Interim replies before one reply; more is an attack.
const MAX_INTERIM: u32 = 16;

/// Sends the head and as much of the body as the backend takes, until its reply's head is there.
///
/// # Errors
/// Whether a further attempt may follow is in [`CallError::retry`].
pub async fn send(
    connection: Rc<Http1Connection>,
    used: Used,
    call: &CallHead,
    host: Option<&Authority>,
    body: Body,
    clock: &Rc<Clock>,
    limits: &http1::Limits,
) -> Result<Reply, CallError> {
    let websocket = call.protocol == Protocol::WebSocket;
    // Until the reply is whole the connection is of no use to anybody else, whatever becomes of this call.
    connection.begin_read();
    let key = websocket.then(|| ClientKey::from_random(rand::random()));
    let mut head = BytesMut::with_capacity(512 + call.fields.as_wire().len());
    let options = RequestOptions {
        host,
        key: key.as_ref(),
        ..RequestOptions::default()
    };
    let kind = match encode::request(call, &options, &mut head) {
        _ if websocket => OutletKind::Raw,
        http1::Sent::Chunked => OutletKind::Chunked,
        http1::Sent::Length(length) => OutletKind::Length(length),
        http1::Sent::None | http1::Sent::UntilClose => OutletKind::Length(0),
    };
    let outlet = Outlet::Http1(Http1Outlet::new(Rc::clone(&connection), head, kind));
    let mut attempt = Attempt {
        connection,
        used,
        method: call.method.clone(),
        key,
        limits,
        offer: &call.fields,
        timer: None,
        // A WebSocket client may send frames only once it has been let in; holding its body back keeps what it
        // sends too early away from a backend that refuses.
        holding: if websocket {
            Holding::UntilReply
        } else if call.hold {
            Holding::UntilContinue
        } else {
            Holding::No
        },
        rest: Pump::new(
            if call.length == Length::Empty && !websocket {
                Body::Empty
            } else {
                body
            },
            outlet,
        ),
        flushed: false,
        failed: None,
        interim: 0,
    };
    if attempt.holding == Holding::UntilContinue {
        let timer = clock.timer();
        timer.arm(CONTINUE_WAIT);
        attempt.timer = Some(timer);
    }
    let (head, framing) = std::future::poll_fn(|cx| attempt.poll(cx)).await?;
    Ok(attempt.into_reply(head, framing))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    No,
    UntilContinue,
    UntilReply,
}

struct Attempt<'a> {
    connection: Rc<Http1Connection>,
    used: Used,
    method: Method,
    key: Option<ClientKey>,
    limits: &'a http1::Limits,
    /// What a WebSocket client offers.
    offer: &'a Fields,
    timer: Option<Timer>,
    holding: Holding,
    rest: Pump,
    flushed: bool,
    /// Writing failed; what the backend may still have said comes first.
    failed: Option<Broken>,
    interim: u32,
}

/// Reading the reply failed.
enum ReadError {
    Io(io::Error),
    Parse(http1::ResponseError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Attempt<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(ReplyHead, ReplyFraming), CallError>> {
        if self.holding == Holding::UntilContinue && self.timer.as_ref().is_none_or(|timer| timer.poll(cx).is_ready()) {
            self.holding = Holding::No;
        }
        self.poll_write(cx)?;
        loop {
            let Poll::Ready(response) = self.poll_read(cx)? else {
                return Poll::Pending;
            };
            if response.kind == Kind::Interim {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(self.protocol("the backend sent too many interim replies")));
                }
                if response.head.status == StatusCode::CONTINUE && self.holding == Holding::UntilContinue {
                    self.holding = Holding::No;
                    self.poll_write(cx)?;
                }
                continue;
            }
            if response.kind == Kind::Upgraded
                && let Err(error) = handshake::check_choice(self.offer, &response.head.fields)
            {
                return Poll::Ready(Err(self.protocol(error.to_string())));
            }
            if !response.keep_alive {
                self.connection.close_after();
            }
            return Poll::Ready(Ok((response.head, response.framing)));
        }
    }

    /// Writes what may be written. While the body is held back, only the head.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), CallError> {
        if self.failed.is_some() || self.rest.is_done() {
            return Ok(());
        }
        if self.holding != Holding::No {
            if !self.flushed {
                match self.rest.poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.flushed = true,
                    Poll::Ready(Err(broken)) => self.failed = Some(broken),
                    Poll::Pending => {}
                }
            }
            return Ok(());
        }
        match self.rest.poll(cx) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // The client broke its request: nothing the backend says matters any more.
            Poll::Ready(Err(PumpError::Source(broken))) => Err(broken.into()),
            Poll::Ready(Err(PumpError::Sink(broken))) => {
                self.connection.close_after();
                self.failed = Some(broken);
                Ok(())
            }
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Result<http1::Response, CallError>> {
        let asked = self.key.as_ref().map_or(Asked::Plain(&self.method), Asked::WebSocket);
        let parsed = self
            .connection
            .poll_parse(cx, |bytes| match http1::response::parse(bytes, self.limits, asked) {
                Ok(http1::Parsed::Complete { head, consumed }) => Ok(Some((head, consumed))),
                Ok(http1::Parsed::Partial) => Ok(None),
                Err(error) => Err(ReadError::Parse(error)),
            });
        match parsed {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(response))) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(ReadError::Parse(error))) => Poll::Ready(Err(self.protocol(error.to_string()))),
            Poll::Ready(Ok(None)) => Poll::Ready(Err(self.lost("closed the connection before its reply".to_owned()))),
            Poll::Ready(Err(ReadError::Io(error))) => Poll::Ready(Err(self.lost(error.to_string()))),
        }
    }

    fn protocol(&self, what: impl Into<std::borrow::Cow<'static, str>>) -> CallError {
        self.connection.close_after();
        CallError::new(FailureKind::Protocol, what)
    }

    /// The connection went away before a reply. A connection that had been idle may have been closed while the request
    /// was on its way: that is nobody's fault, and what is idempotent is tried again (RFC 9110, section 9.2.2).
    fn lost(&self, what: String) -> CallError {
        self.connection.close_after();
        let wrote = self
            .failed
            .as_ref()
            .map_or(String::new(), |broken| format!(" ({broken})"));
        let used = if self.used == Used::Before {
            " on a kept connection"
        } else {
            ""
        };
        let detail = format!("the backend {what}{used}{wrote}");
        CallError::new(FailureKind::Protocol, detail).retry(Retry::Idempotent)
    }

    fn into_reply(self, head: ReplyHead, framing: ReplyFraming) -> Reply {
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if self.key.is_some() && !switched {
            // Whatever the client sends now is not for this backend.
            self.connection.close_after();
        }
        let kind = match framing {
            _ if switched => Some(BodyKind::UntilClose),
            ReplyFraming::Empty => {
                self.connection.end_read();
                None
            }
            ReplyFraming::Length(length) => Some(BodyKind::Length(length)),
            ReplyFraming::Chunked => Some(BodyKind::Chunked(Box::default())),
            ReplyFraming::UntilClose => {
                self.connection.close_after();
                Some(BodyKind::UntilClose)
            }
        };
        let body = kind.map_or(Body::Empty, |kind| {
            Body::Http1(Http1Body::new(self.connection, kind, u64::MAX))
        });
        let rest = if self.failed.is_some() || (self.key.is_some() && !switched) {
            Pump::done()
        } else {
            self.rest
        };
        Reply {
            head,
            body,
            rest,
            lease: None,
            link: None,
        }
    }
}
