//! What a client may do: rules over who it is, where it comes from and what it asks.
//!
//! Rules are in the Common Expression Language and were parsed when the configuration was. One that cannot be decided,
//! because it asks for a claim that is not there, is not true where it allows, and refuses where it denies.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use causeway_config as config;
use causeway_config::Rule;
use causeway_protocols::{CallHead, FailureKind, Protocol, name};
use cel::{Context, Env, Value};
use serde_json::{Map, Number};

use super::{Admit, Policy};
use crate::call::Call;
use crate::context::{CallContext, Caller};
use crate::error::CallError;
use crate::principal::Principal;

/// What all rules are decided with.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// The policy of a route, or of a service for calls of other sites.
#[derive(Debug)]
pub(super) struct Authorize {
    config: config::Authorize,
    /// The route, or the service, by name.
    of: config::Name,
}

impl Authorize {
    pub(super) fn new(config: config::Authorize, of: config::Name) -> Self {
        Self { config, of }
    }

    fn decide(&self, head: &CallHead, cx: &CallContext) -> Result<(), Box<CallError>> {
        let principal = cx.principal.get().map(|principal| &**principal);
        let missing = self
            .config
            .scopes
            .iter()
            .find(|scope| !principal.is_some_and(|principal| principal.has_scope(scope)));
        if let Some(scope) = missing {
            let challenge = format!(
                "Bearer error=\"insufficient_scope\", scope=\"{}\"",
                self.config.scopes.join(" ")
            );
            let error = CallError::new(FailureKind::Refused, format!("scope `{scope}` is missing"));
            return Err(Box::new(error.field(name::WWW_AUTHENTICATE, &challenge)));
        }
        for rule in &self.config.deny {
            let why = match self.is_true(rule, head, cx) {
                Ok(false) => continue,
                Ok(true) => format!("denied by `{}`", rule.text),
                Err(why) => format!("denied, because `{}` cannot be decided: {why}", rule.text),
            };
            return Err(Box::new(CallError::new(FailureKind::Refused, why)));
        }
        let mut why = "no rule allows it".to_owned();
        for rule in &self.config.allow {
            match self.is_true(rule, head, cx) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(undecided) => why = format!("no rule allows it; `{}`: {undecided}", rule.text),
            }
        }
        if self.config.allow.is_empty() {
            return Ok(());
        }
        Err(Box::new(CallError::new(FailureKind::Refused, why)))
    }

    fn is_true(&self, rule: &Rule, head: &CallHead, cx: &CallContext) -> Result<bool, String> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for variable in &rule.variables {
            context.add_variable_from_value(*variable, self.value(variable, head, cx));
        }
        match rule.program.execute(&context) {
            Ok(Value::Bool(verdict)) => Ok(verdict),
            Ok(_) => Err("it is neither true nor false".to_owned()),
            Err(error) => Err(shown(&error)),
        }
    }

    /// One of [`config::VARIABLES`].
    fn value(&self, variable: &str, head: &CallHead, cx: &CallContext) -> Value {
        let principal = cx.principal.get().map(|principal| &**principal);
        match variable {
            "claims" => principal.map_or_else(|| object(&Map::new()), |principal| object(&principal.claims)),
            "grpc" => grpc(head),
            "peer" => match &cx.caller {
                Caller::Site { identity, .. } => text(identity.site().unwrap_or_default()),
                Caller::Client { .. } => text(""),
            },
            "principal" => principal.map_or(Value::Null, who),
            "request" => request(head),
            "route" => text(&self.of),
            "scopes" => Value::List(Arc::new(principal.map_or_else(Vec::new, |principal| {
                principal.scopes.iter().map(|scope| text(scope)).collect()
            }))),
            "source" => {
                let address = cx.caller.address().map(|address| address.to_string());
                table([("address", text(&address.unwrap_or_default()))])
            }
            _ => Value::Null,
        }
    }
}

