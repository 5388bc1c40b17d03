//! The head of a client's request (RFC 9112, section 3).

use std::mem::MaybeUninit;
use std::time::Duration;

use http::{Method, StatusCode};

use super::framing::{Framing, FramingError, Hop};
use super::lines::{self, Cursor, LineError, VersionError};
use super::{Limits, MAX_FIELDS, Parsed};
use crate::call::{CallHead, Length, Protocol, Scheme};
use crate::deadline;
use crate::fields::{FieldError, Fields, is_token};
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

/// Why a request was refused. The connection cannot be used any more: answer with [`status`](Self::status) and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A line of the head breaks a rule of RFC 9112, sections 2.2 and 5.
    #[error("malformed request head: {0}")]
    Line(LineError),
    /// More than one empty line before the request line (RFC 9112, section 2.2).
    #[error("more than one empty line before the request line")]
    EmptyLines,
    /// Not method, space, target, space, version (RFC 9112, section 3).
    #[error("malformed request line")]
    RequestLine,
    /// The method is no token.
    #[error("request method is not a token")]
    Method,
    /// The method is longer than 32 bytes.
    #[error("request method is longer than 32 bytes")]
    MethodTooLong,
    /// CONNECT, which this gateway does not serve over HTTP/1.1.
    #[error("CONNECT is not served")]
    Connect,
    /// The target, or an absolute target beside its `host`.
    #[error("{0}")]
    Target(TargetError),
    /// The target is over its limit.
    #[error("request target is too long")]
    TargetTooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("HTTP version is not 1.0 or 1.1")]
    Version,
    /// The head is over its limit.
    #[error("request head is too large")]
    HeadTooLarge,
    /// HTTP/1.1 without `host`.
    #[error("host is missing")]
    HostMissing,
    /// More than one `host`.
    #[error("host is given more than once")]
    HostRepeated,
    /// `host` is not a host with an optional port.
    #[error("host is not a host with an optional port")]
    Host,
    /// `content-length` beside `transfer-encoding` (RFC 9112, section 6.1).
    #[error("both content-length and transfer-encoding")]
    LengthAndCoding,
    /// More than one `content-length`, even if they agree.
    #[error("content-length is given more than once")]
    LengthRepeated,
    /// `content-length` is not a plain decimal number below 10^19.
    #[error("content-length is not a decimal number")]
    Length,
    /// More than one `transfer-encoding`.
    #[error("transfer-encoding is given more than once")]
    CodingRepeated,
    /// `transfer-encoding` is malformed, or `chunked` is not its last element.
    #[error("malformed transfer-encoding")]
    Coding,
    /// A transfer coding other than `chunked`.
    #[error("transfer-encoding other than chunked")]
    CodingUnknown,
    /// `transfer-encoding` in HTTP/1.0 (RFC 9112, section 6.1).
    #[error("transfer-encoding in HTTP/1.0")]
    CodingInOld,
    /// `connection` is not a list of tokens.
    #[error("malformed connection field")]
    Connection,
    /// `connection` names a field that is not the client's to remove.
    #[error("connection names a reserved field")]
    Reserved,
    /// `expect` other than `100-continue` (RFC 9110, section 10.1.1).
    #[error("expectation other than 100-continue")]
    Expectation,
    /// `grpc-timeout` is malformed.
    #[error("malformed grpc-timeout")]
    Timeout,
    /// A malformed WebSocket handshake.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The head parser refused what no rule above names.
    #[error("malformed request head")]
    Malformed,
}

impl RequestError {
    /// What the client is told.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Line(LineError::TooManyFields) | Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::MethodTooLong | Self::Connect | Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Handshake(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Line(error) => error.label(),
            Self::EmptyLines => "empty_lines",
            Self::RequestLine => "request_line",
            Self::Method => "method",
            Self::MethodTooLong => "method_too_long",
            Self::Connect => "connect",
            Self::Target(TargetError::Mismatch) => "host_mismatch",
            Self::Target(_) => "target",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version",
            Self::HeadTooLarge => "head_too_large",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::Host => "host",
            Self::LengthAndCoding => "length_and_coding",
            Self::LengthRepeated => "length_repeated",
            Self::Length => "length",
            Self::CodingRepeated => "coding_repeated",
            Self::Coding => "coding",
            Self::CodingUnknown => "coding_unknown",
            Self::CodingInOld => "coding_in_http10",
            Self::Connection => "connection",
            Self::Reserved => "connection_reserved",
            Self::Expectation => "expectation",
            Self::Timeout => "grpc_timeout",
            Self::Handshake(error) => error.label(),
            Self::Malformed => "malformed",
        }
    }
}

impl From<LineError> for RequestError {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

impl From<FramingError> for RequestError {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::LengthAndCoding => Self::LengthAndCoding,
            FramingError::LengthRepeated => Self::LengthRepeated,
            FramingError::Length => Self::Length,
            FramingError::CodingRepeated => Self::CodingRepeated,
            FramingError::Coding => Self::Coding,
            FramingError::CodingUnknown => Self::CodingUnknown,
            FramingError::Reserved => Self::Reserved,
            FramingError::Connection => Self::Connection,
            FramingError::Field(FieldError::Name) => Self::Line(LineError::Name),
            FramingError::Field(_) => Self::Line(LineError::Value),
        }
    }
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
            one(hop.key, hop.keys),
            one(hop.version, hop.versions),
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
        Some(value) => Some(deadline::parse(value).map_err(|_| RequestError::Timeout)?),
        None => None,
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

impl From<HandshakeError> for RequestError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

/// The value of a field that came exactly once.
fn one(value: Option<&[u8]>, count: usize) -> Option<&[u8]> {
    value.filter(|_| count == 1)
}

/// RFC 9110, section 10.1.1: HTTP/1.0 has no expectations, and there is only one to have.
fn expects(hop: &Hop<'_>, http10: bool) -> Result<bool, RequestError> {
    match hop.expect {
        Some(value) if !http10 => {
            if value.eq_ignore_ascii_case(b"100-continue") {
                Ok(true)
            } else {
                Err(RequestError::Expectation)
            }
        }
        _ => Ok(false),
    }
}

/// The target in one of its three forms (RFC 9112, section 3.2), with `host` moved into it.
fn target(raw: &[u8], method: &Method, hop: &Hop<'_>, http10: bool) -> Result<Target, RequestError> {
    let host = match (hop.host, hop.hosts) {
        (None, _) if http10 => Authority::default(),
        (None, _) => return Err(RequestError::HostMissing),
        (Some(host), 1) => Authority::parse(host).map_err(|_| RequestError::Host)?,
        (Some(_), _) => return Err(RequestError::HostRepeated),
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
