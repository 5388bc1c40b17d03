//! `[[services]]`.

use std::collections::HashSet;
use std::time::Duration;

use causeway_pki::Identity;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Known;
use super::balance::{BreakerFile, ChoiceFile, HashOnFile};
use super::endpoints::DiscoverFile;
use super::health::{HealthFile, OutlierFile};
use super::hedge::{AdaptiveFile, HedgeFile};
use super::listeners::CertificateFile;
use super::matching::grpc;
use super::policies::AuthorizeFile;
use super::retry::RetryFile;
use super::value::{Kind, LongForm, PathText, TextOr, all, choice, is_host, name, optional, whole};
use crate::model::{BackendTls, Export, HttpVersion, Protocol, Schema, Service, ServiceTimeouts};
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::{DurationText, PercentText, SizeText, brief};

/// The words for protocols.
pub(super) const PROTOCOLS: [(&str, Protocol); 3] = [
    ("grpc", Protocol::Grpc),
    ("http", Protocol::Http),
    ("websocket", Protocol::WebSocket),
];
/// Of a message that is read, where the file says nothing: what gRPC's own libraries take.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Longest deadline of a call, in milliseconds.
pub(super) const LONGEST: u64 = 24 * 3_600_000;

/// `[[services]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceFile {
    /// What routes and peers call it.
    pub(super) name: Option<String>,
    /// What its endpoints speak.
    #[schemars(extend("enum" = ["grpc", "http", "websocket"]))]
    protocol: Option<String>,
    /// HTTP version to the endpoints. Default: `http2` for gRPC, else `http1`.
    #[schemars(extend("enum" = ["http1", "http2"]))]
    version: Option<String>,
    /// Where its endpoints are: `dns:name:port`, `srv:name`, an address, or a list of addresses.
    endpoints: Option<DiscoverFile>,
    /// `reflection`, a directory of `.proto` files, or a descriptor set. Default: none.
    #[schemars(extend("format" = "reflection-or-path"))]
    schema: Option<String>,
    /// TLS to the endpoints; leave it out for clear text, `{}` trusts the system's roots.
    tls: Option<BackendTlsFile>,
    /// How an endpoint is chosen. Default: `round-robin`.
    #[schemars(extend("enum" = [
        "round-robin", "least-request", "least-connections", "peak-ewma", "ring-hash", "ip-hash",
    ]))]
    balance: Option<String>,
    /// `ring-hash` only: what makes calls alike: `address`, or a header, cookie, query parameter or claim. Default:
    /// `address`.
    hash_on: Option<HashOnFile>,
    /// How long the share of a new or recovered endpoint grows. Default: not at all.
    slow_start: Option<DurationText>,
    /// Usable share of a tier below which it hands on to the next what it lacks. Default: a tier keeps all while it can.
    spill_over: Option<PercentText>,
    /// Sites that may use it. Default: nobody.
    export_to: Option<Vec<TextOr<ExportFile>>>,
    /// What calls from other sites may do, by who made them there. Default: all that `export_to` lets in.
    authorize: Option<AuthorizeFile>,
    /// `Host` sent to the backend. Default: what the client sent.
    host: Option<String>,
    /// Clocks of calls to it.
    timeouts: Option<ServiceTimeoutsFile>,
    /// Tries after a failure that is safe to repeat.
    retry: Option<RetryFile>,
    /// A second attempt beside one that takes long; leave it out for none.
    hedge: Option<HedgeFile>,
    /// Calls under way are limited by how long they take; leave it out for no such limit, `{}` for the defaults.
    adaptive: Option<AdaptiveFile>,
    /// gRPC methods that may be called twice, as `package.Service/Method`, or `package.Service` for all of its. Default:
    /// none.
    idempotent_methods: Option<Vec<String>>,
    /// Checks of every endpoint; leave it out for none.
    health: Option<HealthFile>,
    /// Endpoints whose calls fail are left out for a while; leave it out for never, `{}` for the defaults.
    outlier: Option<OutlierFile>,
    /// What the gateway has under way at the service at most, over all workers and endpoints.
    breaker: Option<BreakerFile>,
    /// Below this share of usable endpoints all are used, well or not. Default: 30%.
    panic_threshold: Option<PercentText>,
    /// Connections per worker and endpoint, 1 to 65536. Default: 256.
    max_connections: Option<i64>,
    /// Calls that may wait for a connection, per worker, 0 to 65536. Default: 1024.
    max_pending: Option<i64>,
    /// Largest message where messages are read, in either direction. Default: `4MiB`.
    max_message: Option<SizeText>,
}

/// `tls = {...}` of a service as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackendTlsFile {
    /// PEM file of the roots to trust. Default: the system's.
    roots: Option<PathText>,
    /// Name to verify. Default: the host of `endpoints`.
    server_name: Option<String>,
    /// Our PEM chain, for backends that ask for one.
    certificate: Option<PathText>,
    /// Our PEM private key.
    private_key: Option<PathText>,
}

