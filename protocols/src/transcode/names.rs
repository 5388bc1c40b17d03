//! Fields by name and by number, without a hash map: a schema's names are fixed, so nobody can choose colliding ones.

use super::types::{Field, FieldId};

/// Open addressing over the JSON names and the proto names of a message's fields, at most half full.
#[derive(Debug)]
pub(super) struct NameTable {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// [`EMPTY`] where nothing is.
    field: FieldId,
}

const EMPTY: FieldId = FieldId::MAX;

impl NameTable {
    pub(super) fn of(fields: &[Field]) -> Self {
        let size = (fields.len() * 4).next_power_of_two().max(4);
        let mut table = Self {
            slots: vec![Slot { hash: 0, field: EMPTY }; size].into(),
        };
        // JSON names first: where a name is both, it is the JSON name.
        let json_names = fields.iter().map(|field| &field.json_name).zip(0..);
        let names = fields.iter().map(|field| &field.name).zip(0..);
        for (name, field) in json_names.chain(names) {
            if table.find(name.as_bytes(), fields).is_none() {
                table.insert(name.as_bytes(), field);
            }
        }
        table
    }

    fn insert(&mut self, name: &[u8], field: FieldId) {
        let hash = hash(name);
        let mut at = self.start(hash);
        while self.slots[at].field != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Slot { hash, field };
    }

    pub(super) fn find(&self, name: &[u8], fields: &[Field]) -> Option<FieldId> {
        let hash = hash(name);
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            let field = fields.get(slot.field as usize)?;
            if slot.hash == hash && (field.json_name.as_bytes() == name || field.name.as_bytes() == name) {
                return Some(slot.field);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn start(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }
}

/// A multiplicative hash over words of eight bytes.
fn hash(name: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let mut hash = name.len() as u64;
    for word in words.iter().chain([&tail]) {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        hash ^= hash >> 32;
    }
    hash as u32
}

/// Fields by number: a table for the small numbers, which are the usual ones, and a search for the rest.
#[derive(Debug)]
pub(super) struct Numbers {
    small: Box<[FieldId]>,
}

/// Up to here, numbers are looked up in a table.
const SMALL: u32 = 256;

impl Numbers {
    pub(super) fn of(fields: &[Field]) -> Self {
        let small = fields.iter().map(|field| field.number).filter(|number| *number < SMALL);
        let mut table = vec![EMPTY; small.max().map_or(0, |number| number as usize + 1)];
        for (field, id) in fields.iter().zip(0..) {
            if let Some(slot) = table.get_mut(field.number as usize) {
                *slot = id;
            }
        }
        Self { small: table.into() }
    }

    /// The field of a number; `fields` are in the order of their numbers.
    pub(super) fn find(&self, number: u32, fields: &[Field]) -> Option<FieldId> {
        if let Some(id) = self.small.get(number as usize) {
            return (*id != EMPTY).then_some(*id);
        }
        let at = fields.binary_search_by_key(&number, |field| field.number).ok()?;
        u32::try_from(at).ok()
    }
}

/// Which fields, or oneofs, of one message have been seen. The first 64 cost no allocation.
#[derive(Debug, Default)]
pub(super) struct Seen {
    low: u64,
    high: Vec<u64>,
}

impl Seen {
    /// Whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let bit = 1 << (id % 64);
        let word = if id < 64 { &mut self.low } else { self.high(id / 64 - 1) };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    #[cold]
    fn high(&mut self, word: u32) -> &mut u64 {
        let word = word as usize;
        if self.high.len() <= word {
            self.high.resize(word + 1, 0);
        }
        &mut self.high[word]
    }
}
