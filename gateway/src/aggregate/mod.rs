//! One answer from several calls: legs run at once or after each other, and their results become one JSON object.
//!
//! A leg is an inner call through the same [`dispatch()`] as every other: to a service here or at another site, HTTP or,
//! with translation, gRPC. Its number, time and size are bounded by the configuration. A leg that is needed and fails ends
//! all of it; one that is optional is marked in the answer.

mod template;

use std::pin::{Pin, pin};
use std::rc::Rc;

use bytes::Bytes;
use causeway_config::{self as config, Aggregate, Leg, Merge};
use causeway_protocols::{CallHead, FailureKind, Fields, Length, Protocol, ReplyHead, Target, name};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::dispatch::{Aim, dispatch};
use crate::error::CallError;
use crate::payload::{Body, collect};
use crate::serve::within_deadline;

/// What the route's match captured, by name; none where there is no such name.
pub type Captured = Vec<(Box<str>, Box<str>)>;

/// What a route with legs is asked.
#[derive(Debug)]
pub struct Ask {
    /// Index of the route.
    pub route: usize,
    /// What its match captured.
    pub captured: Captured,
}

/// How a leg ended.
#[derive(Clone, Debug)]
enum Ended {
    /// With this result.
    Good(Value),
    /// With an error of its service.
    Status(StatusCode, Bytes, Option<String>),
    /// Without an answer that is of use.
    Failed(CallError),
}

/// Runs the legs and makes the answer.
///
/// # Errors
/// That of a leg that is needed; and where the client speaks something that has no place for the answer.
pub async fn answer(ask: &Ask, call: Call, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    let config = &cx.world.snapshot.config;
    let route = config.routes.get(ask.route);
    let Some(config::Destination::Aggregate(rules)) = route.map(|route| &route.to) else {
        return Err(CallError::new(FailureKind::Internal, "the route has no legs"));
    };
    if call.head.protocol != Protocol::Http {
        let detail = "an answer from several calls is JSON over HTTP";
        return Err(CallError::new(FailureKind::Untranslatable, detail));
    }
    match cx.left() {
        Some(left) => cx.timer.arm(left),
        None => cx.timer.disarm(),
    }
    let mut ended: Vec<Option<Ended>> = vec![None; rules.legs.len()];
    let mut begun = vec![false; rules.legs.len()];
    let mut running = FuturesUnordered::new();
    loop {
        for (at, leg) in rules.legs.iter().enumerate() {
            let ready = leg
                .after
                .iter()
                .all(|before| matches!(ended.get(*before), Some(Some(_))));
            if begun[at] || !ready {
                continue;
            }
            begun[at] = true;
            match prepare(rules, leg, &ended, ask, &call.head) {
                Ok(call) => running.push(run(at, leg, call, cx)),
                Err(error) if leg.optional => ended[at] = Some(Ended::Failed(error)),
                Err(error) => return Err(error),
            }
        }
        let Some((at, result)) = running.next().await else {
            // A leg that could not be prepared may have made others ready.
            if begun.iter().all(|begun| *begun) {
                break;
            }
            continue;
        };
        match (&result, rules.legs.get(at)) {
            (Ended::Status(status, body, kind), Some(leg)) if !leg.optional => {
                return Ok(refusal(*status, body.clone(), kind.as_deref()));
            }
            (Ended::Failed(error), Some(leg)) if !leg.optional => return Err(error.clone()),
            _ => ended[at] = Some(result),
        }
    }
    Ok(merged(rules, ended))
}

/// The call of a leg.
fn prepare(
    rules: &Aggregate,
    leg: &Leg,
    ended: &[Option<Ended>],
    ask: &Ask,
    client: &CallHead,
) -> Result<Call, CallError> {
    let results = |at: usize| match ended.get(at) {
        Some(Some(Ended::Good(value))) => Some(value),
        _ => None,
    };
    let needs = |leg: &Leg| {
        CallError::new(
            FailureKind::Invalid,
            format!("leg `{}` needs a result that is not there", leg.name),
        )
    };
    if leg.after.iter().any(|before| results(*before).is_none()) {
        return Err(needs(leg));
    }
    let values = template::Values {
        captured: &ask.captured,
        results: &results,
        legs: &|name| rules.legs.iter().position(|leg| leg.name == name),
    };
    let path = template::path(&leg.path, &values).ok_or_else(|| needs(leg))?;
    let target = Target::parse(client.target.authority.clone(), path.as_bytes())
        .map_err(|error| CallError::new(FailureKind::BadRequest, format!("leg `{}`: {error}", leg.name)))?;
    let mut fields = passed_on(&client.fields);
    let body = match &leg.body {
        None => Body::Empty,
        Some(body) => {
            let body = template::body(body, &values).ok_or_else(|| needs(leg))?;
            fields.push_known(name::CONTENT_TYPE, b"application/json").ok();
            Body::Bytes(Bytes::from(body.to_string()))
        }
    };
    let length = match &body {
        Body::Bytes(bytes) => Length::Exactly(bytes.len() as u64),
        _ => Length::Empty,
    };
    let head = CallHead {
        protocol: Protocol::Http,
        method: leg.method.clone(),
        scheme: client.scheme,
        target,
        fields,
        length,
        hold: false,
    };
    Ok(Call { head, body })
}

