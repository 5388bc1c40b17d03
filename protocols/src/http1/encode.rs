//! Heads and chunks onto the wire.
//!
//! What frames a message is made here from [`Length`], never taken from `fields`; fields that describe one hop are
//! skipped if they are there. [`Fields`], [`Target`](crate::target::Target) and the other types hold no byte that could
//! end a line, so that a head cannot be split.

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::names;
use crate::call::{CallHead, Length, ReplyHead};
use crate::fields::{FieldName, Fields};
use crate::name;
use crate::target::Authority;
use crate::websocket::handshake::{Accept, ClientKey, VERSION};

/// The interim answer to `expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows the data of each chunk.
pub const CHUNK_TAIL: &[u8] = b"\r\n";

/// Whether the connection is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Close {
    /// It may be.
    #[default]
    Keep,
    /// `connection: close`.
    Close,
}

/// What a request's head does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions<'a> {
    /// Sent as `host` in place of the target's authority.
    pub host: Option<&'a Authority>,
    /// Fields after those of the head.
    pub extra: Option<&'a Fields>,
    /// Whether the connection is used again.
    pub close: Close,
    /// Makes the request a WebSocket handshake.
    pub key: Option<&'a ClientKey>,
}

/// What a reply's head does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyOptions<'a> {
    /// The method that is answered; none is like GET.
    pub method: Option<&'a Method>,
    /// The client speaks HTTP/1.0 and knows no chunks.
    pub http10: bool,
    /// Fields after those of the head.
    pub extra: Option<&'a Fields>,
    /// Whether the connection is used again.
    pub close: Close,
    /// Sent as `date` if the head has none; a complete value (RFC 9110, section 5.6.7).
    pub date: Option<&'a [u8; 29]>,
    /// Makes a reply of status 101 the answer to a WebSocket handshake.
    pub accept: Option<&'a Accept>,
}

/// How the body has to follow a head that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, with [`chunk_header`], [`CHUNK_TAIL`] and [`chunk_end`].
    Chunked,
    /// As it is, and then the connection is closed.
    UntilClose,
}

/// Appends the head of a request. `head.hold` becomes `expect: 100-continue` where a body follows.
pub fn request(head: &CallHead, options: &RequestOptions<'_>, out: &mut BytesMut) -> Sent {
    let host = options.host.unwrap_or(&head.target.authority).as_str();
    let target = head.target.path_and_query();
    out.reserve(256 + target.len() + host.len() + size(&head.fields, options.extra));
    put(out, head.method.as_str().as_bytes());
    put(out, b" ");
    put(out, target.as_bytes());
    put(out, b" HTTP/1.1\r\nhost: ");
    put(out, host.as_bytes());
    put(out, b"\r\n");
    fields(&head.fields, options.extra, out);
    if let Some(key) = options.key {
        put(
            out,
            b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: ",
        );
        put(out, VERSION.as_bytes());
        put(out, b"\r\nsec-websocket-key: ");
        put(out, key.as_bytes());
        put(out, b"\r\n\r\n");
        return Sent::None;
    }
    let sent = match head.length {
        Length::Empty => {
            // RFC 9110, section 8.6: methods that give content a meaning say that there is none.
            if [Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
                content_length(0, out);
            }
            Sent::None
        }
        Length::Exactly(length) => {
            content_length(length, out);
            if length == 0 { Sent::None } else { Sent::Length(length) }
        }
        Length::Streamed => {
            put(out, b"transfer-encoding: chunked\r\n");
            Sent::Chunked
        }
    };
    if head.hold && sent != Sent::None {
        put(out, b"expect: 100-continue\r\n");
    }
    if options.close == Close::Close {
        put(out, b"connection: close\r\n");
    }
    put(out, b"\r\n");
    sent
}

