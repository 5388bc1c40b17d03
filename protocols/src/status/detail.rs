//! The bytes of `google.rpc.Status`: what `grpc-status-details-bin` carries, and what its details are.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::Status;

/// The type of `google.rpc.RetryInfo` in an `Any`.
pub const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// One detail: a `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Detail {
    /// The URL that names the type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.rpc.Status` (google/rpc/status.proto).
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.rpc.RetryInfo` (google/rpc/error_details.proto).
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Status {
    /// The details; none where there are none or their bytes are malformed.
    pub fn details(&self) -> Vec<Detail> {
        RpcStatus::decode(self.details.clone())
            .map(|status| status.details)
            .unwrap_or_default()
    }

    /// This status with these details in place of its own.
    #[must_use]
    pub fn with_details(mut self, details: Vec<Detail>) -> Self {
        self.details = if details.is_empty() {
            Bytes::new()
        } else {
            let status = RpcStatus {
                code: i32::try_from(self.number).unwrap_or(i32::MAX),
                message: self.message.clone(),
                details,
            };
            status.encode_to_vec().into()
        };
        self
    }

    /// The status in an encoded `google.rpc.Status`, which becomes its details; none if it is malformed.
    pub fn of_encoded(bytes: Bytes) -> Option<Self> {
        let status = RpcStatus::decode(bytes.clone()).ok()?;
        let mut read = Self::of_number(u32::try_from(status.code).unwrap_or(u32::MAX), status.message);
        read.details = bytes;
        Some(read)
    }
}

impl Detail {
    /// When to try again (`google.rpc.RetryInfo`), as `Retry-After` says it.
    pub fn retry_info(after: Duration) -> Self {
        let info = RetryInfo {
            retry_delay: Some(RetryDelay {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(after.subsec_nanos()).unwrap_or(0),
            }),
        };
        Self {
            type_url: RETRY_INFO.to_owned(),
            value: info.encode_to_vec().into(),
        }
    }

    /// When to try again, if this is a `google.rpc.RetryInfo`.
    pub fn retry_after(&self) -> Option<Duration> {
        if self.type_url != RETRY_INFO {
            return None;
        }
        let delay = RetryInfo::decode(self.value.clone()).ok()?.retry_delay?;
        let seconds = u64::try_from(delay.seconds).ok()?;
        let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        Some(Duration::new(seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    #[test]
    fn details_survive_their_encoding() {
        let retry = Detail::retry_info(Duration::from_millis(1500));
        assert_eq!(retry.retry_after(), Some(Duration::from_millis(1500)));
        // code 8, message "slow", one Any, by hand.
        let status = Status::new(Code::ResourceExhausted, "slow").with_details(vec![retry.clone()]);
        assert_eq!(&status.details[..8], b"\x08\x08\x12\x04slow");
        assert_eq!(status.details(), [retry]);
        assert_eq!(Status::of_encoded(status.details.clone()), Some(status));
    }

    #[test]
    fn malformed_details_are_none() {
        let mut status = Status::new(Code::Internal, "");
        status.details = Bytes::from_static(b"\xff\xff");
        assert_eq!(status.details(), []);
        assert_eq!(Status::of_encoded(Bytes::from_static(b"\x0a")), None);
        let other = Detail {
            type_url: "type.googleapis.com/x.Y".to_owned(),
            value: Bytes::new(),
        };
        assert_eq!(other.retry_after(), None);
    }
}
