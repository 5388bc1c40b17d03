//! How a call ended: the canonical status codes, what they are in HTTP and WebSocket, and a status with its message.

use ::http::StatusCode;
use bytes::Bytes;

pub mod close;
pub mod detail;
pub mod json;
pub mod message;

mod http;
mod trailers;

pub use self::http::{of_http_rest, of_http_strict};

/// How a call ended, without loss: what `grpc-status`, `grpc-message` and `grpc-status-details-bin` carry together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code; [`Code::Unknown`] where the number has no meaning.
    pub code: Code,
    /// The number as it was sent, also where it is beyond the known codes.
    pub number: u32,
    /// For people; decoded, may be empty.
    pub message: String,
    /// An encoded `google.rpc.Status`, decoded from `grpc-status-details-bin`; empty when there is none.
    pub details: Bytes,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            number: u32::from(code.number()),
            message: message.into(),
            details: Bytes::new(),
        }
    }

    /// The status of a number from the wire; one beyond the known codes is [`Code::Unknown`] and keeps its number.
    pub fn of_number(number: u32, message: impl Into<String>) -> Self {
        Self {
            code: Code::of_number(number),
            number,
            message: message.into(),
            details: Bytes::new(),
        }
    }

    /// Whether the call succeeded.
    pub fn is_ok(&self) -> bool {
        self.number == 0
    }
}

/// A gRPC status code (gRPC, "Status codes and their use").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 0
    Ok,
    /// 1
    Cancelled,
    /// 2
    Unknown,
    /// 3
    InvalidArgument,
    /// 4
    DeadlineExceeded,
    /// 5
    NotFound,
    /// 6
    AlreadyExists,
    /// 7
    PermissionDenied,
    /// 8
    ResourceExhausted,
    /// 9
    FailedPrecondition,
    /// 10
    Aborted,
    /// 11
    OutOfRange,
    /// 12
    Unimplemented,
    /// 13
    Internal,
    /// 14
    Unavailable,
    /// 15
    DataLoss,
    /// 16
    Unauthenticated,
}

impl Code {
    /// All codes, by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code of a number; unknown numbers are [`Code::Unknown`], as gRPC says.
    pub fn of_number(number: u32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|at| Self::ALL.get(at))
            .copied()
            .unwrap_or(Self::Unknown)
    }

    /// The code in a `grpc-status` field.
    pub fn of_text(text: &[u8]) -> Self {
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(Self::Unknown, Self::of_number)
    }

    /// The name in `google.rpc.Code`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// What an HTTP client sees (comments of `google.rpc.Code`).
    pub fn http(self) -> StatusCode {
        let status = match self {
            Self::Ok => 200,
            Self::Cancelled => 499,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::DeadlineExceeded => 504,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What a gRPC client sees of an HTTP status that came without `grpc-status` (`http-grpc-status-mapping.md`).
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a WebSocket client sees: 4000 + code, and 1000 for OK.
    pub fn close(self) -> u16 {
        match self {
            Self::Ok => 1000,
            _ => 4000 + u16::from(self.number()),
        }
    }

    /// The code of a close code that a WebSocket peer sent; anything without a meaning here is unknown.
    pub fn of_close(close: u16) -> Self {
        match close {
            1000 => Self::Ok,
            4001..=4016 => Self::of_number(u32::from(close) - 4000),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_http_status_and_one_close_code() {
        #[rustfmt::skip]
        let table = [
            (Code::Ok, 200, 1000), (Code::Cancelled, 499, 4001), (Code::Unknown, 500, 4002),
            (Code::InvalidArgument, 400, 4003), (Code::DeadlineExceeded, 504, 4004), (Code::NotFound, 404, 4005),
            (Code::AlreadyExists, 409, 4006), (Code::PermissionDenied, 403, 4007), (Code::ResourceExhausted, 429, 4008),
            (Code::FailedPrecondition, 400, 4009), (Code::Aborted, 409, 4010), (Code::OutOfRange, 400, 4011),
            (Code::Unimplemented, 501, 4012), (Code::Internal, 500, 4013), (Code::Unavailable, 503, 4014),
            (Code::DataLoss, 500, 4015), (Code::Unauthenticated, 401, 4016),
        ];
        for (code, http, close) in table {
            assert_eq!(code.http().as_u16(), http, "{code:?}");
            assert_eq!(code.close(), close, "{code:?}");
            assert_eq!(Code::of_close(close), code, "close codes are lossless: {code:?}");
            assert_eq!(Code::of_number(u32::from(code.number())), code);
        }
        assert_eq!(table.len(), Code::ALL.len(), "a code is missing from this table");
    }

    #[test]
    fn a_number_beyond_the_codes_is_kept() {
        let status = Status::of_number(42, "odd");
        assert_eq!((status.code, status.number), (Code::Unknown, 42));
        assert!(!status.is_ok());
        assert!(Status::new(Code::Ok, "").is_ok());
    }

    #[test]
    fn what_is_no_code_is_unknown() {
        for text in ["", "17", "-1", "4294967296", "x", "0x1"] {
            assert_eq!(Code::of_text(text.as_bytes()), Code::Unknown, "{text}");
        }
        assert_eq!(Code::of_text(b"14"), Code::Unavailable);
    }
}
