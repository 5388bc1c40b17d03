//! `[site]`, `[identity]`, `[federation]` and `[[peers]]`.

use causeway_pki::TrustDomain;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Known;
use super::endpoints::DiscoverFile;
use super::value::{Kind, PathText, all, bind, claim, duration, name, optional, required_path, whole};
use crate::model::{Federation, IdentityFiles, Peer, Site};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, SizeText};

/// `[site]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteFile {
    /// The site's name, e.g. `aws`.
    pub(super) name: Option<String>,
    /// The trust domain our certificates are in, e.g. `aws.acme.example`.
    pub(super) trust_domain: Option<String>,
}

impl SiteFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Site> {
        let name = name(
            self.name.as_deref(),
            &at.key("name"),
            "name this site, e.g. `aws`",
            problems,
        );
        let trust_domain = trust_domain(self.trust_domain.as_deref(), &at.key("trust_domain"), problems);
        Some(Site {
            name: name?,
            trust_domain: trust_domain?,
        })
    }
}

fn trust_domain(text: Option<&str>, at: &KeyPath, problems: &mut Problems) -> Option<TrustDomain> {
    let Some(text) = text else {
        problems.missing(
            at,
            "name the trust domain the site's certificates are in, e.g. `aws.acme.example`",
        );
        return None;
    };
    match TrustDomain::parse(text) {
        Ok(domain) => Some(domain),
        Err(error) => {
            problems.add_hint(
                at,
                error.to_string(),
                "write it without `spiffe://`, e.g. `aws.acme.example`",
            );
            None
        }
    }
}

/// `[identity]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityFile {
    /// PEM chain, leaf first.
    certificate: Option<PathText>,
    /// PEM private key.
    private_key: Option<PathText>,
    /// Directory with one bundle file per trust domain.
    trust_bundles: Option<PathText>,
    /// Directory or file with CRLs in PEM, if revocation is used.
    revocations: Option<PathText>,
}

impl IdentityFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<IdentityFiles> {
        let mut required = |path: Option<&PathText>, key: &str, kind, hint: &str| {
            required_path(path, &at.key(key), kind, hint, problems)
        };
        let certificate = required(
            self.certificate.as_ref(),
            "certificate",
            Kind::File,
            "name the PEM file of the gateway's certificate chain; `causeway pki issue` makes one",
        );
        let private_key = required(
            self.private_key.as_ref(),
            "private_key",
            Kind::File,
            "name the PEM file of the certificate's private key",
        );
        let trust_bundles = required(
            self.trust_bundles.as_ref(),
            "trust_bundles",
            Kind::Directory,
            "name the directory with one trust bundle per peer",
        );
        let revocations = optional(self.revocations, |path| {
            path.parse(&at.key("revocations"), Kind::FileOrDirectory, problems)
        });
        Some(IdentityFiles {
            certificate: certificate?,
            private_key: private_key?,
            trust_bundles: trust_bundles?,
            revocations: revocations?,
        })
    }
}

/// `[federation]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FederationFile {
    /// Where peers' tunnels arrive; leave it out at a site that only dials out.
    pub(super) bind: Option<String>,
    /// Calls a peer may have open on one tunnel.
    max_calls: Option<i64>,
    /// Tunnels to one gateway of a peer that are dialled, whatever the number of workers.
    max_tunnels: Option<i64>,
    /// First receive window of a call.
    window: Option<SizeText>,
    /// Silence after which a ping is sent; a tunnel is dead after three misses.
    ping_interval: Option<DurationText>,
    /// Longest pause between attempts to connect.
    reconnect_max: Option<DurationText>,
    /// Time to connect and shake hands.
    handshake_timeout: Option<DurationText>,
    /// Hops a call may take over sites.
    max_hops: Option<i64>,
    /// Claims of callers that other sites are told, as far as they have room: 4 KiB with the rest. Default: none.
    claims: Option<Vec<String>>,
}

impl FederationFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Federation> {
        let bind = optional(self.bind, |text| bind(&text, &at.key("bind"), problems));
        let max_calls = whole(self.max_calls, &at.key("max_calls"), 1..=65_536, problems);
        let max_tunnels = whole(self.max_tunnels, &at.key("max_tunnels"), 1..=256, problems);
        let window = self
            .window
            .and_then(|size| size.parse(&at.key("window"), &((16 << 10)..=(16 << 20)), problems));
        let ping_interval = duration(
            self.ping_interval.as_ref(),
            &at.key("ping_interval"),
            100..=60_000,
            problems,
        );
        let reconnect_max = duration(
            self.reconnect_max.as_ref(),
            &at.key("reconnect_max"),
            100..=3_600_000,
            problems,
        );
        let handshake_timeout = duration(
            self.handshake_timeout.as_ref(),
            &at.key("handshake_timeout"),
            100..=60_000,
            problems,
        );
        let max_hops = whole(self.max_hops, &at.key("max_hops"), 1..=16, problems);
        let claims = all(self.claims, &at.key("claims"), |text, at| claim(text, at, problems));
        Some(Federation {
            bind: bind?,
            max_calls: max_calls?,
            max_tunnels: max_tunnels?,
            window: u32::try_from(window?).ok()?,
            ping_interval: ping_interval?,
            reconnect_max: reconnect_max?,
            handshake_timeout: handshake_timeout?,
            max_hops: max_hops?,
            claims: claims?,
        })
    }
}

/// `[[peers]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerFile {
    /// The peer's site name.
    pub(super) site: Option<String>,
    /// The trust domain its certificates are in.
    trust_domain: Option<String>,
    /// Where to dial it: `dns:name:port`, `srv:name`, an address or a list of them; leave it out when it dials us.
    discover: Option<DiscoverFile>,
}

impl PeerFile {
    /// `open`: whether peers can dial us.
    pub(super) fn parse(self, at: &KeyPath, known: &Known, open: bool, problems: &mut Problems) -> Option<Peer> {
        if self.site.is_some() && self.site == known.site {
            problems.add_hint(&at.key("site"), "is our own site", "a peer is another site");
        }
        if self.trust_domain.is_some() && self.trust_domain == known.trust_domain {
            problems.add_hint(
                &at.key("trust_domain"),
                "is our own trust domain",
                "each site has a trust domain of its own, so that neither can speak for the other",
            );
        }
        if self.discover.is_none() && !open {
            problems.missing(
                &at.key("discover"),
                "say where to dial the peer, e.g. `dns:gw.azure.acme.example:7443`, or set `federation.bind` so that it can dial us",
            );
        }
        let site = name(
            self.site.as_deref(),
            &at.key("site"),
            "name the peer's site, e.g. `azure`",
            problems,
        );
        let trust_domain = trust_domain(self.trust_domain.as_deref(), &at.key("trust_domain"), problems);
        let discover = optional(self.discover, |discover| discover.parse(&at.key("discover"), problems));
        Some(Peer {
            site: site?,
            trust_domain: trust_domain?,
            discover: discover?,
        })
    }
}
