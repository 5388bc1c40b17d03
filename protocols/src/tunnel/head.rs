//! The payload of HEAD: everything that opens a call, in one frame.
//!
//! ```text
//! encoding u8 = 0 | (key u8, length u16, value)* | 0 | field block
//! ```
//!
//! The field block is that of [`Fields`], so a head crosses without being encoded anew.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use http::Method;

use super::frame::{IGNORABLE, MAX_FIELDS, MAX_HEAD, TooLarge};
use super::reader::{Reader, is_name, name};
use crate::call::{CallHead, Length, Protocol, Scheme};
use crate::fields::{FieldError, FieldName, Fields};
use crate::name::{self as names, NameId};
use crate::target::{Authority, Target, TargetError};

/// Fields are coded against the static table of [`crate::name`].
pub(super) const STATIC_TABLE: u8 = 0;
/// Most bytes of a caller.
pub const MAX_CALLER: usize = 4 * 1024;
/// Most sites that a call may have visited.
pub const MAX_VISITED: usize = 16;
/// Most bytes of a request id.
pub const MAX_REQUEST_ID: usize = 128;

mod key {
    pub(super) const ATTEMPTS: u8 = 8;
    pub(super) const AUTHORITY: u8 = 4;
    pub(super) const CALLER: u8 = 10;
    pub(super) const END: u8 = 0;
    pub(super) const EXPORT: u8 = 6;
    pub(super) const LEFT: u8 = 7;
    pub(super) const LENGTH: u8 = 14;
    pub(super) const METHOD: u8 = 2;
    pub(super) const PATH: u8 = 5;
    pub(super) const PROTOCOL: u8 = 1;
    pub(super) const REQUEST_ID: u8 = 12;
    pub(super) const SCHEME: u8 = 3;
    pub(super) const TRACE: u8 = 11;
    pub(super) const URGENCY: u8 = 13;
    pub(super) const VISITED: u8 = 9;
}

/// What opens a call at the other site.
#[derive(Clone, Debug)]
pub struct OpenHead {
    /// The call. `hold` crosses as a flag of the frame, not in the payload.
    pub call: CallHead,
    /// The export that is asked for; it alone is the route at the other site.
    pub export: String,
    /// Time left; whole microseconds on the wire, rounded down.
    pub left: Option<Duration>,
    /// Attempts that may still be made, this one included.
    pub attempts: u8,
    /// Sites that the call has been at, first to last.
    pub visited: Vec<String>,
    /// The original caller, as `federation` writes it; at most [`MAX_CALLER`] bytes.
    pub caller: Option<Vec<u8>>,
    /// The span that the other site's span is a child of.
    pub trace: Option<TraceParent>,
    /// The id that both sites log: 1 to [`MAX_REQUEST_ID`] visible ASCII characters. Any other does not cross.
    pub request_id: Option<String>,
    /// 0 (most urgent) to 7 (RFC 9218, section 4.1).
    pub urgency: Option<u8>,
}

/// The head of a call that is to be opened: an [`OpenHead`] that borrows, so that nothing of the call is copied but onto the wire.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// See [`OpenHead::call`].
    pub call: &'a CallHead,
    /// See [`OpenHead::export`].
    pub export: &'a str,
    /// See [`OpenHead::left`].
    pub left: Option<Duration>,
    /// See [`OpenHead::attempts`].
    pub attempts: u8,
    /// Sites that the call has been at before this one.
    pub visited: &'a [String],
    /// The site that it is at now; none where `visited` has it.
    pub here: Option<&'a str>,
    /// See [`OpenHead::caller`].
    pub caller: Option<&'a [u8]>,
    /// See [`OpenHead::trace`].
    pub trace: Option<TraceParent>,
    /// See [`OpenHead::request_id`].
    pub request_id: Option<&'a str>,
    /// See [`OpenHead::urgency`].
    pub urgency: Option<u8>,
}

