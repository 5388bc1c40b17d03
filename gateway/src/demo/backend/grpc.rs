//! The gRPC backend: `causeway.demo.v1.Chat`, health, and reflection in both versions.
//!
//! A call with the metadata `demo-trailers` gets trailers of its own with an OK too.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic::metadata::{Binary, KeyAndValueRef, MetadataKey, MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

use self::proto::chat_server::{self, ChatServer};
use self::proto::{
    ChatMessage, CountReply, CountRequest, CountersReply, CountersRequest, FailDetail, FailRequest, SayReply,
    SayRequest, SleepReply, SleepRequest, SumReply, SumRequest,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::checksum::pattern;
use super::reflection::Reflection;
use super::serve::{self, Scope};
use super::{BackendError, Counters, Waiting};

/// The messages and stubs of `causeway.demo.v1`, as generated.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; `proto/demo.proto` has the comments"
)]
pub mod proto {
    tonic::include_proto!("causeway.demo.v1");
}

/// The descriptor set of `causeway.demo.v1`, encoded.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.descriptors"));

/// Largest message either way.
const LARGEST: usize = 64 << 20;
/// Largest filler a call may ask for.
const FILLER: u32 = 8 << 20;
/// Longest pause a call may ask for.
const LONGEST: u32 = 600_000;

/// Serves `listener` until the scope ends.
pub(super) async fn start(
    listener: TcpListener,
    name: Arc<str>,
    counters: Arc<Counters>,
    scope: &Scope,
) -> Result<(), BackendError> {
    let chat = ChatServer::new(Demo { name, counters })
        .max_decoding_message_size(LARGEST)
        .max_encoding_message_size(LARGEST)
        .accept_compressed(CompressionEncoding::Gzip);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ChatServer<Demo>>().await;
    let reflection = Reflection::of(&[
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        v1::FILE_DESCRIPTOR_SET,
    ])?;
    let reflecting = v1::server_reflection_server::ServerReflectionServer::new(reflection.clone());
    let reflecting_alpha = v1alpha::server_reflection_server::ServerReflectionServer::new(reflection);

    serve::accept(listener, scope, move |stream, stop| {
        // The health service says "not found" for all once its reporter is gone.
        let _keep = &reporter;
        let services = (
            chat.clone(),
            health.clone(),
            reflecting.clone(),
            reflecting_alpha.clone(),
        );
        let service = service_fn(move |request: HttpRequest<Incoming>| {
            let (mut chat, mut health, mut v1, mut v1alpha) = services.clone();
            async move {
                let trailers = request.headers().contains_key("demo-trailers");
                let path = request.uri().path();
                let reply = match path.trim_start_matches('/').split_once('/').map(|(service, _)| service) {
                    Some(chat_server::SERVICE_NAME) => chat.call(request).await,
                    Some("grpc.health.v1.Health") => health.call(request).await,
                    Some("grpc.reflection.v1.ServerReflection") => v1.call(request).await,
                    Some("grpc.reflection.v1alpha.ServerReflection") => v1alpha.call(request).await,
                    _ => Ok(Status::unimplemented(format!("no service at {path}")).into_http()),
                };
                reply.map(|reply| if trailers { with_trailers(reply) } else { reply })
            }
        });
        serve::http(stream, service, stop)
    });
    Ok(())
}

/// Adds custom fields to whatever trailers the reply ends with.
fn with_trailers(reply: HttpResponse<tonic::body::Body>) -> HttpResponse<tonic::body::Body> {
    reply.map(|body| {
        tonic::body::Body::new(body.map_frame(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.insert("demo-trailer", HeaderValue::from_static("after the last message"));
                trailers.insert("demo-trailer-bin", HeaderValue::from_static("AAH/"));
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }))
    })
}

