//! The JSON of Connect's errors, and of the message that ends a stream.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::fields::Fields;
use crate::framing::json::is_object;
use crate::message::Outcome;
use crate::status::detail::Detail;
use crate::status::{Code, Status};

/// Written without padding and read with or without ("Error codes", details).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What stands before the name of a type in an `Any`.
const TYPE_PREFIX: &str = "type.googleapis.com/";

#[derive(Serialize, Deserialize)]
struct ErrorJson {
    code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<DetailJson>,
}

#[derive(Serialize, Deserialize)]
struct DetailJson {
    #[serde(rename = "type")]
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct EndJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Vec<String>>,
}

/// The name of a code in Connect; OK, which is no error, has none.
pub fn code_name(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Ok => return None,
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    })
}

fn code_of_name(name: &str) -> Option<Code> {
    Code::ALL.into_iter().find(|code| code_name(*code) == Some(name))
}

/// The body of a unary reply that failed. Its HTTP status is [`Code::http`], its content type `application/json`.
pub fn error_to_json(status: &Status) -> Vec<u8> {
    json(&error_of(status))
}

/// The status of a unary reply that failed. A body that is no error of Connect leaves what the HTTP status says.
pub fn error_from_json(body: &[u8], http: StatusCode) -> Status {
    match serde_json::from_slice(body) {
        Ok(error) if is_object(body) => status_of(error, Code::of_http(http)),
        _ => Status::new(Code::of_http(http), format!("HTTP status {}", http.as_u16())),
    }
}

/// The message that ends a stream.
pub(super) fn end_to_json(outcome: &Outcome) -> Vec<u8> {
    let mut metadata = BTreeMap::<String, Vec<String>>::new();
    for field in &outcome.trailers {
        let value = String::from_utf8_lossy(field.value).into_owned();
        metadata.entry(field.name.as_str().to_owned()).or_default().push(value);
    }
    json(&EndJson {
        error: (!outcome.status.is_ok()).then(|| error_of(&outcome.status)),
        metadata,
    })
}

/// What ends a stream; none if it is not as Connect says. Metadata that is no header field is left out.
pub(super) fn end_from_json(text: &[u8]) -> Option<Outcome> {
    if !is_object(text) {
        return None;
    }
    let end: EndJson = serde_json::from_slice(text).ok()?;
    let mut trailers = Fields::new();
    for (name, values) in &end.metadata {
        for value in values {
            trailers.push(name.as_bytes(), value.as_bytes()).ok();
        }
    }
    let status = match end.error {
        None => Status::new(Code::Ok, ""),
        Some(error) => status_of(error, Code::Unknown),
    };
    Some(Outcome { status, trailers })
}

fn error_of(status: &Status) -> ErrorJson {
    let details = status.details().into_iter().map(|detail| DetailJson {
        name: match detail.type_url.rsplit_once('/') {
            Some((_, name)) => name.to_owned(),
            None => detail.type_url,
        },
        value: BASE64.encode(&detail.value),
    });
    ErrorJson {
        code: code_name(status.code).unwrap_or("unknown").to_owned(),
        message: status.message.clone(),
        details: details.collect(),
    }
}

/// A code that is not known is that of the HTTP status; details that are no base64 are left out.
fn status_of(error: ErrorJson, otherwise: Code) -> Status {
    let details = error.details.into_iter().filter_map(|detail| {
        Some(Detail {
            type_url: format!("{TYPE_PREFIX}{}", detail.name),
            value: BASE64.decode(detail.value).ok()?.into(),
        })
    });
    let code = code_of_name(&error.code).unwrap_or(otherwise);
    Status::new(code, error.message).with_details(details.collect())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Strings and lists of them always have a JSON form.
    serde_json::to_vec(value).unwrap_or_else(|_| b"{\"code\":\"internal\"}".to_vec())
}
