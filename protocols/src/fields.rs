//! Header fields and trailers, kept in the form in which they cross a tunnel.
//!
//! One block of bytes holds all fields in order. A field is its name (one byte of the static table of [`crate::name`],
//! or 0, a length byte and the name in lower case), a big-endian `u16` length, and the value. Forwarding a head to the
//! other site is therefore one copy, and looking a well-known name up compares one byte per field.

use crate::name::NameId;

/// A name as it stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName<'a> {
    /// In the static table.
    Known(NameId),
    /// Any other, in lower case.
    Other(&'a str),
}

impl<'a> FieldName<'a> {
    /// The name in lower case.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Known(id) => id.as_str(),
            Self::Other(text) => text,
        }
    }

    /// Whether this is the well-known name `id`.
    pub fn is(self, id: NameId) -> bool {
        self == FieldName::Known(id)
    }
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: FieldName<'a>,
    /// Its value, without surrounding white space.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }
}

/// Why a field or a block of fields was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The name is empty, longer than 255 bytes, or holds a byte that no token has (RFC 9110, section 5.1).
    #[error("field name is not a token of 1 to 255 bytes")]
    Name,
    /// The value holds CR, LF, NUL or another control character (RFC 9110, section 5.5), or more than 65,535 bytes.
    #[error("field value holds a control character or is longer than 65,535 bytes")]
    Value,
    /// The block ends inside a field, or names an id that is not in the table.
    #[error("field block is cut short or names an unknown id")]
    Block,
}

/// An ordered list of header fields or trailers. Duplicates are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    block: Vec<u8>,
    count: usize,
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// No fields, room for a block of `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            block: Vec::with_capacity(bytes),
            count: 0,
        }
    }

    /// Takes a block as it came from a peer.
    ///
    /// # Errors
    /// When any field in it would not be accepted by [`push`](Self::push), or a well-known name is spelled out.
    pub fn from_wire(block: &[u8]) -> Result<Self, FieldError> {
        let mut rest = block;
        let mut count = 0;
        while !rest.is_empty() {
            let (field, length) = decode(rest).ok_or(FieldError::Block)?;
            if let FieldName::Other(name) = field.name {
                if !name.bytes().all(is_lower_token) || name.is_empty() {
                    return Err(FieldError::Name);
                }
                if NameId::of(name.as_bytes()).is_some() {
                    return Err(FieldError::Block);
                }
            }
            if !is_value(field.value) {
                return Err(FieldError::Value);
            }
            rest = &rest[length..];
            count += 1;
        }
        Ok(Self {
            block: block.to_vec(),
            count,
        })
    }

    /// The block as it goes to a peer.
    pub fn as_wire(&self) -> &[u8] {
        &self.block
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a field; the name may be in any case. Spaces and tabs around the value are dropped.
    ///
    /// # Errors
    /// When the name is no token or the value has a byte that could end it.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        let value = value.trim_ascii();
        if !is_value(value) {
            return Err(FieldError::Value);
        }
        if let Some(id) = NameId::of(name) {
            self.block.push(id.wire());
        } else {
            let length = u8::try_from(name.len()).map_err(|_| FieldError::Name)?;
            if length == 0 || !name.iter().copied().all(is_token) {
                return Err(FieldError::Name);
            }
            self.block.extend_from_slice(&[0, length]);
            self.block.extend(name.iter().map(u8::to_ascii_lowercase));
        }
        self.push_value(value);
        Ok(())
    }

    /// Appends a field with a well-known name.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_known(&mut self, name: NameId, value: &[u8]) -> Result<(), FieldError> {
        let value = value.trim_ascii();
        if !is_value(value) {
            return Err(FieldError::Value);
        }
        self.block.push(name.wire());
        self.push_value(value);
        Ok(())
    }

    /// Replaces every field of this name by one.
    ///
    /// # Errors
    /// As [`push`](Self::push); then nothing has changed.
    pub fn set(&mut self, name: NameId, value: &[u8]) -> Result<(), FieldError> {
        if !is_value(value.trim_ascii()) {
            return Err(FieldError::Value);
        }
        self.remove(name);
        self.push_known(name, value)
    }

    fn push_value(&mut self, value: &[u8]) {
        // is_value has checked that the length fits.
        let length = value.len() as u16;
        self.block.extend_from_slice(&length.to_be_bytes());
        self.block.extend_from_slice(value);
        self.count += 1;
    }

    /// The first value of a well-known name.
    pub fn get(&self, name: NameId) -> Option<&[u8]> {
        self.iter().find(|field| field.name.is(name)).map(|field| field.value)
    }

    /// The first value of a well-known name as text; none where it is not UTF-8.
    pub fn text(&self, name: NameId) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of any name, given in lower case.
    pub fn get_named(&self, name: &str) -> Option<&[u8]> {
        match NameId::of(name.as_bytes()) {
            Some(id) => self.get(id),
            None => self
                .iter()
                .find(|field| field.name == FieldName::Other(name))
                .map(|field| field.value),
        }
    }

    /// All values of a well-known name, in order.
    pub fn all(&self, name: NameId) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter(move |field| field.name.is(name))
            .map(|field| field.value)
    }

    /// Whether there is a field of this name.
    pub fn has(&self, name: NameId) -> bool {
        self.get(name).is_some()
    }

    /// Whether a comma-separated list field holds this token, in any case.
    pub fn has_token(&self, name: NameId, token: &str) -> bool {
        self.all(name).any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    }

    /// Removes every field of a well-known name.
    pub fn remove(&mut self, name: NameId) {
        if self.has(name) {
            self.retain(|field| !field.name.is(name));
        }
    }

    /// Keeps the fields for which `keep` holds. Costs one pass and moves bytes only behind the first removal.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let mut read = 0;
        let mut write = 0;
        while let Some((field, length)) = decode(&self.block[read..]) {
            if keep(field) {
                if read != write {
                    self.block.copy_within(read..read + length, write);
                }
                write += length;
            } else {
                self.count -= 1;
            }
            read += length;
        }
        self.block.truncate(write);
    }

    /// All fields in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.block }
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = Field<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Values are not shown: they hold credentials.
impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|field| field.name.as_str()))
            .finish()
    }
}

/// Iterates over the fields of a block.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (field, length) = decode(self.rest)?;
        self.rest = &self.rest[length..];
        Some(field)
    }
}

/// The first field of a block and its encoded length.
fn decode(block: &[u8]) -> Option<(Field<'_>, usize)> {
    let (&id, rest) = block.split_first()?;
    let (name, rest, before) = match NameId::from_wire(id) {
        Some(known) => (FieldName::Known(known), rest, 1),
        None if id == 0 => {
            let (&length, rest) = rest.split_first()?;
            let length = usize::from(length);
            let text = std::str::from_utf8(rest.get(..length)?).ok()?;
            (FieldName::Other(text), rest.get(length..)?, 2 + length)
        }
        None => return None,
    };
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let value = rest.get(..length)?;
    Some((Field { name, value }, before + 2 + length))
}

/// `tchar` of RFC 9110, section 5.6.2.
pub fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

fn is_lower_token(byte: u8) -> bool {
    is_token(byte) && !byte.is_ascii_uppercase()
}

/// `field-value` of RFC 9110, section 5.5: visible characters, space, tab and obs-text.
fn is_value(value: &[u8]) -> bool {
    value.len() <= usize::from(u16::MAX)
        && value
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f))
}

#[cfg(test)]
mod tests;
