//! Where endpoints and peers are: written-down addresses, A and AAAA records, SRV records.
//!
//! One task per name, on the control runtime, looks it up again when its time to live ends and publishes what changed:
//!
//! - The time to live is kept between `min_ttl` and `max_ttl` of the configuration and stretched by up to a tenth, so
//!   that gateways do not ask in step. After a failure the pause doubles from `min_ttl` up to 30 seconds.
//! - The first addresses of a name are published when the first of A and AAAA has come, the rest when it comes.
//! - The last good answer stays in use for `max_stale` while look-ups fail. An answer without addresses never empties
//!   what was there: DNS servers give it while they restart. Where one of several questions fails (A or AAAA, or one
//!   target of an SRV answer), what it had answered before stays.
//! - SRV priority is the failover tier and weight the share (RFC 2782). Addresses in the additional section are used,
//!   so that a look-up at Consul or Kubernetes is one question.
//! - Addresses that no backend has (link-local, unspecified, multicast) are refused in answers, so that whoever controls
//!   a name cannot point it at a cloud's metadata service. Written down in the configuration they are allowed.
//! - A name has one look-up under way, however many watch it, and the watch ends with the last [`Watched`].
//!
//! No cache lies beneath: a look-up always asks the server.

mod allowed;
mod assemble;
mod failure;
mod history;
mod lookup;
mod stats;
mod watcher;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use causeway_config::{Discover, Dns};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

pub use failure::Failure;
pub use stats::DiscoveryStats;

use lookup::Lookups;
use watcher::Watcher;

/// One place to send calls to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// Share of the calls of its tier relative to the others there; never 0 in an answer from DNS.
    pub weight: u32,
    /// Failover tier: the lowest that has a usable endpoint takes all calls.
    pub priority: u16,
    /// The name it was found under, for TLS: the SRV target, the name looked up, or the address as text.
    pub host: Arc<str>,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sorted by tier, then by address; no address twice.
    pub endpoints: Vec<Endpoint>,
    /// How far it can be trusted.
    pub state: State,
    /// Grows with every change.
    pub generation: u64,
}

/// How far an answer can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No look-up has ended yet; there are no endpoints.
    Pending,
    /// From the last look-up.
    Fresh,
    /// From an earlier look-up, because later ones failed.
    Stale {
        /// When the answer was good last.
        since: Instant,
        /// What keeps failing.
        why: Failure,
    },
    /// Nothing was ever found, or it is older than `max_stale`; there are no endpoints.
    Failed {
        /// What keeps failing.
        why: Failure,
    },
}

/// Looks names up and keeps what was found current.
#[derive(Debug)]
pub struct Discovery {
    lookups: Arc<Lookups>,
    handle: Handle,
    watched: Mutex<HashMap<String, Weak<Entry>>>,
    /// Answers of the discovery before this one.
    known: HashMap<String, Arc<Answer>>,
}

/// A name under watch, shared by all who watch it.
#[derive(Debug)]
struct Entry {
    changes: watch::Receiver<Arc<Answer>>,
    rounds: watch::Receiver<u64>,
    wanted: Arc<Notify>,
    stats: Arc<DiscoveryStats>,
}

/// A watch over one name. The look-ups end when the last clone, and the last clone of `changes`, is dropped.
#[derive(Clone, Debug)]
pub struct Watched {
    entry: Arc<Entry>,
    /// Wakes when the answer changes.
    pub changes: watch::Receiver<Arc<Answer>>,
}

impl Discovery {
    /// Makes a discovery whose look-ups run on `handle`, a runtime with time and sockets.
    pub fn new(dns: &Dns, handle: Handle) -> Self {
        Self {
            lookups: Arc::new(Lookups::new(dns.clone())),
            handle,
            watched: Mutex::new(HashMap::new()),
            known: HashMap::new(),
        }
    }

    /// How it looks names up.
    pub fn settings(&self) -> &Dns {
        self.lookups.dns()
    }

    /// A discovery by other settings. What is known of the names under watch is used until it has been found anew.
    pub fn renewed(&self, dns: &Dns) -> Self {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watched
            .iter()
            .filter_map(|(key, entry)| Some((key.clone(), Arc::clone(&entry.upgrade()?.changes.borrow()))))
            .collect();
        Self {
            lookups: Arc::new(Lookups::new(dns.clone())),
            handle: self.handle.clone(),
            watched: Mutex::new(HashMap::new()),
            known,
        }
    }

