//! `[[listeners]]`.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::policies::IpFile;
use super::value::{Kind, PathText, all, bind, choice, name, optional, required_path};
use crate::model::{CertificateFiles, Cidr, ClientCertificates, Listener, ListenerTls};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// `[[listeners]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerFile {
    /// Name used in logs and metrics.
    pub(super) name: Option<String>,
    /// IP address and port; port 0 takes a free one.
    bind: Option<String>,
    /// TLS to clients; leave it out for clear text.
    tls: Option<ListenerTlsFile>,
    /// Networks of clients that may state addresses, see `edge.forwarded`, and ids of requests, e.g. `10.0.0.0/8`.
    trusted_proxies: Option<Vec<String>>,
    /// Whether trusted proxies begin each connection with a header of the PROXY protocol; nobody else may connect then.
    /// Default: false.
    proxy_protocol: Option<bool>,
    /// Networks that may connect, and that may not.
    ip: Option<IpFile>,
    /// Whether WebSockets are accepted. Default: true.
    websocket: Option<bool>,
}

/// `tls = {...}` of a listener as written: one certificate, or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListenerTlsFile {
    /// PEM chain, leaf first.
    certificate: Option<PathText>,
    /// PEM private key.
    private_key: Option<PathText>,
    /// Several pairs, chosen by the name the client asks for; the first is the default.
    certificates: Option<Vec<CertificateFile>>,
    /// PEM file of the roots that vouch for clients. Default: clients show no certificates.
    client_ca: Option<PathText>,
    /// Whether clients have to show a certificate of `client_ca`. Default: required.
    #[schemars(extend("enum" = ["required", "optional"]))]
    client_certificates: Option<String>,
}

/// `{ certificate = "..", private_key = ".." }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFile {
    /// PEM chain, leaf first.
    pub(super) certificate: Option<PathText>,
    /// PEM private key.
    pub(super) private_key: Option<PathText>,
}

impl ListenerFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Listener> {
        let name = name(
            self.name.as_deref(),
            &at.key("name"),
            "name the listener, e.g. `public`",
            problems,
        );
        let bind = match self.bind {
            Some(text) => bind(&text, &at.key("bind"), problems),
            None => {
                problems.missing(&at.key("bind"), "write an address, such as `0.0.0.0:8080`");
                None
            }
        };
        let tls = optional(self.tls, |tls| tls.parse(&at.key("tls"), problems));
        let trusted_proxies = all(self.trusted_proxies, &at.key("trusted_proxies"), |text, at| {
            cidr(&text, at, problems)
        });
        let ip = optional(self.ip, |ip| {
            let at = at.key("ip");
            let lists = ip.parse(&at, problems)?;
            if lists.dry_run {
                problems.add(&at.key("dry_run"), "has no effect on a listener");
                return None;
            }
            Some(lists)
        });
        let proxy_protocol = self.proxy_protocol.unwrap_or(false);
        if proxy_protocol && trusted_proxies.as_ref().is_some_and(Vec::is_empty) {
            problems.missing(
                &at.key("trusted_proxies"),
                "name the balancers that speak the PROXY protocol, e.g. `10.0.0.0/8`",
            );
        }
        Some(Listener {
            name: name?,
            bind: bind?,
            tls: tls?,
            trusted_proxies: trusted_proxies?,
            proxy_protocol,
            ip: ip?,
            websocket: self.websocket.unwrap_or(true),
        })
    }
}

impl ListenerTlsFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<ListenerTls> {
        let clients = clients(self.client_ca, self.client_certificates, at, problems);
        let single = self.certificate.is_some() || self.private_key.is_some();
        let Some(list) = self.certificates else {
            let pair = CertificateFile {
                certificate: self.certificate,
                private_key: self.private_key,
            };
            return Some(ListenerTls {
                certificates: vec![pair.parse(at, problems)?],
                clients: clients?,
            });
        };
        let at = at.key("certificates");
        if single {
            problems.add_hint(&at, "stands beside `certificate`", "put every pair into `certificates`");
            return None;
        }
        if list.is_empty() {
            problems.add(&at, "must have at least one certificate");
            return None;
        }
        let certificates = all(Some(list), &at, |pair, at| pair.parse(at, problems))?;
        Some(ListenerTls {
            certificates,
            clients: clients?,
        })
    }
}

#[expect(
    clippy::option_option,
    reason = "outer: whether it is right; inner: whether it was written"
)]
fn clients(
    ca: Option<PathText>,
    wanted: Option<String>,
    at: &KeyPath,
    problems: &mut Problems,
) -> Option<Option<ClientCertificates>> {
    let here = at.key("client_certificates");
    if ca.is_none() && wanted.is_some() {
        problems.add_hint(
            &here,
            "has no effect without `client_ca`",
            "name the roots that vouch for clients",
        );
        return None;
    }
    let required = match wanted {
        Some(word) => choice(&word, &here, &[("required", true), ("optional", false)], problems),
        None => Some(true),
    };
    let ca = optional(ca, |path| path.parse(&at.key("client_ca"), Kind::File, problems))?;
    let required = required?;
    Some(ca.map(|ca| ClientCertificates { ca, required }))
}

impl CertificateFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<CertificateFiles> {
        let certificate = required_path(
            self.certificate.as_ref(),
            &at.key("certificate"),
            Kind::File,
            "name the PEM file of the certificate chain",
            problems,
        );
        let private_key = required_path(
            self.private_key.as_ref(),
            &at.key("private_key"),
            Kind::File,
            "name the PEM file of the certificate's private key",
            problems,
        );
        Some(CertificateFiles {
            certificate: certificate?,
            private_key: private_key?,
        })
    }
}

/// `10.0.0.0/8`, or an address alone.
pub(super) fn cidr(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<Cidr> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        let hint = "write an address and a prefix length, such as `10.0.0.0/8`";
        problems.add_hint(at, format!("`{}` is not a network", brief(text)), hint);
        return None;
    };
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => Some(bits),
        Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => {
            digits.parse().ok().filter(|prefix| *prefix <= bits)
        }
        Some(_) => None,
    };
    let Some(prefix) = prefix else {
        problems.add(at, format!("the prefix length must be between 0 and {bits}"));
        return None;
    };
    let network = match address {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4) & mask32(prefix)).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) & mask128(prefix)).to_be_bytes()),
    };
    if network != address {
        problems.add_hint(
            at,
            format!("`{}` has bits outside its prefix", brief(text)),
            format!("write `{network}/{prefix}`"),
        );
        return None;
    }
    Some(Cidr { address, prefix })
}

fn mask32(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}
