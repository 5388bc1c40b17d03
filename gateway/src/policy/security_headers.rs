//! Reply fields that make browsers careful.

use std::rc::Rc;

use causeway_config::{self as config, FrameOptions};
use causeway_protocols::{Protocol, Scheme};

use super::{Policy, Shape};
use crate::call::Reply;
use crate::context::CallContext;

/// Says what the backend does not say itself.
#[derive(Debug)]
pub(super) struct SecurityHeaders {
    always: Vec<(&'static str, String)>,
    over_tls: Option<(&'static str, String)>,
}

impl SecurityHeaders {
    pub(super) fn new(config: &config::SecurityHeaders) -> Self {
        let frame = config.frame_options.map(|frame| match frame {
            FrameOptions::Deny => "DENY".to_owned(),
            FrameOptions::SameOrigin => "SAMEORIGIN".to_owned(),
        });
        let fields = [
            ("x-content-type-options", config.nosniff.then(|| "nosniff".to_owned())),
            ("x-frame-options", frame),
            ("referrer-policy", config.referrer_policy.clone()),
            ("content-security-policy", config.content_security_policy.clone()),
            ("permissions-policy", config.permissions_policy.clone()),
        ];
        let over_tls = config.hsts.map(|hsts| {
            let mut text = format!("max-age={}", hsts.max_age.as_secs());
            if hsts.subdomains {
                text.push_str("; includeSubDomains");
            }
            if hsts.preload {
                text.push_str("; preload");
            }
            ("strict-transport-security", text)
        });
        Self {
            always: fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            over_tls,
        }
    }
}

impl Policy for SecurityHeaders {
    fn name(&self) -> &'static str {
        "security_headers"
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        let Some(request) = cx.request.get().filter(|_| cx.protocol == Protocol::Http) else {
            return Shape::Done;
        };
        // RFC 6797, section 7.2: not over clear text, where anybody could have said it.
        let over_tls = self.over_tls.as_ref().filter(|_| request.scheme == Scheme::Https);
        let fields = &mut reply.head.fields;
        for (name, value) in self.always.iter().chain(over_tls) {
            if fields.get_named(name).is_none() {
                // The configuration was checked.
                fields.push(name.as_bytes(), value.as_bytes()).ok();
            }
        }
        Shape::Done
    }

    fn needs_request(&self) -> bool {
        true
    }
}
