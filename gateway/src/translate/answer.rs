//! How the client is answered: which head, when, and what its messages are framed as.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use causeway_protocols::framing::{Encoder, websocket as sockets};
use causeway_protocols::message::{Message, Outcome};
use causeway_protocols::transcode::{Schema, Shape};
use causeway_protocols::{FailureKind, Fields, ReplyHead};

use super::content::Form;
use super::flow::{DownFlow, Reader, Socket};
use super::http::{self, Format};
use super::link::Link;
use super::messages::{Messages, Next};
use super::{Flow, grpc, web, websocket};
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::{Body, Pump, PumpError};

/// A backend's socket has this long to take our close after a reply that was one message.
const CLOSING: Duration = Duration::from_secs(1);

/// What the client wants for an answer.
#[derive(Debug)]
pub enum Answer {
    /// gRPC.
    Grpc {
        /// What its messages hold.
        form: Form,
    },
    /// HTTP, a stream in this format.
    Http {
        /// Array, lines or events.
        format: Format,
    },
    /// gRPC-Web or Connect.
    Web(web::Dialect),
    /// Messages on a WebSocket.
    WebSocket {
        /// Writes them.
        encoder: sockets::Encoder,
        /// The subprotocol, if one was agreed on.
        protocol: Option<&'static str>,
        /// What the client sends, where its request was whole without it.
        alone: Option<Box<Messages>>,
    },
}

impl Answer {
    /// Whether the client has to be answered before the backend is.
    pub fn is_at_open(&self) -> bool {
        matches!(self, Self::WebSocket { .. })
    }

    /// Whether the client sends its metadata on the socket.
    pub fn has_head_on_socket(&self) -> bool {
        matches!(
            self,
            Self::WebSocket {
                protocol: Some(websocket::GRPC),
                ..
            }
        )
    }

    /// Whether the reply is one message, as far as anybody knows.
    pub fn wants_one(&self, shape: Option<Shape>) -> bool {
        match (self, shape) {
            (_, Some(shape)) => matches!(shape, Shape::Unary | Shape::ClientStream),
            (Self::Http { format }, None) => !format.is_stream(),
            (Self::Web(dialect), None) => matches!(dialect, web::Dialect::ConnectUnary { .. }),
            (Self::Grpc { .. } | Self::WebSocket { .. }, None) => false,
        }
    }
}

/// All that an answer is made with.
#[derive(Debug)]
pub struct Answering {
    /// What the client sends.
    pub up: Rc<RefCell<Messages>>,
    /// Whether the reply is one message.
    pub one: bool,
    /// The backend's socket, if it is one.
    pub backend: Option<Socket>,
    /// Where details of a status are described.
    pub schema: Option<Arc<Schema>>,
    /// Between the directions.
    pub link: Rc<Link>,
    /// The call.
    pub cx: Rc<CallContext>,
}

impl Answering {
    /// The reply. `metadata` is what crosses of the head of the backend's own.
    ///
    /// # Errors
    /// What goes wrong before anything of the reply has been written.
    pub async fn reply(self, answer: Answer, down: Messages, rest: Pump, metadata: Fields) -> Result<Reply, CallError> {
        match answer {
            Answer::Grpc { form } => {
                let head = grpc::reply_head(form, &metadata);
                Ok(self.streamed(head, down, rest, grpc::encoder(), Reader::Grpc))
            }
            Answer::WebSocket {
                encoder,
                protocol,
                alone,
            } => {
                let reader = Reader::WebSocket {
                    socket: Rc::clone(encoder.socket()),
                    alone: alone.is_some(),
                    client: alone.map_or_else(|| Rc::clone(&self.up), |client| Rc::new(RefCell::new(*client))),
                };
                let head = websocket::let_in(protocol);
                Ok(self.streamed(head, down, rest, Encoder::WebSocket(encoder), reader))
            }
            Answer::Http { format } => self.http(format, down, rest, metadata).await,
            Answer::Web(dialect) => self.web(dialect, down, rest, metadata).await,
        }
    }

