//! Who the client is: any one proof that the route accepts, or none where that is optional.
//!
//! Decided at once where the keys are there, which they are unless an issuer has just changed them. What was verified
//! once is remembered until it expires or the issuer's keys change.

mod credentials;

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use causeway_config as config;
use causeway_protocols::{CallHead, FailureKind, Protocol, name};

use self::credentials::Presented;
use super::{Admit, Policy, Shape, Sources};
use crate::authentication::api_keys::ApiKeys;
use crate::authentication::claims;
use crate::authentication::introspection::Introspector;
use crate::authentication::issuer::{Issuer, Said, Unproven};
use crate::authentication::jwt::{TokenError, Unverified};
use crate::authentication::keys::KeySet;
use crate::authentication::passwords::{PasswordError, Passwords, fingerprint};
use crate::authentication::sha256;
use crate::call::{Call, Reply};
use crate::context::{CallContext, Caller};
use crate::error::CallError;
use crate::principal::{Principal, PrincipalKind};
use crate::snapshot::Kept;
use crate::telemetry::metrics::{Counter, Family};

/// The policy of a route.
#[derive(Debug)]
pub(super) struct Authenticate {
    config: config::Authenticate,
    issuers: Vec<Arc<Issuer>>,
    introspector: Option<Arc<Introspector>>,
    api_keys: ApiKeys,
    passwords: Passwords,
    /// `www-authenticate` for who has proven nothing, and for who has proven it wrongly.
    challenges: [String; 2],
    longest: usize,
    counts: Family<Counter>,
    good_keys: Counter,
}

/// What is known at once.
enum Decided {
    /// Who it is.
    Known(Arc<Principal>),
    /// Nobody in particular, which is allowed.
    Anonymous,
    /// Somebody has to be asked about a token.
    Introspect { token: String, digest: [u8; 32] },
    /// A password has to be digested.
    Digest { shown: String, digest: [u8; 32] },
    /// Keys have to be fetched first.
    Ask {
        issuer: Arc<Issuer>,
        token: String,
        digest: [u8; 32],
        before: Arc<KeySet>,
    },
}

/// Why a proof was not accepted.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// There is none.
    Missing,
    /// More than one of a kind.
    Unclear,
    /// No such API key.
    ApiKey,
    /// A wrong name or password.
    Password,
    /// Too many passwords are being digested.
    Busy,
    /// A token that is wrong.
    Token(TokenError),
    /// A token that cannot be verified now.
    NoKeys,
}

impl Policy for Authenticate {
    fn name(&self) -> &'static str {
        "authenticate"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        let decided = match self.decide(&call.head, &cx.caller) {
            Ok(decided) => decided,
            Err(error) => {
                // In a dry run the call goes on, and then without anything that a client made up.
                self.strip(&mut call.head, cx);
                return Admit::Refuse(error);
            }
        };
        match decided {
            Decided::Known(principal) => self.accept(&mut call.head, cx, Some(principal)),
            Decided::Anonymous => self.accept(&mut call.head, cx, None),
            Decided::Introspect { token, digest } => {
                return Admit::Later(Box::pin(async move {
                    let answer = match &self.introspector {
                        Some(introspector) => introspector.ask(&token, digest).await,
                        None => Err(Unproven::NoKeys),
                    };
                    self.answered(self.introspected(), answer, call, cx)
                }));
            }
            Decided::Digest { shown, digest } => {
                return Admit::Later(Box::pin(async move {
                    match self.passwords.verify(&shown, digest).await {
                        Ok(principal) => {
                            self.counts.with(&["basic", "good"]).inc();
                            self.accept(&mut call.head, cx, Some(principal));
                            Ok(None)
                        }
                        Err(error) => {
                            self.strip(&mut call.head, cx);
                            Err(*self.refuse(
                                "basic",
                                match error {
                                    PasswordError::Wrong => Reason::Password,
                                    PasswordError::Busy => Reason::Busy,
                                },
                            ))
                        }
                    }
                }));
            }
            Decided::Ask {
                issuer,
                token,
                digest,
                before,
            } => {
                return Admit::Later(Box::pin(async move {
                    let verified = issuer.verify_later(&token, digest, &before).await;
                    self.answered(&issuer.config.name, verified, call, cx)
                }));
            }
        }
        Admit::Pass
    }

    fn holds(&self, cx: &CallContext) -> Result<(), CallError> {
        let accepted = match cx.principal.get() {
            None => self.config.optional,
            Some(principal) => self.accepts(principal),
        };
        if accepted {
            return Ok(());
        }
        let detail = "who makes the call is not accepted any more";
        Err(CallError::new(FailureKind::Unauthenticated, detail))
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        // A browser that offered `bearer` and its token must be told that one of them was taken; never the token.
        if cx.token_was_subprotocol.get()
            && reply.head.status.as_u16() == 101
            && !reply.head.fields.has(name::SEC_WEBSOCKET_PROTOCOL)
        {
            reply
                .head
                .fields
                .push_known(name::SEC_WEBSOCKET_PROTOCOL, b"bearer")
                .ok();
        }
        Shape::Done
    }
}

