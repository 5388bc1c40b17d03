//! The message types of a schema, compiled once for reading and writing them fast.
//!
//! All types of a schema lie in one [`Types`] and point at each other by [`TypeId`], so that recursive types need no
//! reference counts and following a field costs an index.

use std::collections::HashMap;

use prost_reflect::{Cardinality, DescriptorPool, ExtensionDescriptor, FieldDescriptor, MessageDescriptor};

use super::names::{NameTable, Numbers};

/// Where a message type lies in [`Types`].
pub(super) type TypeId = u32;

/// Where a field lies in [`MessageType::fields`].
pub(super) type FieldId = u32;

/// Every message and enum type of a schema.
#[derive(Debug)]
pub(super) struct Types {
    messages: Vec<MessageType>,
    enums: Vec<EnumType>,
    by_name: HashMap<Box<str>, TypeId>,
}

/// A message type. Its fields are in the order of their numbers, extensions among them.
#[derive(Debug)]
pub(super) struct MessageType {
    pub(super) name: Box<str>,
    pub(super) special: Option<Special>,
    pub(super) fields: Box<[Field]>,
    names: NameTable,
    numbers: Numbers,
}

/// Types with a JSON form of their own (proto3, "JSON Mapping").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Any,
    Duration,
    FieldMask,
    ListValue,
    Struct,
    Timestamp,
    Value,
    /// `google.protobuf.Int32Value` and its like: the kind of what they hold.
    Wrapper(Kind),
}

/// A field, or an extension.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// As in the `.proto` file.
    pub(super) name: Box<str>,
    /// As in JSON; `[package.name]` for an extension.
    pub(super) json_name: Box<str>,
    /// `"jsonName":`, as it is written.
    pub(super) key: Box<[u8]>,
    pub(super) kind: Kind,
    pub(super) label: Label,
    /// Which oneof of its message it belongs to.
    pub(super) oneof: Option<u32>,
    /// JSON null is one of its values, rather than the absence of one.
    pub(super) takes_null: bool,
}

/// What one value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Bytes,
    Double,
    Enum(u32),
    Fixed32,
    Fixed64,
    Float,
    Group(TypeId),
    Int32,
    Int64,
    Message(TypeId),
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    String,
    Uint32,
    Uint64,
}

/// How many values a field has, and whether its default can be told from its absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// One; its presence is known.
    Explicit,
    /// One; the default is not sent.
    Implicit,
    /// A map with this kind of key; the field's kind is that of the values.
    Map(Kind),
    /// A list in one length-delimited piece.
    Packed,
    /// A list of tagged values.
    Repeated,
}

/// An enum type.
#[derive(Debug)]
pub(super) struct EnumType {
    pub(super) name: Box<str>,
    /// proto3: numbers without a name are values too.
    pub(super) open: bool,
    /// JSON null is its only value.
    pub(super) null: bool,
    numbers: HashMap<Box<str>, i32>,
    /// By number; the first name of an alias.
    names: Vec<(i32, Box<str>)>,
}

/// The wire types (protobuf, "Message Structure").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Len = 2,
    Start = 3,
    End = 4,
    Fixed32 = 5,
}

impl Kind {
    pub(super) fn wire(self) -> WireType {
        match self {
            Self::Bool | Self::Enum(_) | Self::Int32 | Self::Int64 => WireType::Varint,
            Self::Sint32 | Self::Sint64 | Self::Uint32 | Self::Uint64 => WireType::Varint,
            Self::Bytes | Self::Message(_) | Self::String => WireType::Len,
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::Fixed32 | Self::Float | Self::Sfixed32 => WireType::Fixed32,
            Self::Group(_) => WireType::Start,
        }
    }

    /// Whether a list of it may be packed.
    pub(super) fn packable(self) -> bool {
        !matches!(self.wire(), WireType::Len | WireType::Start)
    }

    /// The type of a message or group.
    pub(super) fn message(self) -> Option<TypeId> {
        match self {
            Self::Group(id) | Self::Message(id) => Some(id),
            _ => None,
        }
    }
}

impl Field {
    /// The tag of one value: number and wire type.
    pub(super) fn tag(&self) -> u32 {
        self.number << 3 | self.kind.wire() as u32
    }

