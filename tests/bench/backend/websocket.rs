//! WebSocket echo (RFC 6455), one frame at a time.

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::buffered::Buffered;
use crate::failure::{Failure, Result};
use crate::wire::request_head;

/// Small, as thousands of idle connections have one each.
const BUFFER: usize = 4 * 1024;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Serves one connection until either side ends it.
pub(super) async fn connection(stream: TcpStream) {
    let mut socket = Buffered::new(stream, BUFFER);
    if upgrade(&mut socket).await.is_ok() {
        while echo(&mut socket).await.is_ok() {}
    }
}

async fn upgrade(socket: &mut Buffered) -> Result<()> {
    let (accept, size) = loop {
        if let Some(head) = request_head(socket.unread())? {
            let key = head
                .start
                .websocket_key
                .ok_or_else(|| Failure::new("no sec-websocket-key"))?;
            break (derive_accept_key(key), head.size);
        }
        socket.fill().await?;
    };
    socket.consume(size);
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade";
    socket
        .write(format!("{upgrade}\r\nsec-websocket-accept: {accept}\r\n\r\n").as_bytes())
        .await
}

async fn echo(socket: &mut Buffered) -> Result<()> {
    let frame = loop {
        if let Some(frame) = parse(socket.unread())? {
            break frame;
        }
        socket.fill().await?;
    };
    let bytes = socket
        .unread_mut()
        .get_mut(..frame.payload + frame.length)
        .unwrap_or_default();
    let (head, payload) = bytes.split_at_mut(frame.payload);
    let key: [u8; 4] = head.last_chunk().copied().unwrap_or_default();
    payload
        .iter_mut()
        .zip(key.iter().cycle())
        .for_each(|(byte, key)| *byte ^= key);
    // The reply's head is the request's without the mask bit and key, moved up to the payload.
    let first = head.first().copied().unwrap_or(CLOSE);
    let start = 4;
    head.copy_within(..frame.payload - 4, start);
    if let Some([kind, length]) = head.get_mut(start..start + 2) {
        *kind = if first == PING { PONG } else { first };
        *length &= 0x7f;
    }
    let mut reply = [0; BUFFER];
    let size = frame.payload + frame.length - start;
    let reply = reply.get_mut(..size).unwrap_or_default();
    reply.copy_from_slice(socket.unread().get(start..start + size).unwrap_or_default());
    socket.consume(frame.payload + frame.length);
    socket.write(reply).await?;
    if first == CLOSE {
        Err(Failure::new("closed"))
    } else {
        Ok(())
    }
}

/// A whole client frame at the start of the buffer.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    /// Where the payload starts.
    payload: usize,
    length: usize,
}

fn parse(bytes: &[u8]) -> Result<Option<Frame>> {
    let (length, payload) = match bytes {
        [_, second, ..] if second & 0x80 == 0 => return Err(Failure::new("an unmasked frame")),
        [_, 0xfe, high, low, ..] => (usize::from(u16::from_be_bytes([*high, *low])), 8),
        [_, 0xff, ..] => return Err(Failure::new("a frame of more than 64 KiB")),
        [_, 0xfe, ..] | [_] | [] => return Ok(None),
        [_, second, ..] => (usize::from(second & 0x7f), 6),
    };
    Ok((bytes.len() >= payload + length).then_some(Frame { payload, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_frames_are_found_whole_or_waited_for() {
        let mut long = vec![0x82, 0xfe, 1, 0, 9, 9, 9, 9];
        long.resize(8 + 256, 7);
        assert_eq!(
            parse(&long).unwrap(),
            Some(Frame {
                payload: 8,
                length: 256
            })
        );
        assert_eq!(parse(&long[..100]).unwrap(), None);
        assert_eq!(
            parse(&[0x82, 0x82, 1, 2, 3, 4, 5, 6, 7]).unwrap(),
            Some(Frame { payload: 6, length: 2 })
        );
        for partial in [&[][..], &[0x82], &[0x82, 0x82, 1], &[0x82, 0xfe, 1]] {
            assert_eq!(parse(partial).unwrap(), None);
        }
        assert!(parse(&[0x82, 0x02, 1, 2]).is_err(), "unmasked");
        assert!(parse(&[0x82, 0xff, 0]).is_err(), "too long");
    }
}
