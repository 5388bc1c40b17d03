//! Translation: a client of one protocol uses a backend of another.
//!
//! It happens at one place, the gateway that has the service, whether the call came from a listener or through a tunnel:
//! so a site that imports a service needs neither its schema nor to know what it speaks, and a local call and a remote
//! one run the same code. Each client protocol opens a call into an [`Incoming`] (messages, what they are for, and how
//! to answer); each backend protocol takes messages and gives messages. Between them stand four small questions:
//!
//! - *framing*: how messages are cut out of bytes ([`Messages`], over `protocols::framing`)
//! - *shape*: how many go each way (the method's, or what the client asks for)
//! - *content*: JSON or protobuf ([`content`], over `protocols::transcode`)
//! - *ending*: how a status is told ([`flow`]; each format's terminal record)
//!
//! Both directions are bodies ([`UpFlow`], [`DownFlow`]) that the ordinary pumps pull, so backpressure is the same chain
//! of polls as for bytes that pass through.

pub mod answer;
pub mod content;
pub mod fault;
pub mod flow;
pub mod grpc;
pub mod http;
pub mod link;
pub mod messages;
pub mod mux;
pub mod rest;
pub mod web;
pub mod websocket;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use causeway_config as config;

use causeway_protocols::framing::metadata;
use causeway_protocols::framing::{self, Limits};
use causeway_protocols::message::Outcome;
use causeway_protocols::status::Status;
use causeway_protocols::transcode::{Schema, Shape};
use causeway_protocols::{Authority, CallHead, Code, FailureKind, Fields, Protocol, name};

use self::answer::{Answer, Answering};
use self::content::{Called, Content, Form};
use self::fault::Fault;
use self::flow::{DownFlow, UpFlow};
pub use self::link::Link;
use self::messages::Messages;
pub use self::web::{Dialect, refuse};
use crate::call::Reply;
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::{Body, Broken, Chunk, Pump};
use crate::service::Service;
use crate::service::endpoint::Endpoint;

/// One direction of a translated exchange, as a body.
#[derive(Debug)]
pub enum Flow {
    /// Towards the backend.
    Up(Box<UpFlow>),
    /// Towards the client.
    Down(Box<DownFlow>),
    /// Towards a client that has many calls on one socket.
    Mux(Box<mux::MuxFlow>),
}

impl Flow {
    fn up(flow: UpFlow) -> Body {
        Body::Translated(Self::Up(Box::new(flow)))
    }

    fn mux(flow: mux::MuxFlow) -> Body {
        Body::Translated(Self::Mux(Box::new(flow)))
    }

    fn down(flow: DownFlow) -> Body {
        Body::Translated(Self::Down(Box::new(flow)))
    }

    /// The next piece; see [`Body::poll_chunk`].
    ///
    /// # Errors
    /// When the client breaks off.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        match self {
            Self::Up(flow) => flow.poll_chunk(cx),
            Self::Down(flow) => flow.poll_chunk(cx),
            Self::Mux(flow) => flow.poll_chunk(cx),
        }
    }

    /// Takes in what has arrived while nobody wants it yet; see [`Body::absorb`].
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Up(_) | Self::Mux(_) => {}
            Self::Down(flow) => flow.absorb(cx),
        }
    }
}

/// A call whose messages can be pulled.
#[derive(Debug)]
pub struct Incoming {
    /// The client's messages.
    pub up: Messages,
    /// What they are for.
    pub called: Called,
    /// What they hold.
    pub form: Form,
    /// What the client wants for an answer.
    pub answer: Answer,
}

/// Whether a client of this kind needs translation to use the service.
pub fn is_needed(call: &CallHead, service: &config::Service) -> bool {
    match (call.protocol, service.protocol) {
        (Protocol::Grpc, config::Protocol::Grpc) => {
            // JSON inside gRPC is for the schema to turn into what the backend takes.
            service.schema.is_some() && grpc::form(call.fields.get(name::CONTENT_TYPE)) == Form::Json
        }
        (Protocol::Http, config::Protocol::Http) | (Protocol::WebSocket, config::Protocol::WebSocket) => false,
        // An HTTP backend may speak WebSocket, too: one server usually does both.
        (Protocol::WebSocket, config::Protocol::Http) => false,
        _ => true,
    }
}

/// Sends a call to an endpoint that speaks another protocol, and answers in the client's.
///
/// # Errors
/// As for any call; what was wrong with the client's own messages is [`FailureKind::BadRequest`] with the place.
pub async fn send(
    call: &CallHead,
    body: Body,
    service: &Service,
    endpoint: &Rc<Endpoint>,
    cx: &Rc<CallContext>,
) -> Result<Reply, CallError> {
    let limits = Limits {
        message: service.config().max_message,
        ..Limits::default()
    };
    let schema = schema(call, service, cx).await?;
    let incoming = open(call, body, service, schema.as_deref(), limits)?;
    let translation = Translation {
        call,
        service,
        endpoint,
        schema,
        limits,
        link: Link::new(),
        cx,
    };
    match service.config().protocol {
        config::Protocol::Grpc => translation.into_grpc(incoming).await,
        config::Protocol::Http => translation.into_http(incoming).await,
        config::Protocol::WebSocket => translation.into_websocket(incoming).await,
    }
}

