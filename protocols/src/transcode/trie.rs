//! Finds the rule of a request: a tree of path segments, one step a segment.
//!
//! A literal is tried before `*`, and `*` before `**`. Each node lies at one depth and is visited at most once for a
//! request, so that no path can make matching slow; only the rules can be many.

use std::collections::{BTreeSet, HashMap, HashSet};

use http::Method;

use super::template::{Segment, Template, decode};

/// Rules by path and method.
#[derive(Debug)]
pub(super) struct Trie<T> {
    root: Node<T>,
    /// Only these, after the last `:`, are verbs; other colons are part of a segment.
    verbs: HashSet<String>,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<String, Self>,
    single: Option<Box<Self>>,
    /// `**`, with the literals that must follow it; the longest first.
    rest: Vec<(Vec<Segment>, Ends<T>)>,
    ends: Ends<T>,
}

/// Rules that end here.
#[derive(Debug)]
struct Ends<T>(Vec<End<T>>);

#[derive(Debug)]
struct End<T> {
    verb: Option<String>,
    /// `None` for any method (`custom` with kind `*`).
    method: Option<Method>,
    rule: T,
}

/// Why a request has no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The path has rules, but not for this method.
    Method {
        /// The methods that it has rules for.
        allow: Vec<Method>,
    },
    /// The path has no rule.
    NotFound,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: HashMap::new(),
            single: None,
            rest: Vec::new(),
            ends: Ends(Vec::new()),
        }
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            verbs: HashSet::new(),
        }
    }
}

impl<T> Trie<T> {
    /// Adds a rule, or returns the one that wants the same requests already.
    pub(super) fn insert(&mut self, template: &Template, method: Option<Method>, rule: T) -> Result<(), &T> {
        self.verbs.extend(template.verb.clone());
        let end = End {
            verb: template.verb.clone(),
            method,
            rule,
        };
        let mut node = &mut self.root;
        for (segment, at) in template.segments.iter().zip(1..) {
            node = match segment {
                Segment::Literal(literal) => node.literals.entry(literal.clone()).or_default(),
                Segment::Single => node.single.get_or_insert_default(),
                Segment::Rest => return node.rest(&template.segments[at..]).insert(end),
            };
        }
        node.ends.insert(end)
    }

    /// The rule of a request, and the segments of its path without the verb.
    ///
    /// `path` begins with `/` and is percent-encoded.
    pub(super) fn find<'p>(&self, method: &Method, path: &'p str) -> Result<(&T, Vec<&'p str>), Missed> {
        let mut path = path.strip_prefix('/').ok_or(Missed::NotFound)?;
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let mut verb = None;
        if let Some((before, after)) = path[last..].rsplit_once(':')
            && self.verbs.contains(after)
        {
            verb = Some(after);
            path = &path[..last + before.len()];
        }
        let segments: Vec<_> = if path.is_empty() {
            Vec::new()
        } else {
            path.split('/').collect()
        };
        let mut search = Search {
            method,
            verb,
            allow: BTreeSet::new(),
        };
        match search.below(&self.root, &segments) {
            Some(rule) => Ok((rule, segments)),
            None if search.allow.is_empty() => Err(Missed::NotFound),
            None => Err(Missed::Method {
                allow: search.allow.into_iter().filter_map(|name| name.parse().ok()).collect(),
            }),
        }
    }
}

impl<T> Node<T> {
    fn rest(&mut self, after: &[Segment]) -> &mut Ends<T> {
        let at = match self.rest.iter().position(|(known, _)| known == after) {
            Some(at) => at,
            None => {
                let at = self.rest.partition_point(|(known, _)| known.len() >= after.len());
                self.rest.insert(at, (after.to_vec(), Ends(Vec::new())));
                at
            }
        };
        &mut self.rest[at].1
    }
}

impl<T> Ends<T> {
    fn insert(&mut self, end: End<T>) -> Result<(), &T> {
        let same = |known: &End<T>| known.verb == end.verb && known.method == end.method;
        match self.0.iter().position(same) {
            Some(at) => Err(&self.0[at].rule),
            None => {
                self.0.push(end);
                Ok(())
            }
        }
    }
}

struct Search<'a> {
    method: &'a Method,
    verb: Option<&'a str>,
    /// What the path could be asked with, by name.
    allow: BTreeSet<String>,
}

impl Search<'_> {
    fn below<'t, T>(&mut self, node: &'t Node<T>, path: &[&str]) -> Option<&'t T> {
        let Some((segment, rest)) = path.split_first() else {
            return self.here(&node.ends).or_else(|| self.rest(node, path));
        };
        let mut decoded = Vec::new();
        let literal = if segment.contains('%') && decode(segment, true, &mut decoded).is_some() {
            std::str::from_utf8(&decoded).ok()
        } else {
            Some(*segment)
        };
        let literal = literal.and_then(|literal| node.literals.get(literal));
        let found = literal.and_then(|child| self.below(child, rest));
        let single = node.single.as_deref().filter(|_| !segment.is_empty());
        let found = found.or_else(|| single.and_then(|child| self.below(child, rest)));
        found.or_else(|| self.rest(node, path))
    }

    fn rest<'t, T>(&mut self, node: &'t Node<T>, path: &[&str]) -> Option<&'t T> {
        node.rest.iter().find_map(|(after, ends)| {
            let tail = &path[path.len().checked_sub(after.len())?..];
            let fits = after.iter().zip(tail).all(|(wanted, found)| match wanted {
                Segment::Literal(literal) => literal == found,
                Segment::Rest | Segment::Single => true,
            });
            if fits { self.here(ends) } else { None }
        })
    }

    fn here<'t, T>(&mut self, ends: &'t Ends<T>) -> Option<&'t T> {
        let same_verb = || ends.0.iter().filter(|end| end.verb.as_deref() == self.verb);
        let exact = same_verb().find(|end| end.method.as_ref() == Some(self.method));
        let found = exact.or_else(|| same_verb().find(|end| end.method.is_none()));
        if found.is_none() {
            let allowed = same_verb().filter_map(|end| end.method.as_ref());
            let allowed: Vec<_> = allowed.map(|method| method.as_str().to_owned()).collect();
            self.allow.extend(allowed);
        }
        found.map(|end| &end.rule)
    }
}
