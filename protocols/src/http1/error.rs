//! Why a head was refused: what the client is told, and the words for logs and metrics.

use http::StatusCode;

use super::framing::FramingError;
use super::lines::LineError;
use crate::fields::FieldError;
use crate::target::TargetError;
use crate::websocket::handshake::HandshakeError;

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

impl From<HandshakeError> for RequestError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

/// Why a response was refused. The connection cannot be used any more, and the client gets a 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// A line of the head breaks a rule of RFC 9112, sections 2.2 and 5.
    #[error("malformed response head: {0}")]
    Line(LineError),
    /// Not version, space, three digits, reason.
    #[error("malformed status line")]
    StatusLine,
    /// A status outside 100 to 599.
    #[error("status is not between 100 and 599")]
    Status,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("HTTP version is not 1.0 or 1.1")]
    Version,
    /// The head is over its limit.
    #[error("response head is too large")]
    HeadTooLarge,
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
    /// `connection` names a reserved field.
    #[error("connection names a reserved field")]
    Reserved,
    /// A 1xx or 204 that announces a body (RFC 9110, section 8.6; RFC 9112, section 6.1).
    #[error("a status without a body announces one")]
    BodyForbidden,
    /// 101 where no upgrade was asked for.
    #[error("unasked 101")]
    UnaskedUpgrade,
    /// A 101 that does not answer our handshake.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The head parser refused what no rule above names.
    #[error("malformed response head")]
    Malformed,
}

impl ResponseError {
    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Line(error) => error.label(),
            Self::StatusLine => "status_line",
            Self::Status => "status",
            Self::Version => "version",
            Self::HeadTooLarge => "head_too_large",
            Self::LengthAndCoding => "length_and_coding",
            Self::LengthRepeated => "length_repeated",
            Self::Length => "length",
            Self::CodingRepeated => "coding_repeated",
            Self::Coding => "coding",
            Self::CodingUnknown => "coding_unknown",
            Self::CodingInOld => "coding_in_http10",
            Self::Connection => "connection",
            Self::Reserved => "connection_reserved",
            Self::BodyForbidden => "body_forbidden",
            Self::UnaskedUpgrade => "unasked_upgrade",
            Self::Handshake(error) => error.label(),
            Self::Malformed => "malformed",
        }
    }
}

impl From<LineError> for ResponseError {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

impl From<FramingError> for ResponseError {
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
