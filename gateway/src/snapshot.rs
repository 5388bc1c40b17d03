//! Everything derived from the configuration, immutable and shared by all workers.
//!
//! `load -> check -> build -> publish -> retire`: this is *build*. Whatever can fail has failed before *publish*.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use causeway_config::{self as config, Config, Destination, PathMatch, Segment, ServiceRef};
use causeway_pki::tls::provider;
use causeway_protocols::{Authority, http1};
use rustls::server::{ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::cache::Caching;
use crate::discovery::Discovery;
use crate::edge::Pseudonym;
use crate::mirror::Mirror;
use crate::policy::{self, Policies, Sources};
use crate::route::RouteTable;
use crate::schema::{FileError, Schemas};
use crate::service::ServiceSpec;
use crate::service::state::ServiceStates;
use crate::telemetry::metrics::{GatewayMetrics, RouteMetrics};

/// One configuration, ready to serve calls.
#[derive(Debug)]
pub struct Snapshot {
    /// As checked.
    pub config: Config,
    /// Which call takes which route.
    pub routes: RouteTable,
    /// What the services are made from, in the order of the configuration.
    pub services: Vec<Arc<ServiceSpec>>,
    /// Index of a service by its name.
    pub service_index: HashMap<config::Name, usize>,
    /// What this gateway calls itself in `via` and `proxy-status`.
    pub pseudonym: Pseudonym,
    /// Whether any route lets a POST stand for another method.
    pub overrides_methods: bool,
    /// What each route asks of its calls and replies.
    pub policies: Vec<Policies>,
    /// What each route keeps of its replies.
    pub caching: Vec<Option<Arc<Caching>>>,
    /// What each service asks of calls of other sites, by its name.
    pub export_policies: HashMap<config::Name, Policies>,
    /// What each route copies to a second service.
    pub mirrors: Vec<Option<Arc<Mirror>>>,
    /// For each route and each of its targets, where it leads.
    pub targets: Vec<Vec<Target>>,
    /// Limits of the HTTP/1.1 parser.
    pub http1_limits: http1::Limits,
    /// TLS of the listeners, by their name.
    pub listener_tls: HashMap<config::Name, Arc<rustls::ServerConfig>>,
    /// What is counted for the calls of each route.
    pub route_metrics: Vec<RouteMetrics>,
    /// The path of each route as written, for `http.route`.
    pub route_patterns: Vec<Box<str>>,
    /// What is counted for the calls of other sites to each service.
    pub export_metrics: HashMap<config::Name, RouteMetrics>,
    /// Counts configurations, from 1.
    pub generation: u64,
}

/// What outlives a snapshot, and is found again by name when the next one is built.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The names under watch.
    pub discovery: &'a Discovery,
    /// Where series are made.
    pub metrics: &'a GatewayMetrics,
    /// What policies keep.
    pub policies: &'a policy::State,
    /// What is known of services and their endpoints.
    pub services: &'a ServiceStates,
    /// Schemas that backends are asked for.
    pub schemas: &'a Schemas,
}

/// Where one target of a route leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// A service of this site, by index.
    Local(usize),
    /// An export of a peer, the peer by index.
    Remote(usize),
}

/// Why a checked configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be read or does not hold what it should.
    #[error("{what} `{path}`: {why}")]
    File {
        /// What was wanted of it.
        what: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// TLS refused what the files hold.
    #[error("TLS of {of}: {why}")]
    Tls {
        /// The listener or service.
        of: String,
        /// What is wrong.
        why: String,
    },
    /// A `host` that is no authority.
    #[error("service `{0}`: `host` is not a host with an optional port")]
    Host(config::Name),
    /// Something that is defined by its text could not be built.
    #[error("{of}: {why}")]
    Definition {
        /// What.
        of: String,
        /// What is wrong.
        why: String,
    },
    /// The schema of a service.
    #[error("service `{service}`: {source}")]
    Schema {
        /// Whose.
        service: config::Name,
        /// What is wrong.
        source: Box<FileError>,
    },
    /// A reference that the check should have caught.
    #[error("`{0}` names nothing")]
    Reference(String),
}