/// The schema of the service; another one than before, if the backend may have learned of the method since.
async fn schema(call: &CallHead, service: &Service, cx: &CallContext) -> Result<Option<Arc<Schema>>, CallError> {
    let Some(source) = service.schema() else {
        return Ok(None);
    };
    let clock = &cx.worker.clock;
    let schema = source.load(clock).await?;
    let path = call.target.path();
    if schema.method(path).is_some() || schema.find(&call.method, path).is_ok() {
        return Ok(Some(schema));
    }
    Ok(Some(source.newer(&schema, clock).await.unwrap_or(schema)))
}

fn open(
    call: &CallHead,
    body: Body,
    service: &Service,
    schema: Option<&Schema>,
    limits: Limits,
) -> Result<Incoming, CallError> {
    match Dialect::of(call) {
        dialect @ (Dialect::GrpcWeb { .. } | Dialect::ConnectUnary { .. } | Dialect::ConnectStream { .. }) => {
            web::incoming(dialect, call, body, schema, limits)
        }
        Dialect::Grpc => grpc::incoming(call, body, schema, limits),
        Dialect::WebSocket => websocket::incoming(call, body, schema, limits),
        Dialect::Http => match schema {
            Some(schema) if service.config().protocol == config::Protocol::Grpc => {
                http::incoming(call, body, schema, limits)
            }
            _ if service.config().protocol == config::Protocol::WebSocket => http::opaque(call, body, limits),
            _ => Err(CallError::new(
                FailureKind::Untranslatable,
                format!(
                    "service `{}` has no `schema`, which an HTTP client of gRPC needs",
                    service.config().name
                ),
            )),
        },
    }
}

/// One call on its way to a backend of another protocol.
struct Translation<'a> {
    call: &'a CallHead,
    service: &'a Service,
    endpoint: &'a Rc<Endpoint>,
    schema: Option<Arc<Schema>>,
    limits: Limits,
    link: Rc<Link>,
    cx: &'a Rc<CallContext>,
}

