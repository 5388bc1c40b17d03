//! Which call goes where.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Name, Priority, Protocol, Retry};
use crate::policies::Policies;

/// `[[routes]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Used in logs, metrics and spans. Default: made from host and path.
    pub name: Name,
    /// Which calls.
    pub matches: Match,
    /// Where they go.
    pub to: Destination,
    /// Path rewriting before forwarding.
    pub rewrite: Option<Rewrite>,
    /// WebSocket only: origins that may connect (exact, or `*.example.com`); empty means any.
    pub origins: Vec<String>,
    /// Overrides the service's deadline.
    pub timeout: Option<Duration>,
    /// Overrides the service's `retry`.
    pub retry: Option<Retry>,
    /// Largest request body in bytes. Default: `limits.body`.
    pub max_body: Option<u64>,
    /// Whose calls are refused first when there is too much of them. Default: normal.
    pub priority: Priority,
    /// What is checked, limited, kept or changed of its calls.
    pub policies: Policies,
}

/// `match = {...}`. An absent part matches everything.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Exact name, `*.suffix`, or absent. Lower case, without port.
    pub host: Option<String>,
    /// How the path must look.
    pub path: Option<PathMatch>,
    /// Methods, upper case; empty means any.
    pub methods: Vec<String>,
    /// Header conditions, all must hold; names in lower case.
    pub headers: Vec<(String, ValueMatch)>,
    /// Query parameter conditions, all must hold.
    pub query: Vec<(String, ValueMatch)>,
    /// `grpc = "package.Service"` or `"package.Service/Method"`.
    pub grpc: Option<GrpcMatch>,
    /// Only this client protocol.
    pub protocol: Option<Protocol>,
}

/// A pattern over the normalised path.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Segments, some captured: `/v1/orders/{id}`, `/v1/{rest*}`; an exact path has no captures.
    Pattern(Vec<Segment>),
    /// `path_prefix = "/v1"`: that path and everything below it.
    Prefix(String),
    /// `path_regex = "..."`: must match the whole path; linear time.
    Regex(regex::Regex),
}

/// One part of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `{name}`: one segment.
    Parameter(String),
    /// `{name*}`: all that is left, also nothing; last only.
    Rest(String),
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// Equal.
    Exact(String),
    /// Present with any value.
    Present,
    /// Matches as a whole.
    Regex(regex::Regex),
}

/// A gRPC service, or one of its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcMatch {
    /// Fully qualified service name.
    pub service: String,
    /// Method name, or all.
    pub method: Option<String>,
}

/// What a route points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One answer from several calls.
    Aggregate(Box<super::Aggregate>),
    /// One or several services by weight.
    Split(Vec<WeightedTarget>),
    /// A redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308. Default 308.
        status: u16,
        /// Absolute URL or path; `{param}` and `{rest*}` captures, and `{path}`, `{query}`, `{host}` are filled in.
        location: String,
    },
    /// A fixed answer.
    Fixed {
        /// Default 200.
        status: u16,
        /// Header fields.
        headers: BTreeMap<String, String>,
        /// Body text.
        body: String,
    },
}

/// A service with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedTarget {
    /// Which one.
    pub service: ServiceRef,
    /// Share relative to the others of its tier; 0 means none.
    pub weight: u32,
    /// Tier: a call goes to the lowest that can take it. Default 0.
    pub priority: u16,
    /// Who goes there whatever the weights.
    pub canary: Option<crate::policies::Canary>,
}

/// `"orders"` or `"orders@azure"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    /// Service name, here or at the peer.
    pub service: Name,
    /// The peer that exports it; none: a service of this site.
    pub site: Option<Name>,
}

/// Path rewriting. What was matched is what is replaced; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// `rewrite = "/new/{rest*}"`: a template over the captures.
    Template(String),
    /// `strip_prefix = "/api"`.
    StripPrefix(String),
}
