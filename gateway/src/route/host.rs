//! The trees of all hosts, and which of them a host is looked for in.

use std::ops::ControlFlow;

use super::trie::{FastMap, Trie};

/// One tree per exact host, per `*.suffix`, and for routes without a host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: FastMap<Trie>,
    /// By the part after `*.`.
    suffix: FastMap<Trie>,
    any: Trie,
}

impl Hosts {
    /// The tree that routes with this host condition go to.
    pub(super) fn tree_of(&mut self, host: Option<&str>) -> &mut Trie {
        match host {
            None | Some("*") => &mut self.any,
            Some(host) => match host.strip_prefix("*.") {
                Some(suffix) => self.suffix.entry(key(suffix)).or_default(),
                None => self.exact.entry(key(host)).or_default(),
            },
        }
    }

    /// Shows the trees for a host (lower case, without port), best first. `*.b.c` covers `a.b.c` and `x.a.b.c`, not `b.c`.
    pub(super) fn trees<'t>(
        &'t self,
        host: &str,
        mut visit: impl FnMut(&'t Trie) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.exact.is_empty()
            && let Some(tree) = self.exact.get(host)
        {
            visit(tree)?;
        }
        if !self.suffix.is_empty() {
            let mut rest = host;
            while let Some((label, suffix)) = rest.split_once('.') {
                if let (false, Some(tree)) = (label.is_empty(), self.suffix.get(suffix)) {
                    visit(tree)?;
                }
                rest = suffix;
            }
        }
        visit(&self.any)
    }
}

fn key(host: &str) -> Box<str> {
    host.trim_end_matches('.').to_ascii_lowercase().into()
}
