//! The opening handshake: keys, what they are answered with, and what a client may offer (RFC 6455, section 4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha1::{Digest, Sha1};

use crate::fields::{Fields, is_token};
use crate::name;

/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version (RFC 6455, section 4.1); goes into `sec-websocket-version` of a 426.
pub const VERSION: &str = "13";

/// Subprotocols or extensions that a client may offer.
const MAX_OFFERS: usize = 32;

/// Bytes that `sec-websocket-extensions` may have.
const MAX_EXTENSIONS: usize = 1024;

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HandshakeError {
    /// Not a GET without a body.
    #[error("a WebSocket handshake is a GET without a body")]
    Request,
    /// `sec-websocket-key` is missing, repeated, or not the base64 of 16 bytes.
    #[error("sec-websocket-key is not the base64 of 16 bytes")]
    Key,
    /// `sec-websocket-version` is missing, repeated, or not 13.
    #[error("sec-websocket-version is not 13")]
    Version,
    /// `sec-websocket-protocol` is not a list of different tokens.
    #[error("sec-websocket-protocol is not a list of different tokens")]
    Protocol,
    /// `sec-websocket-extensions` is malformed or too long.
    #[error("malformed sec-websocket-extensions")]
    Extensions,
    /// A 101 that does not answer our handshake.
    #[error("the backend's 101 does not answer our handshake")]
    Accept,
}

impl HandshakeError {
    /// What the client is told. A 426 carries `sec-websocket-version: 13` (RFC 6455, section 4.4).
    pub fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Accept => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Request => "websocket_request",
            Self::Key => "websocket_key",
            Self::Version => "websocket_version",
            Self::Protocol => "websocket_protocol",
            Self::Extensions => "websocket_extensions",
            Self::Accept => "websocket_accept",
        }
    }
}

/// A `sec-websocket-key`: 16 bytes in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey([u8; 24]);

impl ClientKey {
    /// Takes a key as it came from a client.
    ///
    /// # Errors
    /// [`HandshakeError::Key`] when it is not the one base64 form of 16 bytes.
    pub fn parse(value: &[u8]) -> Result<Self, HandshakeError> {
        let text: [u8; 24] = value.try_into().map_err(|_| HandshakeError::Key)?;
        let mut raw = [0u8; 18];
        match STANDARD.decode_slice(text, &mut raw) {
            Ok(16) => Ok(Self(text)),
            _ => Err(HandshakeError::Key),
        }
    }

    /// A key of our own, from 16 random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        let mut text = [0u8; 24];
        // 16 bytes are 24 in base64.
        let _ = STANDARD.encode_slice(random, &mut text);
        Self(text)
    }

    /// The key as it goes into `sec-websocket-key`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the other side must answer.
    pub fn accept(&self) -> Accept {
        let mut hash = Sha1::new();
        hash.update(self.0);
        hash.update(GUID);
        let mut text = [0u8; 28];
        // 20 bytes are 28 in base64.
        let _ = STANDARD.encode_slice(hash.finalize(), &mut text);
        Accept(text)
    }

    /// Whether `value` is the answer to this key.
    pub fn is_answered_by(&self, value: &[u8]) -> bool {
        self.accept().0 == value
    }
}

/// A `sec-websocket-accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept([u8; 28]);

