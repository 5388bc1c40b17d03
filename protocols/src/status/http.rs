//! What a status of HTTP is as a status of a call. There are two answers, because the question is asked of two sides: a
//! gRPC server that was expected to say `grpc-status` and did not, and a REST service that says all it has to say so.

use std::time::Duration;

use ::http::StatusCode;

use super::detail::Detail;
use super::{Code, Status};

/// The code of an answer that should have had `grpc-status` and has none (`http-grpc-status-mapping.md`): something on
/// the way made it, and does not know the method.
pub fn of_http_strict(status: StatusCode) -> Code {
    match status.as_u16() {
        431 => Code::Internal,
        _ => Code::of_http(status),
    }
}

/// The status of a REST service: the natural inverse of [`Code::http`]. `retry_after` is the field `Retry-After` in
/// seconds, which becomes a `google.rpc.RetryInfo`; a date is left out, as there is no clock here. The message is empty.
pub fn of_http_rest(status: StatusCode, retry_after: Option<&str>) -> Status {
    let code = match status.as_u16() {
        200..300 => Code::Ok,
        401 => Code::Unauthenticated,
        403 | 407 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        405 | 501 => Code::Unimplemented,
        408 | 504 => Code::DeadlineExceeded,
        // ALREADY_EXISTS is 409 as well. ABORTED promises less: that the call as a whole may be tried again.
        409 => Code::Aborted,
        412 | 428 => Code::FailedPrecondition,
        413 | 429 | 431 | 507 => Code::ResourceExhausted,
        416 => Code::OutOfRange,
        425 | 502 | 503 => Code::Unavailable,
        499 => Code::Cancelled,
        400..500 => Code::InvalidArgument,
        500..600 => Code::Internal,
        _ => Code::Unknown,
    };
    let status = Status::new(code, "");
    match retry_after.and_then(seconds) {
        Some(after) if !status.is_ok() => status.with_details(vec![Detail::retry_info(after)]),
        _ => status,
    }
}

/// `delay-seconds` of RFC 9110, section 10.2.3.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_status_has_the_code_that_grpc_says() {
        #[rustfmt::skip]
        let table = [
            (200, Code::Unknown), (302, Code::Unknown), (400, Code::Internal), (401, Code::Unauthenticated),
            (403, Code::PermissionDenied), (404, Code::Unimplemented), (409, Code::Unknown), (429, Code::Unavailable),
            (431, Code::Internal), (500, Code::Unknown), (502, Code::Unavailable), (503, Code::Unavailable),
            (504, Code::Unavailable),
        ];
        for (status, code) in table {
            assert_eq!(of_http_strict(StatusCode::from_u16(status).unwrap()), code, "{status}");
        }
    }

    #[test]
    fn a_rest_status_is_the_inverse_of_what_http_clients_are_told() {
        for code in Code::ALL {
            let back = of_http_rest(code.http(), None).code;
            // Codes that share a status with a more general one.
            let expected = match code {
                Code::FailedPrecondition | Code::OutOfRange => Code::InvalidArgument,
                Code::AlreadyExists => Code::Aborted,
                Code::Unknown | Code::DataLoss => Code::Internal,
                code => code,
            };
            assert_eq!(back, expected, "{code:?}");
        }
        for (status, code) in [
            (302, Code::Unknown),
            (405, Code::Unimplemented),
            (418, Code::InvalidArgument),
        ] {
            assert_eq!(
                of_http_rest(StatusCode::from_u16(status).unwrap(), None).code,
                code,
                "{status}"
            );
        }
    }

    #[test]
    fn when_to_come_again_is_a_detail() {
        let after = |status, text| {
            let status = of_http_rest(StatusCode::from_u16(status).unwrap(), Some(text));
            status.details().first().and_then(Detail::retry_after)
        };
        assert_eq!(after(429, "120"), Some(Duration::from_secs(120)));
        assert_eq!(after(503, " 0 "), Some(Duration::ZERO));
        for text in [
            "",
            "-1",
            "1.5",
            "soon",
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(after(503, text), None, "{text}");
        }
        assert_eq!(after(200, "5"), None);
    }
}
