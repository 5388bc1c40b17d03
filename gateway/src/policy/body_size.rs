//! How large a request body may be.

use causeway_config as config;
use causeway_protocols::{CallHead, FailureKind, Length};

use crate::error::CallError;

/// Refuses a body that says it is too large; one that does not say is cut when it is.
///
/// # Errors
/// [`FailureKind::TooLarge`].
pub(super) fn check(head: &CallHead, limit: u64) -> Result<(), CallError> {
    match head.length {
        Length::Exactly(length) if length > limit => Err(CallError::new(
            FailureKind::TooLarge,
            format!("body of {length} bytes is over the limit of {limit}"),
        )),
        _ => Ok(()),
    }
}

/// The largest request body of a route in bytes.
pub fn max_body(route: Option<&config::Route>, limits: &config::Limits) -> u64 {
    route
        .and_then(|route| route.max_body)
        .or(limits.body)
        .unwrap_or(u64::MAX)
}