impl Authenticate {
    pub(super) fn new(config: config::Authenticate, sources: &Sources, kept: Kept<'_>) -> Self {
        let issuers = sources.issuers(&config.issuers);
        let introspector = config.introspector.as_ref().and_then(|name| sources.introspector(name));
        let consumers = &sources.consumers;
        let metrics = kept.metrics;
        let accepted =
            |consumer: &&config::Consumer| config.consumers.is_empty() || config.consumers.contains(&consumer.name);
        let api_keys = match &config.api_key {
            Some(_) => ApiKeys::of(consumers.iter().filter(accepted)),
            None => ApiKeys::default(),
        };
        let with_passwords = consumers.iter().filter(|_| config.basic).filter(accepted);
        let handle = kept.policies.handle.clone();
        let longest = issuers.iter().map(|issuer| issuer.config.max_token).max();
        Self {
            challenges: challenges(&config),
            longest: longest.unwrap_or(LONGEST),
            passwords: Passwords::of(with_passwords, handle),
            introspector,
            good_keys: metrics.authentications.with(&["api_key", "good"]),
            counts: metrics.authentications.clone(),
            config,
            issuers,
            api_keys,
        }
    }

    /// Whether it would take a proof of this kind from this source still.
    fn accepts(&self, principal: &Principal) -> bool {
        match principal.kind {
            PrincipalKind::Jwt => self
                .issuers
                .iter()
                .any(|issuer| *issuer.config.issuer == *principal.issuer),
            PrincipalKind::ApiKey => self.api_keys.has(&principal.subject),
            PrincipalKind::Basic => self.passwords.has(&principal.subject),
            PrincipalKind::Certificate => self.config.certificate,
            PrincipalKind::Token => self.introspector.is_some(),
            PrincipalKind::External => false,
        }
    }

    /// Looks at every proof that the route accepts. The first good one counts, and else the first bad one.
    fn decide(&self, head: &CallHead, caller: &Caller) -> Result<Decided, Box<CallError>> {
        let now = SystemTime::now();
        let mut refused = None;
        if self.takes_tokens() {
            match self.by_token(head, now) {
                Ok(Some(decided)) => return Ok(decided),
                Ok(None) => {}
                Err(error) => refused = Some(error),
            }
        }
        if let Some(place) = &self.config.api_key {
            match credentials::api_key(head, place) {
                Presented::Nothing => {}
                Presented::One(key) => match self.api_keys.find(key.as_bytes()) {
                    Some(principal) => {
                        self.good_keys.inc();
                        return Ok(Decided::Known(principal));
                    }
                    None => drop(refused.get_or_insert_with(|| self.refuse("api_key", Reason::ApiKey))),
                },
                Presented::Unclear => drop(refused.get_or_insert_with(|| self.refuse("api_key", Reason::Unclear))),
            }
        }
        if self.config.basic {
            match credentials::basic(head) {
                Presented::Nothing => {}
                Presented::One(shown) => {
                    let digest = fingerprint(&shown);
                    if let Some(principal) = self.passwords.remembered(&digest) {
                        return Ok(Decided::Known(principal));
                    }
                    return Ok(Decided::Digest {
                        shown: shown.into_owned(),
                        digest,
                    });
                }
                Presented::Unclear => drop(refused.get_or_insert_with(|| self.refuse("basic", Reason::Unclear))),
            }
        }
        if self.config.certificate
            && let Caller::Client { certificate, .. } = caller
            && let Some(principal) = certificate
        {
            // A connection may outlive what it has shown.
            if principal.expires.is_none_or(|expires| now < expires) {
                return Ok(Decided::Known(Arc::clone(principal)));
            }
        }
        match refused {
            Some(error) => Err(error),
            None if self.config.optional => Ok(Decided::Anonymous),
            None => Err(self.refuse("none", Reason::Missing)),
        }
    }