#[derive(Clone, Debug)]
struct Demo {
    name: Arc<str>,
    counters: Arc<Counters>,
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl chat_server::Chat for Demo {
    type ChatStream = Replies<ChatMessage>;
    type CountStream = Replies<CountReply>;

    async fn say(&self, request: Request<SayRequest>) -> Result<Response<SayReply>, Status> {
        self.begin();
        let (metadata, _, said) = request.into_parts();
        let data = if said.reply_bytes > 0 {
            filler(said.reply_bytes)?
        } else {
            said.data
        };
        Ok(self.answer(SayReply {
            text: said.text,
            data,
            backend: self.name.to_string(),
            metadata: listed(&metadata),
        }))
    }

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Self::CountStream>, Status> {
        self.begin();
        let asked = request.into_inner();
        let data = filler(asked.reply_bytes)?;
        let pause = Duration::from_millis(asked.pause_ms.min(LONGEST).into());
        let waiting = Some(Waiting::begin(&self.counters));
        let numbers = stream::unfold((1, waiting), move |(number, mut waiting)| {
            let data = data.clone();
            async move {
                if number > 1 && number <= asked.to && !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                if number <= asked.to {
                    return Some((Ok(CountReply { number, data }), (number + 1, waiting)));
                }
                // The end comes once: with a status if one was asked for.
                waiting.take()?.finish();
                (asked.code != 0).then(|| {
                    (
                        Err(Status::new(asked.code.into(), "counted to the end")),
                        (number, None),
                    )
                })
            }
        });
        Ok(self.answer(Box::pin(numbers)))
    }

    async fn sum(&self, request: Request<Streaming<SumRequest>>) -> Result<Response<SumReply>, Status> {
        self.begin();
        let waiting = Waiting::begin(&self.counters);
        let mut sum = SumReply::default();
        let mut numbers = request.into_inner();
        while let Some(next) = numbers.message().await? {
            sum.total = sum.total.wrapping_add(next.number);
            sum.messages = sum.messages.wrapping_add(1);
            sum.bytes = sum.bytes.wrapping_add(next.data.len() as u64);
        }
        waiting.finish();
        Ok(self.answer(sum))
    }

    async fn chat(&self, request: Request<Streaming<ChatMessage>>) -> Result<Response<Self::ChatStream>, Status> {
        self.begin();
        let open = Some((request.into_inner(), Waiting::begin(&self.counters)));
        let replies = stream::unfold((open, 0), |(open, sequence)| async move {
            let (mut messages, waiting) = open?;
            let error = match messages.message().await {
                Ok(Some(message)) => match asked_failure(&message.text) {
                    None => {
                        let reply = ChatMessage {
                            text: message.text,
                            sequence,
                        };
                        return Some((Ok(reply), (Some((messages, waiting)), sequence.wrapping_add(1))));
                    }
                    Some(status) => Some(status),
                },
                Ok(None) => None,
                // The client is gone; `waiting` counts it.
                Err(status) => return Some((Err(status), (None, sequence))),
            };
            waiting.finish();
            error.map(|status| (Err(status), (None, sequence)))
        });
        Ok(self.answer(Box::pin(replies)))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<SayReply>, Status> {
        self.begin();
        let asked = request.into_inner();
        if asked.code == 0 {
            return Ok(self.answer(SayReply {
                text: asked.message,
                ..SayReply::default()
            }));
        }
        let mut trailers = MetadataMap::new();
        for (name, value) in asked.trailers {
            add(&mut trailers, &name, &value)
                .ok_or_else(|| Status::invalid_argument(format!("cannot be a trailer: `{name}`")))?;
        }
        let details = if asked.detail.is_empty() {
            Bytes::new()
        } else {
            details(asked.code, &asked.message, asked.detail)
        };
        Err(Status::with_details_and_metadata(
            Code::from_i32(asked.code),
            asked.message,
            details,
            trailers,
        ))
    }

    async fn sleep(&self, request: Request<SleepRequest>) -> Result<Response<SleepReply>, Status> {
        self.begin();
        let waiting = Waiting::begin(&self.counters);
        let slept_ms = request.into_inner().for_ms.min(LONGEST);
        tokio::time::sleep(Duration::from_millis(slept_ms.into())).await;
        waiting.finish();
        Ok(self.answer(SleepReply { slept_ms }))
    }

    async fn counters(&self, _: Request<CountersRequest>) -> Result<Response<CountersReply>, Status> {
        Ok(self.answer(CountersReply {
            calls: self.counters.calls.load(Ordering::Relaxed),
            sleeping: self.counters.waiting.load(Ordering::Relaxed),
            cancelled: self.counters.cancelled.load(Ordering::Relaxed),
        }))
    }
}

impl Demo {
    fn begin(&self) {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A reply with this backend's name in its initial metadata, in text and in binary.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Ok(name) = self.name.parse() {
            response.metadata_mut().insert("demo-backend", name);
        }
        response
            .metadata_mut()
            .insert_bin("demo-backend-bin", MetadataValue::from_bytes(&[0, 1, 0xff]));
        response
    }
}

/// `fail:CODE:MESSAGE` in a chat ends it with that status.
fn asked_failure(text: &str) -> Option<Status> {
    let (code, message) = text.strip_prefix("fail:")?.split_once(':')?;
    Some(Status::new(Code::from_i32(code.parse().ok()?), message))
}

fn filler(length: u32) -> Result<Bytes, Status> {
    if length > FILLER {
        return Err(Status::invalid_argument(format!("reply_bytes: at most {FILLER}")));
    }
    Ok(pattern(length as usize))
}

fn listed(metadata: &MetadataMap) -> HashMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = metadata.iter().map(|pair| match pair {
        KeyAndValueRef::Ascii(name, value) => (name.to_string(), text(value.as_encoded_bytes())),
        KeyAndValueRef::Binary(name, value) => (name.to_string(), text(value.as_encoded_bytes())),
    });
    pairs.collect()
}

fn add(metadata: &mut MetadataMap, name: &str, value: &str) -> Option<()> {
    if name.ends_with("-bin") {
        let name = MetadataKey::<Binary>::from_bytes(name.as_bytes()).ok()?;
        metadata.insert_bin(name, MetadataValue::from_bytes(value.as_bytes()));
    } else {
        metadata.insert(MetadataKey::from_bytes(name.as_bytes()).ok()?, value.parse().ok()?);
    }
    Some(())
}

/// `google.rpc.Status`, which is what `grpc-status-details-bin` carries.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

fn details(code: i32, message: &str, reason: String) -> Bytes {
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/causeway.demo.v1.FailDetail".into(),
        value: FailDetail { reason }.encode_to_vec(),
    };
    RpcStatus {
        code,
        message: message.into(),
        details: vec![detail],
    }
    .encode_to_vec()
    .into()
}
