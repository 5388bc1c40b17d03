//! The types with a JSON form of their own (proto3, "JSON Mapping"), but for those that are strings.

use std::borrow::Cow;

use super::{DEPTH, FromJson, Key, Keys, Object};
use crate::transcode::active::Active;
use crate::transcode::error::TranscodeError;
use crate::transcode::json::Peek;
use crate::transcode::types::{Kind, MessageType, TypeId};
use crate::transcode::values::drop_default;
use crate::transcode::wire::{self, put_piece};

impl<'a> FromJson<'a> {
    /// `google.protobuf.Int32Value` and its like: `value` = 1.
    pub(super) fn wrapper(&mut self, kind: Kind) -> Result<(), TranscodeError> {
        let start = self.out.len();
        self.out.push(1 << 3 | kind.wire() as u8);
        self.scalar(kind)?;
        drop_default(start, start + 1, self.out);
        Ok(())
    }

    /// `google.protobuf.Struct`: a map of `fields` = 1 from names to values.
    pub(super) fn structure(&mut self) -> Result<(), TranscodeError> {
        self.json.open(b'{')?;
        let mut first = true;
        let mut keys = Keys::default();
        while let Some(key) = self.json.key(&mut first)? {
            let key_at = self.json.key_at();
            self.out.push(0x0a);
            let entry = wire::open(self.out);
            self.out.push(0x0a);
            put_piece(&key, self.out);
            let key_end = self.out.len();
            self.out.push(0x12);
            let value = wire::open(self.out);
            let below = |error: TranscodeError| error.below(&String::from_utf8_lossy(&key));
            self.nested(Self::any_value).map_err(below)?;
            wire::close(value, self.out);
            let (key_length, length) = (key_end - entry, self.out.len() - entry);
            wire::close(entry, self.out);
            keys.0.push(Key {
                at: key_at,
                start: self.out.len() - length,
                length: key_length,
            });
        }
        self.unique(keys)
    }

    /// `google.protobuf.ListValue`: `values` = 1, repeated.
    pub(super) fn list_value(&mut self) -> Result<(), TranscodeError> {
        self.json.open(b'[')?;
        let (mut first, mut at) = (true, 0);
        while self.json.item(&mut first)? {
            self.out.push(0x0a);
            let value = wire::open(self.out);
            self.nested(Self::any_value).map_err(|error| error.element(at))?;
            wire::close(value, self.out);
            at += 1;
        }
        Ok(())
    }

    /// `google.protobuf.Value`: a oneof of null, number, string, bool, struct and list, 1 to 6.
    pub(super) fn any_value(&mut self) -> Result<(), TranscodeError> {
        let peek = self.json.peek()?;
        match peek {
            Peek::Null => {
                self.out.extend_from_slice(&[0x08, 0]);
                self.json.word("null")
            }
            Peek::Number => {
                self.out.push(0x11);
                self.scalar(Kind::Double)
            }
            Peek::String => {
                self.out.push(0x1a);
                self.scalar(Kind::String)
            }
            Peek::True | Peek::False => {
                self.out.push(0x20);
                self.scalar(Kind::Bool)
            }
            Peek::Object | Peek::Array => {
                let (tag, read): (u8, fn(&mut Self) -> _) = match peek {
                    Peek::Object => (0x2a, Self::structure),
                    _ => (0x32, Self::list_value),
                };
                self.out.push(tag);
                let start = wire::open(self.out);
                self.nested(read)?;
                wire::close(start, self.out);
                Ok(())
            }
        }
    }

    /// One message deeper.
    fn nested(&mut self, read: fn(&mut Self) -> Result<(), TranscodeError>) -> Result<(), TranscodeError> {
        if self.depth == DEPTH {
            return Err(self.json.error("messages nested too deep"));
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// `google.protobuf.Any`: `type_url` = 1, `value` = 2.
    pub(super) fn any(&mut self) -> Result<(), TranscodeError> {
        let Some(TypeUrl { text: url, at }) = self.type_url()? else {
            // An Any of nothing.
            self.json.open(b'{')?;
            return self.json.key(&mut true).map(drop);
        };
        let name = url.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let id = std::str::from_utf8(name).ok().and_then(|name| self.types.named(name));
        let Some(id) = id.filter(|_| url.contains(&b'/')) else {
            let reason = format!("the schema has no type `{}`", String::from_utf8_lossy(&url));
            return Err(self.json.error_at(at, reason).below("@type"));
        };
        self.out.push(0x0a);
        put_piece(&url, self.out);
        let field = self.out.len();
        self.out.push(0x12);
        let start = wire::open(self.out);
        let ty = self.types.message(id);
        if ty.special.is_some() {
            self.special_any(id)?;
        } else {
            self.nested_fields(ty)?;
        }
        wire::close(start, self.out);
        drop_default(field, field + 1, self.out);
        Ok(())
    }

    fn nested_fields(&mut self, ty: &'a MessageType) -> Result<(), TranscodeError> {
        if self.depth == DEPTH {
            return Err(self.json.error("messages nested too deep"));
        }
        self.depth += 1;
        self.fields(ty, Active::NOTHING, Object::InAny)?;
        self.depth -= 1;
        Ok(())
    }

    /// `{"@type": .., "value": ..}`: how a type with a JSON form of its own lies in an Any.
    fn special_any(&mut self, id: TypeId) -> Result<(), TranscodeError> {
        self.json.open(b'{')?;
        let (mut first, mut url, mut value) = (true, false, false);
        while let Some(key) = self.json.key(&mut first)? {
            let seen = match &*key {
                b"@type" => std::mem::replace(&mut url, true),
                b"value" => std::mem::replace(&mut value, true),
                _ => return Err(self.unknown(self.types.message(id), &key)),
            };
            if seen {
                return Err(self.json.error_at(self.json.key_at(), "given twice"));
            }
            if &*key == b"value" {
                self.content(id, Active::NOTHING)
                    .map_err(|error| error.below("value"))?;
            } else {
                self.json.skip()?;
            }
        }
        if value {
            Ok(())
        } else {
            Err(self.json.error("the Any has no \"value\""))
        }
    }

    /// Looks ahead for `@type`, which need not be first; `None` for an empty object.
    fn type_url(&self) -> Result<Option<TypeUrl<'a>>, TranscodeError> {
        let mut ahead = self.json.clone();
        ahead.open(b'{')?;
        let mut first = true;
        while let Some(key) = ahead.key(&mut first)? {
            if &*key == b"@type" {
                if ahead.peek()? != Peek::String {
                    return Err(ahead.error("expected a string").below("@type"));
                }
                let at = ahead.at();
                let text = ahead.string()?;
                return Ok(Some(TypeUrl { text, at }));
            }
            ahead.skip()?;
        }
        if first {
            Ok(None)
        } else {
            Err(self.json.error("an Any needs \"@type\""))
        }
    }
}

/// The `@type` of an Any, and where it is.
#[derive(Debug)]
struct TypeUrl<'a> {
    text: Cow<'a, [u8]>,
    at: usize,
}
