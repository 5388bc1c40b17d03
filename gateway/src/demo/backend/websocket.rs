//! The WebSocket backend: says back what it hears.
//!
//! A text message may ask for more:
//!
//! | Text | Answer |
//! |---|---|
//! | `close:CODE:REASON` | a Close frame with both |
//! | `drop` | the connection is cut without a Close frame |
//! | `fragments:N:TEXT` | TEXT in N frames |
//! | `handshake` | JSON of the handshake: path, subprotocol, headers |
//! | `ping:TEXT` | a Ping with that text, then `pong:TEXT` when the Pong came |
//! | `tick:N:MS` | N messages, one each MS milliseconds |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::serve::{self, Scope};

/// Subprotocols that are spoken, best first; a client that offers none of them gets none.
pub(super) const SUBPROTOCOLS: [&str; 2] = ["echo.v2", "echo.v1"];

/// Largest message, and room to write one.
const LARGEST: usize = 64 << 20;

/// Serves `listener` until the scope ends.
pub(super) fn start(listener: TcpListener, name: Arc<str>, counters: Arc<Counters>, scope: &Scope) {
    serve::accept(listener, scope, move |stream, stop| {
        let (name, counters) = (Arc::clone(&name), Arc::clone(&counters));
        async move {
            // A socket that breaks has told its client already; there is nobody else to tell.
            let _ = converse(stream, &name, &counters, stop).await;
        }
    });
}

async fn converse(stream: TcpStream, name: &str, counters: &Counters, stop: CancellationToken) -> Result<(), Error> {
    // Small buffers: ten thousand idle sockets are a test too.
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(LARGEST + (1 << 20))
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let mut handshake = json!(null);
    #[expect(clippy::result_large_err, reason = "tungstenite's callback has this type")]
    let greet = |request: &Request, response: Response| {
        handshake = describe(request, name);
        Ok(agree(&handshake, response))
    };
    let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, greet, Some(config)).await?;
    counters.calls.fetch_add(1, Ordering::Relaxed);
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            () = stop.cancelled() => {
                return close(&mut socket, CloseCode::Restart, "the backend stops").await;
            }
        };
        match message.transpose()? {
            None => return Ok(()),
            Some(Message::Text(text)) => {
                if answer(&mut socket, text.as_str(), &handshake).await? == Then::End {
                    return Ok(());
                }
            }
            Some(Message::Binary(data)) => socket.send(Message::Binary(data)).await?,
            Some(Message::Pong(data)) => {
                let text = format!("pong:{}", String::from_utf8_lossy(&data));
                socket.send(Message::text(text)).await?;
            }
            // tungstenite answers Pings and Closes; the stream ends after a Close.
            Some(Message::Close(_) | Message::Frame(_) | Message::Ping(_)) => {}
        }
    }
}

/// What the client's handshake says, and the best subprotocol both sides speak.
fn describe(request: &Request, name: &str) -> serde_json::Value {
    let offered = request.headers().get_all("sec-websocket-protocol");
    let offered = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let offered = offered.map(str::trim).collect::<Vec<_>>();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    json!({
        "backend": name,
        "target": request.uri().to_string(),
        "subprotocol": SUBPROTOCOLS.into_iter().find(|protocol| offered.contains(protocol)),
        "headers": headers.collect::<Vec<_>>(),
    })
}

/// Adds what was agreed on to the answer.
fn agree(handshake: &serde_json::Value, mut response: Response) -> Response {
    for (name, key) in [("sec-websocket-protocol", "subprotocol"), ("demo-backend", "backend")] {
        let value = handshake[key]
            .as_str()
            .and_then(|value| HeaderValue::from_str(value).ok());
        response
            .headers_mut()
            .extend(value.map(|value| (HeaderName::from_static(name), value)));
    }
    response
}

#[derive(PartialEq, Eq)]
enum Then {
    End,
    GoOn,
}

async fn answer(
    socket: &mut WebSocketStream<TcpStream>,
    text: &str,
    handshake: &serde_json::Value,
) -> Result<Then, Error> {
    let mut parts = text.splitn(3, ':');
    let (word, first, second) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    match (word, first.parse::<u16>()) {
        ("close", Ok(code)) if CloseCode::from(code).is_allowed() => {
            close(socket, CloseCode::from(code), second).await?;
            return Ok(Then::End);
        }
        ("drop", _) if text == "drop" => return Ok(Then::End),
        ("fragments", Ok(count @ 2..)) => {
            let size = second.len().div_ceil(usize::from(count)).max(1);
            let data = Bytes::copy_from_slice(second.as_bytes());
            for index in 0..count {
                let from = (usize::from(index) * size).min(data.len());
                let piece = data.slice(from..(from + size).min(data.len()));
                let code = OpCode::Data(if index == 0 { Data::Text } else { Data::Continue });
                socket
                    .send(Message::Frame(Frame::message(piece, code, index + 1 == count)))
                    .await?;
            }
        }
        ("handshake", _) if text == "handshake" => socket.send(Message::text(handshake.to_string())).await?,
        ("ping", _) if first.len() <= 125 && second.is_empty() => {
            socket
                .send(Message::Ping(Bytes::copy_from_slice(first.as_bytes())))
                .await?;
        }
        ("tick", Ok(count)) => {
            let pause = Duration::from_millis(second.parse().unwrap_or(100).min(60_000));
            for tick in 0..count {
                socket.send(Message::text(format!("tick {tick}"))).await?;
                tokio::time::sleep(pause).await;
            }
        }
        _ => socket.send(Message::text(text)).await?,
    }
    Ok(Then::GoOn)
}

/// Sends a Close frame and waits for the client's, but not for ever.
async fn close(socket: &mut WebSocketStream<TcpStream>, code: CloseCode, reason: &str) -> Result<(), Error> {
    // A control frame has at most 125 bytes, two of them the code (RFC 6455 section 5.5).
    let end = (0..=reason.len().min(123))
        .rev()
        .find(|end| reason.is_char_boundary(*end))
        .unwrap_or(0);
    let reason = &reason[..end];
    socket
        .close(Some(CloseFrame {
            code,
            reason: reason.into(),
        }))
        .await?;
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
    Ok(())
}
