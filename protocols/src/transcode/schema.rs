//! The methods of a service's schema, found by their path or by their HTTP rule.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::SchemaError;
use super::found::Found;
use super::load;
use super::method::{Method, Plan};
use super::trie::{Missed, Trie};
use super::types::Types;

/// The types and methods of one descriptor set. Immutable: a refreshed schema is another one.
#[derive(Debug)]
pub struct Schema {
    pub(super) types: Arc<Types>,
    methods: Vec<Arc<Method>>,
    by_path: HashMap<String, usize>,
    rules: Trie<Rule>,
}

/// A rule: whose it is, and which of its method's.
#[derive(Debug)]
struct Rule {
    method: usize,
    binding: usize,
}

impl Schema {
    /// From an encoded `google.protobuf.FileDescriptorSet`, as `protoc -o`, `buf build -o`, [`super::compile`] and
    /// server reflection give it. Well-known files that it lacks are added.
    ///
    /// # Errors
    /// When it is no such set, has editions, or a rule that does not fit its method or contradicts another's.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self, SchemaError> {
        let pool = load::pool(bytes)?;
        let types = Arc::new(Types::of(&pool));
        let mut schema = Self {
            types,
            methods: Vec::new(),
            by_path: HashMap::new(),
            rules: Trie::default(),
        };
        for service in pool.services() {
            for method in service.methods() {
                schema.add(Method::of(&schema.types, &method)?)?;
            }
        }
        Ok(schema)
    }

    fn add(&mut self, method: Method) -> Result<(), SchemaError> {
        let at = self.methods.len();
        for (binding, number) in method.bindings.iter().zip(0..) {
            let rule = Rule {
                method: at,
                binding: number,
            };
            let known = self.rules.insert(&binding.template, binding.http.clone(), rule);
            // A method that has a rule twice, or its default as a rule, contradicts nobody.
            if let Err(known) = known
                && known.method != at
            {
                return Err(SchemaError::Ambiguous {
                    first: self.methods[known.method].path().to_owned(),
                    second: method.path().to_owned(),
                    rule: binding.to_string(),
                });
            }
        }
        self.by_path.insert(method.path().to_owned(), at);
        self.methods.push(Arc::new(method));
        Ok(())
    }

    /// The method of a gRPC path, `/package.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.by_path.get(path).map(|at| &self.methods[*at])
    }

    /// A message type by its full name, like `package.Message`.
    pub fn message(&self, name: &str) -> Option<Plan> {
        let id = self.types.named(name)?;
        Some(Plan {
            types: self.types.clone(),
            id,
        })
    }

    /// Every method, in the order of the descriptors.
    pub fn methods(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.methods.iter()
    }

    /// The method that an HTTP request means, by the `google.api.http` rules and the default
    /// `POST /package.Service/Method` of every method. `path` is percent-encoded and without a query.
    ///
    /// # Errors
    /// When no rule has the path, or none has it with this method.
    pub fn find(&self, method: &http::Method, path: &str) -> Result<Found, Missed> {
        let (rule, segments) = self.rules.find(method, path)?;
        Ok(Found::new(&self.methods[rule.method], rule.binding, &segments))
    }
}
