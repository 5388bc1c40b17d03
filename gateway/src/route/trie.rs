//! A tree of path segments, searched best first.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;

use super::pattern::{Ending, Part, Pattern};

/// Up to here children are compared one by one: cheaper than hashing.
const FEW: usize = 4;

/// All paths of the routes of one host.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    parameter: Option<u32>,
    /// Routes whose path ends here.
    exact: Vec<u32>,
    /// Routes with a regex whose literal segments end here.
    regex: Vec<u32>,
    /// Routes that take this and everything below.
    below: Vec<u32>,
}

#[derive(Debug)]
enum Literals {
    Few(Vec<(Box<str>, u32)>),
    Many(FastMap<u32>),
}

impl Default for Literals {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Literals {
    fn get(&self, text: &str) -> Option<u32> {
        match self {
            Self::Few(list) => list.iter().find(|(known, _)| **known == *text).map(|(_, node)| *node),
            Self::Many(map) => map.get(text).copied(),
        }
    }

    fn insert(&mut self, text: &str, node: u32) {
        match self {
            Self::Few(list) if list.len() < FEW => list.push((text.into(), node)),
            Self::Few(list) => {
                let mut map: FastMap<u32> = list.drain(..).collect();
                map.insert(text.into(), node);
                *self = Self::Many(map);
            }
            Self::Many(map) => {
                map.insert(text.into(), node);
            }
        }
    }
}

impl Default for Trie {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

impl Trie {
    /// Adds a route. Routes that share a place are visited in the order in which they were added.
    pub(super) fn insert(&mut self, pattern: &Pattern, id: u32) {
        let mut at = 0;
        for part in &pattern.parts {
            let known = self.nodes.get(at).and_then(|node| match part {
                Part::Literal(text) => node.literals.get(text),
                Part::Parameter => node.parameter,
            });
            at = known.unwrap_or_else(|| self.grow(at, part)) as usize;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            match pattern.ending {
                Ending::Exact => node.exact.push(id),
                Ending::Regex => node.regex.push(id),
                Ending::Below => node.below.push(id),
            }
        }
    }

    fn grow(&mut self, at: usize, part: &Part) -> u32 {
        // A node takes far more than one byte, so memory ends before u32 does.
        let new = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(at) {
            match part {
                Part::Literal(text) => node.literals.insert(text, new),
                Part::Parameter => node.parameter = Some(new),
            }
        }
        new
    }

    /// Shows the routes that may match this path, best first, until `visit` breaks.
    pub(super) fn walk(&self, path: &str, visit: &mut impl FnMut(&[u32]) -> ControlFlow<()>) -> ControlFlow<()> {
        match path.strip_prefix('/') {
            Some(rest) => self.descend(0, Some(rest), visit),
            // `OPTIONS *`: only what takes everything.
            None => self
                .nodes
                .first()
                .map_or(ControlFlow::Continue(()), |root| visit(&root.below)),
        }
    }

    /// `rest` is what follows the slash after the segments so far; none where the path has ended.
    fn descend(
        &self,
        at: u32,
        rest: Option<&str>,
        visit: &mut impl FnMut(&[u32]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(node) = self.nodes.get(at as usize) else {
            return ControlFlow::Continue(());
        };
        match rest {
            None => visit(&node.exact)?,
            Some(rest) => {
                let (segment, rest) = match rest.split_once('/') {
                    Some((segment, rest)) => (segment, Some(rest)),
                    None => (rest, None),
                };
                if let Some(child) = node.literals.get(segment) {
                    self.descend(child, rest, visit)?;
                }
                if let (Some(child), false) = (node.parameter, segment.is_empty()) {
                    self.descend(child, rest, visit)?;
                }
            }
        }
        visit(&node.regex)?;
        visit(&node.below)
    }
}

/// A map over texts that only the configuration puts in, so that nobody outside can make its keys collide.
pub(super) type FastMap<V> = HashMap<Box<str>, V, BuildHasherDefault<FastHasher>>;

/// Multiplies and folds eight bytes at a time.
#[derive(Debug, Default)]
pub(super) struct FastHasher(u64);

impl FastHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ 0x2545_f491_4f6c_dd1d;
    }
}

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
