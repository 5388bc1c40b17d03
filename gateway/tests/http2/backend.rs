//! Backends that write down what they get, byte for byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An HTTP/1.1 backend. `/hang` is never answered, `/big` has a body of 4 MiB, the body of `/unread` is never read,
/// and everything else is `ok`.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    hanging: AtomicUsize,
    body: AtomicUsize,
}

pub(crate) const BIG: usize = 4 << 20;

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let recorded = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&recorded);
                tokio::spawn(async move {
                    // A connection may end at any point.
                    let _ = serve(stream, &seen).await;
                });
            }
        });
        Self { address, seen }
    }

    /// The heads that came, but for the canary's.
    pub(crate) fn heads(&self) -> Vec<String> {
        let heads = self.seen.heads.lock().unwrap();
        heads.iter().filter(|head| !head.contains("/canary")).cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.heads().len()
    }

    /// Calls that are waiting for an answer they will not get.
    pub(crate) fn hanging(&self) -> usize {
        self.seen.hanging.load(Ordering::Relaxed)
    }

    /// Bytes of request bodies, framing included.
    pub(crate) fn body(&self) -> usize {
        self.seen.body.load(Ordering::Relaxed)
    }
}

struct Hanging<'a>(&'a AtomicUsize);

impl<'a> Hanging<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

async fn serve(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        let end = loop {
            if let Some(at) = find(&input, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        let head = input
            .split_to(end)
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let lower = head.to_ascii_lowercase();
        let length = lower
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        seen.heads.lock().unwrap().push(head);
        if path == "/unread" || path == "/hang" {
            let _hanging = Hanging::new(&seen.hanging);
            if path == "/unread" {
                std::future::pending::<()>().await;
            }
            while stream.read_buf(&mut input).await? > 0 {}
            return Ok(());
        }
        if lower.contains("transfer-encoding: chunked") {
            let end = loop {
                if let Some(at) = find(&input, b"0\r\n\r\n") {
                    break at + 5;
                }
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
            };
            seen.body.fetch_add(end, Ordering::Relaxed);
            input.advance(end);
        } else if let Some(length) = length {
            while input.len() < length {
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
            }
            seen.body.fetch_add(length, Ordering::Relaxed);
            input.advance(length);
        }
        if path == "/big" {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b'x'; BIG]).await?;
        } else if path == "/odd" {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nte: gzip\r\ncontent-length: 2\r\nx-accel-redirect: /x\r\n\r\nok")
                .await?;
        } else {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await?;
        }
    }
}
