//! Messages whose fields lie in an unusual order: collected first, then written.

use std::collections::HashMap;

use super::{Stop, ToJson, entry};
use crate::transcode::active::Active;
use crate::transcode::collect::{Collected, Found, Room};
use crate::transcode::error::TranscodeError;
use crate::transcode::types::{FieldId, Kind, Label, MessageType, WireType};
use crate::transcode::wire::Raw;

impl ToJson<'_> {
    /// The fields of a message, by number.
    pub(super) fn careful(&mut self, ty: &MessageType, proto: &[u8], active: Active, first: bool) -> Result<(), Stop> {
        let collected = Collected::of(ty, proto)?;
        let omit = self.omit;
        let mut first = first;
        for places in collected.fields() {
            let id = places[0].field;
            let field = &ty.fields[id as usize];
            let step = active.step(omit.iter().copied(), id);
            if step.end.is_some() {
                continue;
            }
            let start = self.out.len();
            if !first {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&field.key);
            match self.collected(ty, &collected, places, step.inside) {
                Ok(true) => first = false,
                Ok(false) => self.out.truncate(start),
                Err(stop) => return Err(stop.below(&field.json_name)),
            }
        }
        Ok(())
    }

    /// The value of one field, without its key; of its default where it is not there.
    pub(super) fn only(&mut self, ty: &MessageType, id: FieldId, proto: &[u8], active: Active) -> Result<(), Stop> {
        let field = &ty.fields[id as usize];
        let collected = Collected::of(ty, proto)?;
        let places = collected.field(id);
        let inside = active.step(self.omit.iter().copied(), id).inside;
        let start = self.out.len();
        let below = |stop: Stop| stop.below(&field.json_name);
        if !places.is_empty() && self.collected(ty, &collected, places, inside).map_err(below)? {
            return Ok(());
        }
        self.out.truncate(start);
        match (field.label, field.kind) {
            (Label::Packed | Label::Repeated, _) => self.out.extend_from_slice(b"[]"),
            (Label::Map(_), _) => self.out.extend_from_slice(b"{}"),
            (_, Kind::Message(id)) if self.types.message(id).special.is_some() => self.out.extend_from_slice(b"null"),
            (_, kind) => self.value(kind, Raw::absent(kind), Active::NOTHING)?,
        }
        Ok(())
    }

    /// What was collected of one field; false where that is nothing to write.
    fn collected(
        &mut self,
        ty: &MessageType,
        collected: &Collected<'_>,
        places: &[Found],
        inside: Active,
    ) -> Result<bool, Stop> {
        let field = &ty.fields[places[0].field as usize];
        match field.label {
            Label::Explicit | Label::Implicit => {
                let single = collected.single(field, places, &mut self.room)?;
                if field.label == Label::Implicit && single.raw().is_default() {
                    return Ok(false);
                }
                self.value(field.kind, single.raw(), inside)?;
            }
            Label::Packed | Label::Repeated => {
                let mut empty = true;
                self.out.push(b'[');
                for raw in collected.raws(places) {
                    let (wire_type, raw) = raw?;
                    empty = self.elements(field, wire_type, raw, empty)?;
                }
                self.out.push(b']');
                return Ok(!empty);
            }
            Label::Map(key) => {
                let mut entries = Vec::with_capacity(places.len());
                for raw in collected.raws(places) {
                    entries.push(raw?.1.piece());
                }
                self.out.push(b'{');
                for (at, entry) in self.last_of_each_key(key, &entries)?.into_iter().enumerate() {
                    if at > 0 {
                        self.out.push(b',');
                    }
                    self.entry(key, field.kind, entry)?;
                }
                self.out.push(b'}');
            }
        }
        Ok(true)
    }

    /// The last entry of each key, in the order in which the keys came.
    pub(super) fn last_of_each_key<'p>(&mut self, key: Kind, entries: &[&'p [u8]]) -> Result<Vec<&'p [u8]>, Stop> {
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut last = Vec::new();
        for proto in entries {
            let (raw, _) = entry(key, Kind::Bytes, proto)?;
            let start = self.out.len();
            self.map_key(key, raw)?;
            let place = *places.entry(self.out.split_off(start)).or_insert(last.len());
            match last.get_mut(place) {
                Some(earlier) => *earlier = *proto,
                None => last.push(*proto),
            }
        }
        Ok(last)
    }
}

/// The pieces of the oneof member `number` of a `google.protobuf.Value` that follow its last other member, merged.
pub(super) fn last_run(proto: &[u8], number: u32, room: &mut Room) -> Result<Vec<u8>, TranscodeError> {
    let mut merged = Vec::new();
    super::each(proto, |next, wire_type, raw| match next {
        next if next == number && wire_type == WireType::Len => merged.extend_from_slice(raw.piece()),
        1..=6 => merged.clear(),
        _ => {}
    })?;
    room.take(merged.len())?;
    Ok(merged)
}