    /// The tag of a field that is one length-delimited piece: a packed list or a map entry.
    pub(super) fn piece_tag(&self) -> u32 {
        self.number << 3 | WireType::Len as u32
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.label, Label::Packed | Label::Repeated)
    }

    pub(super) fn is_single(&self) -> bool {
        matches!(self.label, Label::Explicit | Label::Implicit)
    }
}

impl MessageType {
    /// The field of a JSON key: its JSON name, or its name in the `.proto` file.
    pub(super) fn named(&self, key: &[u8]) -> Option<FieldId> {
        self.names.find(key, &self.fields)
    }

    /// The field of a number. `guess` is looked at first.
    #[inline]
    pub(super) fn numbered(&self, number: u32, guess: FieldId) -> Option<FieldId> {
        match self.fields.get(guess as usize) {
            Some(field) if field.number == number => Some(guess),
            _ => self.numbers.find(number, &self.fields),
        }
    }
}

impl EnumType {
    pub(super) fn number(&self, name: &[u8]) -> Option<i32> {
        let name = std::str::from_utf8(name).ok()?;
        self.numbers.get(name).copied()
    }

    pub(super) fn name_of(&self, number: i32) -> Option<&str> {
        let at = self.names.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.names[at].1)
    }
}

impl Types {
    /// Compiles every message and enum of a pool.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        // The entries of maps too: only custom keeps a plain field from having one as its type.
        let messages: Vec<_> = pool.all_messages().collect();
        let index = |names: &mut dyn Iterator<Item = &str>| -> HashMap<Box<str>, u32> {
            names.map(Box::from).zip(0..).collect()
        };
        let by_name = index(&mut messages.iter().map(MessageDescriptor::full_name));
        let enums: Vec<_> = pool.all_enums().collect();
        let enum_names = index(&mut enums.iter().map(prost_reflect::EnumDescriptor::full_name));
        let compiler = Compiler {
            messages: &by_name,
            enums: &enum_names,
        };
        Self {
            messages: messages.iter().map(|message| compiler.message(message)).collect(),
            enums: enums.iter().map(enum_type).collect(),
            by_name,
        }
    }

    pub(super) fn message(&self, id: TypeId) -> &MessageType {
        &self.messages[id as usize]
    }

    pub(super) fn enumeration(&self, id: u32) -> &EnumType {
        &self.enums[id as usize]
    }

    /// A message type by its full name.
    pub(super) fn named(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }
}

struct Compiler<'a> {
    messages: &'a HashMap<Box<str>, TypeId>,
    enums: &'a HashMap<Box<str>, u32>,
}

