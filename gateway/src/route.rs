//! Which route a call takes.
//!
//! Precedence is that of the Kubernetes Gateway API, made complete so that two routes never tie:
//!
//! 1. host: exact, then the longest `*.suffix`, then none;
//! 2. path, segment by segment from the left: the text itself, then `{param}`, then a regex whose literal beginning ends
//!    here, then what takes all that is left (`{rest*}` and `path_prefix`). So an exact path comes first and the longest
//!    literal beginning wins. A regex stands before what takes everything below the same literal beginning, because
//!    behind it it could never be reached;
//! 3. a method (or `grpc`) is named; 4. more headers; 5. more query parameters; 6. a protocol is named; 7. order in the
//!    configuration.
//!
//! A route whose path is the best but whose other conditions fail does not end the search: the next best is tried.
//!
//! Cost: one hash and one comparison per path segment, however many routes there are. A segment that is a literal of one
//! route and a parameter of another is a branch, and each node of the tree is visited at most once per search. Nothing is
//! allocated unless a route has more than eight captures, or the search fails on the method.

mod captures;
mod conditions;
mod host;
mod pattern;
mod rewrite;
mod split;
mod trie;

use std::cmp::Reverse;
use std::ops::ControlFlow;

use causeway_config::Route;
use causeway_protocols::{CallHead, FailureKind};

pub use captures::Captures;
pub use rewrite::{captured, location, rewrite};
pub use split::{later, pick};

pub(crate) use conditions::parameter;
use conditions::{Conditions, Verdict};
use host::Hosts;
use pattern::Pattern;

/// All routes of a snapshot, ready to be searched.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Compiled>,
    hosts: Hosts,
}

/// A route and what was worked out from it.
#[derive(Debug)]
struct Compiled {
    route: Route,
    conditions: Conditions,
    pattern: Pattern,
}

/// The route of a call.
#[derive(Debug)]
pub struct Found<'t> {
    /// Its place in the configuration.
    pub index: usize,
    /// The route; its regular expressions are anchored at both ends.
    pub route: &'t Route,
    /// What the parameters of its path pattern stand for. A path regex is asked for its groups only when needed.
    pub captures: Captures,
}

/// Why a call has no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// Nothing matches.
    #[error("no route matches")]
    NotFound,
    /// Only the method keeps every route from matching (RFC 9110, section 15.5.6).
    #[error("method not allowed, only {allow}")]
    Method {
        /// The value of the `allow` field, e.g. `GET, POST`.
        allow: String,
    },
}

impl Missed {
    /// What the client and the access log are told.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound => FailureKind::NoRoute,
            Self::Method { .. } => FailureKind::Method,
        }
    }
}

impl RouteTable {
    /// Makes the table. Cannot fail: the configuration has been checked.
    pub fn build(routes: &[Route]) -> Self {
        let routes: Vec<_> = routes.iter().map(Compiled::new).collect();
        let mut order: Vec<usize> = (0..routes.len()).collect();
        // Lists in the tree are filled in order of precedence, so that the first that fits is the best.
        order.sort_by_key(|&index| {
            let conditions = routes.get(index).map(|compiled| &compiled.conditions);
            (Reverse(conditions.map(Conditions::weight)), index)
        });
        let mut hosts = Hosts::default();
        for index in order {
            if let (Some(compiled), Ok(id)) = (routes.get(index), u32::try_from(index)) {
                hosts
                    .tree_of(compiled.route.matches.host.as_deref())
                    .insert(&compiled.pattern, id);
            }
        }
        Self { routes, hosts }
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The best route of a call; see the module for what is best.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, head: &CallHead) -> Result<Found<'_>, Missed> {
        let mut best = None;
        let mut method_failed = false;
        self.candidates(head, |index, compiled| {
            match compiled.check(head) {
                Verdict::Fits => {
                    best = Some((index, compiled));
                    return ControlFlow::Break(());
                }
                Verdict::Method => method_failed = true,
                Verdict::Fails => {}
            }
            ControlFlow::Continue(())
        });
        match best {
            Some((index, compiled)) => Ok(Found {
                index,
                route: &compiled.route,
                captures: compiled.pattern.captures(head.target.path()),
            }),
            None if method_failed => Err(Missed::Method {
                allow: self.allowed(head),
            }),
            None => Err(Missed::NotFound),
        }
    }

    /// The methods that would have found a route, for the `allow` field.
    fn allowed(&self, head: &CallHead) -> String {
        let mut methods: Vec<&str> = Vec::new();
        self.candidates(head, |_, compiled| {
            if matches!(compiled.check(head), Verdict::Method) {
                for method in compiled.conditions.methods() {
                    if !methods.contains(&method) {
                        methods.push(method);
                    }
                }
            }
            ControlFlow::Continue(())
        });
        methods.sort_unstable();
        methods.join(", ")
    }

    /// Shows the routes that may match by host and path, best first, until `visit` breaks.
    fn candidates<'t>(&'t self, head: &CallHead, mut visit: impl FnMut(usize, &'t Compiled) -> ControlFlow<()>) {
        let path = head.target.path();
        let _ended = self.hosts.trees(head.target.authority.host(), |tree| {
            tree.walk(path, &mut |ids| {
                for &id in ids {
                    let index = id as usize;
                    if let Some(compiled) = self.routes.get(index) {
                        visit(index, compiled)?;
                    }
                }
                ControlFlow::Continue(())
            })
        });
    }
}

impl Compiled {
    fn new(route: &Route) -> Self {
        let mut route = route.clone();
        conditions::anchor_all(&mut route.matches);
        Self {
            conditions: Conditions::of(&route.matches),
            pattern: Pattern::of(&route.matches),
            route,
        }
    }

    fn check(&self, head: &CallHead) -> Verdict {
        if !self.pattern.admits(&self.route.matches, head.target.path()) {
            return Verdict::Fails;
        }
        self.conditions.check(head)
    }
}

#[cfg(test)]
mod tests;
