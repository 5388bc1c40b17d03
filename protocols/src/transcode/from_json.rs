//! JSON to protobuf in one pass: every value is written where it is read, and lengths are put in afterwards.

use std::borrow::Cow;

use super::active::Active;
use super::error::TranscodeError;
use super::json::{self, Json, Peek};
use super::names::Seen;
use super::types::{Field, FieldId, Kind, Label, MessageType, Special, TypeId, Types};
use super::values::{drop_default, put_number, put_special, put_text, wanted};
use super::wire::{self, put_varint};

/// How deep messages may lie in each other.
pub(super) const DEPTH: u32 = 64;

/// A field that the path has set already. What JSON says of it must agree.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    /// The way to it from the request message.
    pub(super) path: Cow<'a, [FieldId]>,
    /// Tag and value, as they were written.
    pub(super) encoded: Vec<u8>,
}

mod special;

/// Reads one JSON text.
#[derive(Debug)]
pub(super) struct FromJson<'a> {
    json: Json<'a>,
    types: &'a Types,
    out: &'a mut Vec<u8>,
    bound: &'a [Bound<'a>],
    depth: u32,
}

/// Appends the message of a JSON text.
pub(super) fn message(
    types: &Types,
    id: TypeId,
    json: &[u8],
    bound: &[Bound<'_>],
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    FromJson::read(types, json, bound, out, |reader, active| reader.content(id, active))
}

/// Appends one field of a message, tag included: the whole JSON text is its value.
pub(super) fn field(
    types: &Types,
    field: (TypeId, FieldId),
    json: &[u8],
    bound: &[Bound<'_>],
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    let (id, field) = field;
    let ty = types.message(id);
    FromJson::read(types, json, bound, out, |reader, active| {
        let below = |error: TranscodeError| error.below(&ty.fields[field as usize].json_name);
        reader.field(ty, field, &mut Seen::default(), active).map_err(below)
    })
}

impl<'a> FromJson<'a> {
    fn read(
        types: &'a Types,
        json: &'a [u8],
        bound: &'a [Bound<'a>],
        out: &'a mut Vec<u8>,
        read: impl FnOnce(&mut Self, Active) -> Result<(), TranscodeError>,
    ) -> Result<(), TranscodeError> {
        let start = out.len();
        out.reserve(json.len() / 2);
        let mut reader = Self {
            json: Json::new(json),
            types,
            out,
            bound,
            depth: 0,
        };
        let result = read(&mut reader, Active::all(bound.len())).and_then(|()| reader.json.finish());
        if result.is_err() {
            reader.out.truncate(start);
        }
        result
    }

    /// What is inside of a message, without its length.
    fn content(&mut self, id: TypeId, active: Active) -> Result<(), TranscodeError> {
        if self.depth == DEPTH {
            return Err(self.json.error("messages nested too deep"));
        }
        self.depth += 1;
        let ty = self.types.message(id);
        match ty.special {
            None => self.fields(ty, active, Object::Message)?,
            Some(Special::Any) => self.any()?,
            Some(Special::ListValue) => self.list_value()?,
            Some(Special::Struct) => self.structure()?,
            Some(Special::Value) => self.any_value()?,
            Some(Special::Wrapper(kind)) => self.wrapper(kind)?,
            Some(special) => {
                if self.json.peek()? != Peek::String {
                    return Err(self.json.error(wanted(self.types, Kind::Message(id))));
                }
                let at = self.json.at();
                let text = self.json.string()?;
                put_special(special, &text, self.out).map_err(|reason| self.json.error_at(at, reason))?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The fields of an object.
    fn fields(&mut self, ty: &'a MessageType, active: Active, object: Object) -> Result<(), TranscodeError> {
        self.json.open(b'{')?;
        let (mut first, mut guess, mut object) = (true, 0, object);
        let (mut seen, mut oneofs) = (Seen::default(), Seen::default());
        loop {
            // Clients write fields in the order of the schema more often than not.
            let expected = ty.fields.get(guess as usize).map(|field| &*field.key);
            let id = match self.json.key_or(&mut first, expected)? {
                json::Key::End => return Ok(()),
                json::Key::Expected => guess,
                json::Key::Other(key) => match ty.named(&key) {
                    Some(id) => id,
                    None if &*key == b"@type" && object == Object::InAny => {
                        object = Object::Message;
                        self.json.skip()?;
                        continue;
                    }
                    None => return Err(self.unknown(ty, &key)),
                },
            };
            guess = id + 1;
            let new = seen.insert(id);
            let result = if new {
                self.field(ty, id, &mut oneofs, active)
            } else {
                Err(self.json.error_at(self.json.key_at(), "given twice"))
            };
            if let Err(error) = result {
                return Err(error.below(&ty.fields[id as usize].json_name));
            }
        }
    }

    #[cold]
    fn unknown(&self, ty: &MessageType, key: &[u8]) -> TranscodeError {
        let key = String::from_utf8_lossy(key);
        let reason = format!("`{}` has no such field", ty.name);
        self.json.error_at(self.json.key_at(), reason).below(&key)
    }

    /// One field, tag included.
    fn field(
        &mut self,
        ty: &'a MessageType,
        id: FieldId,
        oneofs: &mut Seen,
        active: Active,
    ) -> Result<(), TranscodeError> {
        let field = &ty.fields[id as usize];
        if self.json.peek()? == Peek::Null && !(field.takes_null && field.is_single()) {
            return self.json.word("null");
        }
        if let Some(oneof) = field.oneof
            && !oneofs.insert(oneof)
        {
            return Err(self.json.error("another field of the same oneof is set too"));
        }
        if !active.is_nothing() {
            return self.bound_field(ty, id, active);
        }
        self.labelled(field, Active::NOTHING)
    }

    fn labelled(&mut self, field: &Field, inside: Active) -> Result<(), TranscodeError> {
        match field.label {
            Label::Explicit | Label::Implicit => self.single(field, inside),
            Label::Map(key) => self.map(field, key),
            Label::Packed => self.packed(field),
            Label::Repeated => self.repeated(field),
        }
    }

    fn single(&mut self, field: &Field, active: Active) -> Result<(), TranscodeError> {
        let start = self.out.len();
        put_varint(field.tag().into(), self.out);
        let value = self.out.len();
        self.value(field, active)?;
        if field.label == Label::Implicit {
            drop_default(start, value, self.out);
        }
        Ok(())
    }

    /// A field of a message in which the path has set fields.
    #[cold]
    fn bound_field(&mut self, ty: &'a MessageType, id: FieldId, active: Active) -> Result<(), TranscodeError> {
        let field = &ty.fields[id as usize];
        let bound = self.bound;
        let paths = || bound.iter().map(|bound| &*bound.path);
        let rivals = |(path, _): (&[FieldId], usize)| {
            let next = path.first().filter(|next| **next != id);
            next.is_some_and(|next| ty.fields[*next as usize].oneof == field.oneof)
        };
        if field.oneof.is_some() && active.next_fields(paths()).any(rivals) {
            return Err(self.json.error("the path sets another field of the same oneof"));
        }
        let step = active.step(paths(), id);
        let Some(same) = step.end else {
            return self.labelled(field, step.inside);
        };
        let (start, at) = (self.out.len(), self.json.at());
        self.single(field, Active::NOTHING)?;
        let written = &self.out[start..];
        if !written.is_empty() && written != bound[same].encoded {
            return Err(self.json.error_at(at, "the path has another value for it"));
        }
        self.out.truncate(start);
        Ok(())
    }

    fn packed(&mut self, field: &Field) -> Result<(), TranscodeError> {
        let start = self.out.len();
        put_varint(field.piece_tag().into(), self.out);
        let piece = wire::open(self.out);
        self.json.open(b'[')?;
        let (mut first, mut at) = (true, 0);
        while self.json.item(&mut first)? {
            self.value(field, Active::NOTHING).map_err(|error| error.element(at))?;
            at += 1;
        }
        if at == 0 {
            self.out.truncate(start);
        } else {
            wire::close(piece, self.out);
        }
        Ok(())
    }

    fn repeated(&mut self, field: &Field) -> Result<(), TranscodeError> {
        self.json.open(b'[')?;
        let (mut first, mut at) = (true, 0);
        while self.json.item(&mut first)? {
            put_varint(field.tag().into(), self.out);
            self.value(field, Active::NOTHING).map_err(|error| error.element(at))?;
            at += 1;
        }
        Ok(())
    }

    /// One value without its tag; of a group, with the tag that ends it.
    fn value(&mut self, field: &Field, active: Active) -> Result<(), TranscodeError> {
        match field.kind {
            Kind::Message(id) => {
                let start = wire::open(self.out);
                self.content(id, active)?;
                wire::close(start, self.out);
                Ok(())
            }
            Kind::Group(id) => {
                self.content(id, active)?;
                put_varint(u64::from(field.tag()) + 1, self.out);
                Ok(())
            }
            kind => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: Kind) -> Result<(), TranscodeError> {
        let peek = self.json.peek()?;
        let at = self.json.at();
        let put = match peek {
            Peek::String => {
                let text = self.json.string()?;
                put_text(self.types, kind, &text, self.out)
            }
            Peek::Number => {
                let text = self.json.number()?;
                put_number(self.types, kind, text, self.out)
            }
            Peek::True | Peek::False if kind == Kind::Bool => {
                let (word, value) = if peek == Peek::True { ("true", 1) } else { ("false", 0) };
                self.out.push(value);
                return self.json.word(word);
            }
            Peek::Null if matches!(kind, Kind::Enum(id) if self.types.enumeration(id).null) => {
                self.out.push(0);
                return self.json.word("null");
            }
            _ => Err(wanted(self.types, kind)),
        };
        put.map_err(|reason| self.json.error_at(at, reason))
    }

    fn map(&mut self, field: &Field, key_kind: Kind) -> Result<(), TranscodeError> {
        self.json.open(b'{')?;
        let mut first = true;
        let mut keys = Keys::default();
        while let Some(key) = self.json.key(&mut first)? {
            let key_at = self.json.key_at();
            put_varint(field.piece_tag().into(), self.out);
            let entry = wire::open(self.out);
            self.out.push(1 << 3 | key_kind.wire() as u8);
            let put = match (key_kind, &*key) {
                (Kind::Bool, b"true") => {
                    self.out.push(1);
                    Ok(())
                }
                (Kind::Bool, b"false") => {
                    self.out.push(0);
                    Ok(())
                }
                _ => put_text(self.types, key_kind, &key, self.out),
            };
            let below = |error: TranscodeError| error.below(&format!("[{:?}]", String::from_utf8_lossy(&key)));
            put.map_err(|reason| below(self.json.error_at(key_at, reason)))?;
            let key_end = self.out.len();
            self.out.push(2 << 3 | field.kind.wire() as u8);
            self.value(field, Active::NOTHING).map_err(below)?;
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

    fn unique(&self, keys: Keys) -> Result<(), TranscodeError> {
        match keys.repeated(self.out) {
            None => Ok(()),
            Some(at) => Err(self.json.error_at(at, "a key is given twice")),
        }
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    /// A message in an Any: one of its keys is `@type`, which was read before.
    InAny,
    Message,
}

/// The keys of one map, where they were written.
#[derive(Debug, Default)]
struct Keys(Vec<Key>);

#[derive(Clone, Copy, Debug)]
struct Key {
    /// In the JSON text.
    at: usize,
    /// In what was written.
    start: usize,
    length: usize,
}

impl Keys {
    /// Where the JSON has a key for the second time. Sorting, unlike hashing, has no bad case that could be chosen.
    fn repeated(mut self, out: &[u8]) -> Option<usize> {
        let text = |key: &Key| &out[key.start..key.start + key.length];
        if self.0.len() <= 8 {
            let mut keys = self.0.iter().enumerate();
            let twice = keys.find(|(at, key)| self.0[..*at].iter().any(|earlier| text(earlier) == text(key)));
            return twice.map(|(_, key)| key.at);
        }
        self.0.sort_by(|a, b| text(a).cmp(text(b)).then(a.at.cmp(&b.at)));
        let twice = self.0.windows(2).find(|pair| text(&pair[0]) == text(&pair[1]));
        twice.map(|pair| pair[1].at)
    }
}