impl Translation<'_> {
    fn no_schema(&self, why: &str) -> CallError {
        let name = &self.service.config().name;
        let detail = match &self.schema {
            Some(_) => format!(
                "the schema of service `{name}` has no method {}",
                self.call.target.path()
            ),
            None => format!("service `{name}` has no `schema`, which {why} needs"),
        };
        let kind = match &self.schema {
            Some(_) => FailureKind::NoRoute,
            None => FailureKind::Untranslatable,
        };
        CallError::new(kind, detail)
    }

    async fn into_grpc(self, incoming: Incoming) -> Result<Reply, CallError> {
        let Incoming {
            up,
            called,
            form,
            answer,
        } = incoming;
        let (up, down) = match (&called, form) {
            // The rule is in what pulls the messages already: they are joined with path and query.
            (Called::Found(found), _) => (
                up,
                Content::ReplyOfRule {
                    found: found.clone(),
                    raw: None,
                },
            ),
            (Called::Method(method), Form::Json) => (
                up.with(Content::RequestFromJson(Arc::clone(method))),
                Content::ReplyToJson(Arc::clone(method)),
            ),
            (Called::Unknown, Form::Json | Form::Opaque) => return Err(self.no_schema("JSON for gRPC")),
            (_, Form::Proto | Form::Opaque) => (up, Content::AsIs),
        };
        let path = called
            .method()
            .map_or_else(|| self.call.target.path(), |method| method.path());
        let head = grpc::head(self.call, path)?;
        let up = Rc::new(RefCell::new(up));
        let body = Flow::up(UpFlow::new(Rc::clone(&up), grpc::encoder(), Rc::clone(&self.link)));
        let limits = self.limits;
        let host = self.service.host();
        let shape = called.method().map(|method| method.shape());
        if answer.has_head_on_socket() {
            // Its metadata comes on the socket, so it is let in before the backend is called at all.
            let asked = Asked {
                call: CallHead {
                    fields: self.call.fields.clone(),
                    ..head
                },
                host: host.cloned(),
                endpoint: Rc::clone(self.endpoint),
                cx: Rc::clone(self.cx),
            };
            let later = asked.after_head(Rc::clone(&up), body, down, limits);
            let down = Messages::later(messages::Side::Backend, Box::pin(later));
            return self
                .answering(&answer, up, shape, None)
                .reply(answer, down, Pump::done(), Fields::new())
                .await;
        }
        if answer.is_at_open() {
            // A WebSocket client has to be let in before a backend may speak that waits for its first message.
            let (rest, later) = crate::http2::client::open(self.endpoint, &head, host, body, self.cx).await?;
            let later = async move {
                let (head, body) = later.await?;
                Ok(grpc::replies(&head, body, limits)?.with(down))
            };
            let down = Messages::later(messages::Side::Backend, Box::pin(later));
            return self
                .answering(&answer, up, shape, None)
                .reply(answer, down, rest, Fields::new())
                .await;
        }
        let reply = crate::http2::client::send(self.endpoint, &head, host, body, self.cx).await?;
        let down = grpc::replies(&reply.head, reply.body, limits)?.with(down);
        let metadata = metadata::to_http(&reply.head.fields);
        self.answering(&answer, up, shape, None)
            .reply(answer, down, reply.rest, metadata)
            .await
    }

    async fn into_http(self, incoming: Incoming) -> Result<Reply, CallError> {
        let Incoming {
            up,
            called,
            form,
            answer,
        } = incoming;
        let Some(method) = called.method().cloned() else {
            return Err(self.no_schema("a gRPC client of HTTP"));
        };
        let (head, body) = rest::call(self.call, up, form, &method, &self.link).await?;
        let reply = crate::service::forward(&head, body, self.endpoint, self.service, self.cx).await?;
        let metadata = metadata::to_grpc(&reply.head.fields);
        let down = rest::replies(
            &reply.head,
            reply.body,
            &method,
            form,
            (self.schema.as_deref(), self.limits),
        )
        .await?;
        let up = Rc::new(RefCell::new(Messages::ended(
            messages::Side::Client,
            Outcome::new(Status::new(Code::Ok, "")),
        )));
        self.answering(&answer, up, Some(method.shape()), None)
            .reply(answer, down, reply.rest, metadata)
            .await
    }

    async fn into_websocket(self, incoming: Incoming) -> Result<Reply, CallError> {
        let Incoming {
            up,
            called,
            form,
            answer,
        } = incoming;
        // With a schema the backend is spoken to in JSON; without, what the client says passes as it is.
        let (up, down, backend) = match (called.method(), form) {
            (Some(method), Form::Proto) => (
                up.with(Content::RequestToJson(Arc::clone(method))),
                Content::ReplyFromJson(Arc::clone(method)),
                Form::Json,
            ),
            (_, form) => (up, Content::AsIs, form),
        };
        let shape = called.method().map(|method| method.shape());
        let socket = websocket::socket(framing::websocket::Side::Client, self.limits);
        let up = Rc::new(RefCell::new(up));
        let encoder = websocket::encoder(&socket, backend);
        let body = Flow::up(UpFlow::new(Rc::clone(&up), encoder, Rc::clone(&self.link)));
        let head = websocket::head(self.call);
        let reply = crate::service::forward(&head, body, self.endpoint, self.service, self.cx).await?;
        if reply.head.status.as_u16() != 101 {
            return Err(websocket::refused(&reply.head));
        }
        let mut down = websocket::replies(&socket, backend, reply.body).with(down);
        if answer.wants_one(shape) {
            // A socket does not end by itself after one message.
            down = down.only_one();
        }
        self.answering(&answer, up, shape, Some(socket))
            .reply(answer, down, reply.rest, Fields::new())
            .await
    }

    fn answering(
        &self,
        answer: &Answer,
        up: Rc<RefCell<Messages>>,
        shape: Option<Shape>,
        backend: Option<flow::Socket>,
    ) -> Answering {
        Answering {
            one: answer.wants_one(shape),
            up,
            backend,
            schema: self.schema.clone(),
            link: Rc::clone(&self.link),
            cx: Rc::clone(self.cx),
        }
    }
}

/// A call that is made when its client has sent its head on the socket.
struct Asked {
    /// To the backend, with the fields of the handshake.
    call: CallHead,
    host: Option<Authority>,
    endpoint: Rc<Endpoint>,
    cx: Rc<CallContext>,
}

impl Asked {
    async fn after_head(
        self,
        up: Rc<RefCell<Messages>>,
        body: Body,
        down: Content,
        limits: Limits,
    ) -> Result<Messages, Fault> {
        let stated = std::future::poll_fn(|cx| up.borrow_mut().poll_head(cx)).await?;
        let mut fields = metadata::to_grpc(&self.call.fields);
        for field in &metadata::to_grpc(&stated) {
            // It was a field before, so it can be one again.
            fields.push(field.name.as_str().as_bytes(), field.value).ok();
        }
        crate::edge::strip_request(&mut fields);
        fields.set(name::CONTENT_TYPE, b"application/grpc").ok();
        let call = CallHead { fields, ..self.call };
        let opened = crate::http2::client::open(&self.endpoint, &call, self.host.as_ref(), body, &self.cx);
        let (rest, later) = opened.await?;
        let later = async move {
            let (head, body) = later.await?;
            Ok(grpc::replies(&head, body, limits)?.with(down))
        };
        Ok(Messages::later(messages::Side::Backend, Box::pin(later)).pumping(rest))
    }
}
