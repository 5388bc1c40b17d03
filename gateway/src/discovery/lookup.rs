//! One look-up: questions to the DNS server, answers to endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use causeway_config::{Discover, Dns};
use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::{Instant, timeout, timeout_at};

use super::allowed::is_allowed;
use super::assemble::{self, SrvTarget};
use super::history::Resolved;
use super::{Endpoint, Failure};

/// Targets of one SRV answer that are looked up at a time.
const TARGETS_AT_A_TIME: usize = 16;

/// Asks the configured servers, or the system's.
#[derive(Debug)]
pub(super) struct Lookups {
    dns: Dns,
    resolver: Mutex<Option<TokioResolver>>,
}

/// The addresses of one host.
#[derive(Debug, Default)]
struct Addresses {
    found: Vec<IpAddr>,
    ttl: Option<Duration>,
    /// Why a family has none, or may lack some.
    failed_v4: Option<Failure>,
    failed_v6: Option<Failure>,
    refused: u64,
}

impl Lookups {
    pub(super) fn new(dns: Dns) -> Self {
        Self {
            dns,
            resolver: Mutex::new(None),
        }
    }

    pub(super) fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Looks a name up. `before` is what was found last, from which the part that cannot be looked up now is kept; `early`
    /// is told the first addresses while others are still asked for. Also returns how many addresses were refused.
    pub(super) async fn resolve(
        &self,
        what: &Discover,
        before: &[Endpoint],
        early: impl Fn(Vec<Endpoint>),
    ) -> (Result<Resolved, Failure>, u64) {
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => {
                tracing::warn!(%error, "no DNS server is known");
                return (Err(Failure::Unreachable), 0);
            }
        };
        // What hickory keeps for a moment even without a cache must not answer a fresh look-up.
        resolver.clear_cache();
        let answer = match what {
            Discover::Dns { host, port } => self.plain(&resolver, host, *port, before, early).await,
            Discover::Srv { name } => self.srv(&resolver, name, before).await,
            Discover::Static(list) => {
                let endpoints = assemble::fixed(list);
                let (ttl, kept) = (Duration::MAX, Vec::new());
                (Ok(Resolved { endpoints, ttl, kept }), 0)
            }
        };
        if let Err(Failure::Timeout | Failure::Unreachable) = answer.0 {
            // The system may have other servers by now; with a list of its own the same are asked again.
            *self.resolver.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }

