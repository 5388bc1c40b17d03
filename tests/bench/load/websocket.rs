//! WebSocket echo of 64 bytes, one message in flight per connection.

use std::rc::Rc;

use tokio::net::TcpStream;

use super::probe::Probe;
use super::socket;
use crate::buffered::Buffered;
use crate::failure::{Failure, Result};
use crate::wire::{pattern, reply_head};

const PAYLOAD: usize = 64;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const BUFFER: usize = 4 * 1024;

/// One connection's share of echoes, until it is dropped.
pub(super) async fn echo(probe: Rc<Probe>, port: u16) {
    let (sent, expected) = frames();
    let mut connection: Option<Buffered> = None;
    loop {
        if connection.is_none() {
            match open(port, None).await {
                Ok(socket) => connection = Some(socket),
                Err(failure) => {
                    probe.failed_for_now(failure).await;
                    continue;
                }
            }
        }
        let Some(socket) = &mut connection else { continue };
        let began = probe.turn().await;
        match echo_once(socket, &sent, &expected).await {
            Ok(()) => probe.done(began),
            Err(failure) => {
                connection = None;
                probe.failed_for_now(failure).await;
            }
        }
    }
}

/// Opens a connection and echoes one message, compared byte for byte.
pub(super) async fn check(port: u16) -> Result<()> {
    open_idle(port, None).await.map(drop)
}

/// The same, and leaves the connection open. Connection `index` of many has a source address of its own.
pub(super) async fn open_idle(port: u16, index: Option<usize>) -> Result<TcpStream> {
    let (sent, expected) = frames();
    let mut socket = open(port, index).await?;
    echo_once(&mut socket, &sent, &expected).await?;
    Ok(socket.stream)
}

async fn open(port: u16, index: Option<usize>) -> Result<Buffered> {
    let stream = match index {
        Some(index) => socket::connect_numbered(port, index).await?,
        None => socket::connect(port).await?,
    };
    let mut socket = Buffered::new(stream, BUFFER);
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13";
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let request = format!("GET /ws HTTP/1.1\r\nhost: bench.example\r\n{upgrade}\r\n{key}\r\n\r\n");
    socket.write(request.as_bytes()).await?;
    let head = loop {
        if let Some(head) = reply_head(socket.unread())? {
            break head;
        }
        socket.fill().await?;
    };
    socket.consume(head.size);
    if head.start == 101 {
        Ok(socket)
    } else {
        Err(Failure::new(format!("upgrade: status {}", head.start)))
    }
}

/// The masked frame that is sent and the bare one that must come back.
fn frames() -> (Vec<u8>, Vec<u8>) {
    let payload = pattern(PAYLOAD);
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let sent = [0x82, 0x80 | PAYLOAD as u8]
        .into_iter()
        .chain(MASK)
        .chain(masked)
        .collect();
    let expected = [0x82, PAYLOAD as u8]
        .into_iter()
        .chain(payload.iter().copied())
        .collect();
    (sent, expected)
}

async fn echo_once(socket: &mut Buffered, sent: &[u8], expected: &[u8]) -> Result<()> {
    socket.write(sent).await?;
    while socket.unread().len() < expected.len() {
        socket.fill().await?;
    }
    if socket.unread() != expected {
        return Err(Failure::new("the echo differs"));
    }
    socket.consume(expected.len());
    Ok(())
}
