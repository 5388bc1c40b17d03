//! Policies: checks and edits of a call and its reply, in a fixed order in code, never in configuration.
//!
//! One file per policy. [`Policies::build`] is the order: what a route has configured is put into one list when the
//! snapshot is built, so that a call pays only for the policies of its route. Most decide at once; one that has to ask
//! somebody says [`Admit::Later`].

mod authenticate;
mod authorize;
mod body_size;
mod compression;
mod concurrency;
pub mod cors;
pub mod ip;
mod loop_guard;
mod message_limit;
mod method_override;
mod origins;
mod parts;
mod quota;
mod rate_limit;
mod security_headers;
mod sources;
mod state;
mod transform;
mod version;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use causeway_config as config;
use causeway_protocols::{CallHead, FailureKind, Fields, name};

use self::authenticate::Authenticate;
use self::authorize::Authorize;
pub use self::body_size::max_body;
use self::compression::Compression;
use self::concurrency::Concurrency;
pub use self::concurrency::Held;
use self::cors::Cors;
use self::ip::Ip;
use self::message_limit::MessageLimit;
use self::method_override::MethodOverride;
use self::origins::Origins;
use self::quota::Quota;
use self::rate_limit::RateLimit;
use self::security_headers::SecurityHeaders;
pub use self::sources::Sources;
pub use self::state::State;
use self::version::Version;
use crate::call::{Call, Reply};
use crate::context::{CallContext, Caller};
use crate::dispatch::Way;
use crate::error::CallError;
use crate::limits::shared::Shared;
use crate::route::{self, Found};
use crate::snapshot::Kept;
use crate::telemetry::metrics::Counter;
use crate::worker::World;

/// Something that is decided later, on the call's own worker.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a policy says of a call.
#[expect(missing_debug_implementations, reason = "a future has nothing to show")]
pub enum Admit<'a> {
    /// It goes on, perhaps changed.
    Pass,
    /// It is refused.
    Refuse(Box<CallError>),
    /// It is answered here, without asking anybody.
    Answer(Box<Reply>),
    /// Not known yet; a reply is an answer as in [`Admit::Answer`].
    Later(Later<'a, Result<Option<Box<Reply>>, CallError>>),
}

impl Admit<'_> {
    /// The refusal for this reason.
    pub fn refuse(error: CallError) -> Self {
        Self::Refuse(Box::new(error))
    }
}

/// What a policy does to a reply.
#[expect(missing_debug_implementations, reason = "a future has nothing to show")]
pub enum Shape<'a> {
    /// It is done.
    Done,
    /// It has to read, or to wait.
    Later(Later<'a, Result<(), CallError>>),
}

/// One check or edit. Shared by all workers: what it counts is in atomics, or bounded and behind short locks.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Its name: that of its table in the configuration, and in logs and metrics.
    fn name(&self) -> &'static str;

    /// Lets the call pass, perhaps changed, refuses or answers it.
    fn admit<'a>(&'a self, _call: &'a mut Call, _cx: &'a Rc<CallContext>) -> Admit<'a> {
        Admit::Pass
    }

    /// Changes the reply before the client gets it: also a refusal, whoever made it, if the call had found its route.
    fn shape<'a>(&'a self, _reply: &'a mut Reply, _cx: &'a Rc<CallContext>) -> Shape<'a> {
        Shape::Done
    }

    /// Whether a stream that was let in before this policy was configured may go on.
    ///
    /// # Errors
    /// Why it may not.
    fn holds(&self, _cx: &CallContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Whether it needs to know what the client asked: then [`CallContext::request`] and [`CallContext::captures`] have it.
    fn needs_request(&self) -> bool {
        false
    }
}

/// The policies of one route.
#[derive(Debug, Default)]
pub struct Policies {
    /// In the order in which they admit; they shape in the reverse order, so that the outermost has the last word.
    order: Vec<Step>,
    /// Whether any of them needs the request as it was.
    keeps_request: bool,
}

/// Where limits count.
#[derive(Clone, Copy, Debug)]
struct Counted<'a> {
    /// In this gateway.
    here: &'a State,
    /// With the other gateways of the site.
    shared: Option<&'a Arc<Shared>>,
}

