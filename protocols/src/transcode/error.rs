//! Why content could not be translated, with the place; and why a schema cannot be used.

use std::borrow::Cow;
use std::fmt;

/// Why a message, a query or a path could not be translated. The text names the place: the byte and the field of JSON
/// and of protobuf, the name of a parameter.
///
/// It is the fault of whoever sent the content: for a request that is `INVALID_ARGUMENT`, for a reply `INTERNAL`.
#[derive(Clone, PartialEq, Eq)]
pub struct TranscodeError(Box<Fault>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    place: Place,
    /// Like `orders[3].id`; empty at the top.
    field: String,
    reason: Cow<'static, str>,
}

/// What was being read when it went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// JSON text, at this byte.
    Json(usize),
    /// A variable of the path, by its name.
    Path(String),
    /// A protobuf message.
    Protobuf,
    /// A query parameter, by its name.
    Query(String),
    /// The request or the reply as a whole.
    Whole,
}

impl TranscodeError {
    #[cold]
    pub(super) fn new(place: Place, reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Fault {
            place,
            field: String::new(),
            reason: reason.into(),
        }))
    }

    #[cold]
    pub(super) fn protobuf(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Place::Protobuf, reason)
    }

    #[cold]
    pub(super) fn whole(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Place::Whole, reason)
    }

    /// The same, below a field: called on the way out, from the innermost to the outermost.
    #[cold]
    pub(super) fn below(mut self, name: &str) -> Self {
        let fault = &mut *self.0;
        if !fault.field.is_empty() && !fault.field.starts_with('[') {
            fault.field.insert(0, '.');
        }
        fault.field.insert_str(0, name);
        self
    }

    /// The same, below an element of a list.
    #[cold]
    pub(super) fn element(self, at: usize) -> Self {
        self.below(&format!("[{at}]"))
    }

    /// What was being read.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// The field, like `orders[3].id`; empty where no field is at fault.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// What is wrong, without the place.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Display for TranscodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { place, field, reason } = &*self.0;
        match place {
            Place::Path(name) => return write!(f, "path variable `{name}`: {reason}"),
            Place::Query(name) => return write!(f, "query parameter `{name}`: {reason}"),
            Place::Json(_) | Place::Protobuf | Place::Whole => {}
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        match place {
            Place::Json(at) => write!(f, "{reason} (byte {at} of the JSON)"),
            _ => f.write_str(reason),
        }
    }
}

impl fmt::Debug for TranscodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TranscodeError({self})")
    }
}

impl std::error::Error for TranscodeError {}

/// Why a schema cannot be used. The text names the file, or the method and its rule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Two methods want the same requests.
    #[error("`{first}` and `{second}` both have the rule `{rule}`")]
    Ambiguous {
        /// The method that had it first.
        first: String,
        /// The method that wants it too.
        second: String,
        /// HTTP method and template.
        rule: String,
    },
    /// The text of a `.proto` file is wrong.
    #[error("{0}")]
    Compile(String),
    /// The bytes are no descriptor set, or one that contradicts itself.
    #[error("the descriptor set cannot be used")]
    Descriptor(#[source] Box<prost_reflect::DescriptorError>),
    /// Editions have rules of presence that are not understood here; reading them wrongly would lose values.
    #[error(
        "`{file}` uses protobuf editions, which are not supported: write it as proto3, or give a descriptor set made from proto3 files"
    )]
    Editions {
        /// The name of the file.
        file: String,
    },
    /// A `google.api.http` rule does not fit its method.
    #[error("the HTTP rule `{rule}` of `{method}`: {reason}")]
    Rule {
        /// The full name of the method.
        method: String,
        /// The template.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
}
