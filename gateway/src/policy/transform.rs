//! What is changed of a call and of its reply: fields, the query, the status.

use std::rc::Rc;

use causeway_config::{FieldChanges, RequestTransform, ResponseTransform};
use causeway_protocols::{FailureKind, Fields, Protocol, ReplyHead, Target};
use http::StatusCode;

use super::parts::{decoded, encoded, fill, pairs};
use super::{Admit, Policy, Shape};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;

/// `[routes.request]`.
#[derive(Debug)]
pub(super) struct Request(pub(super) RequestTransform);

impl Policy for Request {
    fn name(&self) -> &'static str {
        "request"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        change(&mut call.head.fields, &self.0.fields, cx, None);
        match self.query(&call.head.target, cx) {
            Ok(Some(target)) => call.head.target = target,
            Ok(None) => {}
            Err(error) => return Admit::refuse(error),
        }
        Admit::Pass
    }

    fn needs_request(&self) -> bool {
        true
    }
}

impl Request {
    /// The target with its new query, where that changes.
    fn query(&self, target: &Target, cx: &CallContext) -> Result<Option<Target>, CallError> {
        let RequestTransform {
            query_rename,
            query_remove,
            query_set,
            ..
        } = &self.0;
        if query_rename.is_empty() && query_remove.is_empty() && query_set.is_empty() {
            return Ok(None);
        }
        let mut kept: Vec<String> = Vec::new();
        for (name, value) in pairs(target.query().unwrap_or_default()) {
            let plain = decoded(name);
            if query_remove.contains(&plain) || query_set.iter().any(|(set, _)| *set == plain) {
                continue;
            }
            let renamed = query_rename.iter().find(|(from, _)| *from == plain);
            kept.push(match renamed {
                Some((_, to)) => format!("{}={value}", encoded(to)),
                None if value.is_empty() => name.to_owned(),
                None => format!("{name}={value}"),
            });
        }
        for (name, template) in query_set {
            kept.push(format!("{}={}", encoded(name), encoded(&fill(template, cx, None))));
        }
        let mut raw = target.path().to_owned();
        if !kept.is_empty() {
            raw.push('?');
            raw.push_str(&kept.join("&"));
        }
        let changed = Target::parse(target.authority.clone(), raw.as_bytes());
        changed
            .map(Some)
            .map_err(|error| CallError::new(FailureKind::Internal, format!("changing the query: {error}")))
    }
}

/// `[routes.response]`.
#[derive(Debug)]
pub(super) struct Response(pub(super) ResponseTransform);

impl Policy for Response {
    fn name(&self) -> &'static str {
        "response"
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        // Templates see the reply as it came.
        let before = reply.head.clone();
        change(&mut reply.head.fields, &self.0.fields, cx, Some(&before));
        if cx.protocol == Protocol::Http {
            let status = reply.head.status.as_u16();
            let changed = self.0.status.iter().find(|(from, _)| *from == status);
            if let Some(status) = changed.and_then(|(_, to)| StatusCode::from_u16(*to).ok()) {
                reply.head.status = status;
            }
        }
        Shape::Done
    }

    fn needs_request(&self) -> bool {
        true
    }
}

/// Makes the changes: names first, then values.
fn change(fields: &mut Fields, changes: &FieldChanges, cx: &CallContext, reply: Option<&ReplyHead>) {
    for (from, to) in &changes.rename {
        let values: Vec<Vec<u8>> = all(fields, from).map(<[u8]>::to_vec).collect();
        remove(fields, from);
        for value in values {
            put(fields, to, &value);
        }
    }
    for name in &changes.remove {
        remove(fields, name);
    }
    for (name, template) in &changes.set {
        let value = fill(template, cx, reply);
        remove(fields, name);
        if !value.is_empty() {
            put(fields, name, value.as_bytes());
        }
    }
    for (name, template) in &changes.default {
        if fields.get_named(name).is_none() {
            let value = fill(template, cx, reply);
            if !value.is_empty() {
                put(fields, name, value.as_bytes());
            }
        }
    }
    for (name, template) in &changes.add {
        put(fields, name, fill(template, cx, reply).as_bytes());
    }
    for (name, template) in &changes.append {
        let values: Vec<_> = all(fields, name).collect();
        let mut value = values.join(&b", "[..]);
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(fill(template, cx, reply).as_bytes());
        remove(fields, name);
        put(fields, name, &value);
    }
}

fn all<'f>(fields: &'f Fields, name: &str) -> impl Iterator<Item = &'f [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.as_str() == name)
        .map(|field| field.value)
}

fn remove(fields: &mut Fields, name: &str) {
    if fields.get_named(name).is_some() {
        fields.retain(|field| field.name.as_str() != name);
    }
}

fn put(fields: &mut Fields, name: &str, value: &[u8]) {
    // What cannot be a value is not sent: a claim or a parameter may hold a line feed.
    fields.push(name.as_bytes(), value).ok();
}