impl Policy for Authorize {
    fn name(&self) -> &'static str {
        "authorize"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        // What may stay open for long is looked at again when the rules change.
        if stays_open(&call.head) {
            cx.authorized.set(Box::new(call.head.clone())).ok();
        }
        match self.decide(&call.head, cx) {
            Ok(()) => Admit::Pass,
            Err(error) => Admit::Refuse(error),
        }
    }

    fn holds(&self, cx: &CallContext) -> Result<(), CallError> {
        match cx.authorized.get() {
            Some(head) => self.decide(head, cx).map_err(|error| *error),
            // Admitted before there were rules: what it asked is not known, so only scopes and who it is can be.
            None => Err(CallError::new(FailureKind::Draining, "the route has rules now")),
        }
    }
}

/// Whether a call may be a stream without end: a WebSocket, gRPC, or server-sent events.
fn stays_open(head: &CallHead) -> bool {
    head.protocol != Protocol::Http
        || head
            .fields
            .text(name::ACCEPT)
            .is_some_and(|accept| accept.contains("text/event-stream"))
}

/// An error without the values it was about: those are of the call, and the log is for more eyes.
fn shown(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::NoSuchKey(key) => format!("there is no `{}`", key.escape_debug()),
        cel::ExecutionError::NoSuchOverload(_) => "an operator does not fit its values".to_owned(),
        _ => "it failed".to_owned(),
    }
}

fn who(principal: &Principal) -> Value {
    table([
        ("kind", text(principal.kind.label())),
        ("issuer", text(&principal.issuer)),
        ("subject", text(&principal.subject)),
        ("plan", text(principal.plan.as_deref().unwrap_or_default())),
    ])
}

fn grpc(head: &CallHead) -> Value {
    let path = head.target.path().strip_prefix('/');
    match path.and_then(|path| path.split_once('/')) {
        Some((service, method)) if head.protocol == Protocol::Grpc => {
            table([("service", text(service)), ("method", text(method))])
        }
        _ => Value::Null,
    }
}

fn request(head: &CallHead) -> Value {
    let mut headers: HashMap<String, Cow<'_, str>> = HashMap::new();
    for field in &head.fields {
        join(&mut headers, field.name.as_str(), String::from_utf8_lossy(field.value));
    }
    let mut query: HashMap<String, Cow<'_, str>> = HashMap::new();
    for pair in head.target.query().into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        join(&mut query, name, Cow::Borrowed(value));
    }
    let texts = |all: HashMap<String, Cow<'_, str>>| {
        let all: HashMap<String, Value> = all.into_iter().map(|(name, value)| (name, text(&value))).collect();
        Value::from(all)
    };
    table([
        ("method", text(head.method.as_str())),
        ("path", text(head.target.path())),
        ("host", text(head.target.authority.host())),
        ("headers", texts(headers)),
        ("query", texts(query)),
    ])
}

/// Several values of one name are one with commas between, so that none of them can hide.
fn join<'a>(all: &mut HashMap<String, Cow<'a, str>>, name: &str, value: Cow<'a, str>) {
    match all.get_mut(name) {
        Some(before) => {
            let joined = before.to_mut();
            joined.push_str(", ");
            joined.push_str(&value);
        }
        None => drop(all.insert(name.to_owned(), value)),
    }
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

fn table<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::from(HashMap::from(members.map(|(name, value)| (name.to_owned(), value))))
}

fn object(members: &Map<String, serde_json::Value>) -> Value {
    let members: HashMap<String, Value> = members
        .iter()
        .map(|(name, value)| (name.clone(), json(value)))
        .collect();
    Value::from(members)
}

fn json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => self::number(number),
        serde_json::Value::String(value) => text(value),
        serde_json::Value::Array(list) => Value::List(Arc::new(list.iter().map(json).collect())),
        serde_json::Value::Object(members) => object(members),
    }
}

fn number(number: &Number) -> Value {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Value::Int(number),
        (None, Some(number)) => Value::UInt(number),
        (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
    }
}
