//! Which header fields cross between HTTP and gRPC, and in which form.
//!
//! What describes a hop, the representation of a body or the protocol itself is said anew on either side and never
//! copied: a client could else speak for the gateway. Everything else that gRPC has a form for crosses under its name.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::fields::{Field, FieldName, Fields};
use crate::name::{self, NameId};

/// Senders leave the padding out; receivers take both (gRPC over HTTP/2, "Custom-Metadata").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Well-known names that never cross.
const KEPT: [NameId; 46] = [
    name::ACCEPT,
    name::ACCEPT_CHARSET,
    name::ACCEPT_ENCODING,
    name::ACCEPT_RANGES,
    name::ALT_SVC,
    name::CONNECTION,
    name::CONTENT_DISPOSITION,
    name::CONTENT_ENCODING,
    name::CONTENT_LENGTH,
    name::CONTENT_LOCATION,
    name::CONTENT_RANGE,
    name::CONTENT_TYPE,
    name::DATE,
    name::ETAG,
    name::EXPECT,
    name::GRPC_ACCEPT_ENCODING,
    name::GRPC_ENCODING,
    name::GRPC_MESSAGE,
    name::GRPC_STATUS,
    name::GRPC_STATUS_DETAILS_BIN,
    name::GRPC_TIMEOUT,
    name::HOST,
    name::IF_MATCH,
    name::IF_MODIFIED_SINCE,
    name::IF_NONE_MATCH,
    name::IF_RANGE,
    name::IF_UNMODIFIED_SINCE,
    name::KEEP_ALIVE,
    name::LAST_MODIFIED,
    name::PROXY_AUTHENTICATE,
    name::PROXY_AUTHORIZATION,
    name::PROXY_CONNECTION,
    name::RANGE,
    name::SEC_FETCH_DEST,
    name::SEC_FETCH_MODE,
    name::SEC_FETCH_SITE,
    name::SEC_WEBSOCKET_ACCEPT,
    name::SEC_WEBSOCKET_EXTENSIONS,
    name::SEC_WEBSOCKET_KEY,
    name::SEC_WEBSOCKET_PROTOCOL,
    name::SEC_WEBSOCKET_VERSION,
    name::SERVER,
    name::TE,
    name::TRAILER,
    name::TRANSFER_ENCODING,
    name::UPGRADE,
];

/// Beginnings of names that never cross: those of gRPC, Connect and gRPC-Web, what Connect moves trailers with, and
/// what a browser says of itself.
const KEPT_PREFIXES: [&str; 6] = ["grpc-", "connect-", "trailer-", "sec-", "content-", "proxy-"];

/// Other names that never cross.
const KEPT_NAMES: [&str; 4] = [
    "x-grpc-web",
    "http2-settings",
    "upgrade-insecure-requests",
    "x-user-agent",
];

/// The metadata of a call or reply that came with these fields of HTTP. Names and values that gRPC has no form for are
/// left out, as its specification demands, and binary values are checked and written without padding.
pub fn to_grpc(fields: &Fields) -> Fields {
    crossing(fields)
}

/// The fields of a call or reply of HTTP that came with this metadata, binary values without padding.
pub fn to_http(metadata: &Fields) -> Fields {
    crossing(metadata)
}

fn crossing(fields: &Fields) -> Fields {
    let mut out = Fields::with_capacity(fields.as_wire().len());
    for field in fields.iter().filter(|field| crosses(*field)) {
        let name = field.name.as_str();
        // What a block of fields holds is taken by another.
        if name.ends_with("-bin") {
            for value in field.value.split(|byte| *byte == b',') {
                if let Some(content) = decode_binary(value) {
                    out.push(name.as_bytes(), encode_binary(&content).as_bytes()).ok();
                }
            }
        } else if field.value.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
            out.push(name.as_bytes(), field.value).ok();
        }
    }
    out
}

/// Whether a field of this name may cross at all.
fn crosses(field: Field<'_>) -> bool {
    let text = match field.name {
        FieldName::Known(id) if KEPT.contains(&id) => return false,
        name => name.as_str(),
    };
    // `_` is taken for `-` by some servers: a twin of a reserved name is as bad as the name.
    let twin;
    let judged = if text.contains('_') {
        twin = text.replace('_', "-");
        if NameId::of(twin.as_bytes()).is_some_and(|id| KEPT.contains(&id)) {
            return false;
        }
        &twin
    } else {
        text
    };
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.'))
        && !KEPT_PREFIXES.iter().any(|prefix| judged.starts_with(prefix))
        && !KEPT_NAMES.contains(&judged)
}

