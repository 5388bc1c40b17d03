//! The payloads of REPLY, INFO and END.
//!
//! ```text
//! REPLY, INFO   encoding u8 = 0 | status u16 | length u8: 0 empty, 1 exactly (u64), 2 streamed | field block
//! END           nothing: no trailers
//!               0 | encoding u8 = 0 | field block
//!               1 | failure kind u8 | code u8 | retry after, ms, u32 (all ones: none) | detail, UTF-8, the rest
//! ```

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use http::StatusCode;

use super::frame::{MAX_FIELDS, MAX_HEAD, TooLarge};
use super::head::{HeadError, STATIC_TABLE, fields};
use super::reader::Reader;
use crate::call::{Length, ReplyHead};
use crate::failure::FailureKind;
use crate::fields::Fields;
use crate::status::Code;

/// Most bytes of a failure's detail; a longer one is cut.
pub const MAX_DETAIL: usize = 1024;

const TRAILERS: u8 = 0;
const FAILED: u8 = 1;
const NO_RETRY: u32 = u32::MAX;

/// How the called side ended a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The reply is whole; these are its trailers.
    Trailers(Fields),
    /// There is no reply, or it ends here unfinished. The entry site renders it in the client's protocol.
    Failed(Failure),
}

/// Why a call failed at the other site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong; unknown kinds of later versions are [`FailureKind::Internal`].
    pub kind: FailureKind,
    /// The status that a gRPC client is told; usually that of `kind`.
    pub code: Code,
    /// For the operator and the client, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
    /// When to try again; whole milliseconds on the wire.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with the code of its kind.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            code: kind.code(),
            detail: detail.into(),
            retry_after: None,
        }
    }
}

/// Appends the payload of REPLY or INFO.
///
/// # Errors
/// [`TooLarge`].
pub fn encode(head: &ReplyHead, out: &mut BytesMut) -> Result<(), TooLarge> {
    check(&head.fields)?;
    let block = head.fields.as_wire();
    out.reserve(12 + block.len());
    out.put_u8(STATIC_TABLE);
    out.put_u16(head.status.as_u16());
    match head.length {
        Length::Empty => out.put_u8(0),
        Length::Exactly(bytes) => {
            out.put_u8(1);
            out.put_u64(bytes);
        }
        Length::Streamed => out.put_u8(2),
    }
    out.put_slice(block);
    Ok(())
}

/// Reads the payload of REPLY or INFO.
///
/// # Errors
/// See [`HeadError`]; a status outside 100 to 599, or a length of unknown form, is [`HeadError::Value`].
pub fn decode(payload: &[u8]) -> Result<ReplyHead, HeadError> {
    let mut reader = Reader::new(payload);
    encoding(&mut reader)?;
    let status = reader.u16().ok_or(HeadError::Short)?;
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| status.as_u16() < 600)
        .ok_or(HeadError::Value(1))?;
    let length = match reader.u8().ok_or(HeadError::Short)? {
        0 => Length::Empty,
        1 => Length::Exactly(reader.u64().ok_or(HeadError::Short)?),
        2 => Length::Streamed,
        _ => return Err(HeadError::Value(2)),
    };
    Ok(ReplyHead {
        status,
        fields: fields(reader.rest())?,
        length,
    })
}

/// Appends the payload of END.
///
/// # Errors
/// [`TooLarge`] for trailers.
pub fn encode_end(ended: &Ended, out: &mut BytesMut) -> Result<(), TooLarge> {
    match ended {
        Ended::Trailers(trailers) if trailers.is_empty() => {}
        Ended::Trailers(trailers) => {
            check(trailers)?;
            out.put_u8(TRAILERS);
            out.put_u8(STATIC_TABLE);
            out.put_slice(trailers.as_wire());
        }
        Ended::Failed(failure) => {
            let millis = failure.retry_after.map_or(NO_RETRY, |after| {
                u32::try_from(after.as_millis()).map_or(NO_RETRY - 1, |millis| millis.min(NO_RETRY - 1))
            });
            let mut cut = failure.detail.len().min(MAX_DETAIL);
            while !failure.detail.is_char_boundary(cut) {
                cut -= 1;
            }
            out.put_u8(FAILED);
            out.put_u8(failure.kind.wire());
            out.put_u8(failure.code.number());
            out.put_u32(millis);
            out.put_slice(&failure.detail.as_bytes()[..cut]);
        }
    }
    Ok(())
}

/// Reads the payload of END.
///
/// # Errors
/// See [`HeadError`]; a detail that is too long or no UTF-8, or an unknown form, is [`HeadError::Value`].
pub fn decode_end(payload: &[u8]) -> Result<Ended, HeadError> {
    let mut reader = Reader::new(payload);
    match reader.u8() {
        None => Ok(Ended::Trailers(Fields::new())),
        Some(TRAILERS) => {
            encoding(&mut reader)?;
            Ok(Ended::Trailers(fields(reader.rest())?))
        }
        Some(FAILED) => {
            let kind = reader.u8().ok_or(HeadError::Short)?;
            let code = reader.u8().ok_or(HeadError::Short)?;
            let millis = reader.u32().ok_or(HeadError::Short)?;
            let detail = Some(reader.rest())
                .filter(|detail| detail.len() <= MAX_DETAIL)
                .and_then(|detail| std::str::from_utf8(detail).ok())
                .ok_or(HeadError::Value(FAILED))?;
            Ok(Ended::Failed(Failure {
                kind: FailureKind::from_wire(kind).unwrap_or(FailureKind::Internal),
                code: Code::of_number(u32::from(code)),
                detail: detail.to_owned(),
                retry_after: (millis != NO_RETRY).then(|| Duration::from_millis(u64::from(millis))),
            }))
        }
        Some(_) => Err(HeadError::Value(0)),
    }
}

fn encoding(reader: &mut Reader<'_>) -> Result<(), HeadError> {
    match reader.u8().ok_or(HeadError::Short)? {
        STATIC_TABLE => Ok(()),
        other => Err(HeadError::Encoding(other)),
    }
}

fn check(fields: &Fields) -> Result<(), TooLarge> {
    if fields.len() > MAX_FIELDS || fields.as_wire().len() > MAX_HEAD {
        return Err(TooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
