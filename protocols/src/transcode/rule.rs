//! `google.api.http` rules of a method, checked against its types (google/api/http.proto).

use http::Method as HttpMethod;

use super::error::SchemaError;
use super::template::Template;
use super::types::{Field, FieldId, TypeId, Types};

/// One rule: a template with its method, and where the fields of the request message come from.
#[derive(Debug)]
pub(super) struct Binding {
    /// `None` for any.
    pub(super) http: Option<HttpMethod>,
    pub(super) template: Template,
    /// The fields of the template's variables, in its order.
    pub(super) variables: Vec<Target>,
    pub(super) body: Body,
    /// The field of the reply that is the answer; `None` for the whole.
    pub(super) response: Option<FieldId>,
}

/// Where the body of a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Field(FieldId),
    /// There is none.
    Nothing,
    /// All that the path does not have.
    Whole,
}

/// A field that a variable or a parameter stands for: the way to it from the request message.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: Vec<FieldId>,
    /// The message type that it lies in.
    pub(super) parent: TypeId,
}

impl Target {
    /// The field of a name like `book.author.name`, in the names of the `.proto` file or of JSON.
    pub(super) fn of(types: &Types, root: TypeId, name: &str) -> Result<Self, &'static str> {
        let mut parent = root;
        let mut path = Vec::new();
        if name.split('.').nth(super::from_json::DEPTH as usize).is_some() {
            return Err("messages nested too deep");
        }
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            let ty = types.message(parent);
            let id = ty.named(part.as_bytes()).ok_or("there is no such field")?;
            path.push(id);
            if parts.peek().is_some() {
                let field = &ty.fields[id as usize];
                let inside = match field.kind {
                    super::types::Kind::Message(inside) if field.is_single() => inside,
                    _ => return Err("only fields of single messages can be named"),
                };
                if types.message(inside).special.is_some() {
                    return Err("there is no such field");
                }
                parent = inside;
            }
        }
        Ok(Self { path, parent })
    }

    pub(super) fn field<'t>(&self, types: &'t Types) -> &'t Field {
        let last = self.path.last().copied().unwrap_or_default();
        &types.message(self.parent).fields[last as usize]
    }
}

/// What a method's options say that matters here.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Options {
    /// 1: no side effects; 2: idempotent.
    #[prost(int32, tag = "34")]
    pub(super) idempotency_level: i32,
    #[prost(message, optional, tag = "72295728")]
    pub(super) http: Option<HttpRule>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpRule {
    #[prost(oneof = "Pattern", tags = "2, 3, 4, 5, 6, 8")]
    pattern: Option<Pattern>,
    #[prost(string, tag = "7")]
    body: String,
    #[prost(message, repeated, tag = "11")]
    additional_bindings: Vec<Self>,
    #[prost(string, tag = "12")]
    response_body: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Pattern {
    #[prost(string, tag = "2")]
    Get(String),
    #[prost(string, tag = "3")]
    Put(String),
    #[prost(string, tag = "4")]
    Post(String),
    #[prost(string, tag = "5")]
    Delete(String),
    #[prost(string, tag = "6")]
    Patch(String),
    #[prost(message, tag = "8")]
    Custom(CustomPattern),
}

#[derive(Clone, PartialEq, prost::Message)]
struct CustomPattern {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    path: String,
}

impl Pattern {
    fn parts(&self) -> (&str, &str) {
        match self {
            Self::Get(path) => ("GET", path),
            Self::Put(path) => ("PUT", path),
            Self::Post(path) => ("POST", path),
            Self::Delete(path) => ("DELETE", path),
            Self::Patch(path) => ("PATCH", path),
            Self::Custom(custom) => (&custom.kind, &custom.path),
        }
    }
}

impl HttpRule {
    /// The rule and its additional bindings.
    pub(super) fn bindings(
        &self,
        types: &Types,
        method: &str,
        input: TypeId,
        output: TypeId,
    ) -> Result<Vec<Binding>, SchemaError> {
        let mut bindings = Vec::new();
        for rule in std::iter::once(self).chain(&self.additional_bindings) {
            let wrong = |reason: String| SchemaError::Rule {
                method: method.to_owned(),
                rule: rule.name(),
                reason,
            };
            if rule.pattern.is_none() {
                // A rule without a pattern maps nothing.
                continue;
            }
            bindings.push(rule.binding(types, input, output).map_err(wrong)?);
        }
        Ok(bindings)
    }

    fn name(&self) -> String {
        let (kind, path) = self.pattern.as_ref().map_or(("", ""), Pattern::parts);
        format!("{kind} {path}")
    }

    fn binding(&self, types: &Types, input: TypeId, output: TypeId) -> Result<Binding, String> {
        let (kind, path) = self.pattern.as_ref().map_or(("", ""), Pattern::parts);
        let http = match kind {
            "*" => None,
            kind => Some(kind.parse().map_err(|_| format!("`{kind}` is no HTTP method"))?),
        };
        let template = Template::parse(path)?;
        let mut variables = Vec::new();
        for variable in &template.variables {
            let named = |reason| format!("variable `{}`: {reason}", variable.name);
            let target = Target::of(types, input, &variable.name).map_err(named)?;
            if !target.field(types).is_single() {
                return Err(named("a list or a map cannot be in a path"));
            }
            variables.push(target);
        }
        let top = |ty: TypeId, name: &str| {
            let id = types.message(ty).named(name.as_bytes());
            id.ok_or_else(|| format!("`{}` has no field `{name}`", types.message(ty).name))
        };
        let body = match self.body.as_str() {
            "" => Body::Nothing,
            "*" => Body::Whole,
            name => Body::Field(top(input, name)?),
        };
        let response = match self.response_body.as_str() {
            "" => None,
            name => Some(top(output, name)?),
        };
        Ok(Binding {
            http,
            template,
            variables,
            body,
            response,
        })
    }
}

impl Binding {
    /// `POST /package.Service/Method` with the whole message as its body: what every method has.
    pub(super) fn default_of(path: &str) -> Result<Self, SchemaError> {
        let template = Template::parse(path).map_err(|reason| SchemaError::Rule {
            method: path.to_owned(),
            rule: path.to_owned(),
            reason: reason.to_owned(),
        })?;
        Ok(Self {
            http: Some(HttpMethod::POST),
            template,
            variables: Vec::new(),
            body: Body::Whole,
            response: None,
        })
    }
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}",
            self.http.as_ref().map_or("*", HttpMethod::as_str),
            self.template
        )
    }
}