/// Appends the head of a reply. After [`Sent::UntilClose`] the connection has to be closed, whatever `options.close`
/// was.
pub fn response(head: &ReplyHead, options: &ReplyOptions<'_>, out: &mut BytesMut) -> Sent {
    out.reserve(192 + size(&head.fields, options.extra));
    status_line(head.status, out);
    fields(&head.fields, options.extra, out);
    if let Some(date) = options.date
        && !head.status.is_informational()
        && !head.fields.has(name::DATE)
    {
        put(out, b"date: ");
        put(out, date.as_slice());
        put(out, b"\r\n");
    }
    if let (Some(accept), StatusCode::SWITCHING_PROTOCOLS) = (options.accept, head.status) {
        put(
            out,
            b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ",
        );
        put(out, accept.as_bytes());
        put(out, b"\r\n\r\n");
        return Sent::None;
    }
    let sent = reply_length(head, options, out);
    if head.status.is_informational() {
        // The final head says what becomes of the connection.
    } else if options.close == Close::Close || sent == Sent::UntilClose {
        put(out, b"connection: close\r\n");
    } else if options.http10 {
        put(out, b"connection: keep-alive\r\n");
    }
    put(out, b"\r\n");
    sent
}

/// Writes what frames a reply (RFC 9110, section 8.6; RFC 9112, section 6.3).
fn reply_length(head: &ReplyHead, options: &ReplyOptions<'_>, out: &mut BytesMut) -> Sent {
    if head.status.is_informational() || head.status == StatusCode::NO_CONTENT {
        return Sent::None;
    }
    if options.method == Some(&Method::HEAD) || head.status == StatusCode::NOT_MODIFIED {
        // What the body would have been; a reply without a known length says nothing.
        if let Length::Exactly(length) = head.length {
            content_length(length, out);
        }
        return Sent::None;
    }
    match head.length {
        Length::Empty | Length::Exactly(0) => {
            content_length(0, out);
            Sent::None
        }
        Length::Exactly(length) => {
            content_length(length, out);
            Sent::Length(length)
        }
        Length::Streamed if options.http10 => Sent::UntilClose,
        Length::Streamed => {
            put(out, b"transfer-encoding: chunked\r\n");
            Sent::Chunked
        }
    }
}

fn status_line(status: StatusCode, out: &mut BytesMut) {
    // The commonest, in one copy.
    if status == StatusCode::OK {
        put(out, b"HTTP/1.1 200 OK\r\n");
        return;
    }
    put(out, b"HTTP/1.1 ");
    put(out, status.as_str().as_bytes());
    put(out, b" ");
    put(out, status.canonical_reason().unwrap_or_default().as_bytes());
    put(out, b"\r\n");
}

/// Appends the line that begins a chunk of `length` bytes. Nothing for 0, which would end the body.
pub fn chunk_header(length: usize, out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if length == 0 {
        return;
    }
    let mut line = [0u8; 18];
    line[16] = b'\r';
    line[17] = b'\n';
    let mut at = 16;
    let mut rest = length;
    while rest > 0 {
        at -= 1;
        line[at] = DIGITS[rest & 15];
        rest >>= 4;
    }
    put(out, &line[at..]);
}

/// Appends the end of a chunked body with its trailers. Trailers that a recipient could take for part of the head are
/// left out.
pub fn chunk_end(trailers: &Fields, out: &mut BytesMut) {
    put(out, b"0\r\n");
    for field in trailers {
        if !names::is_forbidden_trailer(field.name.as_str().as_bytes()) {
            line(field.name, field.value, out);
        }
    }
    put(out, b"\r\n");
}

/// Room that the fields take.
fn size(fields: &Fields, extra: Option<&Fields>) -> usize {
    // A name of one byte becomes at most 32, which most are far from.
    let count = fields.len() + extra.map_or(0, Fields::len);
    let bytes = fields.as_wire().len() + extra.map_or(0, |extra| extra.as_wire().len());
    bytes + count * 16
}

fn fields(fields: &Fields, extra: Option<&Fields>, out: &mut BytesMut) {
    for field in fields.iter().chain(extra.into_iter().flatten()) {
        match field.name {
            FieldName::Known(id) if names::is_hop(id) => {}
            _ => line(field.name, field.value, out),
        }
    }
}

fn line(name: FieldName<'_>, value: &[u8], out: &mut BytesMut) {
    put(out, name.as_str().as_bytes());
    put(out, b": ");
    put(out, value);
    put(out, b"\r\n");
}

fn content_length(length: u64, out: &mut BytesMut) {
    put(out, b"content-length: ");
    decimal(length, out);
    put(out, b"\r\n");
}

/// Appends a number in decimal.
fn decimal(mut number: u64, out: &mut BytesMut) {
    // u64::MAX has twenty digits.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    put(out, &digits[at..]);
}

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}
