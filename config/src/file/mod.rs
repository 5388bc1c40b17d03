//! The configuration as people write it: one type per table, each with a `parse` that makes the checked type.
//!
//! Every key is optional to serde, so that a missing one is a problem like any other, told at its place together
//! with the rest.

mod aggregate;
mod balance;
mod cache;
mod consumers;
mod destination;
mod edge;
mod endpoints;
mod health;
mod hedge;
mod introspectors;
mod issuers;
mod limits;
mod listeners;
mod matching;
pub(crate) mod policies;
mod redis;
mod retry;
mod routes;
mod services;
mod site;
mod telemetry;
pub(crate) mod value;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::Config;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::read;

use cache::CacheMemoryFile;
use consumers::ConsumerFile;
use edge::EdgeFile;
use introspectors::IntrospectorFile;
use issuers::IssuerFile;
use limits::{DnsFile, DrainFile, LimitsFile, TimeoutsFile};
use listeners::ListenerFile;
use redis::RedisFile;
use routes::RouteFile;
use services::ServiceFile;
use site::{FederationFile, IdentityFile, PeerFile, SiteFile};
use telemetry::{AdminFile, TelemetryFile};

/// A whole configuration as written. Read table by table; this type is the schema's root.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "causeway configuration",
    description = "The configuration of one causeway gateway."
)]
#[expect(
    dead_code,
    reason = "the tables are read one by one, so that a mistake in one hides none in another"
)]
pub(crate) struct ConfigFile {
    /// Who this site is.
    site: Option<SiteFile>,
    /// Our certificate and whom we trust; reloaded when the files change.
    identity: Option<IdentityFile>,
    /// Where clients arrive.
    listeners: Option<Vec<ListenerFile>>,
    /// Where peers' tunnels arrive.
    federation: Option<FederationFile>,
    /// Sites we are linked to.
    peers: Option<Vec<PeerFile>>,
    /// What calls can be sent to.
    services: Option<Vec<ServiceFile>>,
    /// Who signs the tokens of clients.
    issuers: Option<Vec<IssuerFile>>,
    /// Who is asked about tokens that say nothing by themselves.
    introspectors: Option<Vec<IntrospectorFile>>,
    /// Clients that this gateway knows by itself.
    consumers: Option<Vec<ConsumerFile>>,
    /// Which call goes where.
    routes: Option<Vec<RouteFile>>,
    /// What is told of clients to backends, and of this gateway to both.
    edge: Option<EdgeFile>,
    /// The operator's port.
    admin: Option<AdminFile>,
    /// Traces and the access log.
    telemetry: Option<TelemetryFile>,
    /// Bounds of everything.
    limits: Option<LimitsFile>,
    /// Clocks of client connections.
    timeouts: Option<TimeoutsFile>,
    /// How the gateway stops.
    drain: Option<DrainFile>,
    /// How names are resolved.
    dns: Option<DnsFile>,
    /// Counters that the gateways of the site share, in Redis or Valkey.
    redis: Option<RedisFile>,
    /// A directory for what must survive a restart, such as quotas; one gateway each. Default: none, memory only.
    state_dir: Option<value::PathText>,
    /// The memory of kept replies.
    cache: Option<CacheMemoryFile>,
    /// Traffic threads, 1 to 1024. Default: one per core.
    workers: Option<i64>,
}

/// Names that other parts may refer to, right or wrong otherwise: one mistake is told once.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// This site.
    pub(crate) site: Option<String>,
    /// Its trust domain.
    pub(crate) trust_domain: Option<String>,
    /// Peers.
    pub(crate) peers: BTreeSet<String>,
    /// Services of this site.
    pub(crate) services: BTreeSet<String>,
    /// Issuers of tokens.
    pub(crate) issuers: BTreeSet<String>,
    /// Introspectors.
    pub(crate) introspectors: BTreeSet<String>,
    /// Consumers.
    pub(crate) consumers: BTreeSet<String>,
}

