//! HTTP/1.1: fixed bodies by path, and a sink that counts what it is sent.

use std::rc::Rc;

use tokio::net::TcpStream;

use super::{LARGE, MEDIUM, SMALL, UPLOAD};
use crate::buffered::Buffered;
use crate::failure::Result;
use crate::wire::{pattern, request_head};

const BUFFER: usize = 64 * 1024;

/// Whole replies, head and body, by path.
#[derive(Clone, Debug)]
pub(super) struct Replies(Rc<[(&'static str, Vec<u8>)]>);

impl Replies {
    pub(super) fn new() -> Self {
        Self(
            [SMALL, MEDIUM, LARGE]
                .map(|(path, length)| (path, reply("200 OK", &pattern(length))))
                .into(),
        )
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == path)
    }
}

fn reply(status: &str, body: &[u8]) -> Vec<u8> {
    let kind = "content-type: application/octet-stream";
    let mut reply = format!("HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    reply.extend_from_slice(body);
    reply
}

/// Serves one connection until the gateway closes it, which ends in an error that nobody needs to hear of.
pub(super) async fn connection(stream: TcpStream, replies: Replies) {
    let mut socket = Buffered::new(stream, BUFFER);
    while answer(&mut socket, &replies).await.is_ok() {}
}

async fn answer(socket: &mut Buffered, replies: &Replies) -> Result<()> {
    let (known, upload, framing, size) = loop {
        if let Some(head) = request_head(socket.unread())? {
            let path = head.start.path;
            break (replies.find(path), path == UPLOAD, head.framing, head.size);
        }
        socket.fill().await?;
    };
    socket.consume(size);
    let mut count = 0;
    socket.body(framing, |part| count += part.len() as u64).await?;
    match known.and_then(|index| replies.0.get(index)) {
        Some((_, whole)) => socket.write(whole).await,
        None if upload => socket.write(&reply("200 OK", count.to_string().as_bytes())).await,
        None => socket.write(&reply("404 Not Found", b"")).await,
    }
}
