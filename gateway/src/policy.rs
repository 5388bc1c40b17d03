//! Policies: checks and edits of a call's head, in a fixed order in code, never in configuration.

use std::rc::Rc;

use causeway_config as config;
use causeway_protocols::{CallHead, FailureKind, Length, Protocol, ReplyHead, name};

use crate::context::{CallContext, Caller};
use crate::dispatch::Way;
use crate::error::CallError;

/// One check or edit. Anything that cannot be decided from the head at once is a named step of the path instead.
pub trait Policy {
    /// Lets the call pass, perhaps changed, or refuses it.
    ///
    /// # Errors
    /// The refusal.
    fn admit(&self, head: &mut CallHead, cx: &CallContext) -> Result<(), CallError>;

    /// Changes the head of the reply.
    fn shape(&self, _head: &mut ReplyHead, _cx: &CallContext) {}
}

/// Runs the policies of a call before it is sent.
///
/// # Errors
/// The first refusal.
pub fn admit(head: &mut CallHead, way: &Way, cx: &Rc<CallContext>) -> Result<(), CallError> {
    LoopGuard {
        max_hops: cx.world.snapshot.config.federation.max_hops,
    }
    .admit(head, cx)?;
    let Way::Service(aim) = way else {
        return Ok(());
    };
    if let Some(route) = aim.route.and_then(|route| cx.world.snapshot.config.routes.get(route)) {
        Origins(&route.origins).admit(head, cx)?;
    }
    BodySize(aim.max_body).admit(head, cx)
}

/// Runs them on the reply.
pub fn shape(_head: &mut ReplyHead, _cx: &Rc<CallContext>) {}

/// Ends calls that go in circles: each carries the sites it has been at.
struct LoopGuard {
    max_hops: u8,
}

impl Policy for LoopGuard {
    fn admit(&self, _: &mut CallHead, cx: &CallContext) -> Result<(), CallError> {
        let Caller::Site { .. } = &cx.caller else {
            return Ok(());
        };
        let here = &cx.world.snapshot.config.site.name;
        if cx.visited.iter().any(|site| **site == **here) {
            return Err(CallError::new(
                FailureKind::Loop,
                format!("the call has been here before, by way of {:?}", cx.visited),
            ));
        }
        if cx.visited.len() > usize::from(self.max_hops) {
            return Err(CallError::new(
                FailureKind::Loop,
                format!("the call has been at {:?}", cx.visited),
            ));
        }
        Ok(())
    }
}

/// Lets only these origins open a WebSocket (RFC 6455, section 10.2): browsers send cookies along from anywhere.
struct Origins<'a>(&'a [String]);

impl Policy for Origins<'_> {
    fn admit(&self, head: &mut CallHead, _: &CallContext) -> Result<(), CallError> {
        if head.protocol != Protocol::WebSocket || self.0.is_empty() {
            return Ok(());
        }
        let origin = head.fields.text(name::ORIGIN).unwrap_or_default();
        if self.0.iter().any(|allowed| is_allowed(allowed, origin)) {
            return Ok(());
        }
        Err(CallError::new(
            FailureKind::Refused,
            format!("origin `{}` is not allowed", origin.escape_debug()),
        ))
    }
}

/// `https://app.example` exactly, `*.example` as any host below it with any scheme, or a bare host.
fn is_allowed(allowed: &str, origin: &str) -> bool {
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

/// Refuses bodies that say they are too large; those that do not say are cut when they are.
struct BodySize(u64);

impl Policy for BodySize {
    fn admit(&self, head: &mut CallHead, _: &CallContext) -> Result<(), CallError> {
        match head.length {
            Length::Exactly(length) if length > self.0 => Err(CallError::new(
                FailureKind::TooLarge,
                format!("body of {length} bytes is over the limit of {}", self.0),
            )),
            _ => Ok(()),
        }
    }
}

/// The largest request body of a route.
pub fn max_body(route: Option<&config::Route>, limits: &config::Limits) -> u64 {
    route
        .and_then(|route| route.max_body)
        .or(limits.body)
        .unwrap_or(u64::MAX)
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