    async fn http(
        self,
        format: Format,
        mut down: Messages,
        mut rest: Pump,
        metadata: Fields,
    ) -> Result<Reply, CallError> {
        let status = http::status_form(self.schema.clone());
        let first = step(&mut down, &mut rest).await?;
        if self.one {
            let (message, outcome) = only(first, &mut down, &mut rest).await?;
            self.end_backend(&mut rest).await;
            let (head, body) = match http::only(message, outcome)? {
                http::Only::Failed(outcome) => http::failed(&outcome, &status),
                http::Only::Message(message) => {
                    let kind = down.content().raw().unwrap_or("application/json").to_owned();
                    http::whole_reply(metadata, &kind, message.data)
                }
            };
            return Ok(whole(head, body, rest));
        }
        if let Next::End(outcome) = &first
            && !outcome.status.is_ok()
        {
            let (head, body) = http::failed(outcome, &status);
            return Ok(whole(head, body, rest));
        }
        let raw = down.content().raw().map(str::to_owned);
        down.put_back(first);
        let head = http::stream_head(metadata, raw.as_deref(), format);
        let encoder = match raw {
            Some(_) => http::raw_encoder(),
            None => format.encoder(status),
        };
        Ok(self.streamed(head, down, rest, encoder, Reader::Http))
    }

    async fn web(
        self,
        dialect: web::Dialect,
        mut down: Messages,
        mut rest: Pump,
        metadata: Fields,
    ) -> Result<Reply, CallError> {
        if !matches!(dialect, web::Dialect::ConnectUnary { .. }) {
            let (head, encoder) = web::stream(dialect, metadata);
            return Ok(self.streamed(head, down, rest, encoder, Reader::InBand));
        }
        let first = step(&mut down, &mut rest).await?;
        let (message, outcome) = only(first, &mut down, &mut rest).await?;
        self.end_backend(&mut rest).await;
        let (head, body) = web::unary(dialect, metadata, message, &outcome);
        Ok(whole(head, body, rest))
    }

    fn streamed(self, head: ReplyHead, down: Messages, rest: Pump, encoder: Encoder, reader: Reader) -> Reply {
        let flow = DownFlow::new(down, encoder, reader, self.backend, Rc::clone(&self.link), self.cx);
        Reply {
            head,
            body: Flow::down(flow),
            rest,
            lease: None,
            link: Some(self.link),
        }
    }

    /// Closes the backend's socket after a reply that was one message.
    async fn end_backend(&self, rest: &mut Pump) {
        self.link.reply_is_over();
        if self.backend.is_none() {
            return;
        }
        let timer = self.cx.worker.clock.timer();
        timer.arm(CLOSING);
        std::future::poll_fn(|cx| {
            if rest.is_done() || rest.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            timer.poll(cx)
        })
        .await;
    }
}

fn whole(head: ReplyHead, body: Body, rest: Pump) -> Reply {
    Reply {
        rest,
        ..Reply::whole(head, body)
    }
}

/// The next step of the reply, while the request goes on.
pub(super) async fn step(down: &mut Messages, rest: &mut Pump) -> Result<Next, CallError> {
    std::future::poll_fn(|cx| {
        if !rest.is_done() {
            match rest.poll(cx) {
                // What is wrong with the request matters more than what the backend makes of it.
                Poll::Ready(Err(PumpError::Source(broken))) => return Poll::Ready(Err(broken.into())),
                // The backend's end says why.
                Poll::Ready(Err(PumpError::Sink(_))) => *rest = Pump::stuck(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        down.poll_next(cx).map_err(CallError::from)
    })
    .await
}

/// The one message of a unary reply, if there was one, and how the call ended.
async fn only(first: Next, down: &mut Messages, rest: &mut Pump) -> Result<(Option<Message>, Outcome), CallError> {
    let message = match first {
        Next::End(outcome) => return Ok((None, outcome)),
        Next::Message(message) => message,
    };
    match step(down, rest).await? {
        Next::End(outcome) => Ok((Some(message), outcome)),
        Next::Message(_) => Err(CallError::new(
            FailureKind::Protocol,
            "the backend sent several messages where one was expected",
        )),
    }
}
