//! The JSON of a `google.rpc.Status` where nobody knows the types of its details: they keep their bytes as base64.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Status;
use super::detail::Detail;
use crate::framing::json::is_object;

/// Base64 as JSON of protobuf writes it; padding may be missing when it is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Serialize)]
struct Written<'a> {
    code: u32,
    message: &'a str,
    details: Vec<AnyWritten<'a>>,
}

#[derive(Serialize)]
struct AnyWritten<'a> {
    #[serde(rename = "@type")]
    type_url: &'a str,
    value: String,
}

#[derive(Deserialize)]
struct Read<'a> {
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(borrow, default)]
    details: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyRead {
    #[serde(rename = "@type")]
    type_url: String,
    value: String,
}

/// `{"code": 5, "message": "..", "details": [{"@type": "..", "value": "base64"}]}`, without line breaks.
pub fn write(status: &Status) -> Vec<u8> {
    let details = status.details();
    let written = Written {
        code: status.number,
        message: &status.message,
        details: details
            .iter()
            .map(|detail| AnyWritten {
                type_url: &detail.type_url,
                value: BASE64.encode(&detail.value),
            })
            .collect(),
    };
    // Numbers and strings always have a JSON form.
    serde_json::to_vec(&written).unwrap_or_else(|_| b"{\"code\":13}".to_vec())
}

/// The status in a JSON text; none if there is no `code` in it. Details in the form of their type are left out, as
/// nobody here can encode them.
pub fn read(text: &[u8]) -> Option<Status> {
    if !is_object(text) {
        return None;
    }
    let read: Read<'_> = serde_json::from_slice(text).ok()?;
    let details = read.details.iter().filter_map(|raw| detail(raw)).collect();
    Some(Status::of_number(read.code, read.message).with_details(details))
}

fn detail(raw: &RawValue) -> Option<Detail> {
    if !is_object(raw.get().as_bytes()) {
        return None;
    }
    let any: AnyRead = serde_json::from_str(raw.get()).ok()?;
    Some(Detail {
        type_url: any.type_url,
        value: BASE64.decode(any.value).ok()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::status::Code;

    #[test]
    fn a_status_survives_its_json() {
        let detail = Detail {
            type_url: "type.googleapis.com/shop.Refusal".to_owned(),
            value: Bytes::from_static(b"\x08\x01"),
        };
        let status = Status::new(Code::NotFound, "no \"order\"\n7").with_details(vec![detail]);
        let text = write(&status);
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            r#"{"code":5,"message":"no \"order\"\n7","details":[{"@type":"type.googleapis.com/shop.Refusal","value":"CAE="}]}"#
        );
        assert_eq!(read(&text), Some(status));
    }

    #[test]
    fn what_is_no_status_is_none_and_what_cannot_be_encoded_is_left_out() {
        for text in [
            "",
            "null",
            "[]",
            "[5]",
            "{}",
            r#"{"message":"x"}"#,
            r#"{"code":"x"}"#,
            r#"{"code":-1}"#,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        let typed = br#"{"code":8,"details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":"3s"}],"more":1}"#;
        assert_eq!(read(typed), Some(Status::new(Code::ResourceExhausted, "")));
        assert_eq!(read(br#"{"code":42}"#), Some(Status::of_number(42, "")));
    }
}
