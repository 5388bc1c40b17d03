//! Protobuf to JSON: fields are written as they come off the wire.
//!
//! That is right as long as no field comes twice and the elements of a list lie together, as every common encoder
//! writes them. Where they do not, what was written is thrown away and the message is written again, carefully: each
//! level collects its fields first, the last of several values counts, and several pieces of one message are merged.
//! It is decided once for the whole message, so that nested surprises cannot multiply the work.

use super::active::Active;
use super::collect::Room;
use super::error::TranscodeError;
use super::names::Seen;
use super::text;
use super::types::{Field, FieldId, Kind, Label, MessageType, TypeId, Types, WireType};
use super::wire::{RECURSION, Raw, Wire, unzigzag};

mod careful;
mod special;

/// Why writing stopped.
#[derive(Debug)]
enum Stop {
    /// The order of the fields needs care.
    Again,
    Error(TranscodeError),
}

impl From<TranscodeError> for Stop {
    fn from(error: TranscodeError) -> Self {
        Self::Error(error)
    }
}

impl Stop {
    #[cold]
    fn below(self, name: &str) -> Self {
        match self {
            Self::Again => Self::Again,
            Self::Error(error) => Self::Error(error.below(name)),
        }
    }
}

/// Writes one message as JSON text.
#[derive(Debug)]
pub(super) struct ToJson<'a> {
    types: &'a Types,
    out: &'a mut Vec<u8>,
    order: Order,
    depth: u32,
    room: Room,
    /// Fields that are left out, by their way from the message.
    omit: &'a [&'a [FieldId]],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AsTheyCome,
    Careful,
}

/// Appends the JSON of a message, without the fields of `omit`.
pub(super) fn message(
    types: &Types,
    id: TypeId,
    proto: &[u8],
    omit: &[&[FieldId]],
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    ToJson::write(types, omit, proto.len(), out, |writer| {
        writer.content(id, proto, Active::all(omit.len()))
    })
}

/// Appends the JSON of one field of a message, or of its default where it is not there. `omit` starts at the message.
pub(super) fn field(
    types: &Types,
    field: (TypeId, FieldId),
    proto: &[u8],
    omit: &[&[FieldId]],
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    let (ty, id) = (types.message(field.0), field.1);
    ToJson::write(types, omit, proto.len(), out, |writer| {
        writer.only(ty, id, proto, Active::all(omit.len()))
    })
}

/// Appends the JSON of one value.
pub(super) fn value(types: &Types, kind: Kind, raw: Raw<'_>, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    ToJson::write(types, &[], raw.piece().len(), out, |writer| {
        writer.value(kind, raw, Active::NOTHING)
    })
}

impl<'a> ToJson<'a> {
    fn write(
        types: &'a Types,
        omit: &'a [&'a [FieldId]],
        length: usize,
        out: &'a mut Vec<u8>,
        write: impl Fn(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), TranscodeError> {
        let start = out.len();
        let mut writer = Self {
            types,
            out,
            order: Order::AsTheyCome,
            depth: 0,
            room: Room::of_message(length),
            omit,
        };
        let mut result = write(&mut writer);
        if let Err(Stop::Again) = result {
            writer.out.truncate(start);
            writer.order = Order::Careful;
            writer.depth = 0;
            writer.room = Room::of_message(length);
            result = write(&mut writer);
        }
        let Err(stop) = result else { return Ok(()) };
        writer.out.truncate(start);
        Err(match stop {
            Stop::Error(error) => error,
            Stop::Again => TranscodeError::protobuf("fields in an order that cannot be read"),
        })
    }