/// Reads every table of `tree` and checks it by itself and with the others.
pub(crate) fn parse(mut tree: Map<String, Value>, problems: &mut Problems) -> Option<Config> {
    let root = KeyPath::root();
    let site: Option<SiteFile> = read::section(&mut tree, "site", problems);
    let identity: Option<IdentityFile> = read::section(&mut tree, "identity", problems);
    let listeners: Vec<(KeyPath, ListenerFile)> = read::list(&mut tree, "listeners", problems);
    let federation: Option<FederationFile> = read::section(&mut tree, "federation", problems);
    let peers: Vec<(KeyPath, PeerFile)> = read::list(&mut tree, "peers", problems);
    let services: Vec<(KeyPath, ServiceFile)> = read::list(&mut tree, "services", problems);
    let issuers: Vec<(KeyPath, IssuerFile)> = read::list(&mut tree, "issuers", problems);
    let introspectors: Vec<(KeyPath, IntrospectorFile)> = read::list(&mut tree, "introspectors", problems);
    let consumers: Vec<(KeyPath, ConsumerFile)> = read::list(&mut tree, "consumers", problems);
    let routes: Vec<(KeyPath, RouteFile)> = read::list(&mut tree, "routes", problems);
    let edge: Option<EdgeFile> = read::section(&mut tree, "edge", problems);
    let admin: Option<AdminFile> = read::section(&mut tree, "admin", problems);
    let telemetry: Option<TelemetryFile> = read::section(&mut tree, "telemetry", problems);
    let limits: Option<LimitsFile> = read::section(&mut tree, "limits", problems);
    let timeouts: Option<TimeoutsFile> = read::section(&mut tree, "timeouts", problems);
    let drain: Option<DrainFile> = read::section(&mut tree, "drain", problems);
    let dns: Option<DnsFile> = read::section(&mut tree, "dns", problems);
    let cache: Option<CacheMemoryFile> = read::section(&mut tree, "cache", problems);

    let known = Known {
        site: site.as_ref().and_then(|site| site.name.clone()),
        trust_domain: site.as_ref().and_then(|site| site.trust_domain.clone()),
        peers: peers.iter().filter_map(|(_, peer)| peer.site.clone()).collect(),
        services: services
            .iter()
            .filter_map(|(_, service)| service.name.clone())
            .collect(),
        issuers: issuers.iter().filter_map(|(_, issuer)| issuer.name.clone()).collect(),
        introspectors: (introspectors.iter()).filter_map(|(_, one)| one.name.clone()).collect(),
        consumers: consumers
            .iter()
            .filter_map(|(_, consumer)| consumer.name.clone())
            .collect(),
    };

    if site.is_none() {
        problems.missing(
            &root.key("site"),
            "every gateway belongs to a site: add `[site]` with `name` and `trust_domain`",
        );
    }
    let linked = !peers.is_empty() || federation.as_ref().is_some_and(|federation| federation.bind.is_some());
    if linked && identity.is_none() {
        problems.missing(
            &root.key("identity"),
            "tunnels need a certificate: add `[identity]` with `certificate`, `private_key` and `trust_bundles`",
        );
    }
    let open = federation.as_ref().is_some_and(|federation| federation.bind.is_some());
    if listeners.is_empty() && !open {
        problems.missing(
            &root.key("listeners"),
            "add `[[listeners]]` for clients, or `federation.bind` for peers",
        );
    }
    unique(
        listeners
            .iter()
            .map(|(at, listener)| (at.key("name"), listener.name.as_deref())),
        problems,
    );
    unique(
        peers.iter().map(|(at, peer)| (at.key("site"), peer.site.as_deref())),
        problems,
    );
    unique(
        services
            .iter()
            .map(|(at, service)| (at.key("name"), service.name.as_deref())),
        problems,
    );
    unique(
        issuers
            .iter()
            .map(|(at, issuer)| (at.key("name"), issuer.name.as_deref())),
        problems,
    );
    unique(
        (introspectors.iter()).map(|(at, one)| (at.key("name"), one.name.as_deref())),
        problems,
    );
    unique(
        consumers
            .iter()
            .map(|(at, consumer)| (at.key("name"), consumer.name.as_deref())),
        problems,
    );
    unique(
        routes.iter().map(|(at, route)| (at.key("name"), route.name.as_deref())),
        problems,
    );

    let at = |name: &str| root.key(name);
    let site = site.and_then(|site| site.parse(&at("site"), problems));
    let identity = identity.map(|identity| identity.parse(&at("identity"), problems));
    let listeners = each(listeners, |at, listener| listener.parse(at, problems));
    let federation = federation.and_then(|federation| federation.parse(&at("federation"), problems));
    let peers = each(peers, |at, peer| peer.parse(at, &known, open, problems));
    let services = each(services, |at, service| service.parse(at, &known, problems));
    let issuers = each(issuers, |at, issuer| issuer.parse(at, problems));
    let introspectors = each(introspectors, |at, one| one.parse(at, problems));
    let consumers = each(consumers, |at, consumer| consumer.parse(at, problems));
    let mut names = routes::Names::of(routes.iter().filter_map(|(_, route)| route.name.as_deref()));
    let routes = each(routes, |at, route| route.parse(at, &known, &mut names, problems));
    let edge = edge.and_then(|edge| edge.parse(&at("edge"), problems));
    let admin = admin.and_then(|admin| admin.parse(&at("admin"), problems));
    let telemetry = telemetry.and_then(|telemetry| telemetry.parse(&at("telemetry"), problems));
    let limits = limits.and_then(|limits| limits.parse(&at("limits"), problems));
    let timeouts = timeouts.and_then(|timeouts| timeouts.parse(&at("timeouts"), problems));
    let drain = drain.and_then(|drain| drain.parse(&at("drain"), problems));
    let dns = dns.and_then(|dns| dns.parse(&at("dns"), problems));
    let redis: Option<RedisFile> = read::section(&mut tree, "redis", problems);
    let redis = value::optional(redis, |redis| redis.parse(&at("redis"), problems));
    let state_dir: Option<value::PathText> = read::section(&mut tree, "state_dir", problems);
    let state_dir = value::optional(state_dir, |path| {
        path.parse(&at("state_dir"), value::Kind::Directory, problems)
    });
    let cache = cache.and_then(|cache| cache.parse(&at("cache"), problems));
    let workers = workers(tree.remove("workers"), &at("workers"), problems);

    let config = Config {
        site: site?,
        identity: match identity {
            Some(identity) => Some(identity?),
            None => None,
        },
        listeners: listeners?,
        federation: federation?,
        peers: peers?,
        services: services?,
        issuers: issuers?,
        introspectors: introspectors?,
        consumers: consumers?,
        routes: routes?,
        edge: edge?,
        admin: admin?,
        telemetry: telemetry?,
        limits: limits?,
        timeouts: timeouts?,
        drain: drain?,
        dns: dns?,
        redis: redis?,
        state_dir: state_dir?,
        cache: cache?,
        workers: workers?,
        sources: Vec::new(),
        effective: "".into(),
    };
    binds(&config, problems);
    Some(config)
}

