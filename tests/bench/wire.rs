//! The little of HTTP/1.1 that a load generator and its backend need: heads by httparse, bodies counted, not kept.

use std::ops::ControlFlow;

use crate::failure::{Failure, Result};

const FIELDS: usize = 64;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Length(u64),
}

/// A parsed head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head<T> {
    /// Status of a reply, or what a request asks for.
    pub(crate) start: T,
    pub(crate) framing: Framing,
    /// Bytes of the head on the wire.
    pub(crate) size: usize,
}

/// Reads the head of a reply; none while it is incomplete.
pub(crate) fn reply_head(bytes: &[u8]) -> Result<Option<Head<u16>>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut reply = httparse::Response::new(&mut fields);
    match reply.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(size)) => {
            let status = reply.code.unwrap_or(0);
            let framing = match framing(reply.headers) {
                Some(framing) => framing,
                None if matches!(status, 101 | 204 | 304) => Framing::Length(0),
                None => return Err(Failure::new(format!("reply {status} without a length"))),
            };
            Ok(Some(Head {
                start: status,
                framing,
                size,
            }))
        }
        Err(error) => Err(Failure::new(format!("reply head: {error}"))),
    }
}

/// What a backend wants to know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) websocket_key: Option<&'a [u8]>,
}

/// Reads the head of a request; none while it is incomplete.
pub(crate) fn request_head(bytes: &[u8]) -> Result<Option<Head<Asked<'_>>>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(size)) => {
            let framing = framing(request.headers).unwrap_or(Framing::Length(0));
            let key = request
                .headers
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-key"));
            let start = Asked {
                path: request.path.unwrap_or("/"),
                websocket_key: key.map(|field| field.value),
            };
            Ok(Some(Head { start, framing, size }))
        }
        Err(error) => Err(Failure::new(format!("request head: {error}"))),
    }
}

fn framing(fields: &[httparse::Header<'_>]) -> Option<Framing> {
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Some(Framing::Chunked);
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            return std::str::from_utf8(field.value)
                .ok()?
                .trim()
                .parse()
                .ok()
                .map(Framing::Length);
        }
    }
    None
}

/// Follows a body through reads of any size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of content are left, and nothing after them.
    Fixed(u64),
    /// Inside a chunk's size line: the size so far, and whether the digits are over.
    Size(u64, bool),
    /// Inside a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// Trailer lines: bytes on the line so far.
    Trailer(usize),
    Done,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Fixed(length),
            Framing::Chunked => State::Size(0, false),
        };
        Self { state }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes bytes of the wire, hands the content among them to `content`, and says how many bytes belong to the body.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize> {
        let mut at = 0;
        while let (false, Some(rest)) = (self.is_done(), bytes.get(at..).filter(|rest| !rest.is_empty())) {
            at += match self.state {
                State::Fixed(left) => {
                    let (taken, left) = take(rest, left, &mut content);
                    self.state = if left == 0 { State::Done } else { State::Fixed(left) };
                    taken
                }
                State::Chunk(left) => {
                    let (taken, left) = take(rest, left, &mut content);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    taken
                }
                _ => {
                    if let Some(byte) = rest.first() {
                        self.line_byte(*byte)?;
                    }
                    1
                }
            };
        }
        Ok(at)
    }

    fn line_byte(&mut self, byte: u8) -> Result<()> {
        self.state = match (self.state, byte) {
            (State::Size(0, _), b'\n') => State::Trailer(0),
            (State::Size(size, _), b'\n') => State::Chunk(size),
            (State::Size(size, over), byte) => match (char::from(byte).to_digit(16), over) {
                (Some(digit), false) => match size.checked_mul(16) {
                    Some(size) => State::Size(size | u64::from(digit), false),
                    None => return Err(Failure::new("chunk size too large")),
                },
                _ => State::Size(size, true),
            },
            (State::ChunkEnd, b'\n') => State::Size(0, false),
            (State::Trailer(0), b'\n') => State::Done,
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(length), b'\r') => State::Trailer(length),
            (State::Trailer(length), _) => State::Trailer(length + 1),
            (state, _) => state,
        };
        Ok(())
    }
}