/// `{ site = "azure", callers = [..] }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportFile {
    /// The site that may call.
    site: Option<String>,
    /// Original callers that may, as SPIFFE ids or `sub:NAME`. Default: all of the site's.
    callers: Option<Vec<String>>,
}

impl LongForm for ExportFile {}

/// `timeouts` of a service as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceTimeoutsFile {
    /// To connect. Default: 5s.
    connect: Option<DurationText>,
    /// For one attempt up to the reply's head. Default: bounded by `total` only.
    per_try: Option<DurationText>,
    /// For the whole call; `0s` for none. Default: 30s.
    total: Option<DurationText>,
    /// Idle backend connections are closed after this. Default: 60s.
    idle: Option<DurationText>,
}

impl ServiceFile {
    pub(super) fn parse(self, at: &KeyPath, known: &Known, problems: &mut Problems) -> Option<Service> {
        let name = name(
            self.name.as_deref(),
            &at.key("name"),
            "name the service, e.g. `orders`",
            problems,
        );
        let protocol = match self.protocol {
            Some(text) => choice(&text, &at.key("protocol"), &PROTOCOLS, problems),
            None => {
                problems.missing(
                    &at.key("protocol"),
                    "say what its endpoints speak: `grpc`, `http` or `websocket`",
                );
                None
            }
        };
        let versions = [("http1", HttpVersion::Http1), ("http2", HttpVersion::Http2)];
        let version = optional(self.version, |text| {
            choice(&text, &at.key("version"), &versions, problems)
        });
        if let (Some(Protocol::Grpc), Some(Some(HttpVersion::Http1))) = (protocol, version) {
            problems.add_hint(&at.key("version"), "gRPC needs HTTP/2", "remove `version`");
        }
        let endpoints = match self.endpoints {
            Some(endpoints) => endpoints.parse(&at.key("endpoints"), problems),
            None => {
                problems.missing(
                    &at.key("endpoints"),
                    "say where it is: `dns:name:port`, `srv:name`, or an address such as `10.0.0.1:80`",
                );
                None
            }
        };
        let schema = optional(self.schema, |text| schema(text, &at.key("schema"), problems));
        let tls = optional(self.tls, |tls| tls.parse(&at.key("tls"), problems));
        let choice = ChoiceFile {
            balance: self.balance,
            hash_on: self.hash_on,
            slow_start: self.slow_start,
            spill_over: self.spill_over,
        };
        let choice = choice.parse(at, problems);
        let authorize = optional(self.authorize, |authorize| {
            authorize.parse(&at.key("authorize"), problems)
        });
        let export_to = exports(self.export_to, &at.key("export_to"), known, problems);
        let host = optional(self.host, |host| authority(host, &at.key("host"), problems));
        let timeouts = self.timeouts.unwrap_or_default().parse(&at.key("timeouts"), problems);
        let retry = self.retry.unwrap_or_default().parse(&at.key("retry"), problems);
        let idempotent_methods = all(self.idempotent_methods, &at.key("idempotent_methods"), |text, at| {
            grpc(&text, at, problems)
        });
        let hedge = optional(self.hedge, |hedge| hedge.parse(&at.key("hedge"), problems));
        let adaptive = optional(self.adaptive, |adaptive| adaptive.parse(&at.key("adaptive"), problems));
        let health = optional(self.health, |health| health.parse(&at.key("health"), problems));
        let outlier = optional(self.outlier, |outlier| outlier.parse(&at.key("outlier"), problems));
        let breaker = self.breaker.unwrap_or_default().parse(&at.key("breaker"), problems);
        let panic_threshold = match self.panic_threshold {
            Some(percent) => percent.parse(&at.key("panic_threshold"), problems),
            None => Some(30),
        };
        let max_connections = whole(
            self.max_connections.or(Some(256)),
            &at.key("max_connections"),
            1..=65_536,
            problems,
        );
        let max_pending = whole(
            self.max_pending.or(Some(1024)),
            &at.key("max_pending"),
            0..=65_536,
            problems,
        );
        let max_message = optional(self.max_message, |size| {
            size.parse(&at.key("max_message"), &(1..=1 << 30), problems)
        });
        let default = if protocol? == Protocol::Grpc {
            HttpVersion::Http2
        } else {
            HttpVersion::Http1
        };
        let choice = choice?;
        Some(Service {
            name: name?,
            balance: choice.balance,
            hash_on: choice.hash_on,
            slow_start: choice.slow_start,
            spill_over: choice.spill_over,
            protocol: protocol?,
            version: version?.unwrap_or(default),
            endpoints: endpoints?,
            schema: schema?,
            tls: tls?,
            export_to: export_to?,
            authorize: authorize?,
            host: host?,
            timeouts: timeouts?,
            retry: retry?,
            idempotent_methods: idempotent_methods?,
            hedge: hedge?,
            adaptive: adaptive?,
            health: health?,
            outlier: outlier?,
            breaker: breaker?,
            panic_threshold: panic_threshold?,
            max_connections: max_connections?,
            max_pending: max_pending?,
            // At most 1 GiB, which fits.
            max_message: max_message?.map_or(MAX_MESSAGE, |size| size as usize),
        })
    }
}