    /// The resolver in use, or a new one.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut current = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = &*current {
            return Ok(resolver.clone());
        }
        let resolver = self.build()?;
        *current = Some(resolver.clone());
        Ok(resolver)
    }

    fn build(&self) -> Result<TokioResolver, NetError> {
        let mut builder = match TokioResolver::builder_tokio() {
            Ok(builder) if self.dns.servers.is_empty() => builder,
            _ => {
                let mut servers = self.dns.servers.clone();
                if servers.is_empty() {
                    // As resolv.conf(5) says of a system that names none. The hosts file works without any.
                    servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
                }
                let servers = servers.into_iter().map(server).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = self.dns.timeout;
        options.attempts = 1;
        builder.build()
    }

    async fn plain(
        &self,
        resolver: &TokioResolver,
        host: &str,
        port: u16,
        before: &[Endpoint],
        early: impl Fn(Vec<Endpoint>),
    ) -> (Result<Resolved, Failure>, u64) {
        let name: Arc<str> = host.trim_end_matches('.').into();
        let most = self.dns.max_endpoints;
        let mut addresses = self
            .addresses(resolver, host, |found| early(assemble::plain(&name, port, found, most)))
            .await;
        let Some(ttl) = addresses.ttl else {
            return (Err(addresses.why()), addresses.refused);
        };
        let kept = addresses.keep(before.iter().map(|endpoint| endpoint.address));
        let endpoints = assemble::plain(&name, port, &addresses.found, most);
        (Ok(Resolved { endpoints, ttl, kept }), addresses.refused)
    }

    async fn srv(&self, resolver: &TokioResolver, name: &str, before: &[Endpoint]) -> (Result<Resolved, Failure>, u64) {
        let lookup = match self.ask(resolver, name, RecordType::SRV).await {
            Ok(lookup) => lookup,
            Err(why) => return (Err(why), 0),
        };
        let mut targets = Vec::new();
        let mut ttl = u32::MAX;
        for record in lookup.answers() {
            if let RData::SRV(srv) = &record.data {
                ttl = ttl.min(record.ttl);
                // The target `.` says that the service is not there; port 0 cannot be connected to.
                if !srv.target.is_root() && srv.port != 0 {
                    targets.push((srv.priority, srv.weight, srv.port, srv.target.to_lowercase()));
                }
            }
        }
        targets.sort();
        targets.dedup();
        targets.truncate(self.dns.max_endpoints);
        let mut hosts = additional(&lookup);
        let missing: Vec<Name> = {
            let mut names: Vec<_> = targets.iter().map(|(_, _, _, name)| name.clone()).collect();
            names.retain(|name| !hosts.contains_key(name));
            names.sort();
            names.dedup();
            names
        };
        // All targets together get the time of one look-up; what is late keeps what it had.
        let deadline = Instant::now() + self.dns.timeout;
        {
            let mut asked = stream::iter(missing)
                .map(|name| async move {
                    let text = name.to_ascii();
                    (name, self.addresses(resolver, &text, |_| {}).await)
                })
                .buffer_unordered(TARGETS_AT_A_TIME);
            while let Ok(Some((name, addresses))) = timeout_at(deadline, asked.next()).await {
                hosts.insert(name, addresses);
            }
        }
        let mut ttl = Duration::from_secs(u64::from(ttl));
        let mut refused = 0;
        let mut why = Failure::Empty;
        let late = Addresses::failed(Failure::Timeout);
        let mut kept = Vec::new();
        let mut weighted = Vec::with_capacity(targets.len());
        for (priority, weight, port, name) in targets {
            let addresses = hosts.get(&name).unwrap_or(&late);
            let host: Arc<str> = name.to_ascii().trim_end_matches('.').into();
            let mut found = Addresses {
                found: addresses.found.clone(),
                ..Addresses::failed_as(addresses)
            };
            kept.extend(
                found.keep(
                    before
                        .iter()
                        .filter(|endpoint| endpoint.host == host && endpoint.address.port() == port)
                        .map(|endpoint| endpoint.address),
                ),
            );
            refused += addresses.refused;
            ttl = ttl.min(addresses.ttl.unwrap_or(Duration::MAX));
            if found.found.is_empty() {
                why = addresses.why();
            }
            weighted.push(SrvTarget {
                host,
                port,
                priority,
                weight,
                addresses: found.found,
            });
        }
        let endpoints = assemble::weighted(weighted, self.dns.max_endpoints);
        if endpoints.is_empty() {
            return (Err(why), refused);
        }
        (Ok(Resolved { endpoints, ttl, kept }), refused)
    }

    /// Asks for both families at once and tells `early` of the first that has addresses.
    async fn addresses(&self, resolver: &TokioResolver, host: &str, early: impl Fn(&[IpAddr])) -> Addresses {
        let family = async |kind| {
            let family = Addresses::of(self.ask(resolver, host, kind).await, kind);
            if !family.found.is_empty() {
                early(&family.found);
            }
            family
        };
        let (mut addresses, v6) = join(family(RecordType::A), family(RecordType::AAAA)).await;
        addresses.found.extend(v6.found);
        addresses.ttl = match (addresses.ttl, v6.ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        addresses.failed_v6 = v6.failed_v6;
        addresses.refused += v6.refused;
        addresses
    }

    async fn ask(&self, resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Lookup, Failure> {
        match timeout(self.dns.timeout, resolver.lookup(name, kind)).await {
            Ok(Ok(lookup)) => Ok(lookup),
            Ok(Err(error)) => {
                let why = Failure::of(&error);
                tracing::debug!(name, %kind, %error, why = why.label(), "look-up failed");
                Err(why)
            }
            Err(_) => Err(Failure::Timeout),
        }
    }
}

impl Addresses {
    fn failed(why: Failure) -> Self {
        Self {
            failed_v4: Some(why),
            failed_v6: Some(why),
            ..Self::default()
        }
    }

    fn failed_as(other: &Self) -> Self {
        Self {
            failed_v4: other.failed_v4,
            failed_v6: other.failed_v6,
            ..Self::default()
        }
    }

    fn of(result: Result<Lookup, Failure>, kind: RecordType) -> Self {
        let mut addresses = Self::default();
        let why = match result {
            Ok(lookup) => {
                for record in lookup.answers() {
                    addresses.take(record);
                }
                if addresses.found.is_empty() {
                    Some(if addresses.refused > 0 {
                        Failure::Forbidden
                    } else {
                        Failure::Empty
                    })
                } else {
                    None
                }
            }
            Err(why) => Some(why),
        };
        match kind {
            RecordType::A => addresses.failed_v4 = why,
            _ => addresses.failed_v6 = why,
        }
        addresses
    }

    /// Adds the address of a record. The time to live of the aliases before it counts too.
    fn take(&mut self, record: &Record) {
        let ip = match &record.data {
            RData::A(a) => IpAddr::V4(a.0),
            RData::AAAA(aaaa) => IpAddr::V6(aaaa.0),
            _ => return,
        };
        if !is_allowed(ip) {
            self.refused += 1;
            return;
        }
        let ttl = Duration::from_secs(u64::from(record.ttl));
        self.found.push(ip);
        self.ttl = Some(self.ttl.map_or(ttl, |before| before.min(ttl)));
    }

    /// Adds earlier addresses of a family whose question got no answer now, and returns which.
    fn keep(&mut self, before: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let silent = |why: Option<Failure>| why.is_some_and(|why| !why.is_answer());
        let (v4, v6) = (silent(self.failed_v4), silent(self.failed_v6));
        let kept: Vec<SocketAddr> = before
            .filter(|address| if address.is_ipv4() { v4 } else { v6 })
            .collect();
        self.found.extend(kept.iter().map(SocketAddr::ip));
        kept
    }

    /// Why there are no addresses: rather what went wrong than that there is nothing.
    fn why(&self) -> Failure {
        let reasons = [self.failed_v4, self.failed_v6];
        let mut reasons: Vec<Failure> = reasons.into_iter().flatten().collect();
        reasons.sort_by_key(|why| match why {
            Failure::Forbidden => 0,
            Failure::Empty => 3,
            Failure::NxDomain => 2,
            _ => 1,
        });
        reasons.first().copied().unwrap_or(Failure::Empty)
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

/// The addresses that came along with an SRV answer, by name.
fn additional(lookup: &Lookup) -> BTreeMap<Name, Addresses> {
    let mut hosts: BTreeMap<Name, Addresses> = BTreeMap::new();
    for record in lookup.additionals() {
        if matches!(record.record_type(), RecordType::A | RecordType::AAAA) {
            hosts.entry(record.name.to_lowercase()).or_default().take(record);
        }
    }
    for addresses in hosts.values_mut() {
        if addresses.found.is_empty() {
            addresses.failed_v4 = Some(Failure::Forbidden);
        }
    }
    hosts
}