fn take(bytes: &[u8], left: u64, content: &mut impl FnMut(&[u8])) -> (usize, u64) {
    let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    content(bytes.get(..taken).unwrap_or_default());
    (taken, left - taken as u64)
}

/// The bytes every body is made of: position dependent, so that a shifted or repeated part is noticed.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

/// Compares content with what it should be, part by part.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    expected: &'a [u8],
    at: usize,
    verdict: ControlFlow<usize>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn with(expected: &'a [u8]) -> Self {
        Self {
            expected,
            at: 0,
            verdict: ControlFlow::Continue(()),
        }
    }

    pub(crate) fn feed(&mut self, part: &[u8]) {
        let end = self.at + part.len();
        if self.expected.get(self.at..end) != Some(part) && self.verdict.is_continue() {
            self.verdict = ControlFlow::Break(self.at);
        }
        self.at = end;
    }

    /// # Errors
    /// When the content differed or had another length.
    pub(crate) fn finish(self) -> Result<()> {
        match self.verdict {
            ControlFlow::Break(at) => Err(Failure::new(format!("the body differs in the part at byte {at}"))),
            ControlFlow::Continue(()) if self.at == self.expected.len() => Ok(()),
            ControlFlow::Continue(()) => Err(Failure::new(format!(
                "the body has {} bytes instead of {}",
                self.at,
                self.expected.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_give_start_line_and_framing() {
        let head = reply_head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nxx")
            .unwrap()
            .unwrap();
        assert_eq!(
            head,
            Head {
                start: 200,
                framing: Framing::Length(12),
                size: 39
            }
        );
        assert_eq!(reply_head(b"HTTP/1.1 200 OK\r\nContent-").unwrap(), None);
        assert!(reply_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
        assert!(reply_head(b"nonsense\r\n\r\n").is_err());
        let bytes = b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\nSec-WebSocket-Key: abc\r\n\r\n";
        let head = request_head(bytes).unwrap().unwrap();
        assert_eq!(
            head.start,
            Asked {
                path: "/up",
                websocket_key: Some(b"abc")
            }
        );
        assert_eq!(head.framing, Framing::Chunked);
    }

    #[test]
    fn a_body_ends_at_the_same_byte_however_the_input_is_cut() {
        let chunked = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n";
        for (framing, wire) in [(Framing::Chunked, &chunked[..]), (Framing::Length(11), b"hello world")] {
            let mut input = wire.to_vec();
            input.extend_from_slice(b"NEXT");
            for cut in 0..input.len() {
                let (mut body, mut seen, mut used) = (Body::new(framing), Vec::new(), 0);
                for part in [&input[..cut], &input[cut..]] {
                    used += body.feed(part, |content| seen.extend_from_slice(content)).unwrap();
                }
                assert!(body.is_done(), "cut at {cut}");
                assert_eq!(
                    (seen.as_slice(), used),
                    (&b"hello world"[..], wire.len()),
                    "cut at {cut}"
                );
            }
        }
        assert!(Body::new(Framing::Length(0)).is_done());
        assert!(
            Body::new(Framing::Chunked)
                .feed(b"fffffffffffffffff\r\n", |_| ())
                .is_err()
        );
    }

    #[test]
    fn a_changed_short_or_long_body_is_noticed() {
        let expected = pattern(1000);
        let verdict = |body: &[u8]| {
            let mut comparison = Comparison::with(&expected);
            body.chunks(7).for_each(|part| comparison.feed(part));
            comparison.finish()
        };
        assert_eq!(verdict(&expected), Ok(()));
        assert!(verdict(&expected[..999]).is_err());
        assert!(verdict(&[&expected[..], b"x"].concat()).is_err());
        let mut changed = expected.clone();
        changed[500] ^= 1;
        assert!(verdict(&changed).is_err());
    }
}