    fn by_token(&self, head: &CallHead, now: SystemTime) -> Result<Option<Decided>, Box<CallError>> {
        let token = match credentials::token(head, &self.config.token_from) {
            Presented::Nothing => return Ok(None),
            Presented::Unclear => return Err(self.refuse("token", Reason::Unclear)),
            Presented::One(token) => token,
        };
        // Before anything is computed of it.
        if token.len() > self.longest {
            return Err(self.refuse("token", Reason::Token(TokenError::TooLong)));
        }
        let digest = sha256(token.as_bytes());
        for issuer in &self.issuers {
            if let Some(principal) = issuer.remembered(&digest, now) {
                return Ok(Some(Decided::Known(principal)));
            }
        }
        let parsed = Unverified::parse(&token);
        let said = parsed.as_ref().ok().and_then(Unverified::issuer);
        let issuer = self.issuers.iter().find(|issuer| Some(&*issuer.config.issuer) == said);
        let (parsed, issuer) = match (parsed, issuer, &self.introspector) {
            (Ok(parsed), Some(issuer), _) => (parsed, issuer),
            (_, _, Some(introspector)) => {
                return match introspector.remembered(&digest, now) {
                    Some(Ok(principal)) => Ok(Some(Decided::Known(principal))),
                    Some(Err(error)) => Err(self.refuse(self.introspected(), Reason::Token(error))),
                    None => Ok(Some(Decided::Introspect {
                        token: token.into_owned(),
                        digest,
                    })),
                };
            }
            (Err(error), _, None) => return Err(self.refuse("token", Reason::Token(error))),
            (Ok(_), None, None) => return Err(self.refuse("token", Reason::Token(TokenError::Issuer))),
        };
        let name = &issuer.config.name;
        if token.len() > issuer.config.max_token {
            return Err(self.refuse(name, Reason::Token(TokenError::TooLong)));
        }
        match issuer.verify(parsed, digest, now) {
            Said::Good(principal) => {
                self.counts.with(&[name, "good"]).inc();
                Ok(Some(Decided::Known(principal)))
            }
            Said::Bad(error) => Err(self.refuse(name, Reason::Token(error))),
            Said::Later(before) => Ok(Some(Decided::Ask {
                issuer: Arc::clone(issuer),
                token: token.into_owned(),
                digest,
                before,
            })),
        }
    }

    fn takes_tokens(&self) -> bool {
        !self.issuers.is_empty() || self.introspector.is_some()
    }

    /// The name of the introspector, for counters.
    fn introspected(&self) -> &str {
        self.introspector.as_ref().map_or("token", |one| &one.config.name)
    }

    /// Goes on with what somebody has said of a token.
    fn answered(
        &self,
        source: &str,
        answer: Result<Arc<Principal>, Unproven>,
        call: &mut Call,
        cx: &CallContext,
    ) -> Result<Option<Box<Reply>>, CallError> {
        let principal = answer.map_err(|why| {
            self.strip(&mut call.head, cx);
            let reason = match why {
                Unproven::Bad(error) => Reason::Token(error),
                Unproven::NoKeys => Reason::NoKeys,
            };
            *self.refuse(source, reason)
        })?;
        self.counts.with(&[source, "good"]).inc();
        self.accept(&mut call.head, cx, Some(principal));
        Ok(None)
    }

    /// Takes the call on: the proof is taken away, and what it proves is set for the backend.
    fn accept(&self, head: &mut CallHead, cx: &CallContext, principal: Option<Arc<Principal>>) {
        self.strip(head, cx);
        let Some(principal) = principal else { return };
        for (name, claim) in &self.config.claims_to_headers {
            if let Some(text) = value(&principal, claim) {
                // A value that no field can have is left out.
                head.fields.push(name.as_bytes(), text.as_bytes()).ok();
            }
        }
        cx.principal.set(principal).ok();
    }

