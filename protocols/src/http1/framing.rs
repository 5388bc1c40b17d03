//! How a body is framed, and what `Connection` says: read alike in requests and responses.

use super::names;
use crate::fields::{FieldError, Fields, is_token};
use crate::name::{self, NameId};

/// Why the framing of a message was refused. What two recipients could read differently is never mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramingError {
    LengthAndCoding,
    LengthRepeated,
    Length,
    CodingRepeated,
    Coding,
    CodingUnknown,
    Reserved,
    Connection,
    Field(FieldError),
}

/// A field that may come once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Times<'a> {
    #[default]
    Never,
    Once(&'a [u8]),
    Often,
}

impl<'a> Times<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Never => Self::Once(value),
            Self::Once(_) | Self::Often => Self::Often,
        };
    }

    /// The value of a field that came exactly once.
    pub(super) fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Once(value) => Some(value),
            Self::Never | Self::Often => None,
        }
    }
}

/// What `expect` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expect {
    #[default]
    Nothing,
    Continue,
    Other,
}

/// The fields that describe one hop, gathered while the others are copied.
#[derive(Default)]
pub(super) struct Hop<'a> {
    pub(super) host: Times<'a>,
    pub(super) key: Times<'a>,
    pub(super) version: Times<'a>,
    pub(super) accept: Times<'a>,
    pub(super) timeout: Times<'a>,
    pub(super) expect: Expect,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) trailers: bool,
    /// There are `sec-websocket-protocol` or `sec-websocket-extensions` among the fields.
    pub(super) offers: bool,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
    /// `connection` has `upgrade`.
    upgrade: bool,
    /// `connection` names end-to-end fields.
    listed: bool,
}

/// A body's framing as the fields say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl<'a> Hop<'a> {
    /// Sorts the fields of a head: what describes this hop is read, the rest is appended to `fields`.
    pub(super) fn read(headers: &[httparse::Header<'a>], fields: &mut Fields) -> Result<Self, FramingError> {
        let mut hop = Self::default();
        for header in headers {
            let name = header.name.as_bytes();
            match NameId::of(name) {
                Some(id) if names::is_hop(id) => hop.field(id, header.value)?,
                Some(id) => {
                    hop.offers |= id == name::SEC_WEBSOCKET_PROTOCOL || id == name::SEC_WEBSOCKET_EXTENSIONS;
                    fields.push_known(id, header.value).map_err(FramingError::Field)?;
                }
                None if names::is_twin(name) || name.eq_ignore_ascii_case(b"http2-settings") => {}
                None => fields.push(name, header.value).map_err(FramingError::Field)?,
            }
        }
        if hop.listed {
            remove_listed(headers, fields);
        }
        Ok(hop)
    }

    fn field(&mut self, id: NameId, value: &'a [u8]) -> Result<(), FramingError> {
        match id {
            name::HOST => self.host.add(value),
            name::CONTENT_LENGTH => {
                if self.length.is_some() {
                    return Err(FramingError::LengthRepeated);
                }
                self.length = Some(content_length(value).ok_or(FramingError::Length)?);
            }
            name::TRANSFER_ENCODING => {
                if self.chunked {
                    return Err(FramingError::CodingRepeated);
                }
                transfer_encoding(value)?;
                self.chunked = true;
            }
            name::CONNECTION => self.connection(value)?,
            name::EXPECT => {
                self.expect = match self.expect {
                    Expect::Nothing | Expect::Continue if value.eq_ignore_ascii_case(b"100-continue") => {
                        Expect::Continue
                    }
                    _ => Expect::Other,
                }
            }
            name::GRPC_TIMEOUT => self.timeout.add(value),
            name::TE => {
                self.trailers |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
            name::UPGRADE => {
                self.websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
            }
            name::SEC_WEBSOCKET_KEY => self.key.add(value),
            name::SEC_WEBSOCKET_VERSION => self.version.add(value),
            name::SEC_WEBSOCKET_ACCEPT => self.accept.add(value),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9110, section 7.6.1. Empty elements are let through, as section 5.6.1 asks.
    fn connection(&mut self, value: &[u8]) -> Result<(), FramingError> {
        for token in tokens(value) {
            if !token.iter().copied().all(is_token) {
                return Err(FramingError::Connection);
            }
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if names::is_reserved(token) {
                return Err(FramingError::Reserved);
            } else if NameId::of(token).is_none_or(|id| !names::is_hop(id)) {
                self.listed = true;
            }
        }
        Ok(())
    }

    /// The framing that the fields ask for; both kinds at once are refused (RFC 9112, section 6.1).
    pub(super) fn framing(&self) -> Result<Framing, FramingError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FramingError::LengthAndCoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }

    /// Whether `upgrade: websocket` is meant for this hop.
    pub(super) fn wants_websocket(&self) -> bool {
        self.websocket && self.upgrade
    }
}

/// Removes the end-to-end fields that `Connection` names. Rare, so it reads the headers once more.
fn remove_listed(headers: &[httparse::Header<'_>], fields: &mut Fields) {
    let listed = || {
        headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("connection"))
            .flat_map(|header| tokens(header.value))
    };
    fields.retain(|field| !listed().any(|token| token.eq_ignore_ascii_case(field.name.as_str().as_bytes())));
}

/// The elements of a comma-separated list, without the empty ones.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|token| !token.is_empty())
}

/// Without spaces and tabs around it (RFC 9110, section 5.6.3).
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let Some(start) = value.iter().position(|byte| !space(byte)) else {
        return &[];
    };
    let end = value.iter().rposition(|byte| !space(byte)).map_or(start, |at| at + 1);
    &value[start..end]
}

/// `1*DIGIT`, and nothing else: no sign, no list, no other base (RFC 9110, section 8.6).
fn content_length(value: &[u8]) -> Option<u64> {
    let value = trim(value);
    // Nineteen digits fit in a u64 whatever they are.
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| {
        byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0'))
    })
}

/// Only `chunked` is taken (RFC 9112, section 6.1). Other well-formed lists that end in it, or do not name it, ask for
/// what is not implemented; all else is a disguise.
fn transfer_encoding(value: &[u8]) -> Result<(), FramingError> {
    let value = trim(value);
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.split(|byte| *byte == b',').map(trim).peekable();
    while let Some(coding) = codings.next() {
        let last = codings.peek().is_none();
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        if coding.is_empty() || !coding.iter().copied().all(is_token) || (chunked && !last) {
            return Err(FramingError::Coding);
        }
    }
    Err(FramingError::CodingUnknown)
}
