//! The types with a JSON form of their own (proto3, "JSON Mapping").

use super::{Order, Stop, ToJson, each, entry};
use crate::transcode::active::Active;
use crate::transcode::error::TranscodeError;
use crate::transcode::text;
use crate::transcode::types::{Kind, Special, WireType};
use crate::transcode::wellknown;
use crate::transcode::wire::{RECURSION, Raw, Wire};

impl ToJson<'_> {
    pub(super) fn special(&mut self, special: Special, proto: &[u8]) -> Result<(), Stop> {
        match special {
            Special::Any => return self.any(proto),
            Special::ListValue => return self.list_value(proto),
            Special::Struct => return self.structure(proto),
            Special::Value => return self.any_value(proto),
            Special::Wrapper(kind) => {
                let mut last = Raw::absent(kind);
                each(proto, |number, wire_type, raw| {
                    if number == 1 && wire_type == kind.wire() {
                        last = raw;
                    }
                })?;
                return self.value(kind, last, Active::NOTHING);
            }
            Special::FieldMask => {
                self.out.push(b'"');
                let mut wire = Wire::new(proto);
                let mut first = true;
                while let Some((number, wire_type, raw)) = wire.next()? {
                    if (number, wire_type) == (1, WireType::Len) {
                        if !std::mem::take(&mut first) {
                            self.out.push(b',');
                        }
                        wellknown::print_mask(raw.piece(), self.out).map_err(TranscodeError::protobuf)?;
                    }
                }
                self.out.push(b'"');
            }
            Special::Duration | Special::Timestamp => {
                let (mut seconds, mut nanos) = (0, 0);
                each(proto, |number, wire_type, raw| match (number, wire_type) {
                    (1, WireType::Varint) => seconds = raw.varint() as i64,
                    (2, WireType::Varint) => nanos = raw.varint() as i32,
                    _ => {}
                })?;
                let printed = match special {
                    Special::Duration => wellknown::print_duration(seconds, nanos, self.out),
                    _ => wellknown::print_timestamp(seconds, nanos, self.out),
                };
                printed.map_err(TranscodeError::protobuf)?;
            }
        }
        Ok(())
    }

    /// `{"@type": .., fields}`, or `{"@type": .., "value": ..}` for a type with a JSON form of its own.
    fn any(&mut self, proto: &[u8]) -> Result<(), Stop> {
        let (mut url, mut value) = (&[][..], &[][..]);
        let mut wire = Wire::new(proto);
        while let Some((number, wire_type, raw)) = wire.next()? {
            match (number, wire_type) {
                (1, WireType::Len) => url = raw.piece(),
                (2, WireType::Len) => value = raw.piece(),
                _ => {}
            }
        }
        if url.is_empty() && value.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let name = url.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let id = std::str::from_utf8(name).ok().and_then(|name| self.types.named(name));
        let Some(id) = id.filter(|_| std::str::from_utf8(url).is_ok()) else {
            let reason = format!("the schema has no type `{}`", String::from_utf8_lossy(url));
            return Err(TranscodeError::protobuf(reason).into());
        };
        self.out.extend_from_slice(b"{\"@type\":");
        text::quoted(url, self.out);
        let ty = self.types.message(id);
        if ty.special.is_some() {
            self.out.extend_from_slice(b",\"value\":");
            self.content(id, value, Active::NOTHING)?;
        } else {
            if self.depth == RECURSION {
                return Err(TranscodeError::protobuf("messages nested too deep").into());
            }
            self.depth += 1;
            self.fields(ty, value, Active::NOTHING, false)?;
            self.depth -= 1;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// `google.protobuf.Struct`: a map of `fields` = 1 from names to values.
    fn structure(&mut self, proto: &[u8]) -> Result<(), Stop> {
        let mut keys = Vec::new();
        let mut wire = Wire::new(proto);
        self.out.push(b'{');
        if self.order == Order::Careful {
            let mut entries = Vec::new();
            each(proto, |number, wire_type, raw| {
                if (number, wire_type) == (1, WireType::Len) {
                    entries.push(raw.piece());
                }
            })?;
            for (at, entry) in self.last_of_each_key(Kind::String, &entries)?.into_iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                self.struct_entry(entry)?;
            }
        } else {
            while let Some((number, wire_type, raw)) = wire.next()? {
                if (number, wire_type) != (1, WireType::Len) {
                    continue;
                }
                if !keys.is_empty() {
                    self.out.push(b',');
                }
                keys.push(self.struct_entry(raw.piece())?);
            }
        }
        self.out.push(b'}');
        self.unique(keys)
    }

    fn struct_entry(&mut self, proto: &[u8]) -> Result<(usize, usize), Stop> {
        let (key, value) = entry(Kind::String, Kind::Bytes, proto)?;
        let from = self.out.len();
        self.map_key(Kind::String, key)?;
        let to = self.out.len();
        self.out.push(b':');
        self.nested(value.piece(), Self::any_value)?;
        Ok((from, to))
    }

    /// `google.protobuf.ListValue`: `values` = 1, repeated.
    fn list_value(&mut self, proto: &[u8]) -> Result<(), Stop> {
        let mut wire = Wire::new(proto);
        let mut first = true;
        self.out.push(b'[');
        while let Some((number, wire_type, raw)) = wire.next()? {
            if (number, wire_type) == (1, WireType::Len) {
                if !std::mem::take(&mut first) {
                    self.out.push(b',');
                }
                self.nested(raw.piece(), Self::any_value)?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// `google.protobuf.Value`: a oneof of null, number, string, bool, struct and list, 1 to 6.
    fn any_value(&mut self, proto: &[u8]) -> Result<(), Stop> {
        let mut last = None;
        let merged;
        let mut wire = Wire::new(proto);
        while let Some((number, wire_type, raw)) = wire.next()? {
            let wanted = match number {
                1 | 4 => WireType::Varint,
                2 => WireType::Fixed64,
                3 | 5 | 6 => WireType::Len,
                _ => continue,
            };
            if wire_type == wanted {
                if last.is_some() && self.order == Order::AsTheyCome {
                    return Err(Stop::Again);
                }
                last = Some((number, raw));
            }
        }
        if self.order == Order::Careful
            && let Some((number @ 5..=6, _)) = last
        {
            merged = super::careful::last_run(proto, number, &mut self.room)?;
            last = Some((number, Raw::Piece(&merged)));
        }
        match last {
            None | Some((1, _)) => self.out.extend_from_slice(b"null"),
            Some((2, raw)) => {
                if !f64::from_bits(raw.fixed64()).is_finite() {
                    return Err(TranscodeError::protobuf("a google.protobuf.Value that is not a finite number").into());
                }
                self.value(Kind::Double, raw, Active::NOTHING)?;
            }
            Some((3, raw)) => self.value(Kind::String, raw, Active::NOTHING)?,
            Some((4, raw)) => self.value(Kind::Bool, raw, Active::NOTHING)?,
            Some((5, raw)) => self.nested(raw.piece(), Self::structure)?,
            Some((_, raw)) => self.nested(raw.piece(), Self::list_value)?,
        }
        Ok(())
    }

    /// One message deeper.
    fn nested(&mut self, proto: &[u8], write: fn(&mut Self, &[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        if self.depth == RECURSION {
            return Err(TranscodeError::protobuf("messages nested too deep").into());
        }
        self.depth += 1;
        write(self, proto)?;
        self.depth -= 1;
        Ok(())
    }
}
