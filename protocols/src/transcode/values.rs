//! Single values from text: a JSON string, a JSON number, a path variable or a query parameter, into protobuf.

use std::borrow::Cow;

use super::number;
use super::text::unbase64;
use super::types::{Kind, Special, Types};
use super::wellknown;
use super::wire::{put_piece, put_varint, zigzag};

/// Why a text is no value of a kind.
pub(super) type Reason = Cow<'static, str>;

/// Appends the value of a JSON string. Messages are those with a text form: without their length.
pub(super) fn put_text(types: &Types, kind: Kind, text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    match kind {
        Kind::String => put_piece(text, out),
        Kind::Bytes => {
            let start = super::wire::open(out);
            unbase64(text, out)?;
            super::wire::close(start, out);
        }
        Kind::Enum(id) => {
            let of = types.enumeration(id);
            let Some(number) = of.number(text) else {
                return Err(format!("`{}` is no value of `{}`", String::from_utf8_lossy(text), of.name).into());
            };
            put_int(number.into(), out);
        }
        Kind::Double => match number::word(text) {
            Some(word) => out.extend_from_slice(&word.to_le_bytes()),
            None => put_number(types, kind, number::quoted(text)?, out)?,
        },
        Kind::Float => match number::word(text) {
            Some(word) => out.extend_from_slice(&(word as f32).to_le_bytes()),
            None => put_number(types, kind, number::quoted(text)?, out)?,
        },
        Kind::Bool | Kind::Message(_) | Kind::Group(_) => return Err(wanted(types, kind)),
        _ => put_number(types, kind, number::quoted(text)?, out)?,
    }
    Ok(())
}

/// Appends the value of a JSON number.
pub(super) fn put_number(types: &Types, kind: Kind, text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    match kind {
        Kind::Double => out.extend_from_slice(&number::double(text)?.to_le_bytes()),
        Kind::Float => out.extend_from_slice(&number::float(text)?.to_le_bytes()),
        Kind::Int32 => put_int(narrow::<i32>(text)?.into(), out),
        Kind::Int64 => put_int(narrow(text)?, out),
        Kind::Uint32 => put_varint(narrow::<u32>(text)?.into(), out),
        Kind::Uint64 => put_varint(narrow(text)?, out),
        Kind::Sint32 => put_varint(zigzag(narrow::<i32>(text)?.into()), out),
        Kind::Sint64 => put_varint(zigzag(narrow(text)?), out),
        Kind::Fixed32 => out.extend_from_slice(&narrow::<u32>(text)?.to_le_bytes()),
        Kind::Fixed64 => out.extend_from_slice(&narrow::<u64>(text)?.to_le_bytes()),
        Kind::Sfixed32 => out.extend_from_slice(&narrow::<i32>(text)?.to_le_bytes()),
        Kind::Sfixed64 => out.extend_from_slice(&narrow::<i64>(text)?.to_le_bytes()),
        Kind::Enum(id) => {
            let number = narrow::<i32>(text)?;
            let of = types.enumeration(id);
            if !of.open && of.name_of(number).is_none() {
                return Err(format!("{number} is no value of `{}`", of.name).into());
            }
            put_int(number.into(), out);
        }
        Kind::Bool | Kind::Bytes | Kind::Group(_) | Kind::Message(_) | Kind::String => return Err(wanted(types, kind)),
    }
    Ok(())
}

/// Negative numbers take ten bytes, also those of 32 bits.
fn put_int(value: i64, out: &mut Vec<u8>) {
    put_varint(value as u64, out);
}

fn narrow<T: TryFrom<i128>>(text: &[u8]) -> Result<T, Reason> {
    let value = number::integer(text)?;
    T::try_from(value).map_err(|_| "the number is out of range".into())
}

/// Appends the content of a message that is a string in JSON; false where it is none.
pub(super) fn put_special(special: Special, text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (seconds, nanos) = match special {
        Special::Timestamp => wellknown::parse_timestamp(text)?,
        Special::Duration => wellknown::parse_duration(text)?,
        Special::FieldMask => {
            return wellknown::parse_mask(text, |path| {
                out.push(0x0a);
                put_piece(path, out);
            });
        }
        _ => return Err("expected an object"),
    };
    if seconds != 0 {
        out.push(0x08);
        put_int(seconds, out);
    }
    if nanos != 0 {
        out.push(0x10);
        put_int(nanos.into(), out);
    }
    Ok(())
}

/// Appends the value of a path variable or a query parameter: what JSON has as a string, a number or a boolean.
pub(super) fn put_parameter(types: &Types, kind: Kind, text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    match kind {
        Kind::Bool => match text {
            b"true" => out.push(1),
            b"false" => out.push(0),
            _ => return Err(wanted(types, kind)),
        },
        Kind::Enum(id) if types.enumeration(id).number(text).is_none() && number::quoted(text).is_ok() => {
            put_number(types, kind, text, out)?;
        }
        Kind::String => {
            if std::str::from_utf8(text).is_err() {
                return Err("invalid UTF-8".into());
            }
            put_piece(text, out);
        }
        Kind::Message(id) => {
            let start = super::wire::open(out);
            match types.message(id).special {
                Some(Special::Wrapper(kind)) => {
                    let tag = out.len();
                    out.push(1 << 3 | kind.wire() as u8);
                    put_parameter(types, kind, text, out)?;
                    drop_default(tag, tag + 1, out);
                }
                Some(special @ (Special::Duration | Special::FieldMask | Special::Timestamp)) => {
                    put_special(special, text, out)?;
                }
                _ => return Err("a message cannot be given by one parameter".into()),
            }
            super::wire::close(start, out);
        }
        _ => put_text(types, kind, text, out)?,
    }
    Ok(())
}

/// Takes a field back, if its value is the default: all its bytes are zero, its length included.
pub(super) fn drop_default(field: usize, value: usize, out: &mut Vec<u8>) {
    if out[value..].iter().all(|byte| *byte == 0) {
        out.truncate(field);
    }
}

/// What a kind wants, for the reason of a refusal.
#[cold]
pub(super) fn wanted(types: &Types, kind: Kind) -> Reason {
    match kind {
        Kind::Bool => "expected true or false".into(),
        Kind::Bytes => "expected base64 in a string".into(),
        Kind::String => "expected a string".into(),
        Kind::Enum(id) => format!("expected the name of a value of `{}`", types.enumeration(id).name).into(),
        Kind::Message(id) | Kind::Group(id) => match types.message(id).special {
            Some(Special::ListValue) => "expected an array".into(),
            Some(Special::Duration | Special::FieldMask | Special::Timestamp) => "expected a string".into(),
            Some(Special::Wrapper(kind)) => wanted(types, kind),
            _ => "expected an object".into(),
        },
        Kind::Double | Kind::Float => "expected a number".into(),
        _ => "expected an integer".into(),
    }
}