    /// Takes away what the backend does not get: proofs, unless they are forwarded, and what clients say in fields that
    /// are ours to set.
    fn strip(&self, head: &mut CallHead, cx: &CallContext) {
        for name in self.config.claims_to_headers.keys() {
            credentials::strip_field(&mut head.fields, name);
        }
        let by_subprotocol = self.config.token_from.contains(&config::TokenPlace::Subprotocol);
        if by_subprotocol && head.protocol == Protocol::WebSocket {
            cx.token_was_subprotocol.set(credentials::offers_only_a_token(head));
            // The backend would not know what to make of it, and answer with it.
            credentials::strip_token(head, &[config::TokenPlace::Subprotocol]);
        }
        if self.config.forward {
            return;
        }
        if self.config.basic {
            credentials::strip_scheme(&mut head.fields, "basic");
        }
        if self.takes_tokens() {
            credentials::strip_token(head, &self.config.token_from);
        }
        if let Some(place) = &self.config.api_key {
            credentials::strip_api_key(head, place);
        }
    }

    /// The refusal for this reason, counted. The client is not told the reason, but whether it is worth trying again.
    fn refuse(&self, source: &str, reason: Reason) -> Box<CallError> {
        let (label, detail) = match reason {
            Reason::Missing => ("missing", "no credentials".to_owned()),
            Reason::Unclear => ("unclear", format!("more than one {source} was presented")),
            Reason::Password => ("wrong", "no consumer has this name and password".to_owned()),
            Reason::Busy => {
                self.counts.with(&[source, "busy"]).inc();
                let detail = "too many passwords are being digested";
                return Box::new(CallError::new(FailureKind::Overload, detail).after(KEYS_WAIT));
            }
            Reason::ApiKey => ("unknown_key", "no consumer has this API key".to_owned()),
            Reason::Token(error) => (error.label(), format!("the token was refused: {error}")),
            Reason::NoKeys => {
                self.counts.with(&[source, "no_keys"]).inc();
                let detail = format!("`{source}` cannot be asked");
                return Box::new(CallError::new(FailureKind::Unverifiable, detail).after(KEYS_WAIT));
            }
        };
        self.counts.with(&[source, label]).inc();
        let challenge = &self.challenges[usize::from(!matches!(reason, Reason::Missing))];
        let error = CallError::new(FailureKind::Unauthenticated, detail).field(name::WWW_AUTHENTICATE, challenge);
        Box::new(error)
    }
}

/// The longest token that somebody is asked about, in bytes.
const LONGEST: usize = 8 * 1024;
/// What a client is told to wait while the keys of its issuer cannot be had.
const KEYS_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// A claim of a principal as a text; where it has no claims, what a token would have said.
fn value(principal: &Principal, claim: &str) -> Option<String> {
    if let Some(value) = claims::at(&principal.claims, claim) {
        return claims::as_text(value);
    }
    match claim {
        "sub" => Some(principal.subject.to_string()),
        "iss" => Some(principal.issuer.to_string()),
        "scope" if !principal.scopes.is_empty() => Some(principal.scopes.join(" ")),
        "plan" => principal.plan.as_ref().map(ToString::to_string),
        _ => None,
    }
}

/// `www-authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3).
fn challenges(config: &config::Authenticate) -> [String; 2] {
    let realm = |out: &mut String| {
        if let Some(realm) = &config.realm {
            // Writing to a string cannot fail.
            let _ = write!(out, " realm=\"{realm}\"");
        }
    };
    let mut plain = String::new();
    let mut wrong = String::new();
    if !config.issuers.is_empty() || config.introspector.is_some() {
        for out in [&mut plain, &mut wrong] {
            out.push_str("Bearer");
            realm(out);
        }
        let comma = if config.realm.is_some() { "," } else { "" };
        let _ = write!(wrong, "{comma} error=\"invalid_token\"");
    }
    if config.api_key.is_some() {
        for out in [&mut plain, &mut wrong] {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str("ApiKey");
            realm(out);
        }
    }
    if config.basic {
        for out in [&mut plain, &mut wrong] {
            if !out.is_empty() {
                out.push_str(", ");
            }
            // A realm must be there (RFC 7617, section 2).
            let name = config.realm.as_deref().unwrap_or("causeway");
            let _ = write!(out, "Basic realm=\"{name}\", charset=\"UTF-8\"");
        }
    }
    if plain.is_empty() {
        // Certificates have no challenge, and a 401 must have one.
        plain.push_str("Certificate");
        wrong.push_str("Certificate");
    }
    [plain, wrong]
}
