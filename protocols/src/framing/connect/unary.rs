//! Where a unary call of Connect has its message, timeout and trailers: in the query of a GET, and in header fields.

use std::time::Duration;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::fields::Fields;
use crate::framing::compression::Compression;
use crate::message::{Kind, Message};

/// What stands before the names of trailers among the header fields.
const TRAILER: &str = "trailer-";

/// Messages in a query ("Unary-Get-Request"), padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A call in a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// The message as it came, perhaps compressed.
    pub message: Message,
    /// How it is compressed.
    pub compression: Compression,
}

/// Why a query is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// No `message`, or no `encoding`.
    #[error("query parameter `{0}` is missing")]
    Missing(&'static str),
    /// A value that has no meaning.
    #[error("query parameter `{0}` is malformed")]
    Malformed(&'static str),
    /// A parameter twice.
    #[error("query parameter `{0}` is there twice")]
    Twice(&'static str),
}

/// Reads the query of a GET: `connect=v1&encoding=json|proto&message=..&base64=1&compression=..`. Other parameters mean
/// nothing.
///
/// # Errors
/// See [`GetError`].
pub fn parse_get(query: &str) -> Result<Get, GetError> {
    const NAMES: [&str; 5] = ["connect", "encoding", "message", "base64", "compression"];
    let mut values: [Option<Vec<u8>>; 5] = Default::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = NAMES.iter().position(|known| *known == name) else {
            continue;
        };
        let value = percent_decode(value).ok_or(GetError::Malformed(NAMES[at]))?;
        if values[at].replace(value).is_some() {
            return Err(GetError::Twice(NAMES[at]));
        }
    }
    let [version, encoding, message, base64, compression] = values;
    if version.is_some_and(|version| version != b"v1") {
        return Err(GetError::Malformed("connect"));
    }
    let kind = match encoding.as_deref() {
        Some(b"json") => Kind::Text,
        Some(b"proto") => Kind::Binary,
        Some(_) => return Err(GetError::Malformed("encoding")),
        None => return Err(GetError::Missing("encoding")),
    };
    let message = message.ok_or(GetError::Missing("message"))?;
    let data = match base64.as_deref() {
        None | Some(b"0") => Bytes::from(message),
        Some(b"1") => BASE64
            .decode(&message)
            .map_err(|_| GetError::Malformed("message"))?
            .into(),
        Some(_) => return Err(GetError::Malformed("base64")),
    };
    let compression = match compression.as_deref() {
        None | Some(b"") => Compression::Identity,
        Some(name) => Compression::of_name(name).ok_or(GetError::Malformed("compression"))?,
    };
    Ok(Get {
        message: Message { kind, data },
        compression,
    })
}

/// A value of a query, where `+` is a space; none if an escape is none.
fn percent_decode(value: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

/// Reads `connect-timeout-ms`: one to ten digits. None for anything else.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || value.len() > 10 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_millis)
}

/// Appends trailers to the header fields of a unary reply, as `trailer-` fields.
pub fn trailers_to_fields(trailers: &Fields, fields: &mut Fields) {
    for field in trailers {
        let name = format!("{TRAILER}{}", field.name.as_str());
        // A name that is too long with the prefix is left out.
        fields.push(name.as_bytes(), field.value).ok();
    }
}

/// Takes the trailers out of the header fields of a unary reply.
pub fn trailers_from_fields(fields: &mut Fields) -> Fields {
    let mut trailers = Fields::new();
    fields.retain(|field| match field.name.as_str().strip_prefix(TRAILER) {
        Some(name) => {
            trailers.push(name.as_bytes(), field.value).ok();
            false
        }
        None => true,
    });
    trailers
}
