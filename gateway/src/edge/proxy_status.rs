//! `proxy-status` on answers that the gateway made (RFC 9209).

use causeway_config::ProxyStatus;
use causeway_protocols::{FailureKind, Fields, name};

use crate::error::CallError;

/// Longest detail, in bytes.
const DETAIL: usize = 256;

/// Says that this gateway made the answer, and why.
pub(super) fn state(fields: &mut Fields, own: &str, error: &CallError, said: ProxyStatus) {
    let mut value = match said {
        ProxyStatus::Off => return,
        ProxyStatus::Error | ProxyStatus::Details => format!("{own}; error={}", token(error.kind)),
    };
    if said == ProxyStatus::Details {
        value.push_str("; details=\"");
        for c in error.detail.chars().take(DETAIL) {
            match c {
                '"' | '\\' => value.extend(['\\', c]),
                // A string of structured fields is ASCII (RFC 9651, section 3.3.3).
                ' '..='~' => value.push(c),
                _ => value.push('?'),
            }
        }
        value.push('"');
    }
    // All of it is printable ASCII.
    fields.push_known(name::PROXY_STATUS, value.as_bytes()).ok();
}

/// The error type of the registry (RFC 9209, section 2.3).
fn token(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Breaker | FailureKind::NoEndpoint | FailureKind::Tunnel => "destination_unavailable",
        FailureKind::Connect => "connection_refused",
        FailureKind::Deadline => "http_response_timeout",
        FailureKind::NoRoute => "destination_not_found",
        FailureKind::Protocol => "http_protocol_error",
        FailureKind::Refused | FailureKind::Unauthenticated | FailureKind::RateLimited | FailureKind::QuotaExceeded => {
            "http_request_denied"
        }
        FailureKind::Untranslatable => "proxy_configuration_error",
        FailureKind::TooLarge
        | FailureKind::BadRequest
        | FailureKind::Method
        | FailureKind::Invalid
        | FailureKind::ClientTimeout
        | FailureKind::Cancelled => "http_request_error",
        FailureKind::Loop => "proxy_loop_detected",
        FailureKind::Overload | FailureKind::Draining => "proxy_internal_response",
        _ => "proxy_internal_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_told_only_where_that_is_wanted_and_stay_one_string() {
        let error = CallError::new(FailureKind::Connect, "10.1.2.3:80 \"said\" \\ caf\u{e9}\n");
        let value = |said| {
            let mut fields = Fields::new();
            state(&mut fields, "causeway-aws", &error, said);
            fields.text(name::PROXY_STATUS).map(str::to_owned)
        };
        assert_eq!(value(ProxyStatus::Off), None);
        assert_eq!(
            value(ProxyStatus::Error).unwrap(),
            "causeway-aws; error=connection_refused"
        );
        let details = r#"causeway-aws; error=connection_refused; details="10.1.2.3:80 \"said\" \\ caf??""#;
        assert_eq!(value(ProxyStatus::Details).unwrap(), details);
    }
}
