//! Heads between HTTP/2 and the gateway's own form.

use causeway_protocols::http1::names;
use causeway_protocols::{
    Authority, CallHead, FailureKind, Field, FieldError, FieldName, Fields, Length, Protocol, ReplyHead, Scheme,
    Target, TargetError, deadline, name,
};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use std::time::Duration;

/// Cookies of one request; browsers keep at most 180 for a site, and send each in a field of its own.
const MAX_COOKIES: usize = 200;
/// Longest method.
const MAX_METHOD: usize = 32;

/// Why a head was refused: a client gets a reply that says this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Too many fields.
    #[error("more fields than the limit")]
    TooManyFields,
    /// The target is too long.
    #[error("request target is longer than the limit")]
    TargetTooLong,
    /// A field is malformed.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Path or authority are malformed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No authority, and no `host`.
    #[error("neither :authority nor host")]
    NoAuthority,
    /// More than one `host`.
    #[error("more than one host")]
    SeveralHosts,
    /// The method is too long.
    #[error("method is longer than 32 bytes")]
    MethodTooLong,
    /// `*` with another method than OPTIONS.
    #[error("`*` is for OPTIONS only")]
    Asterisk,
    /// CONNECT without `:protocol`.
    #[error("CONNECT is for WebSockets only")]
    Connect,
    /// CONNECT with a `:protocol` other than `websocket`.
    #[error("the only :protocol is websocket")]
    UnknownProtocol,
    /// A WebSocket where the listener takes none.
    #[error("WebSockets are not taken here")]
    NoWebSocket,
    /// `content-length` is no number, or there are several.
    #[error("content-length is malformed")]
    ContentLength,
    /// The message ends with its head, and `content-length` promises more.
    #[error("body is shorter than its content-length")]
    NoBody,
    /// `grpc-timeout` is malformed.
    #[error(transparent)]
    Timeout(#[from] deadline::MalformedTimeout),
    /// gRPC by another method than POST.
    #[error("gRPC calls are made by POST")]
    GrpcMethod,
    /// `sec-websocket-version` is not 13.
    #[error("the version of WebSocket is 13")]
    WebSocketVersion,
}

impl HeadError {
    /// What the failure counts as, and the status of the reply over HTTP.
    pub fn failure(&self) -> (FailureKind, StatusCode) {
        match self {
            Self::TooManyFields => (FailureKind::BadRequest, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::TargetTooLong => (FailureKind::BadRequest, StatusCode::URI_TOO_LONG),
            Self::MethodTooLong | Self::UnknownProtocol => (FailureKind::BadRequest, StatusCode::NOT_IMPLEMENTED),
            Self::NoWebSocket => (FailureKind::Refused, StatusCode::FORBIDDEN),
            _ => (FailureKind::BadRequest, StatusCode::BAD_REQUEST),
        }
    }
}

/// A request's head, and what it says about its stream.
#[derive(Debug)]
pub struct Head {
    /// The call.
    pub call: CallHead,
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
}

/// Limits of a head beyond those that `h2` keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of fields.
    pub fields: usize,
    /// Bytes of the target.
    pub target: usize,
    /// Whether the listener takes WebSockets.
    pub websocket: bool,
}

/// Reads the head of a request. `ended`: no body follows.
///
/// # Errors
/// See [`HeadError`].
pub fn request(parts: &http::request::Parts, scheme: Scheme, ended: bool, limits: Limits) -> Result<Head, HeadError> {
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if path.len() > limits.target {
        return Err(HeadError::TargetTooLong);
    }
    // Counted before anything is copied: a table of references makes many fields of few bytes (HPACK bomb).
    let cookies = parts.headers.get_all(http::header::COOKIE).iter().count();
    if parts.headers.len() - cookies + cookies.min(1) > limits.fields || cookies > MAX_COOKIES {
        return Err(HeadError::TooManyFields);
    }
    if parts.method.as_str().len() > MAX_METHOD {
        return Err(HeadError::MethodTooLong);
    }
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(HeadError::Asterisk);
    }
    let mut fields = fields(&parts.headers)?;
    let authority = authority(&parts.uri, &fields)?;
    let target = Target::parse(authority, path.as_bytes())?;
    let timeout = fields.get(name::GRPC_TIMEOUT).map(deadline::parse).transpose()?;
    let promised = content_length(&fields)?;
    let protocol = protocol(parts, &fields, limits.websocket)?;
    let method = if protocol == Protocol::WebSocket {
        Method::GET
    } else {
        parts.method.clone()
    };
    let length = match (ended, promised) {
        _ if protocol == Protocol::WebSocket => Length::Streamed,
        (true, None | Some(0)) => Length::Empty,
        (true, Some(_)) => return Err(HeadError::NoBody),
        (false, Some(length)) => Length::Exactly(length),
        (false, None) => Length::Streamed,
    };
    strip_hop(&mut fields);
    Ok(Head {
        call: CallHead {
            protocol,
            method,
            scheme,
            target,
            fields,
            length,
            hold: false,
        },
        timeout,
    })
}

