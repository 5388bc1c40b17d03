//! A method of a schema: its messages in JSON and in protobuf.

use std::sync::Arc;

use prost::Message as _;
use prost_reflect::MethodDescriptor;

use super::error::{SchemaError, TranscodeError};
use super::rule::{Binding, Options};
use super::types::{TypeId, Types};
use super::{from_json, to_json};

/// How many messages a method takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Many each way, independent of each other.
    Bidi,
    /// Many up, one down.
    ClientStream,
    /// One up, many down.
    ServerStream,
    /// One each way.
    Unary,
}

impl Shape {
    /// Whether the client may send more than one message, or none.
    pub fn client_streams(self) -> bool {
        matches!(self, Self::Bidi | Self::ClientStream)
    }

    /// Whether the server may send more than one message, or none.
    pub fn server_streams(self) -> bool {
        matches!(self, Self::Bidi | Self::ServerStream)
    }
}

/// A message type, ready to be translated.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) types: Arc<Types>,
    pub(super) id: TypeId,
}

impl Plan {
    /// The full name of the type, like `package.Message`.
    pub fn name(&self) -> &str {
        &self.types.message(self.id).name
    }

    /// Whether it is `google.api.HttpBody`, which is not JSON to an HTTP client but what it holds.
    pub fn is_http_body(&self) -> bool {
        self.name() == HTTP_BODY
    }

    /// Appends the message of a JSON text.
    ///
    /// # Errors
    /// With the byte and the field, when the text is not JSON or not of this type; `out` is as it was then.
    pub fn from_json(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        from_json::message(&self.types, self.id, json, &[], out)
    }

    /// Appends the JSON of a message, in the canonical form of proto3.
    ///
    /// # Errors
    /// With the field, when the bytes are not protobuf or have no JSON form; `out` is as it was then.
    pub fn to_json(&self, proto: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        to_json::message(&self.types, self.id, proto, &[], out)
    }
}

/// The type whose content is not JSON but raw.
pub(super) const HTTP_BODY: &str = "google.api.HttpBody";

/// A method: its types, its shape, its rules.
#[derive(Debug)]
pub struct Method {
    path: String,
    shape: Shape,
    idempotency: Idempotency,
    input: Arc<Plan>,
    output: Arc<Plan>,
    /// Those of `google.api.http`, and at last the default one.
    pub(super) bindings: Vec<Binding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idempotency {
    Idempotent,
    NoSideEffects,
    Unknown,
}

impl Method {
    pub(super) fn of(types: &Arc<Types>, method: &MethodDescriptor) -> Result<Self, SchemaError> {
        let name = method.full_name();
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let wrong = |reason: &str| SchemaError::Rule {
            method: name.to_owned(),
            rule: String::new(),
            reason: reason.to_owned(),
        };
        let plan = |message: prost_reflect::MessageDescriptor| {
            let id = types
                .named(message.full_name())
                .ok_or_else(|| wrong("its types are not in the set"))?;
            Ok::<_, SchemaError>(Arc::new(Plan {
                types: types.clone(),
                id,
            }))
        };
        let (input, output) = (plan(method.input())?, plan(method.output())?);
        let options = method.options().encode_to_vec();
        let options = Options::decode(&*options).map_err(|error| wrong(&format!("its options: {error}")))?;
        let rule = options.http.as_ref();
        let bindings = rule.map(|rule| rule.bindings(types, name, input.id, output.id));
        let mut bindings = bindings.transpose()?.unwrap_or_default();
        bindings.push(Binding::default_of(&path)?);
        Ok(Self {
            path,
            shape: match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => Shape::Unary,
                (false, true) => Shape::ServerStream,
                (true, false) => Shape::ClientStream,
                (true, true) => Shape::Bidi,
            },
            idempotency: match options.idempotency_level {
                1 => Idempotency::NoSideEffects,
                2 => Idempotency::Idempotent,
                _ => Idempotency::Unknown,
            },
            input,
            output,
            bindings,
        })
    }

    /// `/package.Service/Method`, as gRPC has it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many messages go each way.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether calling it twice is as good as calling it once (`idempotency_level`).
    pub fn is_idempotent(&self) -> bool {
        self.idempotency != Idempotency::Unknown
    }

    /// Whether it changes nothing (`idempotency_level = NO_SIDE_EFFECTS`): then Connect may ask for it with GET.
    pub fn no_side_effects(&self) -> bool {
        self.idempotency == Idempotency::NoSideEffects
    }

    /// Whether it has a `google.api.http` rule.
    pub fn has_rule(&self) -> bool {
        self.bindings.len() > 1
    }

    /// What it takes.
    pub fn input(&self) -> &Arc<Plan> {
        &self.input
    }

    /// What it gives.
    pub fn output(&self) -> &Arc<Plan> {
        &self.output
    }

    /// [`Plan::from_json`] of the input.
    ///
    /// # Errors
    /// As there.
    pub fn request_from_json(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        self.input.from_json(json, out)
    }

    /// [`Plan::to_json`] of the input.
    ///
    /// # Errors
    /// As there.
    pub fn request_to_json(&self, proto: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        self.input.to_json(proto, out)
    }

    /// [`Plan::from_json`] of the output.
    ///
    /// # Errors
    /// As there.
    pub fn reply_from_json(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        self.output.from_json(json, out)
    }

    /// [`Plan::to_json`] of the output.
    ///
    /// # Errors
    /// As there.
    pub fn reply_to_json(&self, proto: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        self.output.to_json(proto, out)
    }

    pub(super) fn types(&self) -> &Types {
        &self.input.types
    }
}
