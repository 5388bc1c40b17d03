//! What a header may say at which edge: reserved fields are stripped where a call comes in, and set by us where it
//! goes out.

mod client;
mod proxy_status;
pub mod request_id;
mod via;

use std::net::IpAddr;

use causeway_protocols::{CallHead, Field, FieldName, Fields, ReplyHead, name};

use self::client::client;
pub use self::via::Pseudonym;
use crate::context::CallContext;
use crate::error::CallError;
use crate::listen::Origin;
use crate::observe::Version;
use crate::worker::World;

/// What a POST may stand for, where a route lets it. No backend sees it: to it the method is the one that was meant.
pub const METHOD_OVERRIDE: &str = "x-http-method-override";

/// What is known of a client's call from its connection and its fields.
#[derive(Debug)]
pub struct Arrived {
    /// The client's address, as far as trusted proxies tell.
    pub address: IpAddr,
    /// The id of the call, where the gateway keeps any.
    pub request_id: Option<Box<str>>,
}

/// A call comes in from a client: what is believed is taken from its fields, and what only a gateway may say removed.
pub fn arrive(head: &mut CallHead, origin: &Origin, world: &World) -> Arrived {
    let config = &world.snapshot.config;
    let client = client(origin, &head.fields, config);
    if let Some(scheme) = client.scheme {
        head.scheme = scheme;
    }
    let stated = match head.fields.get_named(METHOD_OVERRIDE) {
        Some(method) if world.snapshot.overrides_methods => Some(method.to_vec()),
        _ => None,
    };
    strip_request(&mut head.fields);
    if let Some(method) = stated {
        // It was a value before.
        head.fields.push(METHOD_OVERRIDE.as_bytes(), &method).ok();
    }
    Arrived {
        address: client.address,
        request_id: request_id::settle(&mut head.fields, &client, config.edge.request_id),
    }
}

/// A call goes out to a backend or another site: it says who the client is, and that it came through here.
pub fn send(head: &mut CallHead, cx: &CallContext) {
    if cx.world.snapshot.overrides_methods {
        head.fields.retain(|field| field.name.as_str() != METHOD_OVERRIDE);
    }
    client::state(head, cx);
    if cx.world.snapshot.config.edge.via.request {
        cx.world.snapshot.pseudonym.add(&mut head.fields, cx.version);
    }
}

/// A reply comes back from a backend or another site.
pub fn receive(head: &mut ReplyHead, version: Version, cx: &CallContext) {
    if cx.world.snapshot.config.edge.via.reply {
        cx.world.snapshot.pseudonym.add(&mut head.fields, version);
    }
}

/// A reply goes to a client: it loses what is between backends and us, and has the id of the call.
pub fn leave(head: &mut ReplyHead, cx: &CallContext) {
    strip_reply(head);
    if let Some(id) = &cx.request_id {
        request_id::put(&mut head.fields, id);
    }
}

/// Says that the gateway itself made this reply, and why.
pub fn refused(head: &mut ReplyHead, error: &CallError, cx: &CallContext) {
    let snapshot = &cx.world.snapshot;
    proxy_status::state(
        &mut head.fields,
        snapshot.pseudonym.name(),
        error,
        snapshot.config.edge.proxy_status,
    );
}

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
