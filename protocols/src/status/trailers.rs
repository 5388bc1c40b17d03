//! A status in trailers: `grpc-status`, `grpc-message` and `grpc-status-details-bin` (gRPC over HTTP/2, "Responses").

use crate::fields::Fields;
use crate::framing::metadata;
use crate::message::Outcome;
use crate::name;

use super::{Code, Status, message};

impl Outcome {
    /// What trailers say. None if there is no `grpc-status`. A status that is no number is UNKNOWN, and details that
    /// are no base64 are left out.
    pub fn of_trailers(mut trailers: Fields) -> Option<Self> {
        let number = trailers.text(name::GRPC_STATUS)?;
        let number = match number.parse() {
            Ok(number) if number_is_plain(trailers.get(name::GRPC_STATUS)) => number,
            _ => u32::from(Code::Unknown.number()),
        };
        let text = trailers
            .get(name::GRPC_MESSAGE)
            .map(message::decode)
            .unwrap_or_default();
        let mut status = Status::of_number(number, text);
        status.details = trailers
            .get(name::GRPC_STATUS_DETAILS_BIN)
            .and_then(metadata::decode_binary)
            .unwrap_or_default();
        for id in [name::GRPC_STATUS, name::GRPC_MESSAGE, name::GRPC_STATUS_DETAILS_BIN] {
            trailers.remove(id);
        }
        Some(Self { status, trailers })
    }

    /// The trailers that say it, the status first.
    pub fn to_trailers(&self) -> Fields {
        let mut trailers = Fields::new();
        // Only a text or details of more than 65,535 bytes are refused, and then the status itself is told.
        trailers
            .push_known(name::GRPC_STATUS, self.status.number.to_string().as_bytes())
            .ok();
        if !self.status.message.is_empty() {
            let text = message::encode(&self.status.message);
            trailers.push_known(name::GRPC_MESSAGE, text.as_bytes()).ok();
        }
        if !self.status.details.is_empty() {
            let details = metadata::encode_binary(&self.status.details);
            trailers
                .push_known(name::GRPC_STATUS_DETAILS_BIN, details.as_bytes())
                .ok();
        }
        for field in &self.trailers {
            trailers.push(field.name.as_str().as_bytes(), field.value).ok();
        }
        trailers
    }
}

/// Digits only: numbers in Rust may have a sign.
fn number_is_plain(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| value.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_outcome_survives_its_trailers() {
        let mut outcome = Outcome::new(Status::of_number(42, "50% é"));
        outcome.status.details = Bytes::from_static(b"\x08\x2a\xff");
        outcome.trailers.push(b"x-cost", b"7").unwrap();
        let trailers = outcome.to_trailers();
        assert_eq!(trailers.get(name::GRPC_MESSAGE), Some(&b"50%25 %C3%A9"[..]));
        assert_eq!(trailers.get(name::GRPC_STATUS_DETAILS_BIN), Some(&b"CCr/"[..]));
        assert_eq!(Outcome::of_trailers(trailers), Some(outcome));
    }

    #[test]
    fn g4_what_is_no_status_is_unknown_and_what_is_missing_is_none() {
        for text in ["", "+0", "-1", "0x0", "0 0", "99999999999"] {
            let mut trailers = Fields::new();
            trailers.push_known(name::GRPC_STATUS, text.as_bytes()).unwrap();
            trailers.push_known(name::GRPC_STATUS_DETAILS_BIN, b"*").unwrap();
            let outcome = Outcome::of_trailers(trailers).unwrap();
            assert_eq!(
                (outcome.status.code, outcome.status.details.len()),
                (Code::Unknown, 0),
                "{text}"
            );
        }
        assert_eq!(Outcome::of_trailers(Fields::new()), None);
    }
}