impl Accept {
    /// The value as it goes into `sec-websocket-accept`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Checks a client's handshake. `key` and `version` are the fields that came exactly once.
///
/// # Errors
/// See [`HandshakeError`].
pub fn accept_request(
    key: Option<&[u8]>,
    version: Option<&[u8]>,
    fields: &Fields,
) -> Result<ClientKey, HandshakeError> {
    if version != Some(VERSION.as_bytes()) {
        return Err(HandshakeError::Version);
    }
    let key = ClientKey::parse(key.ok_or(HandshakeError::Key)?)?;
    check_protocols(fields)?;
    check_extensions(fields)?;
    Ok(key)
}

/// The subprotocols that a client offers, in its order of preference.
pub fn protocols(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields
        .all(name::SEC_WEBSOCKET_PROTOCOL)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// RFC 6455, section 4.1: tokens, each once.
fn check_protocols(fields: &Fields) -> Result<(), HandshakeError> {
    for (at, protocol) in protocols(fields).enumerate() {
        let legal = !protocol.is_empty() && protocol.iter().copied().all(is_token);
        if !legal || at >= MAX_OFFERS || protocols(fields).take(at).any(|earlier| earlier == protocol) {
            return Err(HandshakeError::Protocol);
        }
    }
    Ok(())
}

/// RFC 6455, section 9.1. The offer is passed on as it is, so only its form and size are checked.
fn check_extensions(fields: &Fields) -> Result<(), HandshakeError> {
    let mut bytes = 0;
    let mut offers = 0;
    for value in fields.all(name::SEC_WEBSOCKET_EXTENSIONS) {
        bytes += value.len();
        offers += value.split(|byte| *byte == b',').count();
        if bytes > MAX_EXTENSIONS || offers > MAX_OFFERS || !value.split(|byte| *byte == b',').all(is_extension) {
            return Err(HandshakeError::Extensions);
        }
    }
    Ok(())
}

/// `token *( ";" token [ "=" ( token / quoted token ) ] )`.
fn is_extension(offer: &[u8]) -> bool {
    let token = |text: &[u8]| !text.is_empty() && text.iter().copied().all(is_token);
    let mut parts = offer.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(token)
        && parts.all(|parameter| match memchr::memchr(b'=', parameter) {
            None => token(parameter),
            Some(at) => {
                let value = parameter[at + 1..].trim_ascii_start();
                let value = value
                    .strip_prefix(b"\"")
                    .and_then(|value| value.strip_suffix(b"\""))
                    .unwrap_or(value);
                token(parameter[..at].trim_ascii_end()) && token(value)
            }
        })
}

/// The names of the extensions in a handshake's fields, in order.
pub fn extensions(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields
        .all(name::SEC_WEBSOCKET_EXTENSIONS)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|offer| {
            offer
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii()
        })
}

/// Whether frames may set RSV1: `permessage-deflate` (RFC 7692) is the only extension registered that uses it. Ask the
/// fields of the answer, not of the offer.
pub fn uses_rsv1(answer: &Fields) -> bool {
    extensions(answer).any(|extension| extension.eq_ignore_ascii_case(b"permessage-deflate"))
}

/// Checks that an answer chooses nothing that was not offered (RFC 6455, section 4.1, items 5 and 6 on the reply).
///
/// # Errors
/// [`HandshakeError::Protocol`] or [`HandshakeError::Extensions`].
pub fn check_choice(offer: &Fields, answer: &Fields) -> Result<(), HandshakeError> {
    if !protocols(answer).all(|chosen| protocols(offer).any(|offered| offered == chosen)) {
        return Err(HandshakeError::Protocol);
    }
    if !extensions(answer).all(|chosen| extensions(offer).any(|offered| offered.eq_ignore_ascii_case(chosen))) {
        return Err(HandshakeError::Extensions);
    }
    Ok(())
}

/// Checks what a backend answered to our handshake: `accept` is the field that came exactly once. Whether it chose from
/// what was offered is for who knows the offer, see [`check_choice`].
///
/// # Errors
/// [`HandshakeError::Accept`], and malformed extensions.
pub fn accept_reply(key: &ClientKey, accept: Option<&[u8]>, fields: &Fields) -> Result<(), HandshakeError> {
    if !accept.is_some_and(|value| key.is_answered_by(value)) {
        return Err(HandshakeError::Accept);
    }
    let mut chosen = fields.all(name::SEC_WEBSOCKET_PROTOCOL);
    let legal = chosen
        .next()
        .is_none_or(|value| !value.is_empty() && value.iter().copied().all(is_token));
    if !legal || chosen.next().is_some() {
        return Err(HandshakeError::Protocol);
    }
    check_extensions(fields)
}

#[cfg(test)]
mod tests;
