//! The head of a client's request (RFC 9112, section 3).

use std::mem::MaybeUninit;
use std::time::Duration;

use http::Method;

use super::error::RequestError;
use super::framing::{Expect, Framing, Hop, Times};
use super::lines::{self, Cursor, LineError, VersionError};
use super::{Limits, MAX_FIELDS, Parsed};
use crate::call::{CallHead, Length, Protocol, Scheme};
use crate::deadline;
use crate::fields::{Fields, is_token};
use crate::name;
use crate::target::{Authority, Target, TargetError};
use crate::websocket::handshake::{self, ClientKey, HandshakeError};

/// The longest method, in bytes.
const MAX_METHOD: usize = 32;

/// How the body of a request is framed on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body follows.
    Empty,
    /// So many bytes follow; never 0.
    Length(u64),
    /// Chunks follow, for [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// A request's head, and what it says about its connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// The call. Its `hold` is `expect: 100-continue`, and is not set where there is no body to hold back.
    pub head: CallHead,
    /// How the body follows.
    pub framing: BodyFraming,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// The client speaks HTTP/1.0: it understands no chunks and no 1xx.
    pub http10: bool,
    /// The key of a WebSocket handshake; there is one exactly where `head.protocol` is WebSocket.
    pub upgrade: Option<ClientKey>,
    /// The client reads trailers (`te: trailers`).
    pub trailers: bool,
    /// `grpc-timeout`, as gRPC-Web and Connect clients send it.
    pub timeout: Option<Duration>,
}

/// Reads the head of a request at the start of `buf`. `scheme` is how the client reached us; the scheme of an absolute
/// target is not believed.
///
/// # Errors
/// As soon as what is there cannot become a request that this gateway serves. The same bytes give the same error,
/// wherever they were cut on the way here.
pub fn parse(buf: &[u8], limits: &Limits, scheme: Scheme) -> Result<Parsed<Request>, RequestError> {
    let seen = &buf[..buf.len().min(limits.head())];
    let start = if seen.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(length) = lines::whole(&seen[start..]) else {
        return match diagnose(seen, limits) {
            Some(Err(error)) => Err(error),
            Some(Ok(())) => Err(RequestError::Malformed),
            None if seen.len() == limits.head() => Err(RequestError::HeadTooLarge),
            None => Ok(Parsed::Partial),
        };
    };
    match read(&seen[start..start + length], limits, scheme) {
        Ok(head) => Ok(Parsed::Complete {
            head,
            consumed: start + length,
        }),
        // A rule broken by the bytes alone comes first, because it would have been found before the head was whole.
        Err(error) => Err(diagnose(seen, limits).and_then(Result::err).unwrap_or(error)),
    }
}

/// Reads a whole head.
fn read(head: &[u8], limits: &Limits, scheme: Scheme) -> Result<Request, RequestError> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut storage[..limits.fields()]) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Err(RequestError::Malformed),
    }
    let (Some(method), Some(raw), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(RequestError::Malformed);
    };
    if method.len() > MAX_METHOD {
        return Err(RequestError::MethodTooLong);
    }
    if raw.len() > limits.target {
        return Err(RequestError::TargetTooLong);
    }
    let http10 = minor == 0;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Method)?;
    if method == Method::CONNECT {
        return Err(RequestError::Connect);
    }
    // A field takes no more room in the block than on the wire, but for one byte that the request line makes up for.
    let mut fields = Fields::with_capacity(head.len());
    let hop = Hop::read(parsed.headers, &mut fields)?;
    let target = target(raw.as_bytes(), &method, &hop, http10)?;
    let framing = hop.framing()?;
    if http10 && framing == Framing::Chunked {
        return Err(RequestError::CodingInOld);
    }
    let (framing, length) = match framing {
        Framing::None => (BodyFraming::Empty, Length::Empty),
        Framing::Length(0) => (BodyFraming::Empty, Length::Exactly(0)),
        Framing::Length(length) => (BodyFraming::Length(length), Length::Exactly(length)),
        Framing::Chunked => (BodyFraming::Chunked, Length::Streamed),
    };
    let upgrade = if hop.wants_websocket() && !http10 {
        if method != Method::GET || length != Length::Empty {
            return Err(RequestError::Handshake(HandshakeError::Request));
        }
        Some(handshake::accept_request(
            hop.key.value(),
            hop.version.value(),
            &fields,
        )?)
    } else {
        if hop.offers {
            fields.remove(name::SEC_WEBSOCKET_PROTOCOL);
            fields.remove(name::SEC_WEBSOCKET_EXTENSIONS);
        }
        None
    };
    let hold = expects(&hop, http10)? && framing != BodyFraming::Empty;
    let timeout = match hop.timeout {
        Times::Never => None,
        Times::Once(value) => Some(deadline::parse(value).map_err(|_| RequestError::Timeout)?),
        Times::Often => return Err(RequestError::Timeout),
    };
    Ok(Request {
        head: CallHead {
            protocol: match upgrade {
                Some(_) => Protocol::WebSocket,
                None => Protocol::Http,
            },
            method,
            scheme,
            target,
            fields,
            length,
            hold,
        },
        framing,
        keep_alive: !hop.close && (!http10 || hop.keep_alive),
        http10,
        upgrade,
        trailers: hop.trailers,
        timeout,
    })
}