impl Compiler<'_> {
    fn message(&self, message: &MessageDescriptor) -> MessageType {
        let oneofs: HashMap<_, _> = message
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic())
            .map(|oneof| oneof.full_name().to_owned())
            .zip(0..)
            .collect();
        let fields = message.fields().map(|field| self.field(&field, &oneofs));
        let extensions = message.extensions().map(|extension| self.extension(&extension));
        let mut fields: Box<[_]> = fields.chain(extensions).collect();
        fields.sort_by_key(|field| field.number);
        MessageType {
            name: message.full_name().into(),
            special: special(message.full_name()),
            names: NameTable::of(&fields),
            numbers: Numbers::of(&fields),
            fields,
        }
    }

    fn field(&self, field: &FieldDescriptor, oneofs: &HashMap<String, u32>) -> Field {
        let oneof = field.containing_oneof();
        let (kind, label, theirs) = if field.is_map()
            && let prost_reflect::Kind::Message(entry) = field.kind()
            && let (Some(key), Some(value)) = (entry.get_field(1), entry.get_field(2))
        {
            let key = self.kind(&key.kind(), false);
            (self.kind(&value.kind(), false), Label::Map(key), value.kind())
        } else {
            let label = match field.cardinality() {
                Cardinality::Repeated if field.is_packed() => Label::Packed,
                Cardinality::Repeated => Label::Repeated,
                _ if field.supports_presence() => Label::Explicit,
                _ => Label::Implicit,
            };
            (self.kind(&field.kind(), field.is_group()), label, field.kind())
        };
        Field {
            number: field.number(),
            name: field.name().into(),
            json_name: field.json_name().into(),
            key: key(field.json_name()),
            kind,
            label,
            oneof: oneof.and_then(|oneof| oneofs.get(oneof.full_name()).copied()),
            takes_null: takes_null(&theirs),
        }
    }

    fn extension(&self, extension: &ExtensionDescriptor) -> Field {
        let label = match extension.cardinality() {
            Cardinality::Repeated if extension.is_packed() => Label::Packed,
            Cardinality::Repeated => Label::Repeated,
            _ => Label::Explicit,
        };
        let json_name = format!("[{}]", extension.full_name());
        Field {
            number: extension.number(),
            name: json_name.as_str().into(),
            key: key(&json_name),
            json_name: json_name.into(),
            kind: self.kind(&extension.kind(), extension.is_group()),
            label,
            oneof: None,
            takes_null: takes_null(&extension.kind()),
        }
    }

    fn kind(&self, kind: &prost_reflect::Kind, group: bool) -> Kind {
        use prost_reflect::Kind as Theirs;
        match kind {
            Theirs::Bool => Kind::Bool,
            Theirs::Bytes => Kind::Bytes,
            Theirs::Double => Kind::Double,
            Theirs::Enum(of) => Kind::Enum(self.enums[of.full_name()]),
            Theirs::Fixed32 => Kind::Fixed32,
            Theirs::Fixed64 => Kind::Fixed64,
            Theirs::Float => Kind::Float,
            Theirs::Int32 => Kind::Int32,
            Theirs::Int64 => Kind::Int64,
            Theirs::Message(of) if group => Kind::Group(self.messages[of.full_name()]),
            Theirs::Message(of) => Kind::Message(self.messages[of.full_name()]),
            Theirs::Sfixed32 => Kind::Sfixed32,
            Theirs::Sfixed64 => Kind::Sfixed64,
            Theirs::Sint32 => Kind::Sint32,
            Theirs::Sint64 => Kind::Sint64,
            Theirs::String => Kind::String,
            Theirs::Uint32 => Kind::Uint32,
            Theirs::Uint64 => Kind::Uint64,
        }
    }
}

/// The names of a schema may hold anything that a descriptor can: only `"` and `\` and controls matter to JSON.
fn key(json_name: &str) -> Box<[u8]> {
    let mut key = Vec::with_capacity(json_name.len() + 3);
    super::text::quoted(json_name.as_bytes(), &mut key);
    key.push(b':');
    key.into()
}

fn takes_null(kind: &prost_reflect::Kind) -> bool {
    match kind {
        prost_reflect::Kind::Enum(of) => of.full_name() == NULL_VALUE,
        prost_reflect::Kind::Message(of) => of.full_name() == "google.protobuf.Value",
        _ => false,
    }
}

const NULL_VALUE: &str = "google.protobuf.NullValue";

fn special(name: &str) -> Option<Special> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Any" => Special::Any,
        "BoolValue" => Special::Wrapper(Kind::Bool),
        "BytesValue" => Special::Wrapper(Kind::Bytes),
        "DoubleValue" => Special::Wrapper(Kind::Double),
        "Duration" => Special::Duration,
        "FieldMask" => Special::FieldMask,
        "FloatValue" => Special::Wrapper(Kind::Float),
        "Int32Value" => Special::Wrapper(Kind::Int32),
        "Int64Value" => Special::Wrapper(Kind::Int64),
        "ListValue" => Special::ListValue,
        "StringValue" => Special::Wrapper(Kind::String),
        "Struct" => Special::Struct,
        "Timestamp" => Special::Timestamp,
        "UInt32Value" => Special::Wrapper(Kind::Uint32),
        "UInt64Value" => Special::Wrapper(Kind::Uint64),
        "Value" => Special::Value,
        _ => return None,
    })
}

fn enum_type(descriptor: &prost_reflect::EnumDescriptor) -> EnumType {
    let values = || {
        descriptor
            .values()
            .map(|value| (value.number(), Box::from(value.name())))
    };
    let mut names: Vec<(i32, Box<str>)> = values().collect();
    names.sort_by_key(|(number, _)| *number);
    names.dedup_by_key(|(number, _)| *number);
    EnumType {
        name: descriptor.full_name().into(),
        open: descriptor.parent_file().syntax() == prost_reflect::Syntax::Proto3,
        null: descriptor.full_name() == NULL_VALUE,
        numbers: values().map(|(number, name)| (name, number)).collect(),
        names,
    }
}
