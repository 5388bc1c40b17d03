//! Error to reply, in the client's protocol. Nothing else makes error replies.

mod details;

use std::time::Duration;

use bytes::Bytes;
use causeway_protocols::status::message::encode as encode_message;
use causeway_protocols::{End, FailureKind, Fields, Length, Protocol, ReplyHead, name};
use http::StatusCode;

use crate::call::Reply;
use crate::error::CallError;
use crate::payload::Body;

/// What a client sees of an error: problem+json (RFC 9457) over HTTP, also where a WebSocket is refused before its
/// upgrade; trailers-only over gRPC. The detail stays in the log: it names backends.
pub fn refuse(protocol: Protocol, error: &CallError, trace_id: Option<&str>) -> Reply {
    match protocol {
        Protocol::Grpc => grpc(error),
        Protocol::Http | Protocol::WebSocket => http(error, trace_id),
    }
}

/// The words for the client, one for each kind.
fn title(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Breaker => "the service takes no more calls just now",
        FailureKind::Connect => "the service could not be reached",
        FailureKind::Deadline => "the service did not answer in time",
        FailureKind::NoEndpoint => "the service has no endpoint",
        FailureKind::NoRoute => "no route for this request",
        FailureKind::Protocol => "the service broke its protocol",
        FailureKind::Refused => "not allowed",
        FailureKind::Tunnel => "the site of the service cannot be reached",
        FailureKind::Untranslatable => "the service speaks another protocol",
        FailureKind::TooLarge => "the request is too large",
        FailureKind::Overload => "the gateway is overloaded",
        FailureKind::BadRequest => "the request is malformed",
        FailureKind::Loop => "the request went in a circle",
        FailureKind::Cancelled => "the request was cancelled",
        FailureKind::Method => "the method is not allowed here",
        FailureKind::ClientTimeout => "the request took too long to arrive",
        FailureKind::Draining => "the gateway is going away",
        FailureKind::Unauthenticated => "credentials are missing or not valid",
        FailureKind::RateLimited => "too many requests",
        FailureKind::QuotaExceeded => "the quota of this period is spent",
        FailureKind::Invalid => "the request does not fit its contract",
        FailureKind::Unverifiable => "credentials cannot be verified just now",
        _ => "the gateway failed",
    }
}

/// What a client is told of a failure: what happened where that is its own mistake, else only the kind.
pub fn told(kind: FailureKind, detail: &str) -> &str {
    if tells_detail(kind) { detail } else { title(kind) }
}

/// What is wrong with the client's own request is no secret, and helps it.
fn tells_detail(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::BadRequest | FailureKind::Invalid)
}

fn http(error: &CallError, trace_id: Option<&str>) -> Reply {
    let status = error.kind.status();
    let mut problem = serde_json::json!({
        "type": "about:blank",
        "title": title(error.kind),
        "status": status.as_u16(),
        "code": error.kind.label(),
    });
    if tells_detail(error.kind) {
        problem["detail"] = error.detail.as_ref().into();
    }
    if let Some(trace_id) = trace_id {
        problem["trace_id"] = trace_id.into();
    }
    let body = Bytes::from(problem.to_string());
    let mut head = ReplyHead::new(status, Length::Exactly(body.len() as u64));
    put(&mut head.fields, name::CONTENT_TYPE, "application/problem+json");
    put(&mut head.fields, name::CACHE_CONTROL, "no-store");
    add_fields(&mut head.fields, error);
    if let Some(after) = error.retry_after {
        put(&mut head.fields, name::RETRY_AFTER, &whole_seconds(after).to_string());
    }
    Reply::whole(head, Body::Bytes(body))
}

fn grpc(error: &CallError) -> Reply {
    let mut head = ReplyHead::new(StatusCode::OK, Length::Empty);
    put(&mut head.fields, name::CONTENT_TYPE, "application/grpc");
    put(
        &mut head.fields,
        name::GRPC_STATUS,
        &error.kind.code().number().to_string(),
    );
    let message = told(error.kind, &error.detail);
    put(&mut head.fields, name::GRPC_MESSAGE, &encode_message(message));
    if let Some(after) = error.retry_after {
        let details = details::retry_info(error.kind.code(), message, after);
        put(&mut head.fields, name::GRPC_STATUS_DETAILS_BIN, &details);
        put(&mut head.fields, name::RETRY_AFTER, &whole_seconds(after).to_string());
    }
    add_fields(&mut head.fields, error);
    Reply::whole(head, Body::Empty)
}

/// `Retry-After` has whole seconds: rounded up, so that who keeps to it comes in time, and at least one.
fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

/// The trailers that end a gRPC reply whose body broke.
pub fn grpc_end(kind: FailureKind) -> End {
    let mut trailers = Fields::new();
    put(&mut trailers, name::GRPC_STATUS, &kind.code().number().to_string());
    put(&mut trailers, name::GRPC_MESSAGE, &encode_message(title(kind)));
    End { trailers }
}

/// What the error itself has for the client.
pub(crate) fn add_fields(fields: &mut Fields, error: &CallError) {
    for field in error.fields.iter().flat_map(|fields| fields.iter()) {
        // They are fields already, so they can be fields again.
        fields.push(field.name.as_str().as_bytes(), field.value).ok();
    }
}

fn put(fields: &mut Fields, name: causeway_protocols::NameId, value: &str) {
    // Our own texts hold no control characters; details of a request are escaped by JSON or percent-encoding.
    fields.push_known(name, value.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_in_both_protocols_without_its_detail() {
        for kind in FailureKind::ALL {
            let error = CallError::new(*kind, "10.1.2.3:80 refused \u{e9}\n%");
            let reply = refuse(Protocol::Http, &error, Some("abc"));
            assert_eq!(reply.head.status, kind.status());
            let Body::Bytes(body) = reply.body else {
                panic!("no body")
            };
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], kind.label());
            assert_eq!(problem["trace_id"], "abc");
            assert_eq!(problem.get("detail").is_some(), tells_detail(*kind));

            let reply = refuse(Protocol::Grpc, &error, None);
            assert_eq!(reply.head.status, StatusCode::OK);
            let status = reply.head.fields.text(name::GRPC_STATUS).unwrap();
            assert_eq!(status, kind.code().number().to_string());
            assert!(reply.head.fields.text(name::GRPC_MESSAGE).unwrap().is_ascii());
        }
    }

    #[test]
    fn a_client_is_told_in_both_protocols_when_to_come_again() {
        let error = CallError::new(FailureKind::RateLimited, "").after(Duration::from_millis(1500));
        let reply = refuse(Protocol::Http, &error, None);
        assert_eq!(reply.head.fields.text(name::RETRY_AFTER), Some("2"));
        let reply = refuse(Protocol::Grpc, &error, None);
        assert_eq!(reply.head.fields.text(name::RETRY_AFTER), Some("2"));
        assert!(reply.head.fields.has(name::GRPC_STATUS_DETAILS_BIN));
    }
}
