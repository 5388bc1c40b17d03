//! gRPC by h2 alone: streams spread over a few connections.

use std::rc::Rc;

use bytes::{Buf, Bytes};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Uri, Version};
use tokio::task::JoinSet;

use super::probe::Probe;
use super::socket;
use crate::backend::{CHAT, DOWNLOAD, STREAM_MESSAGES, UNARY, frame};
use crate::cases::Work;
use crate::failure::{During, Failure, Result};

const WINDOW: u32 = 8 << 20;

/// One connection with `streams` streams at a time, until it is dropped.
pub(super) async fn connection(probe: Rc<Probe>, port: u16, work: Work, streams: usize) {
    loop {
        let sender = match open(port).await {
            Ok((sender, driver)) => {
                let mut tasks = JoinSet::new();
                tasks.spawn_local(driver);
                for _ in 0..streams {
                    tasks.spawn_local(stream(Rc::clone(&probe), sender.clone(), work));
                }
                // The first to end is the connection; the streams end with it.
                tasks.join_next().await;
                Failure::new("the HTTP/2 connection ended")
            }
            Err(failure) => failure,
        };
        probe.failed_for_now(sender).await;
    }
}

/// One call, its content compared byte for byte.
pub(super) async fn check(port: u16, work: Work) -> Result<()> {
    let (mut sender, driver) = open(port).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn_local(driver);
    match work {
        Work::GrpcChat => {
            let mut chat = Chat::open(&mut sender).await?;
            chat.echo(&frame()).await?;
            chat.echo(&frame()).await?;
            chat.finish().await
        }
        Work::GrpcDownload => call(&mut sender, DOWNLOAD, STREAM_MESSAGES, |_| ()).await,
        _ => call(&mut sender, UNARY, 1, |_| ()).await,
    }
}

async fn open(port: u16) -> Result<(SendRequest<Bytes>, impl Future<Output = ()>)> {
    let stream = socket::connect(port).await?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .enable_push(false);
    builder.data_frame_budget(usize::MAX);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.during("HTTP/2 handshake")?;
    // An error of the connection comes up in every call on it.
    Ok((sender, async move { connection.await.unwrap_or(()) }))
}

async fn stream(probe: Rc<Probe>, mut sender: SendRequest<Bytes>, work: Work) {
    let mut chat = None;
    loop {
        let began = probe.turn().await;
        let result = match work {
            Work::GrpcChat => chat_turn(&mut sender, &mut chat).await,
            Work::GrpcDownload => {
                // The last message is counted with the end of the call.
                let mut seen = 0;
                let count = |messages: usize| {
                    let counted = (seen + messages).min(STREAM_MESSAGES - 1);
                    probe.messages((counted - seen) as u64);
                    seen = counted;
                };
                call(&mut sender, DOWNLOAD, STREAM_MESSAGES, count).await
            }
            _ => call(&mut sender, UNARY, 1, |_| ()).await,
        };
        match result {
            Ok(()) => probe.done(began),
            Err(failure) => {
                chat = None;
                probe.failed_for_now(failure).await;
            }
        }
    }
}

async fn chat_turn(sender: &mut SendRequest<Bytes>, chat: &mut Option<Chat>) -> Result<()> {
    let open = match chat {
        Some(open) => open,
        None => chat.insert(Chat::open(sender).await?),
    };
    open.echo(&frame()).await
}

/// Sends one message and reads `count` equal ones back, then the status.
async fn call(
    sender: &mut SendRequest<Bytes>,
    path: &'static str,
    count: usize,
    seen: impl FnMut(usize),
) -> Result<()> {
    let (reply, mut up) = begin(sender, path).await?;
    let message = frame();
    up.send_data(message.clone(), true).during("sending")?;
    let mut body = head(reply.await.during("reply")?)?;
    messages(&mut body, &message, count, seen).await?;
    status(&mut body).await
}

async fn begin(
    sender: &mut SendRequest<Bytes>,
    path: &'static str,
) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
    std::future::poll_fn(|cx| sender.poll_ready(cx))
        .await
        .during("waiting for a stream")?;
    sender.send_request(request(path), false).during("opening a stream")
}

fn request(path: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(http::uri::Authority::from_static("bench.example"));
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    request
}

fn head(reply: http::Response<RecvStream>) -> Result<RecvStream> {
    if reply.status() != 200 || reply.headers().contains_key("grpc-status") {
        let grpc = reply
            .headers()
            .get("grpc-message")
            .map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        return Err(Failure::new(format!(
            "status {} {}",
            reply.status(),
            grpc.unwrap_or_default()
        )));
    }
    Ok(reply.into_body())
}

/// Reads and compares `count` copies of `message`, however they are cut; reports those that are complete.
async fn messages(body: &mut RecvStream, message: &[u8], count: usize, mut seen: impl FnMut(usize)) -> Result<()> {
    let (mut whole, mut at) = (0, 0);
    while whole < count {
        let mut part = body
            .data()
            .await
            .ok_or_else(|| Failure::new("the reply ended early"))?
            .during("reply")?;
        body.flow_control()
            .release_capacity(part.len())
            .during("flow control")?;
        let before = whole;
        while !part.is_empty() {
            let taken = part.len().min(message.len() - at);
            if whole == count || part.get(..taken) != message.get(at..at + taken) {
                return Err(Failure::new("a message differs"));
            }
            part.advance(taken);
            at += taken;
            if at == message.len() {
                (whole, at) = (whole + 1, 0);
            }
        }
        seen(whole - before);
    }
    Ok(())
}

async fn status(body: &mut RecvStream) -> Result<()> {
    while let Some(part) = body.data().await {
        if !part.during("reply")?.is_empty() {
            return Err(Failure::new("more messages than expected"));
        }
    }
    let trailers = body
        .trailers()
        .await
        .during("trailers")?
        .ok_or_else(|| Failure::new("no trailers"))?;
    match trailers.get("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        other => Err(Failure::new(format!("grpc-status {other:?}"))),
    }
}

/// A stream on which every message is answered by itself.
struct Chat {
    up: SendStream<Bytes>,
    /// The reply's head is awaited with the first answer: it may come no sooner.
    reply: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
}

impl Chat {
    async fn open(sender: &mut SendRequest<Bytes>) -> Result<Self> {
        let (reply, up) = begin(sender, CHAT).await?;
        Ok(Self {
            up,
            reply: Some(reply),
            body: None,
        })
    }

    async fn echo(&mut self, message: &Bytes) -> Result<()> {
        self.up.send_data(message.clone(), false).during("sending")?;
        if let Some(reply) = self.reply.take() {
            self.body = Some(head(reply.await.during("reply")?)?);
        }
        let body = self.body.as_mut().ok_or_else(|| Failure::new("the stream has ended"))?;
        messages(body, message, 1, |_| ()).await
    }

    async fn finish(mut self) -> Result<()> {
        self.up.send_data(Bytes::new(), true).during("ending")?;
        match &mut self.body {
            Some(body) => status(body).await,
            None => Err(Failure::new("the stream has no reply")),
        }
    }
}
