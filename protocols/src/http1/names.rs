//! Which field names describe one hop, and which are ours to set.

use crate::name::{self, NameId};

/// Names that `Connection` may not list, whose `_` twins are dropped, and that trailers may not hold: those that frame
/// a message, say whom it is for or from whom it is, and those that this gateway sets or believes.
const RESERVED: &[&str] = &[
    "authorization",
    "baggage",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "location",
    "max-forwards",
    "origin",
    "proxy-status",
    "set-cookie",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "true-client-ip",
    "vary",
    "via",
    "www-authenticate",
    "x-api-key",
    "x-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
];

/// Beginnings of reserved names.
const RESERVED_PREFIXES: &[&str] = &[
    "client-cert",
    "grpc-",
    "sec-websocket-",
    "x-causeway-",
    "x-envoy-",
    "x-forwarded-",
    "x-original-",
    "x-ssl-",
];

/// Names that describe one hop and are only reserved because a twin could pass for them.
const HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// Whether a name, in any case and with `_` taken for `-`, is one that `Connection` may not list.
pub fn is_reserved(name: &[u8]) -> bool {
    RESERVED.iter().any(|reserved| same(name, reserved))
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|start| same(start, prefix)))
}

/// Whether a name has a `_` and would be reserved, or describe one hop, with `-` in its place. Servers that turn both
/// into the same variable take the one for the other.
pub fn is_twin(name: &[u8]) -> bool {
    memchr::memchr(b'_', name).is_some() && (is_reserved(name) || HOP.iter().any(|hop| same(name, hop)))
}

/// Whether a trailer of this name is dropped (RFC 9110, section 6.5.1): it would frame, route or authenticate a message
/// whose head is long gone. `grpc-status` and its kin may be trailers.
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| same(start, prefix));
    (is_reserved(name) && !starts("grpc-")) || HOP.iter().any(|hop| same(name, hop))
}

fn same(name: &[u8], lower: &str) -> bool {
    name.len() == lower.len()
        && name.iter().zip(lower.bytes()).all(|(byte, lower)| {
            let byte = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
            byte == lower
        })
}

/// Whether a well-known name describes one hop, so that it is neither kept from a peer nor written from `fields`.
pub(super) fn is_hop(id: NameId) -> bool {
    matches!(
        id,
        name::CONNECTION
            | name::CONTENT_LENGTH
            | name::EXPECT
            | name::GRPC_TIMEOUT
            | name::HOST
            | name::KEEP_ALIVE
            | name::PROXY_AUTHENTICATE
            | name::PROXY_AUTHORIZATION
            | name::PROXY_CONNECTION
            | name::SEC_WEBSOCKET_ACCEPT
            | name::SEC_WEBSOCKET_KEY
            | name::SEC_WEBSOCKET_VERSION
            | name::TE
            | name::TRAILER
            | name::TRANSFER_ENCODING
            | name::UPGRADE
    )
}