fn protocol(parts: &http::request::Parts, fields: &Fields, websocket: bool) -> Result<Protocol, HeadError> {
    if parts.method == Method::CONNECT {
        match parts.extensions.get::<h2::ext::Protocol>() {
            None => return Err(HeadError::Connect),
            Some(protocol) if protocol.as_str() != "websocket" => return Err(HeadError::UnknownProtocol),
            Some(_) if !websocket => return Err(HeadError::NoWebSocket),
            Some(_) => {}
        }
        if fields
            .get(name::SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version != b"13")
        {
            return Err(HeadError::WebSocketVersion);
        }
        return Ok(Protocol::WebSocket);
    }
    if is_grpc(fields) {
        return if parts.method == Method::POST {
            Ok(Protocol::Grpc)
        } else {
            Err(HeadError::GrpcMethod)
        };
    }
    Ok(Protocol::Http)
}

/// `application/grpc`, `application/grpc+proto`, but not `application/grpc-web`.
fn is_grpc(fields: &Fields) -> bool {
    fields.get(name::CONTENT_TYPE).is_some_and(is_grpc_value)
}

fn is_grpc_value(kind: &[u8]) -> bool {
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a request that is refused was made by a gRPC client.
pub fn is_grpc_type(map: &HeaderMap) -> bool {
    map.get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| is_grpc_value(kind.as_bytes()))
}

fn authority(uri: &Uri, fields: &Fields) -> Result<Authority, HeadError> {
    let mut hosts = fields.all(name::HOST);
    let host = hosts.next().map(Authority::parse).transpose()?;
    if hosts.next().is_some() {
        return Err(HeadError::SeveralHosts);
    }
    let stated = uri
        .authority()
        .map(|stated| Authority::parse(stated.as_str().as_bytes()))
        .transpose()?;
    match (stated, host) {
        (Some(stated), Some(host)) if stated != host => Err(TargetError::Mismatch.into()),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(HeadError::NoAuthority),
    }
}

fn content_length(fields: &Fields) -> Result<Option<u64>, HeadError> {
    let mut values = fields.all(name::CONTENT_LENGTH);
    let Some(value) = values.next() else { return Ok(None) };
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if values.next().is_some() || !digits {
        return Err(HeadError::ContentLength);
    }
    let text = std::str::from_utf8(value).map_err(|_| HeadError::ContentLength)?;
    text.parse().map(Some).map_err(|_| HeadError::ContentLength)
}

/// What describes one hop, and is made anew for the next.
fn is_of_hop(field: &Field<'_>) -> bool {
    match field.name {
        FieldName::Known(id) => [
            name::HOST,
            name::CONTENT_LENGTH,
            name::TE,
            name::TRAILER,
            name::EXPECT,
            name::GRPC_TIMEOUT,
            name::SEC_WEBSOCKET_KEY,
            name::SEC_WEBSOCKET_VERSION,
            name::SEC_WEBSOCKET_ACCEPT,
            name::CONNECTION,
            name::KEEP_ALIVE,
            name::PROXY_CONNECTION,
            name::TRANSFER_ENCODING,
            name::UPGRADE,
        ]
        .contains(&id),
        // Servers that turn `-` into `_` take the one for the other.
        FieldName::Other(text) => names::is_twin(text.as_bytes()),
    }
}

fn strip_hop(fields: &mut Fields) {
    if fields.iter().any(|field| is_of_hop(&field)) {
        fields.retain(|field| !is_of_hop(&field));
    }
}