impl Snapshot {
    /// Builds a snapshot. Nothing of the running one changes.
    ///
    /// # Errors
    /// All that is wrong, not only the first.
    pub fn build(config: Config, kept: Kept<'_>, generation: u64) -> Result<Self, Vec<BuildError>> {
        let Kept {
            discovery,
            metrics,
            services: states,
            schemas,
            ..
        } = kept;
        let mut problems = Vec::new();
        let mut services = Vec::new();
        for service in &config.services {
            let tls = service.tls.as_ref().and_then(|tls| {
                backend_tls(tls, service)
                    .map_err(|problem| problems.push(problem))
                    .ok()
                    .map(Arc::new)
            });
            let host = service
                .host
                .as_ref()
                .and_then(|host| match Authority::parse(host.as_bytes()) {
                    Ok(host) => Some(host),
                    Err(_) => {
                        problems.push(BuildError::Host(config::Name::clone(&service.name)));
                        None
                    }
                });
            let watched = discovery.watch(&service.endpoints);
            let schema = schemas.source(service, &watched, tls.as_ref()).unwrap_or_else(|error| {
                problems.push(BuildError::Schema {
                    service: config::Name::clone(&service.name),
                    source: Box::new(error),
                });
                None
            });
            services.push(Arc::new(ServiceSpec {
                config: service.clone(),
                watched,
                tls,
                host,
                state: states.service(&service.name),
                schema,
            }));
        }
        let service_index: HashMap<_, _> = config
            .services
            .iter()
            .enumerate()
            .map(|(at, service)| (config::Name::clone(&service.name), at))
            .collect();
        let mut targets = Vec::new();
        for route in &config.routes {
            let Destination::Split(split) = &route.to else {
                targets.push(Vec::new());
                continue;
            };
            let mut of_route = Vec::new();
            for target in split {
                match resolve(&target.service, &service_index, &config) {
                    Some(target) => of_route.push(target),
                    None => problems.push(BuildError::Reference(target.service.service.to_string())),
                }
            }
            targets.push(of_route);
        }
        let mut listener_tls = HashMap::new();
        for listener in &config.listeners {
            if let Some(tls) = &listener.tls {
                match server_tls(tls, &listener.name) {
                    Ok(tls) => drop(listener_tls.insert(config::Name::clone(&listener.name), Arc::new(tls))),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let export_policies = (config.services.iter())
            .filter(|service| service.authorize.is_some())
            .map(|service| (config::Name::clone(&service.name), Policies::of_export(service, kept)))
            .collect();
        let sources = Sources::build(&config, kept, &mut problems);
        let policies = config
            .routes
            .iter()
            .map(|route| Policies::build(route, &sources, kept))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let http1_limits = http1::Limits {
            head: config.limits.head,
            fields: config.limits.fields,
            target: config.limits.target,
        };
        let routes = RouteTable::build(&config.routes);
        let route_patterns: Vec<_> = config.routes.iter().map(pattern).collect();
        let route_metrics = config
            .routes
            .iter()
            .zip(&route_patterns)
            .map(|(route, pattern)| metrics.route(&route.name, pattern))
            .collect();
        let mirrors = config
            .routes
            .iter()
            .map(|route| Mirror::build(route, &kept.policies.mirrors, metrics).map(Arc::new))
            .collect();
        let caching = config
            .routes
            .iter()
            .map(|route| Caching::build(route, &config, metrics).map(Arc::new))
            .collect();
        let exported = config.services.iter().filter(|service| !service.export_to.is_empty());
        let export_metrics = exported
            .map(|service| {
                let name = format!("export:{}", service.name);
                (config::Name::clone(&service.name), metrics.route(&name, &name))
            })
            .collect();
        let pseudonym = Pseudonym::of(&config.site.name);
        let mut all = config.routes.iter();
        let overrides_methods = all.any(|route| route.policies.method_override.is_some());
        Ok(Self {
            config,
            pseudonym,
            overrides_methods,
            routes,
            policies,
            caching,
            export_policies,
            mirrors,
            route_metrics,
            route_patterns,
            export_metrics,
            services,
            service_index,
            targets,
            http1_limits,
            listener_tls,
            generation,
        })
    }
}

/// A route's path as written.
fn pattern(route: &config::Route) -> Box<str> {
    let matches = &route.matches;
    let text = match (&matches.path, &matches.grpc) {
        (Some(PathMatch::Pattern(segments)), _) => segments.iter().fold(String::new(), |text, segment| match segment {
            Segment::Literal(literal) => text + "/" + literal,
            Segment::Parameter(name) => text + "/{" + name + "}",
            Segment::Rest(name) => text + "/{" + name + "*}",
        }),
        (Some(PathMatch::Prefix(prefix)), _) => format!("{prefix}/*"),
        (Some(PathMatch::Regex(regex)), _) => regex.as_str().to_owned(),
        (None, Some(grpc)) => format!("/{}/{}", grpc.service, grpc.method.as_deref().unwrap_or("*")),
        (None, None) => "/*".to_owned(),
    };
    if text.is_empty() { "/".into() } else { text.into() }
}

fn resolve(reference: &ServiceRef, services: &HashMap<config::Name, usize>, config: &Config) -> Option<Target> {
    match &reference.site {
        None => services.get(&reference.service).map(|at| Target::Local(*at)),
        Some(site) if *site == config.site.name => services.get(&reference.service).map(|at| Target::Local(*at)),
        Some(site) => config
            .peers
            .iter()
            .position(|peer| peer.site == *site)
            .map(Target::Remote),
    }
}

pub(crate) fn file_problem(what: &'static str, path: &Path, why: impl ToString) -> BuildError {
    BuildError::File {
        what,
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let text = fs::read(path).map_err(|error| file_problem("certificate", path, error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(file_problem("certificate", path, "holds no certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(file_problem("certificate", path, error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BuildError> {
    let text = fs::read(path).map_err(|error| file_problem("private key", path, error))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| file_problem("private key", path, error))
}

fn server_tls(tls: &config::ListenerTls, name: &str) -> Result<rustls::ServerConfig, BuildError> {
    let failed = |why: String| BuildError::Tls {
        of: format!("listener `{name}`"),
        why,
    };
    let provider = provider();
    let mut resolver = ResolvesServerCertUsingSni::new();
    let mut default = None;
    for files in &tls.certificates {
        let chain = certificates(&files.certificate)?;
        let names = dns_names(&chain).map_err(|why| file_problem("certificate", &files.certificate, why))?;
        let key = private_key(&files.private_key)?;
        let key = rustls::sign::CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| file_problem("private key", &files.private_key, error))?;
        for name in names {
            resolver
                .add(&name, key.clone())
                .map_err(|error| failed(error.to_string()))?;
        }
        default.get_or_insert_with(|| Arc::new(key));
    }
    let resolver = ByName { resolver, default };
    let clients = match &tls.clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(trusted(Some(&clients.ca))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let verifier = if clients.required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            verifier.build().map_err(|error| failed(error.to_string()))?
        }
    };
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(resolver));
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

fn dns_names(chain: &[CertificateDer<'static>]) -> Result<Vec<String>, String> {
    let leaf = chain.first().ok_or("holds no certificate")?;
    let parsed = causeway_pki::certificate::parse(leaf).map_err(|error| error.to_string())?;
    let names = causeway_pki::certificate::dns_names(&parsed).map_err(|error| error.to_string())?;
    // Wildcards stay with the default certificate: the resolver compares whole names.
    Ok(names
        .into_iter()
        .filter(|name| !name.starts_with('*'))
        .map(str::to_owned)
        .collect())
}

/// By server name; the first certificate for clients that send none, or one that nobody has.
#[derive(Debug)]
struct ByName {
    resolver: ResolvesServerCertUsingSni,
    default: Option<Arc<rustls::sign::CertifiedKey>>,
}

impl rustls::server::ResolvesServerCert for ByName {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.resolver.resolve(hello).or_else(|| self.default.clone())
    }
}

/// Where Debian and its like keep the roots that the system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// TLS to a server that these roots vouch for, or else those that the system trusts; `of` says whose it is.
pub(crate) fn client_tls(roots: Option<&Path>, of: &str) -> Result<rustls::ClientConfig, BuildError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Tls {
            of: of.to_owned(),
            why: error.to_string(),
        })?;
    Ok(builder.with_root_certificates(trusted(roots)?).with_no_client_auth())
}

fn trusted(roots: Option<&Path>) -> Result<rustls::RootCertStore, BuildError> {
    let path = roots.unwrap_or_else(|| Path::new(SYSTEM_ROOTS));
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(file_problem("root certificates", path, "holds no usable root"));
    }
    Ok(roots)
}

fn backend_tls(tls: &config::BackendTls, service: &config::Service) -> Result<rustls::ClientConfig, BuildError> {
    let failed = |why: String| BuildError::Tls {
        of: format!("service `{}`", service.name),
        why,
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(trusted(tls.roots.as_deref())?);
    let mut client = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(files) => builder
            .with_client_auth_cert(certificates(&files.certificate)?, private_key(&files.private_key)?)
            .map_err(|error| failed(error.to_string()))?,
    };
    client.alpn_protocols = match service.version {
        config::HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        config::HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    Ok(client)
}