impl<'a> From<&'a OpenHead> for Opening<'a> {
    fn from(head: &'a OpenHead) -> Self {
        Self {
            call: &head.call,
            export: &head.export,
            left: head.left,
            attempts: head.attempts,
            visited: &head.visited,
            here: None,
            caller: head.caller.as_deref(),
            trace: head.trace,
            request_id: head.request_id.as_deref(),
            urgency: head.urgency,
        }
    }
}

impl Opening<'_> {
    /// The same, for as long as one likes.
    pub fn to_owned(&self) -> OpenHead {
        OpenHead {
            call: self.call.clone(),
            export: self.export.to_owned(),
            left: self.left,
            attempts: self.attempts,
            visited: self.sites().map(str::to_owned).collect(),
            caller: self.caller.map(<[u8]>::to_vec),
            trace: self.trace,
            request_id: self.request_id.map(str::to_owned),
            urgency: self.urgency,
        }
    }

    /// Every site that the call has been at.
    fn sites(&self) -> impl Iterator<Item = &str> {
        self.visited.iter().map(String::as_str).chain(self.here)
    }
}

/// A `traceparent` (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; 55]);

impl TraceParent {
    /// Parses `version-trace-parent-flags` in lower-case hexadecimal; ids of zeros and version `ff` are refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes: [u8; 55] = text.try_into().ok()?;
        let legal = bytes.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        let zeros = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == b'0');
        (legal && !bytes.starts_with(b"ff") && !zeros(3..35) && !zeros(36..52)).then_some(Self(bytes))
    }

    /// As it goes into a header field.
    pub fn as_str(&self) -> &str {
        // Only parse makes one, from ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a head was refused. The call is reset with PROTOCOL; the tunnel lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The payload ends inside a value.
    #[error("head is cut short")]
    Short,
    /// Fields are coded in a way of a later version.
    #[error("field encoding {0} is unknown")]
    Encoding(u8),
    /// A key below 0x40 that this version does not know, so it must not be ignored.
    #[error("key {0:#04x} is unknown")]
    Key(u8),
    /// A value that the key does not have, or the key a second time.
    #[error("value of key {0:#04x} is malformed or repeated")]
    Value(u8),
    /// A key without which there is no call.
    #[error("key {0:#04x} is missing")]
    Missing(u8),
    /// The target is malformed.
    #[error("target is refused")]
    Target(#[from] TargetError),
    /// The target is not in its one normalised form, so the other side did not authorise what we would forward.
    #[error("target is not normalised")]
    NotNormalised,
    /// A field is malformed.
    #[error("field is refused")]
    Field(#[from] FieldError),
    /// More than [`MAX_FIELDS`] fields.
    #[error("more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// There is no body, and the head announces one.
    #[error("head announces a body that does not follow")]
    Body,
    /// A field that describes one hop, such as `transfer-encoding`, never crosses.
    #[error("a field of one hop was sent")]
    HopField,
}

/// Appends the payload of HEAD.
///
/// # Errors
/// [`TooLarge`] when there are too many fields or sites, a value is over its limit, or the export or a site is no name;
/// `out` then holds a part.
pub fn encode(head: &Opening<'_>, out: &mut BytesMut) -> Result<(), TooLarge> {
    let call = head.call;
    let target = call.target.path_and_query();
    let fields = call.fields.as_wire();
    if target.len() > MAX_HEAD
        || fields.len() > MAX_HEAD
        || call.fields.len() > MAX_FIELDS
        || head.sites().count() > MAX_VISITED
        || head.caller.is_some_and(|caller| caller.len() > MAX_CALLER)
        || !is_name(head.export.as_bytes())
        || head.sites().any(|site| !is_name(site.as_bytes()))
    {
        return Err(TooLarge);
    }
    out.reserve(256 + target.len() + fields.len());
    out.put_u8(STATIC_TABLE);
    let protocol = match call.protocol {
        Protocol::Http => 1,
        Protocol::Grpc => 2,
        Protocol::WebSocket => 3,
    };
    let scheme = match call.scheme {
        Scheme::Http => 1,
        Scheme::Https => 2,
    };
    tlv(out, key::PROTOCOL, &[protocol])?;
    tlv(out, key::METHOD, call.method.as_str().as_bytes())?;
    tlv(out, key::SCHEME, &[scheme])?;
    if !call.target.authority.is_empty() {
        tlv(out, key::AUTHORITY, call.target.authority.as_str().as_bytes())?;
    }
    tlv(out, key::PATH, target.as_bytes())?;
    tlv(out, key::EXPORT, head.export.as_bytes())?;
    if let Some(left) = head.left {
        let micros = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        tlv(out, key::LEFT, &micros.to_be_bytes())?;
    }
    tlv(out, key::ATTEMPTS, &[head.attempts])?;
    for site in head.sites() {
        tlv(out, key::VISITED, site.as_bytes())?;
    }
    if let Some(caller) = head.caller {
        tlv(out, key::CALLER, caller)?;
    }
    if let Some(trace) = &head.trace {
        tlv(out, key::TRACE, &trace.0)?;
    }
    if let Some(id) = head.request_id.filter(|id| is_request_id(id.as_bytes())) {
        tlv(out, key::REQUEST_ID, id.as_bytes())?;
    }
    if let Some(urgency) = head.urgency {
        tlv(out, key::URGENCY, &[urgency.min(7)])?;
    }
    match call.length {
        Length::Empty => tlv(out, key::LENGTH, &[])?,
        Length::Exactly(bytes) => tlv(out, key::LENGTH, &bytes.to_be_bytes())?,
        Length::Streamed => {}
    }
    out.put_u8(key::END);
    out.put_slice(fields);
    Ok(())
}

/// Reads the payload of HEAD. `hold` is not set: it is a flag of the frame.
///
/// # Errors
/// See [`HeadError`].
pub fn decode(payload: &[u8]) -> Result<OpenHead, HeadError> {
    let mut reader = Reader::new(payload);
    let encoding = reader.u8().ok_or(HeadError::Short)?;
    if encoding != STATIC_TABLE {
        return Err(HeadError::Encoding(encoding));
    }
    let mut parts = Parts::default();
    loop {
        let key = reader.u8().ok_or(HeadError::Short)?;
        if key == key::END {
            break;
        }
        let length = reader.u16().ok_or(HeadError::Short)?;
        let value = reader.take(usize::from(length)).ok_or(HeadError::Short)?;
        if key < IGNORABLE {
            parts.take(key, value)?;
        }
    }
    parts.finish(fields(reader.rest())?)
}

/// Reads a field block that came from a peer, and holds it to what may cross.
pub(super) fn fields(block: &[u8]) -> Result<Fields, HeadError> {
    let fields = Fields::from_wire(block)?;
    if fields.len() > MAX_FIELDS {
        return Err(HeadError::TooManyFields);
    }
    if fields
        .iter()
        .any(|field| matches!(field.name, FieldName::Known(id) if OF_ONE_HOP.contains(&id)))
    {
        return Err(HeadError::HopField);
    }
    Ok(fields)
}

/// What [`CallHead`] and `ReplyHead` never hold; a peer that sends it would frame a body behind our back. All of these
/// are in the static table, and a block that spells out a name of the table is refused.
const OF_ONE_HOP: [NameId; 11] = [
    names::CONNECTION,
    names::CONTENT_LENGTH,
    names::EXPECT,
    names::GRPC_TIMEOUT,
    names::HOST,
    names::KEEP_ALIVE,
    names::PROXY_CONNECTION,
    names::TE,
    names::TRAILER,
    names::TRANSFER_ENCODING,
    names::UPGRADE,
];

fn tlv(out: &mut BytesMut, key: u8, value: &[u8]) -> Result<(), TooLarge> {
    let length = u16::try_from(value.len()).map_err(|_| TooLarge)?;
    out.put_u8(key);
    out.put_u16(length);
    out.put_slice(value);
    Ok(())
}

fn is_request_id(text: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// The values met so far; those of text still in the payload.
#[derive(Default)]
struct Parts<'a> {
    protocol: Option<Protocol>,
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    export: Option<String>,
    left: Option<Duration>,
    attempts: Option<u8>,
    visited: Vec<String>,
    caller: Option<&'a [u8]>,
    trace: Option<TraceParent>,
    request_id: Option<String>,
    urgency: Option<u8>,
    length: Option<Length>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, key: u8, value: &'a [u8]) -> Result<(), HeadError> {
        let byte = || match value {
            [byte] => Some(*byte),
            _ => None,
        };
        let fresh = match key {
            key::PROTOCOL => {
                let protocol = byte().and_then(|byte| match byte {
                    1 => Some(Protocol::Http),
                    2 => Some(Protocol::Grpc),
                    3 => Some(Protocol::WebSocket),
                    _ => None,
                });
                once(&mut self.protocol, protocol)
            }
            key::METHOD => once(&mut self.method, Method::from_bytes(value).ok()),
            key::SCHEME => {
                let scheme = byte().and_then(|byte| match byte {
                    1 => Some(Scheme::Http),
                    2 => Some(Scheme::Https),
                    _ => None,
                });
                once(&mut self.scheme, scheme)
            }
            key::AUTHORITY => once(&mut self.authority, Some(value)),
            key::PATH => once(&mut self.path, Some(value)),
            key::EXPORT => once(&mut self.export, name(value)),
            key::LEFT => once(
                &mut self.left,
                value.try_into().ok().map(u64::from_be_bytes).map(Duration::from_micros),
            ),
            key::ATTEMPTS => once(&mut self.attempts, byte()),
            key::VISITED => match name(value) {
                Some(site) if self.visited.len() < MAX_VISITED => {
                    self.visited.push(site);
                    true
                }
                _ => false,
            },
            key::CALLER => once(&mut self.caller, (value.len() <= MAX_CALLER).then_some(value)),
            key::TRACE => once(&mut self.trace, TraceParent::parse(value)),
            key::REQUEST_ID => {
                let text = std::str::from_utf8(value).ok().filter(|_| is_request_id(value));
                once(&mut self.request_id, text.map(str::to_owned))
            }
            key::URGENCY => once(&mut self.urgency, byte().filter(|urgency| *urgency <= 7)),
            key::LENGTH => {
                let length = match value {
                    [] => Some(Length::Empty),
                    _ => value.try_into().ok().map(u64::from_be_bytes).map(Length::Exactly),
                };
                once(&mut self.length, length)
            }
            _ => return Err(HeadError::Key(key)),
        };
        if fresh { Ok(()) } else { Err(HeadError::Value(key)) }
    }

    fn finish(self, fields: Fields) -> Result<OpenHead, HeadError> {
        let authority = match self.authority {
            Some(raw) => {
                let authority = Authority::parse(raw)?;
                if authority.as_str().as_bytes() != raw {
                    return Err(HeadError::NotNormalised);
                }
                authority
            }
            None => Authority::default(),
        };
        let path = self.path.ok_or(HeadError::Missing(key::PATH))?;
        let target = Target::parse(authority, path)?;
        if target.path_and_query().as_bytes() != path {
            return Err(HeadError::NotNormalised);
        }
        Ok(OpenHead {
            call: CallHead {
                protocol: self.protocol.ok_or(HeadError::Missing(key::PROTOCOL))?,
                method: self.method.ok_or(HeadError::Missing(key::METHOD))?,
                scheme: self.scheme.ok_or(HeadError::Missing(key::SCHEME))?,
                target,
                fields,
                length: self.length.unwrap_or(Length::Streamed),
                hold: false,
            },
            export: self.export.ok_or(HeadError::Missing(key::EXPORT))?,
            left: self.left,
            attempts: self.attempts.ok_or(HeadError::Missing(key::ATTEMPTS))?,
            visited: self.visited,
            caller: self.caller.map(<[u8]>::to_vec),
            trace: self.trace,
            request_id: self.request_id,
            urgency: self.urgency,
        })
    }
}

/// Fills a slot; false when it was full or there is no value.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let fresh = slot.is_none() && value.is_some();
    *slot = value;
    fresh
}

#[cfg(test)]
pub(super) mod tests;
