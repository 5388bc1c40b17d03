//! The fields of a message found first, so that they can be read by field rather than in the order of the wire
//! (protobuf, "Last One Wins").

use std::collections::HashMap;

use super::error::TranscodeError;
use super::types::{Field, FieldId, MessageType, WireType};
use super::wire::{Raw, Wire};

/// The known fields of one message.
#[derive(Debug)]
pub(super) struct Collected<'p> {
    proto: &'p [u8],
    found: Vec<Found>,
}

/// Where in a message a field lies. Small: there can be one for every two bytes of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) field: FieldId,
    offset: u32,
}

impl<'p> Collected<'p> {
    /// Every known field. Of a oneof only the last run of one field stays: setting a field clears the others.
    pub(super) fn of(ty: &MessageType, proto: &'p [u8]) -> Result<Self, TranscodeError> {
        let mut found = Vec::new();
        let mut wire = Wire::new(proto);
        let mut guess = 0;
        loop {
            let offset = u32::try_from(proto.len() - wire.left());
            let offset = offset.map_err(|_| TranscodeError::protobuf("the message is over 4 GiB"))?;
            let Some((number, wire_type, _)) = wire.next()? else {
                break;
            };
            let Some(field) = ty.numbered(number, guess) else {
                continue;
            };
            guess = field + 1;
            if ty.fields[field as usize].accepts(wire_type) {
                found.push(Found { field, offset });
            }
        }
        keep_last_of_oneofs(ty, &mut found);
        found.sort_by_key(|found| found.field);
        Ok(Self { proto, found })
    }

    /// The fields in the order of their numbers, each with all its places.
    pub(super) fn fields(&self) -> impl Iterator<Item = &[Found]> {
        self.found.chunk_by(|a, b| a.field == b.field)
    }

    /// The places of one field.
    pub(super) fn field(&self, id: FieldId) -> &[Found] {
        let start = self.found.partition_point(|found| found.field < id);
        let end = self.found.partition_point(|found| found.field <= id);
        &self.found[start..end]
    }

    /// What lies there.
    pub(super) fn raws(&self, places: &[Found]) -> impl Iterator<Item = Result<(WireType, Raw<'p>), TranscodeError>> {
        let proto = self.proto;
        places
            .iter()
            .map(move |found| match Wire::new(&proto[found.offset as usize..]).next()? {
                Some((_, wire_type, raw)) => Ok((wire_type, raw)),
                None => Err(TranscodeError::protobuf("the message is cut off")),
            })
    }

    /// The value of a single field: the last, or of a message all pieces together, which merges them.
    pub(super) fn single(
        &self,
        field: &Field,
        places: &[Found],
        room: &mut Room,
    ) -> Result<Single<'p>, TranscodeError> {
        if field.kind.message().is_none() || places.len() == 1 {
            let last = self.raws(places).last().transpose()?;
            return Ok(Single::Raw(
                last.map_or_else(|| Raw::absent(field.kind), |(_, raw)| raw),
            ));
        }
        let mut merged = Vec::new();
        for raw in self.raws(places) {
            let piece = raw?.1.piece();
            room.take(piece.len())?;
            merged.extend_from_slice(piece);
        }
        Ok(Single::Merged(merged))
    }
}

/// How many bytes may still be copied to put pieces of messages together. Pieces in pieces could otherwise make many
/// copies of one message, all there at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(usize);

impl Room {
    /// What a message of this length may need, and some more: a message that is merged once takes its length.
    pub(super) fn of_message(length: usize) -> Self {
        Self(length.saturating_mul(4).saturating_add(4096))
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), TranscodeError> {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(TranscodeError::protobuf("messages in too many pieces")),
        }
    }
}

/// One value, perhaps put together.
#[derive(Debug)]
pub(super) enum Single<'p> {
    Merged(Vec<u8>),
    Raw(Raw<'p>),
}

impl Single<'_> {
    pub(super) fn raw(&self) -> Raw<'_> {
        match self {
            Self::Merged(merged) => Raw::Piece(merged),
            Self::Raw(raw) => *raw,
        }
    }
}

fn keep_last_of_oneofs(ty: &MessageType, found: &mut Vec<Found>) {
    // For each oneof the field that was set last, and where its run began.
    let mut runs: HashMap<u32, (FieldId, u32)> = HashMap::new();
    let oneof_of = |found: &Found| ty.fields[found.field as usize].oneof;
    for each in found.iter() {
        if let Some(oneof) = oneof_of(each) {
            let run = runs.entry(oneof).or_insert((each.field, each.offset));
            if run.0 != each.field {
                *run = (each.field, each.offset);
            }
        }
    }
    if !runs.is_empty() {
        found.retain(|each| {
            let run = oneof_of(each).and_then(|oneof| runs.get(&oneof));
            run.is_none_or(|(field, offset)| each.field == *field && each.offset >= *offset)
        });
    }
}
