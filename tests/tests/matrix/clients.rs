//! The same call by a gRPC, an HTTP and a WebSocket client.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use causeway_protocols::status::message::decode as decode_message;
use causeway_protocols::transcode::{Schema, compile};
use futures_util::{SinkExt as _, StreamExt as _};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::place::Place;

/// A protocol, of a client or a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
    WebSocket,
}

impl Protocol {
    fn host(self) -> &'static str {
        match self {
            Self::Grpc => "grpc.test",
            Self::Http => "http.test",
            Self::WebSocket => "ws.test",
        }
    }
}

/// A call, whoever makes it.
pub(crate) struct Ask {
    /// Of `causeway.demo.v1.Chat`.
    pub(crate) method: &'static str,
    /// The HTTP form: method and path. A `GET` says everything by its path.
    http: &'static str,
    requests: Vec<Value>,
}

impl Ask {
    pub(crate) fn new(method: &'static str, http: &'static str, requests: Vec<Value>) -> Self {
        Self { method, http, requests }
    }

    fn path(&self) -> String {
        format!("/causeway.demo.v1.Chat/{}", self.method)
    }
}

/// How it ended.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) messages: Vec<Value>,
    pub(crate) code: u32,
    pub(crate) message: String,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = include_str!("../../../gateway/proto/demo.proto");
    let set = compile(&[("demo.proto".to_owned(), text.to_owned())]).unwrap();
    Schema::from_descriptor_set(&set).unwrap()
});

pub(crate) async fn call(place: &Place, client: Protocol, backend: Protocol, ask: &Ask) -> Told {
    match client {
        Protocol::Grpc => grpc(place, backend, ask).await,
        Protocol::Http => http(place, backend, ask).await,
        Protocol::WebSocket => websocket(place, backend, ask).await,
    }
}

async fn http2(place: &Place) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(place.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    Handle::current().spawn(async move { connection.await.ok() });
    sender.ready().await.unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: BytesMut,
    trailers: HeaderMap,
}

/// Sends each part as it is, and reads the answer meanwhile: what comes back must not wait for the end of what goes out.
async fn exchange(place: &Place, request: Request<()>, parts: Vec<Bytes>) -> Answer {
    let mut sender = http2(place).await;
    let (response, mut body) = sender.send_request(request, parts.is_empty()).unwrap();
    let sending = async move {
        if parts.is_empty() {
            return;
        }
        for mut part in parts {
            while !part.is_empty() {
                body.reserve_capacity(part.len());
                let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
                    return;
                };
                let piece = part.split_to(room.min(part.len()));
                if body.send_data(piece, false).is_err() {
                    return;
                }
            }
        }
        // The answer may have ended the stream already.
        body.send_data(Bytes::new(), true).ok();
    };
    let reading = async move {
        let (head, mut stream) = response.await.unwrap().into_parts();
        let mut body = BytesMut::new();
        while let Some(data) = stream.data().await {
            let data = data.unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            trailers: stream.trailers().await.unwrap().unwrap_or_default(),
            body,
        }
    };
    tokio::join!(sending, reading).1
}

async fn grpc(place: &Place, backend: Protocol, ask: &Ask) -> Told {
    let method = SCHEMA.method(&ask.path()).unwrap();
    let request = Request::post(format!("http://{}{}", backend.host(), ask.path()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let parts = ask.requests.iter().map(|request| {
        let mut proto = Vec::new();
        method
            .request_from_json(request.to_string().as_bytes(), &mut proto)
            .unwrap();
        let mut part = BytesMut::new();
        part.put_u8(0);
        part.put_u32(proto.len() as u32);
        part.put_slice(&proto);
        part.freeze()
    });
    let mut answer = exchange(place, request, parts.collect()).await;
    let mut told = Told::default();
    assert_eq!(answer.status, 200);
    while answer.body.len() >= 5 {
        let length = u32::from_be_bytes([answer.body[1], answer.body[2], answer.body[3], answer.body[4]]) as usize;
        let message = answer.body.split_to(5 + length);
        let mut json = Vec::new();
        method.reply_to_json(&message[5..], &mut json).unwrap();
        told.messages.push(serde_json::from_slice(&json).unwrap());
    }
    assert!(answer.body.is_empty(), "half a message");
    let trailers = if answer.trailers.contains_key("grpc-status") {
        &answer.trailers
    } else {
        &answer.headers
    };
    told.code = trailers["grpc-status"].to_str().unwrap().parse().unwrap();
    told.message = trailers
        .get("grpc-message")
        .map(|message| decode_message(message.as_bytes()))
        .unwrap_or_default();
    told
}

async fn http(place: &Place, backend: Protocol, ask: &Ask) -> Told {
    let (method, path) = ask.http.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let streams = matches!(ask.method, "Sum" | "Chat");
    let kind = if streams {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let accept = match ask.method {
        "Count" | "Chat" => "application/x-ndjson",
        _ => "application/json",
    };
    let parts: Vec<Bytes> = match method {
        Method::GET => Vec::new(),
        _ => ask
            .requests
            .iter()
            .map(|request| format!("{request}\n").into())
            .collect(),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", backend.host()))
        .header("content-type", kind)
        .header("accept", accept)
        .body(())
        .unwrap();
    let answer = exchange(place, request, parts).await;
    let mut told = Told::default();
    let lines = answer.body[..]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    for line in lines {
        let line: Value = serde_json::from_slice(line).unwrap();
        let failed = match line.get("error") {
            Some(error) => Some(error),
            None => (answer.status != 200).then_some(&line),
        };
        match failed {
            None => told.messages.push(line),
            Some(status) => {
                told.code = status["code"].as_u64().unwrap_or(99) as u32;
                told.message = status["message"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
    told
}

async fn websocket(place: &Place, backend: Protocol, ask: &Ask) -> Told {
    let stream = TcpStream::connect(place.address).await.unwrap();
    let request = format!("ws://{}{}", backend.host(), ask.path())
        .into_client_request()
        .unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for request in &ask.requests {
        socket.send(Message::text(request.to_string())).await.unwrap();
    }
    // Only who may send several messages has to say that none follows.
    if matches!(ask.method, "Sum" | "Chat") || backend == Protocol::WebSocket {
        socket.send(Message::text("")).await.ok();
    }
    let mut told = Told::default();
    while let Some(message) = socket.next().await {
        match message.unwrap() {
            Message::Text(text) => told.messages.push(serde_json::from_str(text.as_str()).unwrap()),
            Message::Close(Some(frame)) => {
                told.code = match frame.code {
                    CloseCode::Normal => 0,
                    code => u32::from(u16::from(code)).saturating_sub(4000),
                };
                told.message = frame.reason.as_str().to_owned();
            }
            other => panic!("{other:?}"),
        }
    }
    told
}
