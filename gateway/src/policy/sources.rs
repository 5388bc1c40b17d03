//! What several routes refer to by name, built once for a snapshot: issuers and consumers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use causeway_config::{self as config, Config, Discover, HttpUrl, IssuerKeys, StaticEndpoint};

use crate::authentication::introspection::{self, Introspector};
use crate::authentication::issuer::{Issuer, Keys};
use crate::authentication::jwks::{self, Jwks};
use crate::authentication::keys::{KeySet, KeysError};
use crate::authentication::sha256;
use crate::fetch::{Fetcher, Pool};
use crate::limits::shared::Shared;
use crate::snapshot::{BuildError, Kept, client_tls, file_problem};

/// What the policies of the routes are built from.
#[derive(Debug, Default)]
pub struct Sources {
    issuers: HashMap<config::Name, Arc<Issuer>>,
    introspectors: HashMap<config::Name, Arc<Introspector>>,
    /// Clients that this gateway knows by itself.
    pub consumers: Vec<config::Consumer>,
    /// Counters that the gateways of the site share.
    pub shared: Option<Arc<Shared>>,
}

impl Sources {
    /// Builds all of them. What cannot be built is added to `problems`, and then the snapshot is not used.
    pub fn build(config: &Config, kept: Kept<'_>, problems: &mut Vec<BuildError>) -> Self {
        let mut issuers = HashMap::new();
        for issuer in &config.issuers {
            match build(issuer, kept) {
                Ok(built) => drop(issuers.insert(config::Name::clone(&issuer.name), built)),
                Err(problem) => problems.push(problem),
            }
        }
        let mut introspectors = HashMap::new();
        for one in &config.introspectors {
            match introspector(one, kept) {
                Ok(built) => drop(introspectors.insert(config::Name::clone(&one.name), built)),
                Err(problem) => problems.push(problem),
            }
        }
        Self {
            issuers,
            introspectors,
            consumers: config.consumers.clone(),
            shared: config
                .redis
                .as_ref()
                .and_then(|redis| shared(redis, config, kept, problems)),
        }
    }

    /// The introspector of this name.
    pub fn introspector(&self, name: &str) -> Option<Arc<Introspector>> {
        self.introspectors.get(name).cloned()
    }

    /// The issuers of these names.
    pub fn issuers(&self, names: &[config::Name]) -> Vec<Arc<Issuer>> {
        names
            .iter()
            .filter_map(|name| self.issuers.get(name).cloned())
            .collect()
    }
}

/// The same as before where nothing has changed, with what it has learned of its server.
fn shared(
    redis: &config::Redis,
    config: &Config,
    kept: Kept<'_>,
    problems: &mut Vec<BuildError>,
) -> Option<Arc<Shared>> {
    let site = &config.site.name;
    if let Some(known) = kept.policies.shared.find(|known| known.is_of(redis, site)) {
        return Some(known);
    }
    match Shared::start(redis, site, kept.metrics, &kept.policies.handle) {
        Ok(shared) => {
            kept.policies.shared.add(&shared);
            Some(shared)
        }
        Err(error) => {
            problems.push(BuildError::Definition {
                of: "redis".to_owned(),
                why: format!("`url` {}", error.category()),
            });
            None
        }
    }
}

fn build(issuer: &config::Issuer, kept: Kept<'_>) -> Result<Arc<Issuer>, BuildError> {
    let unusable = |path: &Path, error: KeysError| file_problem("keys of an issuer", path, error);
    let keys = match &issuer.keys {
        IssuerKeys::Url {
            url,
            roots,
            refresh,
            stale,
        } => Keys::Fetched(fetched(url, roots.as_deref(), (*refresh, *stale), kept)?),
        IssuerKeys::File(path) => Keys::Fixed(kept.fixed(&read(path)?, |text| {
            KeySet::of_jwks(text).map_err(|error| unusable(path, error))
        })?),
        IssuerKeys::Secret(path) => {
            let text = read(path)?;
            let secret = text.strip_suffix(b"\n").unwrap_or(&text);
            let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
            Keys::Fixed(kept.fixed(secret, |secret| {
                KeySet::of_secret(secret).map_err(|error| unusable(path, error))
            })?)
        }
        IssuerKeys::Inline(text) => Keys::Fixed(kept.fixed(text.as_bytes(), |text| {
            KeySet::of_jwks(text).map_err(|error| BuildError::Definition {
                of: format!("issuer `{}`", issuer.name),
                why: format!("`jwks` {error}"),
            })
        })?),
    };
    let same = |known: &Issuer| known.is_same(issuer, &keys);
    // Looked for first: `keys` goes into the new one.
    if let Some(known) = kept.policies.issuers.find(same) {
        return Ok(known);
    }
    let made = Arc::new(Issuer::new(issuer.clone(), keys, kept.metrics));
    kept.policies.issuers.add(&made);
    Ok(made)
}

