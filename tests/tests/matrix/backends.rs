//! The service `causeway.demo.v1.Chat` as HTTP by its rules and as WebSocket; as gRPC it is the demo's own.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use causeway_gateway::demo::backend::{Backends, Ports};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Starts all three.
pub(crate) async fn start() -> (Backends, SocketAddr, SocketAddr) {
    let grpc = Backends::start("matrix", Ipv4Addr::LOCALHOST.into(), Ports::default())
        .await
        .unwrap();
    let (http, http_at) = listen().await;
    let (websocket, websocket_at) = listen().await;
    Handle::current().spawn(async move {
        while let Ok((stream, _)) = http.accept().await {
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(rest));
            Handle::current().spawn(async move { served.await.ok() });
        }
    });
    Handle::current().spawn(async move {
        while let Ok((stream, _)) = websocket.accept().await {
            Handle::current().spawn(converse(stream));
        }
    });
    (grpc, http_at, websocket_at)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What a method makes of its requests: replies, then a status.
fn serve(method: &str, requests: &[Value]) -> (Vec<Value>, Option<Value>) {
    let first = requests.first().cloned().unwrap_or_default();
    match method {
        "Say" => (vec![json!({ "text": first["text"] })], None),
        "Count" => {
            let to = number(&first["to"]);
            let numbers = (1..=to).map(|number| json!({ "number": number })).collect();
            let code = number(&first["code"]);
            let failed = (code != 0).then(|| json!({ "code": code, "message": "counted to the end", "details": [] }));
            (numbers, failed)
        }
        "Sum" => {
            let total: i64 = requests.iter().map(|request| number(&request["number"])).sum();
            let reply = json!({ "total": total.to_string(), "messages": requests.len() });
            (vec![reply], None)
        }
        "Fail" => (
            Vec::new(),
            Some(json!({ "code": first["code"], "message": first["message"] })),
        ),
        other => (
            Vec::new(),
            Some(json!({ "code": 12, "message": format!("no method {other}") })),
        ),
    }
}

/// A number, also where it is text.
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or_default()
}

type Reply = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

async fn rest(request: Request<Incoming>) -> Result<Reply, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if path == "/v1/chat" {
        // Each line is answered when it comes, before the next one is read.
        return Ok(lines(request.into_body().boxed_unsync()));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut requests: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    if let Some(asked) = of_path(&path, &query) {
        requests.insert(0, asked);
    }
    let method = match path.split('/').nth(2).unwrap_or_default() {
        "say" => "Say",
        "count" => "Count",
        "sum" => "Sum",
        "fail" => "Fail",
        other => other,
    };
    let (replies, failed) = serve(method, &requests);
    if method == "Count" {
        let mut text: String = replies.iter().map(|reply| format!("{reply}\n")).collect();
        if let Some(status) = failed {
            text += &format!("{}\n", json!({ "error": status }));
        }
        let mut reply = Response::new(full(text));
        reply
            .headers_mut()
            .insert("content-type", "application/x-ndjson".parse().unwrap());
        return Ok(reply);
    }
    let (status, text) = match failed {
        Some(status) => (StatusCode::FORBIDDEN, status.to_string()),
        None => (StatusCode::OK, replies[0].to_string()),
    };
    let mut reply = Response::new(full(text));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    Ok(reply)
}

/// The request that a path and its query make, where the rule has no body.
fn of_path(path: &str, query: &str) -> Option<Value> {
    let to = path.strip_prefix("/v1/count/")?;
    let code = query.strip_prefix("code=").unwrap_or("0");
    Some(json!({ "to": to, "code": code }))
}

fn lines(body: UnsyncBoxBody<Bytes, hyper::Error>) -> Reply {
    let frames = stream::unfold(body, |mut body| async move {
        let frame = body.frame().await?;
        Some((
            frame.map(|frame| Frame::data(frame.into_data().unwrap_or_default())),
            body,
        ))
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    reply
        .headers_mut()
        .insert("content-type", "application/x-ndjson".parse().unwrap());
    reply
}

fn full(text: String) -> UnsyncBoxBody<Bytes, hyper::Error> {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

async fn converse(stream: TcpStream) {
    let mut target = String::new();
    #[expect(clippy::result_large_err, reason = "tungstenite's callback has this type")]
    let look = |request: &Request<()>, response| {
        target = request.uri().to_string();
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let method = match path {
        "/v1/say" => "Say",
        "/v1/sum" => "Sum",
        "/v1/chat" => "Chat",
        "/v1/fail" => "Fail",
        path if path.starts_with("/v1/count/") => "Count",
        path => path.rsplit('/').next().unwrap_or_default(),
    };
    let mut requests: Vec<Value> = of_path(path, query).into_iter().collect();
    let streams = matches!(method, "Sum" | "Chat");
    while requests.is_empty() || streams {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.is_empty() => break,
            Some(Ok(Message::Text(text))) if method == "Chat" => socket.send(Message::Text(text)).await.unwrap(),
            Some(Ok(Message::Text(text))) => requests.push(serde_json::from_str(text.as_str()).unwrap()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return,
        }
    }
    let (replies, failed) = match method {
        "Chat" => (Vec::new(), None),
        method => serve(method, &requests),
    };
    for reply in replies {
        socket.send(Message::text(reply.to_string())).await.unwrap();
    }
    let (code, reason) = match failed {
        Some(status) => (
            4000 + number(&status["code"]) as u16,
            status["message"].as_str().unwrap_or_default().to_owned(),
        ),
        None => (1000, String::new()),
    };
    let close = CloseFrame {
        code: code.into(),
        reason: reason.into(),
    };
    socket.close(Some(close)).await.ok();
    // The other side ends it.
    while let Some(Ok(_)) = socket.next().await {}
}