    /// Watches a name. Who asks for the same name shares one watch; written-down addresses are there at once.
    pub fn watch(&self, what: &Discover) -> Watched {
        let key = match what {
            Discover::Dns { host, port } => format!("dns:{}:{port}", host.to_ascii_lowercase()),
            Discover::Srv { name } => format!("srv:{}", name.to_ascii_lowercase()),
            Discover::Static(list) => return Watched::of(Arc::new(Entry::fixed(assemble::fixed(list)))),
        };
        if let Discover::Dns { host, port } = what
            && let Ok(ip) = host.trim_matches(['[', ']']).parse()
        {
            let endpoint = Endpoint {
                address: SocketAddr::new(ip, *port),
                weight: 1,
                priority: 0,
                host: host.as_str().into(),
            };
            return Watched::of(Arc::new(Entry::fixed(vec![endpoint])));
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = watched.get(&key).and_then(Weak::upgrade) {
            return Watched::of(entry);
        }
        watched.retain(|_, entry| entry.strong_count() > 0);
        let entry = Arc::new(self.start(&key, what));
        watched.insert(key, Arc::downgrade(&entry));
        Watched::of(entry)
    }

    fn start(&self, key: &str, what: &Discover) -> Entry {
        let known = self.known.get(key).cloned();
        let (answers, changes) = watch::channel(known.unwrap_or_else(|| Arc::new(Answer::pending())));
        let (ended, rounds) = watch::channel(0);
        let wanted = Arc::new(Notify::new());
        let stats = Arc::new(DiscoveryStats::new(key));
        let watcher = Watcher {
            what: what.clone(),
            lookups: Arc::clone(&self.lookups),
            answers,
            ended,
            wanted: Arc::clone(&wanted),
            stats: Arc::clone(&stats),
        };
        self.handle.spawn(watcher.run());
        Entry {
            changes,
            rounds,
            wanted,
            stats,
        }
    }

    /// The counters of every name that is watched now.
    pub fn stats(&self) -> Vec<Arc<DiscoveryStats>> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats: Vec<_> = watched
            .values()
            .filter_map(Weak::upgrade)
            .map(|entry| Arc::clone(&entry.stats))
            .collect();
        stats.sort_by(|a, b| a.name().cmp(b.name()));
        stats
    }
}

impl Entry {
    fn fixed(endpoints: Vec<Endpoint>) -> Self {
        let stats = Arc::new(DiscoveryStats::new("static"));
        let answer = Answer {
            endpoints,
            state: State::Fresh,
            generation: 1,
        };
        Self {
            changes: watch::channel(Arc::new(answer)).1,
            rounds: watch::channel(0).1,
            wanted: Arc::new(Notify::new()),
            stats,
        }
    }
}

impl Watched {
    fn of(entry: Arc<Entry>) -> Self {
        Self {
            changes: entry.changes.clone(),
            entry,
        }
    }

    /// What is known now.
    pub fn current(&self) -> Arc<Answer> {
        Arc::clone(&self.changes.borrow())
    }

    /// Asks for a fresh look-up, e.g. after a connection was lost. Comes at once, but never sooner than `min_ttl` after
    /// the one before; several wishes become one look-up.
    pub fn refresh(&self) {
        self.entry.wanted.notify_one();
    }

    /// As [`refresh`](Self::refresh), and waits until a look-up has ended, good or not, or the time is up. Needs a
    /// runtime with time.
    pub async fn refreshed(&self, within: Duration) -> Arc<Answer> {
        let mut rounds = self.entry.rounds.clone();
        rounds.mark_unchanged();
        self.refresh();
        // Either way what is known then is the answer; written-down addresses have no look-ups at all.
        let _ended = tokio::time::timeout(within, rounds.changed()).await;
        self.current()
    }

    /// The counters of this name.
    pub fn stats(&self) -> &DiscoveryStats {
        &self.entry.stats
    }
}

impl Answer {
    fn pending() -> Self {
        Self {
            endpoints: Vec::new(),
            state: State::Pending,
            generation: 0,
        }
    }
}

#[cfg(test)]
mod tests;