fn schema(text: String, at: &KeyPath, problems: &mut Problems) -> Option<Schema> {
    if text == "reflection" {
        return Some(Schema::Reflection);
    }
    let path = PathText(text).parse(at, Kind::FileOrDirectory, problems)?;
    Some(if path.is_dir() {
        Schema::Directory(path)
    } else {
        Schema::Descriptors(path)
    })
}

/// A `Host` field: a name or address, and perhaps a port.
fn authority(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let parsed = text
        .parse::<http::uri::Authority>()
        .ok()
        .filter(|authority| !authority.as_str().contains('@'));
    let host = parsed
        .as_ref()
        .map(|authority| authority.host().trim_matches(['[', ']']).to_ascii_lowercase());
    if host.is_some_and(|host| is_host(&host)) {
        return Some(text);
    }
    problems.add(at, format!("`{}` is not a host", brief(&text)));
    None
}

impl BackendTlsFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<BackendTls> {
        let roots = optional(self.roots, |path| path.parse(&at.key("roots"), Kind::File, problems));
        let server_name = optional(self.server_name, |name| {
            let name = name.to_ascii_lowercase();
            if is_host(&name) {
                return Some(name);
            }
            problems.add(&at.key("server_name"), format!("`{}` is not a host", brief(&name)));
            None
        });
        let pair = (self.certificate.is_some() || self.private_key.is_some()).then_some(CertificateFile {
            certificate: self.certificate,
            private_key: self.private_key,
        });
        let client = optional(pair, |pair| pair.parse(at, problems));
        Some(BackendTls {
            roots: roots?,
            server_name: server_name?,
            client: client?,
        })
    }
}

fn exports(
    list: Option<Vec<TextOr<ExportFile>>>,
    at: &KeyPath,
    known: &Known,
    problems: &mut Problems,
) -> Option<Vec<Export>> {
    let mut seen = HashSet::new();
    all(list, at, |entry, at| {
        let (site, site_at, callers) = match entry {
            TextOr::Text(site) => (Some(site), at.clone(), None),
            TextOr::Long(entry) => (entry.site, at.key("site"), entry.callers),
        };
        let site = match site {
            None => {
                problems.missing(&site_at, "name the site that may call");
                None
            }
            Some(site) => peer(&site, &site_at, known, problems).then_some(site),
        };
        if let Some(site) = &site
            && !seen.insert(site.clone())
        {
            problems.add_hint(
                &site_at,
                format!("`{site}` is in the list already"),
                "put all its callers into one entry",
            );
        }
        let callers = all(callers, &at.key("callers"), |caller, at| {
            let good = match caller.strip_prefix("sub:") {
                Some(subject) => !subject.is_empty() && !subject.chars().any(char::is_control),
                None => Identity::parse(&caller).is_ok(),
            };
            if !good {
                let hint = "write a SPIFFE id such as `spiffe://azure.acme.example/web`, or `sub:NAME`";
                problems.add_hint(at, format!("`{}` is not a caller", brief(&caller)), hint);
            }
            good.then_some(caller)
        });
        Some(Export {
            site: site?.into(),
            callers: callers?,
        })
    })
}

/// Whether there is such a peer; reported when not.
pub(super) fn peer(site: &str, at: &KeyPath, known: &Known, problems: &mut Problems) -> bool {
    if known.peers.contains(site) {
        return true;
    }
    if known.site.as_deref() == Some(site) {
        problems.add_hint(
            at,
            format!("`{}` is this site", brief(site)),
            "name a peer here; this site needs no mention",
        );
        return false;
    }
    let hint = did_you_mean(site, known.peers.iter().map(String::as_str))
        .unwrap_or_else(|| "add it under `[[peers]]`".to_owned());
    problems.add_hint(at, format!("no peer named `{}`", brief(site)), hint);
    false
}

impl ServiceTimeoutsFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<ServiceTimeouts> {
        let mut parse = |value: Option<DurationText>, key: &str, default: Duration, least: u64, most: u64| {
            let range = Duration::from_millis(least)..=Duration::from_millis(most);
            match value {
                Some(value) => value.parse(&at.key(key), &range, problems),
                None => Some(default),
            }
        };
        let connect = parse(self.connect, "connect", Duration::from_secs(5), 1, 60_000);
        let per_try = match self.per_try {
            Some(value) => parse(Some(value), "per_try", Duration::ZERO, 1, LONGEST).map(Some),
            None => Some(None),
        };
        let total = match self.total {
            Some(value) if value.is_zero() => Some(None),
            value => parse(value, "total", Duration::from_secs(30), 1, LONGEST).map(Some),
        };
        let idle = parse(self.idle, "idle", Duration::from_secs(60), 100, LONGEST);
        if let (Some(Some(per_try)), Some(Some(total))) = (per_try, total)
            && per_try > total
        {
            problems.add_hint(
                &at.key("per_try"),
                "is longer than `total`",
                "one try cannot take longer than the call",
            );
        }
        Some(ServiceTimeouts {
            connect: connect?,
            per_try: per_try?,
            total: total?,
            idle: idle?,
        })
    }
}
