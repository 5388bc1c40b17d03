//! Which pages may open a WebSocket.

use causeway_protocols::{FailureKind, Protocol, name};

use super::{Admit, Policy};
use crate::call::Call;
use crate::context::CallContext;
use crate::error::CallError;
use std::rc::Rc;

/// Lets only these origins open a WebSocket (RFC 6455, section 10.2): browsers send cookies along from anywhere.
#[derive(Debug)]
pub(super) struct Origins(pub(super) Vec<String>);

impl Policy for Origins {
    fn name(&self) -> &'static str {
        "origins"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, _: &'a Rc<CallContext>) -> Admit<'a> {
        let head = &call.head;
        if head.protocol != Protocol::WebSocket || self.0.is_empty() {
            return Admit::Pass;
        }
        let origin = head.fields.text(name::ORIGIN).unwrap_or_default();
        if self.0.iter().any(|allowed| is_allowed(allowed, origin)) {
            return Admit::Pass;
        }
        Admit::refuse(CallError::new(
            FailureKind::Refused,
            format!("origin `{}` is not allowed", origin.escape_debug()),
        ))
    }
}

/// `https://app.example` exactly, `*.example` as any host below it with any scheme, or a bare host.
pub(super) fn is_allowed(allowed: &str, origin: &str) -> bool {
    if allowed == "*" {
        return true;
    }
    if allowed.contains("://") {
        return allowed.eq_ignore_ascii_case(origin);
    }
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
        .to_ascii_lowercase();
    match allowed.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => host.len() > suffix.len() && host.ends_with(suffix),
        Some(_) => false,
        None => host == allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w1_origins_are_compared_whole() {
        #[rustfmt::skip]
        let table = [
            ("https://app.example", "https://app.example", true), ("https://app.example", "http://app.example", false),
            ("https://app.example", "https://app.example.evil.com", false), ("https://app.example", "", false),
            ("https://app.example", "null", false), ("*.example.com", "https://a.example.com", true),
            ("*.example.com", "https://a.b.example.com:8443", true), ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://evilexample.com", false), ("*.example.com", "https://a.example.com.evil.org", false),
            ("app.example", "https://app.example:444", true), ("app.example", "https://xapp.example", false),
            ("*example.com", "https://evilexample.com", false), ("*", "null", true),
        ];
        for (allowed, origin, passes) in table {
            assert_eq!(is_allowed(allowed, origin), passes, "{allowed} {origin}");
        }
    }
}
