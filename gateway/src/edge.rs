//! What a header may say at which edge: reserved fields are stripped where a call comes in, and set by us where it
//! goes out.

use std::fmt::Write;

use causeway_protocols::{CallHead, Field, FieldName, Fields, ReplyHead, name};

use crate::context::{CallContext, Caller};

/// Removes what only a gateway may say about a client. Called for calls from clients and for calls from other sites.
pub fn strip_request(fields: &mut Fields) {
    if fields.iter().any(|field| is_reserved(field)) {
        fields.retain(|field| !is_reserved(field));
    }
}

/// Removes what backends say to the proxy in front of them, and what would send clients past us.
pub fn strip_reply(head: &mut ReplyHead) {
    let internal = |field: Field<'_>| match field.name {
        FieldName::Known(id) => id == name::ALT_SVC,
        FieldName::Other(text) => {
            text.starts_with("x-accel-") || text == "x-sendfile" || text.starts_with("x-causeway-")
        }
    };
    if head.fields.iter().any(internal) {
        head.fields.retain(|field| !internal(field));
    }
}

/// Fields that are ours to set, and the many names under which proxies have passed on who the client is (trust.md, 3).
/// Names with `_` are compared as if it were `-`: CGI and its heirs cannot tell them apart.
fn is_reserved(field: Field<'_>) -> bool {
    match field.name {
        FieldName::Known(id) => {
            [
                name::FORWARDED,
                name::X_FORWARDED_FOR,
                name::X_FORWARDED_HOST,
                name::X_FORWARDED_PROTO,
                name::X_REAL_IP,
            ]
            .contains(&id)
                || [name::GRPC_STATUS, name::GRPC_MESSAGE, name::GRPC_STATUS_DETAILS_BIN].contains(&id)
        }
        FieldName::Other(text) => match text.as_bytes().first() {
            Some(b'x' | b'f' | b't' | b'c' | b's' | b'g') => is_reserved_text(text),
            _ => false,
        },
    }
}

fn is_reserved_text(text: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        "x-causeway-",
        "x-forwarded-",
        "x-envoy-",
        "x-original-",
        "x-ssl-",
        "client-cert",
        "grpc-status",
    ];
    const NAMES: [&str; 12] = [
        "forwarded",
        "x-forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "cf-connecting-ip",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "grpc-message",
    ];
    if text.contains('_') {
        let twin = text.replace('_', "-");
        return is_reserved_text(&twin) || causeway_protocols::http1::names::is_reserved(twin.as_bytes());
    }
    PREFIXES.iter().any(|prefix| text.starts_with(prefix)) || NAMES.contains(&text)
}

/// States who the client is and how it came, for the backend.
pub fn state_caller(head: &mut CallHead, cx: &CallContext) {
    let mut text = String::with_capacity(40);
    if let Some(address) = cx.caller.address() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{address}");
        head.fields.push_known(name::X_FORWARDED_FOR, text.as_bytes()).ok();
    }
    head.fields
        .push_known(name::X_FORWARDED_PROTO, head.scheme.label().as_bytes())
        .ok();
    head.fields
        .push_known(name::X_FORWARDED_HOST, head.target.authority.as_str().as_bytes())
        .ok();
    if let Caller::Site { identity, .. } = &cx.caller {
        head.fields
            .push(b"x-causeway-site", identity.site().unwrap_or_default().as_bytes())
            .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_no_client_can_say_what_is_ours_to_say() {
        let reserved = [
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-real-ip",
            "true-client-ip",
            "x-client-ip",
            "x-forwarded-client-cert",
            "client-cert",
            "client-cert-chain",
            "x-ssl-client-dn",
            "x-envoy-original-path",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-causeway-site",
            "x_forwarded_for",
            "x-forwarded_for",
            "X_Real_IP",
            "x_causeway_site",
            "grpc-status",
            "grpc-message",
            "grpc_status",
            "grpc-status-details-bin",
            "x_http_method_override",
            "client_cert",
        ];
        for text in reserved {
            let mut fields = Fields::new();
            fields.push(b"accept", b"*/*").unwrap();
            fields.push(text.as_bytes(), b"1.2.3.4").unwrap();
            fields.push(b"x-mine", b"kept").unwrap();
            strip_request(&mut fields);
            assert_eq!(fields.len(), 2, "{text}");
        }
        for text in [
            "x-request-id",
            "x-api-key",
            "x-forwardedx",
            "grpc-encoding",
            "client-id",
            "cookie",
            "x_mine",
            "traceparent",
        ] {
            let mut fields = Fields::new();
            fields.push(text.as_bytes(), b"v").unwrap();
            strip_request(&mut fields);
            assert_eq!(fields.len(), 1, "{text}");
        }
    }
}