fn introspector(one: &config::Introspector, kept: Kept<'_>) -> Result<Arc<Introspector>, BuildError> {
    let secret = read(&one.client_secret)?;
    let secret = secret.trim_ascii_end();
    let fetcher = fetcher(
        &one.url,
        one.roots.as_deref(),
        one.timeout,
        introspection::LARGEST,
        kept,
    )?;
    let made = Arc::new(Introspector::new(one.clone(), fetcher, secret));
    if let Some(known) = kept.policies.introspectors.find(|known| known.is_same(&made)) {
        return Ok(known);
    }
    kept.policies.introspectors.add(&made);
    Ok(made)
}

impl Kept<'_> {
    /// The set of keys of this text: the same as before where the text is, so that what was verified by it stays so.
    fn fixed(
        self,
        text: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<Arc<KeySet>, BuildError>,
    ) -> Result<Arc<KeySet>, BuildError> {
        let digest = sha256(text);
        if let Some(known) = self.policies.key_sets.find(|known| known.is_of(&digest)) {
            return Ok(known);
        }
        let set = parse(text)?;
        self.policies.key_sets.add(&set);
        Ok(set)
    }
}

fn fetched(
    url: &HttpUrl,
    roots: Option<&Path>,
    (refresh, stale): (std::time::Duration, std::time::Duration),
    kept: Kept<'_>,
) -> Result<Arc<Jwks>, BuildError> {
    let fetcher = fetcher(url, roots, jwks::TIMEOUT, jwks::LARGEST, kept)?;
    let source = jwks::Source {
        url: url.clone(),
        roots: roots.map(read).transpose()?.map(|text| sha256(&text)),
        dns: kept.discovery.settings().clone(),
        refresh,
        stale,
    };
    if let Some(known) = kept.policies.jwks.find(|known| known.source == source) {
        return Ok(known);
    }
    let before = kept.policies.jwks.find(|known| known.source.url == *url);
    let jwks = Jwks::start(source, fetcher, before.as_deref(), kept.metrics);
    kept.policies.jwks.add(&jwks);
    Ok(jwks)
}

/// Somewhere to ask.
pub(super) fn fetcher(
    url: &HttpUrl,
    roots: Option<&Path>,
    timeout: std::time::Duration,
    limit: usize,
    kept: Kept<'_>,
) -> Result<Arc<Fetcher>, BuildError> {
    let tls = url
        .tls
        .then(|| client_tls(roots, &url.authority()).map(Arc::new))
        .transpose()?;
    // What every system calls by this name, whatever a DNS server says.
    let watched = kept.discovery.watch(&match url.host.as_str() {
        "localhost" => Discover::Static(vec![StaticEndpoint {
            address: (std::net::Ipv4Addr::LOCALHOST, url.port).into(),
            weight: 1,
            priority: 0,
        }]),
        host => Discover::Dns {
            host: host.to_owned(),
            port: url.port,
        },
    });
    Ok(Arc::new(Fetcher {
        url: url.clone(),
        watched,
        tls,
        timeout,
        limit,
        handle: kept.policies.handle.clone(),
        pool: Pool::default(),
    }))
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    let text = std::fs::read(path).map_err(|error| file_problem("keys of an issuer", path, error))?;
    if text.len() > jwks::LARGEST {
        return Err(file_problem("keys of an issuer", path, "is too large"));
    }
    Ok(text)
}