/// Takes trailers over, but for those that would frame, route or authenticate a message whose head is long gone.
///
/// # Errors
/// When one holds what could end it in another protocol.
pub fn trailers(map: &HeaderMap) -> Result<Fields, FieldError> {
    let mut trailers = fields(map)?;
    let forbidden = |field: &Field<'_>| names::is_forbidden_trailer(field.name.as_str().as_bytes());
    if trailers.iter().any(|field| forbidden(&field)) {
        trailers.retain(|field| !forbidden(&field));
    }
    Ok(trailers)
}

/// Takes fields over. Cookies that came in several fields are one again (RFC 9113, section 8.2.3).
///
/// # Errors
/// When one holds what could end it in another protocol.
pub fn fields(map: &HeaderMap) -> Result<Fields, FieldError> {
    let mut fields = Fields::with_capacity(map.len() * 32);
    let mut cookies = map.get_all(http::header::COOKIE).iter();
    let crumbs = cookies.next().is_some() && cookies.next().is_some();
    for (name, value) in map {
        if crumbs && name == http::header::COOKIE {
            continue;
        }
        fields.push(name.as_str().as_bytes(), value.as_bytes())?;
    }
    if crumbs {
        let all: Vec<_> = map
            .get_all(http::header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        fields.push_known(name::COOKIE, &all.join(&b"; "[..]))?;
    }
    Ok(fields)
}

/// Fields as `h2` wants them: without those of one hop, for which it would refuse the whole head.
pub fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 4);
    for field in fields {
        if matches!(field.name, FieldName::Known(_)) && is_of_hop(&field) {
            continue;
        }
        // Fields hold only what is legal here, too; a name that `http` does not take is not sent on.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_str().as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) {
            map.append(name, value);
        }
    }
    map
}

/// The head of a request to a backend; none when the target cannot be told in HTTP/2.
pub fn to_backend(
    call: &CallHead,
    host: Option<&Authority>,
    tls: bool,
    left: Option<Duration>,
) -> Result<Request<()>, http::Error> {
    let authority = host.unwrap_or(&call.target.authority).as_str();
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(if authority.is_empty() { "localhost" } else { authority })
        .path_and_query(call.target.path_and_query())
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let mut headers = header_map(&call.fields);
    if let Length::Exactly(length) = call.length {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    if call.protocol == Protocol::Grpc {
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        if let Some(left) = left {
            headers.insert(
                HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_str(&deadline::format(left))?,
            );
        }
    }
    if call.protocol == Protocol::WebSocket {
        *request.method_mut() = Method::CONNECT;
        request
            .extensions_mut()
            .insert(h2::ext::Protocol::from_static("websocket"));
        headers.insert(
            HeaderName::from_static("sec-websocket-version"),
            HeaderValue::from_static("13"),
        );
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// Reads the head of a backend's reply to a request of this method. `ended`: no body follows.
///
/// # Errors
/// See [`HeadError`].
pub fn from_backend(
    parts: &http::response::Parts,
    ended: bool,
    method: &Method,
    websocket: bool,
) -> Result<ReplyHead, HeadError> {
    let mut fields = fields(&parts.headers)?;
    let promised = content_length(&fields)?;
    strip_hop(&mut fields);
    let bodiless = *method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
    let length = match (ended, promised) {
        (true, Some(length)) if length > 0 && !bodiless => return Err(HeadError::NoBody),
        (_, Some(length)) => Length::Exactly(length),
        (true, None) => Length::Empty,
        (false, None) => Length::Streamed,
    };
    let let_in = websocket && parts.status == StatusCode::OK;
    let status = if let_in {
        StatusCode::SWITCHING_PROTOCOLS
    } else {
        parts.status
    };
    Ok(ReplyHead {
        status,
        fields,
        length: if let_in { Length::Streamed } else { length },
    })
}

/// The head of a reply to a client.
pub fn to_client(head: &ReplyHead) -> Response<()> {
    let mut response = Response::new(());
    *response.version_mut() = Version::HTTP_2;
    *response.status_mut() = match head.status {
        StatusCode::SWITCHING_PROTOCOLS => StatusCode::OK,
        status => status,
    };
    let mut headers = header_map(&head.fields);
    // RFC 9110, section 8.6.
    if let Length::Exactly(length) = head.length
        && head.status != StatusCode::NO_CONTENT
    {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    *response.headers_mut() = headers;
    response
}
