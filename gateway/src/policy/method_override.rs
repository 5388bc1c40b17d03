//! A POST that stands for another method, for clients that can send no other.

use std::rc::Rc;

use causeway_config as config;
use causeway_protocols::{FailureKind, Protocol};
use http::Method;

use super::{Admit, Policy};
use crate::call::Call;
use crate::context::CallContext;
use crate::edge::METHOD_OVERRIDE;
use crate::error::CallError;

/// Makes the method that a POST names the method of the call. The route is the one of the POST.
#[derive(Debug)]
pub(super) struct MethodOverride(pub(super) config::MethodOverride);

impl Policy for MethodOverride {
    fn name(&self) -> &'static str {
        "method_override"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, _: &'a Rc<CallContext>) -> Admit<'a> {
        let head = &mut call.head;
        if head.protocol != Protocol::Http || head.method != Method::POST {
            return Admit::Pass;
        }
        let Some(named) = head.fields.get_named(METHOD_OVERRIDE) else {
            return Admit::Pass;
        };
        let allowed = self.0.methods.iter().find(|method| method.as_str().as_bytes() == named);
        match allowed {
            Some(method) => {
                head.method = method.clone();
                Admit::Pass
            }
            None => Admit::refuse(CallError::new(
                FailureKind::Invalid,
                "the method that `x-http-method-override` names is not one that a POST may stand for here",
            )),
        }
    }
}