/// Parses every entry, so that the problems of all are found.
fn each<F, M>(entries: Vec<(KeyPath, F)>, mut parse: impl FnMut(&KeyPath, F) -> Option<M>) -> Option<Vec<M>> {
    let parsed: Vec<Option<M>> = entries.into_iter().map(|(at, entry)| parse(&at, entry)).collect();
    parsed.into_iter().collect()
}

/// Reports every name that was taken before.
fn unique<'a>(names: impl Iterator<Item = (KeyPath, Option<&'a str>)>, problems: &mut Problems) {
    let mut first: HashMap<&str, KeyPath> = HashMap::new();
    for (at, name) in names {
        let Some(name) = name else { continue };
        match first.get(name) {
            Some(other) => problems.add(
                &at,
                format!("`{}` is already the name at {other}", crate::units::brief(name)),
            ),
            None => drop(first.insert(name, at)),
        }
    }
}

/// Reports every address that is bound twice; port 0 is a free one each time.
fn binds(config: &Config, problems: &mut Problems) {
    let root = KeyPath::root();
    let listeners = config.listeners.iter().enumerate();
    let mut binds: Vec<(KeyPath, SocketAddr)> = listeners
        .map(|(index, listener)| (root.key("listeners").index(index).key("bind"), listener.bind))
        .collect();
    binds.extend(
        config
            .federation
            .bind
            .map(|bind| (root.key("federation").key("bind"), bind)),
    );
    binds.push((root.key("admin").key("bind"), config.admin.bind));
    binds.extend(
        config
            .admin
            .metrics_bind
            .map(|bind| (root.key("admin").key("metrics_bind"), bind)),
    );
    let mut first: HashMap<SocketAddr, KeyPath> = HashMap::new();
    for (at, bind) in binds {
        match first.get(&bind) {
            Some(other) if bind.port() != 0 => problems.add(&at, format!("{bind} is already bound at {other}")),
            _ => drop(first.insert(bind, at)),
        }
    }
}

#[expect(
    clippy::option_option,
    reason = "outer: whether it is right; inner: whether it was written"
)]
fn workers(value: Option<Value>, at: &KeyPath, problems: &mut Problems) -> Option<Option<NonZeroUsize>> {
    let Some(written) = value else { return Some(None) };
    let workers = written
        .as_u64()
        .and_then(|workers| usize::try_from(workers).ok())
        .filter(|workers| *workers <= 1024);
    match workers.and_then(NonZeroUsize::new) {
        Some(workers) => Some(Some(workers)),
        None => {
            problems.add_hint(
                at,
                "must be a whole number from 1 to 1024",
                "remove `workers` for one per core",
            );
            None
        }
    }
}
