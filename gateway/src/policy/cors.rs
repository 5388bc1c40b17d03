//! Which pages of other origins may call (Fetch Standard, "CORS protocol").
//!
//! A preflight is answered here. It asks for another method than its own and says so in a field, so the route is found by
//! what it asks for ([`route_of_preflight`]). Browsers keep what is not allowed from their pages by the absence of our
//! fields: a call of a strange page goes on without them, because it may as well be no browser's.

use std::rc::Rc;

use causeway_config::{self as config, CorsList};
use causeway_protocols::{CallHead, FailureKind, Fields, Length, Protocol, ReplyHead, name};
use http::{Method, StatusCode};

use super::{Admit, Policy, Shape, origins, vary};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;
use crate::payload::Body;
use crate::route::Found;
use crate::snapshot::Snapshot;

/// Answers preflights, and tells browsers what their pages may see.
#[derive(Debug)]
pub(super) struct Cors {
    config: config::Cors,
    methods: String,
    headers: String,
    expose: String,
    max_age: String,
}

impl Cors {
    pub(super) fn new(config: config::Cors) -> Self {
        let text = |list: &CorsList| match list {
            CorsList::Any => "*".to_owned(),
            CorsList::These(list) => list.join(", "),
        };
        Self {
            methods: text(&config.methods),
            headers: text(&config.headers),
            expose: text(&config.expose),
            max_age: config.max_age.as_secs().to_string(),
            config,
        }
    }

    fn admits_origin(&self, origin: &str) -> bool {
        match &self.config.origins {
            CorsList::Any => true,
            CorsList::These(list) => list.iter().any(|allowed| origins::is_allowed(allowed, origin)),
        }
    }

    /// Why a preflight is refused, if it is.
    fn objection(&self, asked: &Fields) -> Option<String> {
        let origin = asked.text(name::ORIGIN).unwrap_or_default();
        if !self.admits_origin(origin) {
            return Some(format!("origin `{}` is not allowed", origin.escape_debug()));
        }
        let method = asked.text(name::ACCESS_CONTROL_REQUEST_METHOD).unwrap_or_default();
        if !has(&self.config.methods, method) {
            return Some(format!(
                "method `{}` is not allowed across origins",
                method.escape_debug()
            ));
        }
        let headers = asked.all(name::ACCESS_CONTROL_REQUEST_HEADERS);
        for header in headers.flat_map(|value| value.split(|byte| *byte == b',')) {
            let header = String::from_utf8_lossy(header.trim_ascii()).to_ascii_lowercase();
            if !header.is_empty() && !has(&self.config.headers, &header) {
                return Some(format!(
                    "field `{}` is not allowed across origins",
                    header.escape_debug()
                ));
            }
        }
        None
    }

    fn answer_preflight(&self, asked: &Fields, fields: &mut Fields) {
        put(fields, "access-control-allow-methods", &self.methods);
        if !self.headers.is_empty() {
            put(fields, "access-control-allow-headers", &self.headers);
            // `*` does not stand for this one (Fetch Standard, section 4.9).
            if self.config.headers == CorsList::Any {
                put(fields, "access-control-allow-headers", "authorization");
            }
        }
        put(fields, "access-control-max-age", &self.max_age);
        let private = asked.get_named("access-control-request-private-network");
        if self.config.private_network && private == Some(b"true") {
            put(fields, "access-control-allow-private-network", "true");
        }
    }
}

impl Policy for Cors {
    fn name(&self) -> &'static str {
        "cors"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, _: &'a Rc<CallContext>) -> Admit<'a> {
        if !is_preflight(&call.head) {
            return Admit::Pass;
        }
        match self.objection(&call.head.fields) {
            Some(detail) => Admit::refuse(CallError::new(FailureKind::Refused, detail)),
            None => {
                let head = ReplyHead::new(StatusCode::NO_CONTENT, Length::Empty);
                Admit::Answer(Box::new(Reply::whole(head, Body::Empty)))
            }
        }
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        let Some(request) = cx
            .request
            .get()
            .filter(|request| request.protocol != Protocol::WebSocket)
        else {
            return Shape::Done;
        };
        let fields = &mut reply.head.fields;
        // What a backend believes of origins is not what was configured here.
        fields.retain(|field| !field.name.as_str().starts_with("access-control-"));
        let preflight = is_preflight(request);
        let one_for_all = self.config.origins == CorsList::Any && !self.config.credentials;
        if !one_for_all {
            vary(fields, "origin");
        }
        if preflight {
            vary(fields, "access-control-request-method");
            vary(fields, "access-control-request-headers");
        }
        let Some(origin) = request
            .fields
            .text(name::ORIGIN)
            .filter(|origin| self.admits_origin(origin))
        else {
            return Shape::Done;
        };
        put(
            fields,
            "access-control-allow-origin",
            if one_for_all { "*" } else { origin },
        );
        if self.config.credentials {
            put(fields, "access-control-allow-credentials", "true");
        }
        if preflight && reply.head.status == StatusCode::NO_CONTENT {
            self.answer_preflight(&request.fields, fields);
        } else if !self.expose.is_empty() {
            put(fields, "access-control-expose-headers", &self.expose);
        }
        Shape::Done
    }

