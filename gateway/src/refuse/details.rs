//! `grpc-status-details-bin` of the gateway's own refusals: a `google.rpc.Status` with the details of its error model.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use causeway_protocols::Code;
use prost::Message;
use prost_types::Any;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.RetryInfo`: a client that knows it waits so long by itself.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// The value of the field for a refusal after which the client may come again. Binary values are sent without padding
/// (gRPC over HTTP/2, "Binary-Header").
pub(super) fn retry_info(code: Code, message: &str, after: Duration) -> String {
    let info = RetryInfo {
        retry_delay: Some(prost_types::Duration {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(after.subsec_nanos()).unwrap_or(0),
        }),
    };
    let status = Status {
        code: code.number().into(),
        message: message.to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    STANDARD_NO_PAD.encode(status.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_in_the_details_as_the_error_model_has_it() {
        let text = retry_info(
            Code::ResourceExhausted,
            "too many requests",
            Duration::from_millis(1500),
        );
        let status = Status::decode(&*STANDARD_NO_PAD.decode(text).unwrap()).unwrap();
        assert_eq!((status.code, &*status.message), (8, "too many requests"));
        let info = RetryInfo::decode(&*status.details[0].value).unwrap();
        let delay = info.retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
    }
}