/// One binary value, padded or not; none if it is no base64.
pub fn decode_binary(value: &[u8]) -> Option<Bytes> {
    BASE64.decode(value.trim_ascii()).ok().map(Bytes::from)
}

/// The text of a binary value, without padding.
pub fn encode_binary(content: &[u8]) -> String {
    BASE64.encode(content)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        fields
    }

    fn names(fields: &Fields) -> Vec<String> {
        fields.iter().map(|field| field.name.as_str().to_owned()).collect()
    }

    /// Every name of the table is here or in what is kept, so that a new one has to be thought about.
    #[test]
    fn s5_each_well_known_name_crosses_or_is_kept() {
        let crossing = [
            "accept-language",
            "access-control-allow-credentials",
            "access-control-allow-headers",
            "access-control-allow-methods",
            "access-control-allow-origin",
            "access-control-expose-headers",
            "access-control-max-age",
            "access-control-request-headers",
            "access-control-request-method",
            "age",
            "allow",
            "authorization",
            "baggage",
            "cache-control",
            "cache-status",
            "cookie",
            "expires",
            "forwarded",
            "link",
            "location",
            "origin",
            "pragma",
            "priority",
            "referer",
            "retry-after",
            "set-cookie",
            "strict-transport-security",
            "traceparent",
            "tracestate",
            "user-agent",
            "vary",
            "via",
            "www-authenticate",
            "x-api-key",
            "x-content-type-options",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-frame-options",
            "x-real-ip",
            "x-request-id",
            "x-requested-with",
        ];
        for id in (1..=255).filter_map(NameId::from_wire) {
            let text = id.as_str();
            let crossed = names(&to_grpc(&fields(&[(text, "x")])));
            let expected: &[&str] = if crossing.contains(&text) { &[text] } else { &[] };
            assert_eq!(crossed, expected, "{text}");
        }
    }

    #[test]
    fn s5_no_reserved_name_crosses_in_any_spelling() {
        for name in [
            "grpc-anything",
            "Grpc-Status",
            "grpc_status",
            "grpc-status-details-bin",
            "te",
            "TE",
            "content-length",
            "content_length",
            "Content-Type",
            "connection",
            "transfer_encoding",
            "host",
            "keep-alive",
            "upgrade",
            "connect-timeout-ms",
            "connect-protocol-version",
            "trailer-x",
            "trailer",
            "proxy-x",
            "http2-settings",
            "sec-websocket-key",
            "sec_websocket_key",
            "x-grpc-web",
            "odd!name",
            "odd$name",
            "odd|name",
        ] {
            assert!(to_grpc(&fields(&[(name, "x")])).is_empty(), "{name}");
            assert!(to_http(&fields(&[(name, "x")])).is_empty(), "{name}");
        }
        // Names of pseudo headers are no field names at all.
        assert!(Fields::new().push(b":path", b"/x").is_err());
    }

    #[test]
    fn g4_binary_values_are_split_before_they_are_decoded_and_lose_their_padding() {
        let crossed = to_grpc(&fields(&[("x-bin", "AAE=, AAE,*,/+8="), ("y-bin", ""), ("z-bin", "A")]));
        let values: Vec<_> = crossed.iter().map(|field| (field.name.as_str(), field.value)).collect();
        assert_eq!(
            values,
            [
                ("x-bin", &b"AAE"[..]),
                ("x-bin", b"AAE"),
                ("x-bin", b"/+8"),
                ("y-bin", b"")
            ]
        );
    }

    #[test]
    fn g4_text_that_grpc_has_no_form_for_is_left_out_and_the_rest_crosses() {
        let crossed = to_grpc(&fields(&[
            ("x-a", "é"),
            ("x-b", "a\tb"),
            ("x.c_d", "fine, thanks"),
            ("x-e", ""),
        ]));
        assert_eq!(names(&crossed), ["x.c_d", "x-e"]);
        assert_eq!(crossed.get_named("x.c_d"), Some(&b"fine, thanks"[..]));
    }

    proptest! {
        #[test]
        fn g4_what_crosses_once_crosses_as_it_is(pairs in vec(("[a-z_-]{1,9}(-bin)?", "[ -~é]{0,9}"), 0..6)) {
            let mut sent = Fields::new();
            for (name, value) in &pairs {
                sent.push(name.as_bytes(), value.as_bytes()).unwrap();
            }
            let once = to_grpc(&sent);
            prop_assert_eq!(&to_http(&once), &once);
        }
    }
}
