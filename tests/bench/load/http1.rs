//! HTTP/1.1 requests over keep-alive connections, or over a fresh one each.

use std::rc::Rc;

use super::probe::Probe;
use super::{UPLOAD, socket};
use crate::backend;
use crate::buffered::Buffered;
use crate::failure::{Failure, Result};
use crate::wire::{Comparison, Framing, pattern, reply_head};

const BUFFER: usize = 256 * 1024;

/// Whether a connection carries one request or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    Fresh,
    Kept,
}

/// One connection's share of `GET path`, until it is dropped.
pub(super) async fn get(
    probe: Rc<Probe>,
    port: u16,
    path: &str,
    length: usize,
    connections: Connections,
    number: usize,
) {
    let request = get_request(path, connections);
    let mut connection: Option<Buffered> = None;
    let mut source = socket::series(number);
    loop {
        let began = probe.turn().await;
        let exchange = async {
            let mut socket = match connection.take() {
                Some(socket) => socket,
                None if connections == Connections::Fresh => {
                    source = source.wrapping_add(1);
                    let stream = socket::connect_numbered(port, source).await?;
                    Buffered::new(stream, BUFFER / 16)
                }
                None => Buffered::new(socket::connect(port).await?, BUFFER),
            };
            let mut got = 0;
            exchange(&mut socket, &request, &[], |part| got += part.len()).await?;
            if got == length {
                Ok(socket)
            } else {
                Err(Failure::new(format!("{got} bytes instead of {length}")))
            }
        };
        match exchange.await {
            Ok(socket) => {
                probe.done(began);
                connection = (connections == Connections::Kept).then_some(socket);
            }
            Err(failure) => probe.failed_for_now(failure).await,
        }
    }
}

/// One connection's share of JSON calls of the gRPC backend, until it is dropped.
pub(super) async fn json(probe: Rc<Probe>, port: u16) {
    let (request, content) = json_request();
    let mut connection: Option<Buffered> = None;
    loop {
        let began = probe.turn().await;
        let exchange = async {
            let mut socket = match connection.take() {
                Some(socket) => socket,
                None => Buffered::new(socket::connect(port).await?, BUFFER),
            };
            let mut got = 0;
            exchange(&mut socket, &request, &[], |part| got += part.len()).await?;
            // A system may write spaces; what the reply holds is compared once, before.
            if got >= content {
                Ok(socket)
            } else {
                Err(Failure::new(format!(
                    "{got} bytes, fewer than the {content} that were said"
                )))
            }
        };
        match exchange.await {
            Ok(socket) => {
                probe.done(began);
                connection = Some(socket);
            }
            Err(failure) => probe.failed_for_now(failure).await,
        }
    }
}

/// A JSON call once; the reply must hold what was said.
pub(super) async fn check_json(port: u16) -> Result<()> {
    let mut socket = Buffered::new(socket::connect(port).await?, BUFFER);
    let mut answer = Vec::new();
    let (request, _) = json_request();
    exchange(&mut socket, &request, &[], |part| answer.extend_from_slice(part)).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).map_err(|error| Failure::new(error.to_string()))?;
    if answer == json_body() {
        return Ok(());
    }
    Err(Failure::new(format!("the reply is {answer}")))
}

/// The message of the gRPC cases, as JSON.
fn json_body() -> serde_json::Value {
    serde_json::json!({ "data": base64(&pattern(100)) })
}

/// The request, and the length of its content.
fn json_request() -> (Vec<u8>, usize) {
    let (path, body) = (backend::UNARY, json_body().to_string());
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: bench.example\r\nuser-agent: bench\r\naccept: */*\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    (request.into_bytes(), length)
}

/// RFC 4648, section 4.
fn base64(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in data.chunks(3) {
        let bits = part.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= part.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// One connection's share of uploads, until it is dropped.
pub(super) async fn upload(probe: Rc<Probe>, port: u16) {
    let body = pattern(UPLOAD);
    let mut connection: Option<Buffered> = None;
    loop {
        let began = probe.turn().await;
        let exchange = async {
            let mut socket = match connection.take() {
                Some(socket) => socket,
                None => Buffered::new(socket::connect(port).await?, BUFFER),
            };
            upload_once(&mut socket, &body).await.map(|()| socket)
        };
        match exchange.await {
            Ok(socket) => {
                probe.done(began);
                connection = Some(socket);
            }
            Err(failure) => probe.failed_for_now(failure).await,
        }
    }
}

/// `GET path` once, the body compared byte for byte.
pub(super) async fn check_get(port: u16, path: &str, length: usize) -> Result<()> {
    let mut socket = Buffered::new(socket::connect(port).await?, BUFFER);
    let expected = pattern(length);
    let mut comparison = Comparison::with(&expected);
    exchange(&mut socket, &get_request(path, Connections::Kept), &[], |part| {
        comparison.feed(part)
    })
    .await?;
    comparison.finish()
}

pub(super) async fn check_upload(port: u16) -> Result<()> {
    upload_once(
        &mut Buffered::new(socket::connect(port).await?, BUFFER),
        &pattern(UPLOAD),
    )
    .await
}

/// An idle keep-alive connection: it has had one reply.
pub(super) async fn open_idle(port: u16, index: usize) -> Result<tokio::net::TcpStream> {
    let mut socket = Buffered::new(socket::connect_numbered(port, index).await?, 8 * 1024);
    let (path, length) = backend::SMALL;
    let mut got = 0;
    exchange(&mut socket, &get_request(path, Connections::Kept), &[], |part| {
        got += part.len()
    })
    .await?;
    if got == length {
        Ok(socket.stream)
    } else {
        Err(Failure::new(format!("{got} bytes instead of {length}")))
    }
}

fn get_request(path: &str, connections: Connections) -> Vec<u8> {
    let close = if connections == Connections::Fresh {
        "connection: close\r\n"
    } else {
        ""
    };
    format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\nuser-agent: bench\r\naccept: */*\r\n{close}\r\n")
        .into_bytes()
}

async fn upload_once(socket: &mut Buffered, body: &[u8]) -> Result<()> {
    let (path, length) = (backend::UPLOAD, body.len());
    let head = format!("POST {path} HTTP/1.1\r\nhost: bench.example\r\ncontent-length: {length}\r\n\r\n");
    let mut answer = Vec::new();
    exchange(socket, head.as_bytes(), body, |part| answer.extend_from_slice(part)).await?;
    if answer == length.to_string().as_bytes() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the backend counted {} bytes, not {length}",
        String::from_utf8_lossy(&answer)
    )))
}

/// Sends a request and reads its reply, which must be a 200.
async fn exchange(socket: &mut Buffered, head: &[u8], body: &[u8], content: impl FnMut(&[u8])) -> Result<()> {
    socket.write(head).await?;
    if !body.is_empty() {
        socket.write(body).await?;
    }
    let reply = loop {
        match reply_head(socket.unread())? {
            // Interim replies have no body and are followed by the real one.
            Some(interim) if (100..200).contains(&interim.start) => socket.consume(interim.size),
            Some(head) => break head,
            None => socket.fill().await?,
        }
    };
    socket.consume(reply.size);
    socket.body(reply.framing, content).await?;
    match (reply.start, reply.framing) {
        (200, Framing::Chunked | Framing::Length(_)) => Ok(()),
        (status, _) => Err(Failure::new(format!("status {status}"))),
    }
}