/// The client's fields, but for those about a body or a reply that only it knows.
fn passed_on(client: &Fields) -> Fields {
    let own = [
        name::ACCEPT,
        name::ACCEPT_ENCODING,
        name::CONTENT_ENCODING,
        name::CONTENT_LANGUAGE,
        name::CONTENT_RANGE,
        name::CONTENT_TYPE,
        name::IF_MATCH,
        name::IF_MODIFIED_SINCE,
        name::IF_NONE_MATCH,
        name::IF_RANGE,
        name::IF_UNMODIFIED_SINCE,
        name::RANGE,
    ];
    let mut fields = client.clone();
    fields.retain(|field| !own.iter().any(|id| field.name.is(*id)));
    fields.push_known(name::ACCEPT, b"application/json").ok();
    fields
}

type Running<'a> = Pin<Box<dyn Future<Output = (usize, Ended)> + 'a>>;

/// Runs one leg to the end of its reply.
fn run<'a>(at: usize, leg: &'a Leg, call: Call, cx: &'a Rc<CallContext>) -> Running<'a> {
    let inner = cx.inner(&call.head);
    Box::pin(async move {
        let Some(to) = cx.world.upstream(&leg.to) else {
            let error = CallError::new(FailureKind::Internal, "the leg leads nowhere");
            return (at, Ended::Failed(error));
        };
        let timeout = cx.left().map_or(leg.timeout, |left| left.min(leg.timeout));
        let aim = Aim {
            to,
            others: Vec::new(),
            total: Some(timeout),
            max_body: u64::MAX,
            route: cx.route.get(),
        };
        let ended = within_deadline(pin!(exchange(leg, call, &aim, &inner)), &inner).await;
        let ended = match ended {
            Ok(reply) => judge(leg, reply),
            Err(error) => Ended::Failed(error),
        };
        if let Ended::Failed(error) = &ended {
            tracing::debug!(%error, leg = leg.name, "a leg failed");
        }
        (at, ended)
    })
}

/// The reply of a leg, its body read whole.
async fn exchange(leg: &Leg, call: Call, aim: &Aim, cx: &Rc<CallContext>) -> Result<Reply, CallError> {
    let mut reply = dispatch(call, aim, cx).await?;
    let limit = usize::try_from(leg.max_body).unwrap_or(usize::MAX);
    match collect::reply(&mut reply, limit, cx).await? {
        Some(body) => reply.body = Body::Bytes(body),
        None => {
            let detail = format!("the reply of leg `{}` is over {limit} bytes", leg.name);
            return Err(CallError::new(FailureKind::Protocol, detail));
        }
    }
    Ok(reply)
}

fn judge(leg: &Leg, reply: Reply) -> Ended {
    let Body::Bytes(body) = reply.body else {
        return Ended::Failed(CallError::new(FailureKind::Internal, "the body of a leg is gone"));
    };
    let status = reply.head.status;
    if !status.is_success() {
        let kind = reply.head.fields.text(name::CONTENT_TYPE).map(str::to_owned);
        return Ended::Status(status, body, kind);
    }
    if body.is_empty() {
        return Ended::Good(Value::Null);
    }
    let broken = |detail: String| Ended::Failed(CallError::new(FailureKind::Protocol, detail));
    let value: Value = match serde_json::from_slice(&body) {
        Ok(value) => value,
        Err(error) => return broken(format!("the reply of leg `{}` is no JSON: {error}", leg.name)),
    };
    match &leg.pick {
        None => Ended::Good(value),
        Some(pointer) => match value.pointer(pointer) {
            Some(picked) => Ended::Good(picked.clone()),
            None => broken(format!("the reply of leg `{}` has no `{pointer}`", leg.name)),
        },
    }
}

/// A leg that is needed was answered with an error: so is the client.
fn refusal(status: StatusCode, body: Bytes, kind: Option<&str>) -> Reply {
    // A redirect of a leg would lead the client to a place that it does not know.
    let status = if status.is_client_error() || status.is_server_error() {
        status
    } else {
        StatusCode::BAD_GATEWAY
    };
    let mut head = ReplyHead::new(status, Length::Exactly(body.len() as u64));
    if let Some(kind) = kind {
        head.fields.push_known(name::CONTENT_TYPE, kind.as_bytes()).ok();
    }
    Reply::whole(head, Body::Bytes(body))
}

/// The answer from all results, with what is missing under `errors`.
fn merged(rules: &Aggregate, ended: Vec<Option<Ended>>) -> Reply {
    let mut answer = Map::new();
    let mut errors = Map::new();
    for (leg, ended) in rules.legs.iter().zip(ended) {
        match ended {
            Some(Ended::Good(value)) => match (rules.merge, value) {
                (Merge::Deep, Value::Object(members)) => deep(&mut answer, members),
                (_, value) => drop(answer.insert(leg.name.clone(), value)),
            },
            Some(Ended::Status(status, ..)) => {
                errors.insert(leg.name.clone(), json!({ "status": status.as_u16() }));
            }
            Some(Ended::Failed(error)) => {
                let told = json!({ "status": error.kind.status().as_u16(), "code": error.kind.label() });
                errors.insert(leg.name.clone(), told);
            }
            None => {}
        }
    }
    let mut status = StatusCode::OK;
    if !errors.is_empty() {
        status = StatusCode::from_u16(rules.partial_status).unwrap_or(StatusCode::OK);
        answer.insert("errors".to_owned(), Value::Object(errors));
    }
    let body = Bytes::from(Value::Object(answer).to_string());
    let mut head = ReplyHead::new(status, Length::Exactly(body.len() as u64));
    head.fields.push_known(name::CONTENT_TYPE, b"application/json").ok();
    Reply::whole(head, Body::Bytes(body))
}

/// Puts `more` over what is there, member by member. As deep as JSON that was read can be.
fn deep(into: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => deep(old, new),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests;