/// What is done with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The call is refused.
    Enforce,
    /// It is counted and logged, and the call goes on: `dry_run = true`.
    DryRun,
}

impl Mode {
    /// What `dry_run` of a policy's table says.
    pub fn of(dry_run: bool) -> Self {
        if dry_run { Self::DryRun } else { Self::Enforce }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::DryRun => "dry_run",
        }
    }
}

/// One policy of a route.
#[derive(Debug)]
struct Step {
    policy: Arc<dyn Policy>,
    mode: Mode,
    refused: Counter,
}

impl Step {
    /// Whether a refusal of it is one of the call.
    fn refuse(&self, error: CallError, cx: &CallContext) -> Result<(), CallError> {
        self.refused.inc();
        match self.mode {
            Mode::Enforce => Err(error),
            Mode::DryRun => {
                let policy = self.policy.name();
                tracing::debug!(policy, %error, path = %cx.asked.path, "would have been refused");
                cx.record.borrow_mut().would_be_refused(policy);
                Ok(())
            }
        }
    }
}

impl Policies {
    /// Those of a service, for calls of other sites.
    pub fn of_export(service: &config::Service, kept: Kept<'_>) -> Self {
        let mut order = Vec::new();
        if let Some(authorize) = &service.authorize {
            let name = config::Name::clone(&service.name);
            let policy: Arc<dyn Policy> = Arc::new(Authorize::new(authorize.clone(), name));
            let mode = Mode::of(authorize.dry_run);
            let of = format!("export:{}", service.name);
            let refused = kept.metrics.policy_refusals.with(&[&of, policy.name(), mode.label()]);
            order.push(Step { policy, mode, refused });
        }
        Self {
            order,
            keeps_request: false,
        }
    }

    /// The policies that a route has configured, in the order of design: origins and lists first, then who it is, what it
    /// may, how much, and last what is changed.
    pub fn build(route: &config::Route, sources: &Sources, kept: Kept<'_>) -> Self {
        let mut order = Vec::new();
        let mut add = |policy: Arc<dyn Policy>, mode: Mode| {
            let refused = kept
                .metrics
                .policy_refusals
                .with(&[&*route.name, policy.name(), mode.label()]);
            order.push(Step { policy, mode, refused });
        };
        let configured = &route.policies;
        let counted = Counted {
            here: kept.policies,
            shared: sources.shared.as_ref(),
        };
        // It only shapes: here it has the last word, also on refusals.
        if let Some(headers) = &configured.security_headers {
            add(Arc::new(SecurityHeaders::new(headers)), Mode::Enforce);
        }
        if let Some(compression) = &configured.compression {
            add(Arc::new(Compression(compression.clone())), Mode::Enforce);
        }
        if let Some(ip) = &configured.ip {
            add(Arc::new(Ip(ip.clone())), Mode::of(ip.dry_run));
        }
        if let Some(cors) = &configured.cors {
            add(Arc::new(Cors::new(cors.clone())), Mode::Enforce);
        }
        // Before anybody asks whether the method is allowed.
        if let Some(methods) = &configured.method_override {
            add(Arc::new(MethodOverride(methods.clone())), Mode::Enforce);
        }
        if !route.origins.is_empty() {
            add(Arc::new(Origins(route.origins.clone())), Mode::Enforce);
        }
        if let Some(authenticate) = &configured.authenticate {
            let policy = Authenticate::new(authenticate.clone(), sources, kept);
            add(Arc::new(policy), Mode::of(authenticate.dry_run));
        }
        if let Some(authorize) = &configured.authorize {
            let policy = Authorize::new(authorize.clone(), config::Name::clone(&route.name));
            add(Arc::new(policy), Mode::of(authorize.dry_run));
        }
        for rule in &configured.rate_limit {
            add(Arc::new(RateLimit::new(route, rule, &counted)), Mode::of(rule.dry_run));
        }
        for rule in &configured.quota {
            add(Arc::new(Quota::new(route, rule, &counted)), Mode::of(rule.dry_run));
        }
        for rule in &configured.concurrency {
            add(
                Arc::new(Concurrency::new(route, rule, kept.policies)),
                Mode::of(rule.dry_run),
            );
        }
        if let Some(limit) = route.policies.message_limit {
            // Refuses nothing as a call begins, so that its own counter tells of dry runs.
            add(Arc::new(MessageLimit::new(route, limit, kept)), Mode::Enforce);
        }
        if let Some(request) = &configured.request {
            add(Arc::new(transform::Request(request.clone())), Mode::Enforce);
        }
        if let Some(version) = &configured.version {
            add(Arc::new(Version(version.clone())), Mode::Enforce);
        }
        if let Some(response) = &configured.response {
            add(Arc::new(transform::Response(response.clone())), Mode::Enforce);
        }
        let keeps_request = order.iter().any(|step| step.policy.needs_request());
        Self { order, keeps_request }
    }
}

