//! HTTP/2 by hand: frames as they are written, and whatever comes back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const CALM: u32 = 11;
pub(crate) const CANCEL: u32 = 8;

pub(crate) const INITIAL_WINDOW: u16 = 4;
const TABLE_SIZE: u16 = 1;

/// How long anything that must come may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

impl Frame {
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0 || self.kind == RESET
    }

    /// The code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload.slice(at..).get_u32()
    }

    /// The `:status` of a head that was encoded without the dynamic table.
    pub(crate) fn status(&self) -> u16 {
        // Behind a change of the table's size, which comes once.
        let at = self.payload.iter().take_while(|byte| *byte & 0xe0 == 0x20).count();
        match self.payload[at] {
            indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
            // Literal of the static name 8, in Huffman code: digits have 5 or 6 bits.
            _ => {
                let at = at + 1 + self.payload[at + 1..].iter().position(|byte| byte & 0x80 != 0).unwrap();
                let coded = &self.payload[at + 1..at + 1 + usize::from(self.payload[at] & 0x7f)];
                let bits: Vec<u8> = coded
                    .iter()
                    .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
                    .collect();
                let (mut at, mut status) = (0, 0u16);
                for _ in 0..3 {
                    let take = |count: usize| {
                        bits[at..at + count]
                            .iter()
                            .fold(0u16, |all, bit| all * 2 + u16::from(*bit))
                    };
                    let (digit, used) = match take(5) {
                        digit @ 0..=2 => (digit, 5),
                        _ => (take(6) - 0b1_1001 + 3, 6),
                    };
                    at += used;
                    status = status * 10 + digit;
                }
                status
            }
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        out.push(127);
        let mut left = text.len() - 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(text);
}

/// Literals that are not indexed.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name.as_ref());
        text(&mut out, value.as_ref());
    }
    out
}

/// The head of a request, in one frame.
pub(crate) fn head(stream: u32, method: &str, path: &str, more: &[(&str, &str)], end: bool) -> Vec<u8> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test.example"),
    ];
    fields.extend_from_slice(more);
    let flags = if end { END_STREAM } else { 0 };
    frame(HEADERS, END_HEADERS | flags, stream, &block(&fields))
}

pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    head(stream, "GET", path, &[], true)
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &code.to_be_bytes())
}

pub(crate) fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW, 0, stream, &by.to_be_bytes())
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(key, value)| key.to_be_bytes().into_iter().chain(value.to_be_bytes()))
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    input: BytesMut,
}

impl Wire {
    /// Connects and says hello with these settings, and with no dynamic table.
    pub(crate) async fn open(address: SocketAddr, more: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Self::of(stream);
        let mut all = vec![(TABLE_SIZE, 0)];
        all.extend_from_slice(more);
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(settings(&all));
        wire.send(&hello).await.unwrap();
        wire
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
        }
    }

    /// Reads the preface of a client.
    pub(crate) async fn preface(&mut self) {
        while self.input.len() < 24 {
            assert!(self.stream.read_buf(&mut self.input).await.unwrap() > 0);
        }
        self.input.advance(24);
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame; none when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if self.input.len() >= 9 {
                    let length =
                        usize::from(self.input[0]) << 16 | usize::from(self.input[1]) << 8 | usize::from(self.input[2]);
                    if self.input.len() >= 9 + length {
                        let mut frame = self.input.split_to(9 + length).freeze();
                        let (kind, flags) = (frame[3], frame[4]);
                        frame.advance(5);
                        let stream = frame.get_u32();
                        return Some(Frame {
                            kind,
                            flags,
                            stream,
                            payload: frame,
                        });
                    }
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
        .expect("a frame, or the end, comes in time")
    }

    /// The next frame that is wanted; SETTINGS and PING are answered on the way.
    pub(crate) async fn until(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
            if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                self.send(&self::frame(frame.kind, ACK, 0, payload)).await.ok();
            }
        }
    }

    /// The first frame of a stream; GOAWAY and the end of the connection count, too.
    pub(crate) async fn answer(&mut self, stream: u32) -> Option<Frame> {
        self.until(|frame| frame.stream == stream && frame.kind != WINDOW || frame.kind == GOAWAY)
            .await
    }

    /// The code of the GOAWAY that the connection ends with; none if it ends without.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        self.until(|frame| frame.kind == GOAWAY).await.map(|frame| frame.code())
    }
}