    fn needs_request(&self) -> bool {
        true
    }
}

/// The route that a preflight asks about, if that has this policy; none for anything else.
pub fn route_of_preflight<'s>(snapshot: &'s Snapshot, head: &CallHead) -> Option<Found<'s>> {
    if !is_preflight(head) {
        return None;
    }
    let method = head.fields.get(name::ACCESS_CONTROL_REQUEST_METHOD)?;
    let mut meant = head.clone();
    meant.method = Method::from_bytes(method).ok()?;
    // Clients in browsers reach gRPC services too, by gRPC-Web.
    [Protocol::Http, Protocol::Grpc].into_iter().find_map(|protocol| {
        meant.protocol = protocol;
        let found = snapshot.routes.find(&meant).ok()?;
        found.route.policies.cors.is_some().then_some(found)
    })
}

/// A CORS-preflight request (Fetch Standard, section 3.3.2).
fn is_preflight(head: &CallHead) -> bool {
    head.method == Method::OPTIONS
        && head.fields.has(name::ORIGIN)
        && head.fields.has(name::ACCESS_CONTROL_REQUEST_METHOD)
}

fn has(list: &CorsList, text: &str) -> bool {
    match list {
        CorsList::Any => true,
        CorsList::These(list) => list.iter().any(|have| have == text),
    }
}

fn put(fields: &mut Fields, name: &str, value: &str) {
    // The configuration was checked, and an origin came as the value of a field.
    fields.push(name.as_bytes(), value.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(toml: &str) -> Cors {
        let text = format!(
            "site = {{ name = 'a', trust_domain = 'a.example' }}\nlisteners = [{{ name = 'p', bind = '0.0.0.0:1' }}]\n[[routes]]\nfixed = \
             {{ status = 200 }}\n[routes.cors]\n{toml}"
        );
        let config = config::load_str("c.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        Cors::new(config.routes[0].policies.cors.clone().unwrap())
    }

    fn asked(origin: &str, method: &str, headers: &str) -> Fields {
        let mut fields = Fields::new();
        fields.push(b"origin", origin.as_bytes()).unwrap();
        fields
            .push(b"access-control-request-method", method.as_bytes())
            .unwrap();
        fields
            .push(b"access-control-request-headers", headers.as_bytes())
            .unwrap();
        fields
    }

    #[test]
    fn a_preflight_passes_only_with_an_allowed_origin_method_and_fields() {
        let some = "origins = ['https://app.example', '*.acme.example']\nmethods = ['GET', 'PUT']\nheaders = ['X-One', 'authorization']";
        let any = "origins = ['*']\nmethods = ['*']\nheaders = ['*']";
        #[rustfmt::skip]
        let table = [
            (some, "https://app.example", "PUT", "x-one, Authorization", true), (some, "http://app.example", "PUT", "", false),
            (some, "https://a.acme.example", "GET", "", true), (some, "https://acme.example", "GET", "", false),
            (some, "https://app.example", "POST", "", false), (some, "https://app.example", "put", "", false),
            (some, "https://app.example", "GET", "x-two", false), (some, "null", "GET", "", false),
            (any, "null", "PATCH", "x-whatever", true), (any, "https://x.example", "DELETE", "authorization", true),
            ("origins = ['https://a.b']\npresets = ['grpc-web']", "https://a.b", "POST", "content-type,x-grpc-web,grpc-timeout,x-user-agent", true),
            ("origins = ['https://a.b']\npresets = ['connect']", "https://a.b", "POST", "connect-protocol-version,connect-timeout-ms,content-type", true),
            ("origins = ['https://a.b']", "https://a.b", "POST", "x-grpc-web", false),
        ];
        for (toml, origin, method, headers, passes) in table {
            let objection = cors(toml).objection(&asked(origin, method, headers));
            assert_eq!(
                objection.is_none(),
                passes,
                "{origin} {method} {headers}: {objection:?}"
            );
        }
    }
}