/// Keeps what the client asked of the route that was found, where its policies need that.
pub fn remember(found: &Found<'_>, head: &CallHead, cx: &CallContext) {
    if of_route(cx).is_some_and(|policies| policies.keeps_request) {
        // A call finds its route once.
        cx.request.set(Box::new(head.clone())).ok();
        cx.captures.set(route::captured(found, &head.target)).ok();
    }
}

/// Runs the policies of a call before it is sent. A reply is an answer: the call goes no further.
///
/// # Errors
/// The first refusal.
pub async fn admit(call: &mut Call, way: &Way, cx: &Rc<CallContext>) -> Result<Option<Box<Reply>>, CallError> {
    loop_guard::check(&call.head, cx)?;
    if let Some(policies) = of_route(cx) {
        for step in &policies.order {
            let decided = match step.policy.admit(call, cx) {
                Admit::Pass => continue,
                Admit::Refuse(error) => Err(*error),
                Admit::Answer(reply) => Ok(Some(reply)),
                Admit::Later(later) => later.await,
            };
            match decided {
                Ok(None) => {}
                Ok(answer) => return Ok(answer),
                Err(error) => step.refuse(error, cx)?,
            }
        }
    }
    if let Way::Service(aim) = way {
        body_size::check(&call.head, aim.max_body)?;
    }
    Ok(None)
}

/// Runs them on the reply, the last first.
///
/// # Errors
/// When a reply cannot be made what the route promises.
pub async fn shape(reply: &mut Reply, cx: &Rc<CallContext>) -> Result<(), CallError> {
    let Some(policies) = of_route(cx) else { return Ok(()) };
    for step in policies.order.iter().rev() {
        match step.policy.shape(reply, cx) {
            Shape::Done => {}
            Shape::Later(later) => later.await?,
        }
    }
    Ok(())
}

/// Those of the route of a client's call. A call from a site has passed them at its entry; here the service has some.
fn of_route(cx: &CallContext) -> Option<&Policies> {
    match &cx.caller {
        Caller::Client { .. } => cx.route.get().and_then(|route| cx.world.snapshot.policies.get(route)),
        Caller::Site { export, .. } => cx.world.snapshot.export_policies.get(&**export),
    }
}

/// Whether a stream that is open may go on under another configuration; routes are found by their names. Anything else
/// finishes under the one that let it in.
///
/// # Errors
/// Why it may not.
pub fn holds(cx: &CallContext, world: &World, routes: &HashMap<&str, usize>) -> Result<(), CallError> {
    if !cx.streams.get() {
        return Ok(());
    }
    let policies = match &cx.caller {
        Caller::Client { .. } => {
            let before = cx
                .route
                .get()
                .and_then(|route| cx.world.snapshot.config.routes.get(route));
            let Some(index) = before.and_then(|route| routes.get(&*route.name)) else {
                return Err(CallError::new(FailureKind::Draining, "its route is gone"));
            };
            world.snapshot.policies.get(*index)
        }
        Caller::Site { export, .. } => world.snapshot.export_policies.get(&**export),
    };
    let steps = policies.into_iter().flat_map(|policies| &policies.order);
    for step in steps.filter(|step| step.mode == Mode::Enforce) {
        step.policy.holds(cx)?;
    }
    Ok(())
}

/// Says that another value of this request field could have given another reply (RFC 9110, section 12.5.5).
fn vary(fields: &mut Fields, on: &str) {
    if !fields.has_token(name::VARY, on) && !fields.has_token(name::VARY, "*") {
        // A name in lower case is always taken.
        fields.push_known(name::VARY, on.as_bytes()).ok();
    }
}
