//! gRPC over h2 without a gRPC library: unary echo, a stream of messages, and an echo of every message.

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

use crate::wire::pattern;

/// Answers with the request's message.
pub(crate) const UNARY: &str = "/bench.Echo/Unary";
/// Answers one message with [`STREAM_MESSAGES`].
pub(crate) const DOWNLOAD: &str = "/bench.Echo/Download";
/// Answers each message with itself, at once.
pub(crate) const CHAT: &str = "/bench.Echo/Chat";
/// Messages of one [`DOWNLOAD`].
pub(crate) const STREAM_MESSAGES: usize = 1000;
/// Bytes of the `data` field of every message.
const MESSAGE: usize = 100;

/// Stream and connection windows at both ends, so that they are never what is measured.
const WINDOW: u32 = 8 << 20;

/// The one message that is sent, with its gRPC prefix: `message Echo { bytes data = 1; }`.
pub(crate) fn frame() -> Bytes {
    let data = pattern(MESSAGE);
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0, 0, 0, 0, MESSAGE as u8 + 2, 0x0a, MESSAGE as u8]);
    frame.extend_from_slice(&data);
    frame.freeze()
}

pub(super) async fn connection(stream: TcpStream) {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(100_000);
    builder
        .data_frame_budget(usize::MAX)
        .max_pending_accept_reset_streams(100_000);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        // A call that the gateway breaks off is counted at the client.
        tokio::task::spawn_local(async move { call(request, respond).await.unwrap_or(()) });
    }
}

async fn call(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    let (parts, mut body) = request.into_parts();
    match parts.uri.path() {
        CHAT => {
            let mut stream = respond.send_response(head, false)?;
            while let Some(part) = body.data().await {
                let part = part?;
                body.flow_control().release_capacity(part.len())?;
                stream.send_data(part, false)?;
            }
            finish(stream)
        }
        DOWNLOAD => {
            read_all(&mut body).await?;
            let mut stream = respond.send_response(head, false)?;
            let message = frame();
            for _ in 0..STREAM_MESSAGES {
                room(&mut stream, message.len()).await?;
                stream.send_data(message.clone(), false)?;
            }
            finish(stream)
        }
        UNARY => {
            let message = read_all(&mut body).await?;
            let mut stream = respond.send_response(head, false)?;
            stream.send_data(message, false)?;
            finish(stream)
        }
        _ => {
            head.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
            respond.send_response(head, true).map(drop)
        }
    }
}

/// The whole body, without a copy when it came in one piece.
async fn read_all(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        if first.is_empty() {
            first = part;
        } else {
            rest.extend_from_slice(&part);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    whole.unsplit(rest);
    Ok(whole.freeze())
}

/// Waits until the stream takes `size` more bytes, so that nothing piles up for a slow reader.
async fn room(stream: &mut SendStream<Bytes>, size: usize) -> Result<(), h2::Error> {
    stream.reserve_capacity(size);
    while stream.capacity() < size {
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(capacity) => drop(capacity?),
            None => return Err(h2::Reason::CANCEL.into()),
        }
    }
    Ok(())
}

fn finish(mut stream: SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