/// RFC 9110, section 10.1.1: HTTP/1.0 has no expectations, and there is only one to have.
fn expects(hop: &Hop<'_>, http10: bool) -> Result<bool, RequestError> {
    match hop.expect {
        Expect::Continue if !http10 => Ok(true),
        Expect::Other if !http10 => Err(RequestError::Expectation),
        _ => Ok(false),
    }
}

/// The target in one of its three forms (RFC 9112, section 3.2), with `host` moved into it.
fn target(raw: &[u8], method: &Method, hop: &Hop<'_>, http10: bool) -> Result<Target, RequestError> {
    let host = match hop.host {
        Times::Never if http10 => Authority::default(),
        Times::Never => return Err(RequestError::HostMissing),
        Times::Once(host) => Authority::parse(host).map_err(|_| RequestError::Host)?,
        Times::Often => return Err(RequestError::HostRepeated),
    };
    match raw.first() {
        Some(b'/') => Target::parse(host, raw).map_err(RequestError::Target),
        Some(b'*') if raw.len() == 1 && *method == Method::OPTIONS => {
            Target::parse(host, raw).map_err(RequestError::Target)
        }
        _ => absolute(raw, method, host),
    }
}

/// Absolute-form. Its authority and `host` must agree, where RFC 9112, section 3.2.2, would let the first win: what is
/// behind us might see it the other way.
fn absolute(raw: &[u8], method: &Method, host: Authority) -> Result<Target, RequestError> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = raw.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })
        .ok_or(RequestError::Target(TargetError::Form))?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = Authority::parse(authority).map_err(RequestError::Target)?;
    if !host.is_empty() && host != authority {
        return Err(RequestError::Target(TargetError::Mismatch));
    }
    let parsed = match path.first() {
        Some(b'/') => Target::parse(authority, path),
        // RFC 9112, section 3.2.4.
        None if *method == Method::OPTIONS => Target::parse(authority, b"*"),
        _ => {
            let mut rooted = Vec::with_capacity(path.len() + 1);
            rooted.push(b'/');
            rooted.extend_from_slice(path);
            Target::parse(authority, &rooted)
        }
    };
    parsed.map_err(RequestError::Target)
}

/// Names the first rule that the bytes break; `None` while the head is incomplete and nothing is wrong.
fn diagnose(seen: &[u8], limits: &Limits) -> Option<Result<(), RequestError>> {
    let mut cursor = Cursor::new(seen);
    if cursor.peek()? == b'\r' {
        cursor.next();
        if let Err(error) = cursor.line_feed()? {
            return Some(Err(error.into()));
        }
        if cursor.peek()? == b'\r' {
            return Some(Err(RequestError::EmptyLines));
        }
    }
    if let Err(error) = request_line(&mut cursor, limits)? {
        return Some(Err(error));
    }
    Some(cursor.fields(limits.fields())?.map_err(RequestError::Line))
}

fn request_line(cursor: &mut Cursor<'_>, limits: &Limits) -> Option<Result<(), RequestError>> {
    let start = cursor.position();
    loop {
        let length = cursor.position() - start;
        match cursor.next()? {
            b' ' if length > 0 => break,
            byte if is_token(byte) && length < MAX_METHOD => {}
            byte if is_token(byte) => return Some(Err(RequestError::MethodTooLong)),
            byte => return Some(Err(illegal(byte, RequestError::Method))),
        }
    }
    let start = cursor.position();
    loop {
        let length = cursor.position() - start;
        match cursor.next()? {
            b' ' if length > 0 => break,
            0x21..=0x7e if length < limits.target => {}
            0x21..=0x7e => return Some(Err(RequestError::TargetTooLong)),
            0x80.. => return Some(Err(RequestError::Target(TargetError::Character))),
            byte => return Some(Err(illegal(byte, RequestError::RequestLine))),
        }
    }
    match cursor.version()? {
        Ok(()) => {}
        Err(VersionError::Other) => return Some(Err(RequestError::Version)),
        Err(VersionError::Syntax(byte)) => return Some(Err(illegal(byte, RequestError::RequestLine))),
    }
    match cursor.next()? {
        b'\r' => Some(cursor.line_feed()?.map_err(RequestError::Line)),
        byte => Some(Err(illegal(byte, RequestError::RequestLine))),
    }
}

/// What a byte that does not belong in a request line is called.
fn illegal(byte: u8, otherwise: RequestError) -> RequestError {
    match byte {
        0 => RequestError::Line(LineError::Nul),
        b'\n' => RequestError::Line(LineError::BareLf),
        _ => otherwise,
    }
}
