//! The head of a backend's response (RFC 9112, section 4), read as strictly as a client's request.

use std::mem::MaybeUninit;

use http::{Method, StatusCode};

use super::error::ResponseError;
use super::framing::{Framing, Hop};
use super::lines::{self, Cursor, LineError, VersionError};
use super::{Limits, MAX_FIELDS, Parsed};
use crate::call::{Length, ReplyHead};
use crate::fields::Fields;
use crate::name;
use crate::websocket::handshake::{self, ClientKey, HandshakeError};

/// What was asked on the connection: a response cannot be read without it (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// An ordinary request of this method.
    Plain(&'a Method),
    /// A WebSocket handshake with this key.
    WebSocket(&'a ClientKey),
}

/// Where a response stands in the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1xx: another head follows. Count them, nobody needs many.
    Interim,
    /// The answer.
    Final,
    /// 101 to our WebSocket handshake, with the right `sec-websocket-accept`: what follows are frames.
    Upgraded,
}

/// How the body of a response is framed on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFraming {
    /// No body follows.
    Empty,
    /// So many bytes follow; never 0.
    Length(u64),
    /// Chunks follow.
    Chunked,
    /// The body ends with the connection. A connection that breaks cannot be told from a body that ends.
    UntilClose,
}

/// A response's head, and what it says about its connection.
#[derive(Clone, Debug)]
pub struct Response {
    /// The reply. To HEAD and in a 304, `length` is what `content-length` said.
    pub head: ReplyHead,
    /// How the body follows.
    pub framing: ReplyFraming,
    /// Whether the connection may be used again once the body has been read.
    pub keep_alive: bool,
    /// Interim, final, or a WebSocket.
    pub kind: Kind,
}

/// Reads the head of a response at the start of `buf`. [`Limits::target`] has no part in it.
///
/// # Errors
/// As soon as what is there cannot become a response. The same bytes give the same error, wherever they were cut.
pub fn parse(buf: &[u8], limits: &Limits, asked: Asked<'_>) -> Result<Parsed<Response>, ResponseError> {
    let seen = &buf[..buf.len().min(limits.head())];
    let Some(length) = lines::whole(seen) else {
        return match diagnose(seen, limits) {
            Some(Err(error)) => Err(error),
            Some(Ok(())) => Err(ResponseError::Malformed),
            None if seen.len() == limits.head() => Err(ResponseError::HeadTooLarge),
            None => Ok(Parsed::Partial),
        };
    };
    match read(&seen[..length], limits, asked) {
        Ok(head) => Ok(Parsed::Complete { head, consumed: length }),
        Err(error) => Err(diagnose(seen, limits).and_then(Result::err).unwrap_or(error)),
    }
}

/// Reads a whole head.
fn read(head: &[u8], limits: &Limits, asked: Asked<'_>) -> Result<Response, ResponseError> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut storage[..limits.fields()]) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Err(ResponseError::Malformed),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(ResponseError::Malformed);
    };
    let http10 = minor == 0;
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|status| status.as_u16() < 600)
        .ok_or(ResponseError::Status)?;
    let mut fields = Fields::with_capacity(head.len());
    let hop = Hop::read(parsed.headers, &mut fields)?;
    let framing = hop.framing()?;
    if http10 && framing == Framing::Chunked {
        return Err(ResponseError::CodingInOld);
    }
    let kind = kind(status, asked, &hop, &fields)?;
    if kind != Kind::Upgraded && hop.offers {
        fields.remove(name::SEC_WEBSOCKET_PROTOCOL);
        fields.remove(name::SEC_WEBSOCKET_EXTENSIONS);
    }
    let to_head = matches!(asked, Asked::Plain(method) if *method == Method::HEAD);
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
    let (framing, length) = match framing {
        // `content-length: 0` in a 204 is common and harmless.
        Framing::None | Framing::Length(0) if bodiless => (ReplyFraming::Empty, Length::Empty),
        _ if bodiless => return Err(ResponseError::BodyForbidden),
        framing if to_head || status == StatusCode::NOT_MODIFIED => (
            ReplyFraming::Empty,
            match framing {
                Framing::None => Length::Empty,
                Framing::Length(length) => Length::Exactly(length),
                Framing::Chunked => Length::Streamed,
            },
        ),
        Framing::None => (ReplyFraming::UntilClose, Length::Streamed),
        Framing::Length(0) => (ReplyFraming::Empty, Length::Exactly(0)),
        Framing::Length(length) => (ReplyFraming::Length(length), Length::Exactly(length)),
        Framing::Chunked => (ReplyFraming::Chunked, Length::Streamed),
    };
    Ok(Response {
        head: ReplyHead { status, fields, length },
        framing,
        keep_alive: !hop.close
            && (!http10 || hop.keep_alive)
            && framing != ReplyFraming::UntilClose
            && kind != Kind::Upgraded,
        kind,
    })
}

/// 101 is let through only as the right answer to a handshake.
fn kind(status: StatusCode, asked: Asked<'_>, hop: &Hop<'_>, fields: &Fields) -> Result<Kind, ResponseError> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(if status.is_informational() {
            Kind::Interim
        } else {
            Kind::Final
        });
    }
    let Asked::WebSocket(key) = asked else {
        return Err(ResponseError::UnaskedUpgrade);
    };
    if !hop.wants_websocket() {
        return Err(ResponseError::Handshake(HandshakeError::Accept));
    }
    handshake::accept_reply(key, hop.accept.value(), fields).map_err(ResponseError::Handshake)?;
    Ok(Kind::Upgraded)
}

/// Names the first rule that the bytes break; `None` while the head is incomplete and nothing is wrong.
fn diagnose(seen: &[u8], limits: &Limits) -> Option<Result<(), ResponseError>> {
    let mut cursor = Cursor::new(seen);
    if let Err(error) = status_line(&mut cursor)? {
        return Some(Err(error));
    }
    Some(cursor.fields(limits.fields())?.map_err(ResponseError::Line))
}

fn status_line(cursor: &mut Cursor<'_>) -> Option<Result<(), ResponseError>> {
    match cursor.version()? {
        Ok(()) => {}
        Err(VersionError::Other) => return Some(Err(ResponseError::Version)),
        Err(VersionError::Syntax(byte)) => return Some(Err(illegal(byte))),
    }
    for at in 0..4 {
        let byte = cursor.next()?;
        let legal = if at == 0 { byte == b' ' } else { byte.is_ascii_digit() };
        if !legal {
            return Some(Err(illegal(byte)));
        }
        if at == 1 && !matches!(byte, b'1'..=b'5') {
            return Some(Err(ResponseError::Status));
        }
    }
    match cursor.next()? {
        // Many servers leave the space out with the reason.
        b'\r' => Some(cursor.line_feed()?.map_err(ResponseError::Line)),
        b' ' => Some(cursor.text()?.map_err(ResponseError::Line)),
        byte => Some(Err(illegal(byte))),
    }
}

/// What a byte that does not belong in a status line is called.
fn illegal(byte: u8) -> ResponseError {
    match byte {
        0 => ResponseError::Line(LineError::Nul),
        b'\n' => ResponseError::Line(LineError::BareLf),
        _ => ResponseError::StatusLine,
    }
}