    /// A message; `active` are the omitted fields that may lie in it.
    fn content(&mut self, id: TypeId, proto: &[u8], active: Active) -> Result<(), Stop> {
        if self.depth == RECURSION {
            return Err(TranscodeError::protobuf("messages nested too deep").into());
        }
        self.depth += 1;
        let ty = self.types.message(id);
        match ty.special {
            None => {
                self.out.push(b'{');
                self.fields(ty, proto, active, true)?;
                self.out.push(b'}');
            }
            Some(special) => self.special(special, proto)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// The fields of a message, without brackets. `first` is false where something is before them.
    fn fields(&mut self, ty: &MessageType, proto: &[u8], active: Active, first: bool) -> Result<(), Stop> {
        if self.order == Order::Careful || !active.is_nothing() {
            return self.careful(ty, proto, active, first);
        }
        let (mut first, mut guess) = (first, 0);
        let (mut seen, mut oneofs) = (Seen::default(), Seen::default());
        let mut wire = Wire::new(proto);
        while let Some((number, wire_type, raw)) = wire.next()? {
            let Some(id) = ty.numbered(number, guess) else { continue };
            let field = &ty.fields[id as usize];
            guess = id + 1;
            if !field.accepts(wire_type) {
                continue;
            }
            if !seen.insert(id) || field.oneof.is_some_and(|oneof| !oneofs.insert(oneof)) {
                return Err(Stop::Again);
            }
            if field.label == Label::Implicit && raw.is_default() {
                continue;
            }
            let start = self.out.len();
            if !first {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&field.key);
            let written = match field.label {
                Label::Explicit | Label::Implicit => self.value(field.kind, raw, Active::NOTHING).map(|()| true),
                Label::Packed | Label::Repeated => self.list(field, (wire_type, raw), &mut wire),
                Label::Map(key) => self.map(field, key, raw, &mut wire).map(|()| true),
            };
            match written {
                Ok(true) => first = false,
                // A packed list of nothing.
                Ok(false) => self.out.truncate(start),
                Err(stop) => return Err(stop.below(&field.json_name)),
            }
        }
        Ok(())
    }

    /// A list, whose further elements are taken from `wire`; false where it is empty.
    fn list(&mut self, field: &Field, head: (WireType, Raw<'_>), wire: &mut Wire<'_>) -> Result<bool, Stop> {
        let (mut wire_type, mut raw) = head;
        let mut empty = true;
        self.out.push(b'[');
        loop {
            empty &= self.elements(field, wire_type, raw, empty)?;
            if !wire.tag_is(field.number) {
                break;
            }
            match wire.next()? {
                Some((_, next_type, next)) if field.accepts(next_type) => (wire_type, raw) = (next_type, next),
                _ => return Err(Stop::Again),
            }
        }
        self.out.push(b']');
        Ok(!empty)
    }

    /// One element, or those of a packed piece. Returns whether there was none.
    fn elements(&mut self, field: &Field, wire_type: WireType, raw: Raw<'_>, empty: bool) -> Result<bool, Stop> {
        let mut empty = empty;
        if wire_type == field.kind.wire() {
            if !empty {
                self.out.push(b',');
            }
            self.value(field.kind, raw, Active::NOTHING)?;
            return Ok(false);
        }
        let mut packed = Wire::new(raw.piece());
        while !packed.is_empty() {
            let raw = packed.packed(field.kind)?;
            if !empty {
                self.out.push(b',');
            }
            self.value(field.kind, raw, Active::NOTHING)?;
            empty = false;
        }
        Ok(empty)
    }

    /// A map, whose further entries are taken from `wire`.
    fn map(&mut self, field: &Field, key: Kind, head: Raw<'_>, wire: &mut Wire<'_>) -> Result<(), Stop> {
        let mut raw = head;
        let mut keys = Vec::new();
        self.out.push(b'{');
        loop {
            if !keys.is_empty() {
                self.out.push(b',');
            }
            keys.push(self.entry(key, field.kind, raw.piece())?);
            if !wire.tag_is(field.number) {
                break;
            }
            match wire.next()? {
                Some((_, WireType::Len, next)) => raw = next,
                _ => return Err(Stop::Again),
            }
        }
        self.out.push(b'}');
        self.unique(keys)
    }

    /// Of two entries with one key the last counts: then the map has to be written with care.
    fn unique(&self, mut keys: Vec<(usize, usize)>) -> Result<(), Stop> {
        let text = |(from, to): (usize, usize)| &self.out[from..to];
        let twice = if keys.len() <= 8 {
            (1..keys.len()).any(|at| keys[..at].iter().any(|earlier| text(*earlier) == text(keys[at])))
        } else {
            keys.sort_by(|a, b| text(*a).cmp(text(*b)));
            keys.windows(2).any(|pair| text(pair[0]) == text(pair[1]))
        };
        if twice { Err(Stop::Again) } else { Ok(()) }
    }

    /// An entry of a map, with the place of its key.
    fn entry(&mut self, key: Kind, value: Kind, proto: &[u8]) -> Result<(usize, usize), Stop> {
        let (key_raw, value_raw) = entry(key, value, proto)?;
        let from = self.out.len();
        self.map_key(key, key_raw)?;
        let to = self.out.len();
        self.out.push(b':');
        self.value(value, value_raw, Active::NOTHING)?;
        Ok((from, to))
    }

    /// A key, which JSON has in quotes whatever it is.
    fn map_key(&mut self, kind: Kind, raw: Raw<'_>) -> Result<(), Stop> {
        let from = self.out.len();
        self.value(kind, raw, Active::NOTHING)?;
        if self.out[from] != b'"' {
            self.out.insert(from, b'"');
            self.out.push(b'"');
        }
        Ok(())
    }

    /// One value.
    fn value(&mut self, kind: Kind, raw: Raw<'_>, active: Active) -> Result<(), Stop> {
        match kind {
            Kind::String => {
                if !text::checked_and_quoted(raw.piece(), self.out) {
                    return Err(TranscodeError::protobuf("invalid UTF-8 in a string").into());
                }
            }
            Kind::Message(id) | Kind::Group(id) => return self.content(id, raw.piece(), active),
            Kind::Bool => {
                let word: &[u8] = if raw.varint() == 0 { b"false" } else { b"true" };
                self.out.extend_from_slice(word);
            }
            Kind::Bytes => text::quoted_base64(raw.piece(), self.out),
            Kind::Double => text::float(f64::from_bits(raw.fixed64()), self.out),
            Kind::Enum(id) => self.enumeration(id, raw.varint() as i32),
            Kind::Fixed32 => text::integer(raw.fixed32(), self.out),
            Kind::Fixed64 => text::quoted_integer(raw.fixed64(), self.out),
            Kind::Float => text::float(f32::from_bits(raw.fixed32()), self.out),
            Kind::Int32 => text::integer(raw.varint() as i32, self.out),
            Kind::Int64 => text::quoted_integer(raw.varint() as i64, self.out),
            Kind::Sfixed32 => text::integer(raw.fixed32() as i32, self.out),
            Kind::Sfixed64 => text::quoted_integer(raw.fixed64() as i64, self.out),
            Kind::Sint32 => text::integer(unzigzag(raw.varint() & 0xffff_ffff) as i32, self.out),
            Kind::Sint64 => text::quoted_integer(unzigzag(raw.varint()), self.out),
            Kind::Uint32 => text::integer(raw.varint() as u32, self.out),
            Kind::Uint64 => text::quoted_integer(raw.varint(), self.out),
        }
        Ok(())
    }

    fn enumeration(&mut self, id: u32, number: i32) {
        let of = self.types.enumeration(id);
        if of.null {
            self.out.extend_from_slice(b"null");
        } else if let Some(name) = of.name_of(number) {
            text::quoted(name.as_bytes(), self.out);
        } else {
            text::integer(number, self.out);
        }
    }
}

impl Field {
    /// Whether a value of this wire type is one of the field, or several packed ones.
    pub(super) fn accepts(&self, wire: WireType) -> bool {
        match self.label {
            Label::Map(_) => wire == WireType::Len,
            _ => wire == self.kind.wire() || (wire == WireType::Len && self.is_list() && self.kind.packable()),
        }
    }
}

/// Key and value of a map entry; what is missing is its default.
fn entry<'p>(key: Kind, value: Kind, proto: &'p [u8]) -> Result<(Raw<'p>, Raw<'p>), TranscodeError> {
    let (mut key_raw, mut value_raw) = (Raw::absent(key), Raw::absent(value));
    each(proto, |number, wire_type, raw| match number {
        1 if wire_type == key.wire() => key_raw = raw,
        2 if wire_type == value.wire() => value_raw = raw,
        _ => {}
    })?;
    Ok((key_raw, value_raw))
}

/// Calls `with` for each field of a message.
pub(super) fn each<'p>(proto: &'p [u8], mut with: impl FnMut(u32, WireType, Raw<'p>)) -> Result<(), TranscodeError> {
    let mut wire = Wire::new(proto);
    while let Some((number, wire_type, raw)) = wire.next()? {
        with(number, wire_type, raw);
    }
    Ok(())
}
