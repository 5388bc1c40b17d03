//! Who we are and whom we trust, read from files.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use causeway_config::Config;
use causeway_pki::bundle::TrustBundles;
use causeway_pki::credentials::Credentials;
use causeway_pki::crl::Crls;
use causeway_pki::tls::{TunnelTls, provider};
use causeway_pki::verify::Trust;
use causeway_pki::{TrustDomain, certificate};
use rustls_pki_types::UnixTime;

use crate::telemetry::metrics::GatewayMetrics;

/// The largest file of revocation lists, in bytes.
const MAX_CRL: u64 = 4 << 20;
/// The most files of revocation lists.
const MAX_CRL_FILES: usize = 1024;

/// Why there is no identity, or no trust.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct IdentityError {
    /// What was read.
    what: &'static str,
    /// What is wrong with it, and how to mend it.
    why: String,
}

/// What handshakes are decided with.
#[derive(Debug)]
pub struct Material {
    /// Whom we let in.
    pub trust: Trust,
    /// What we present.
    pub credentials: Credentials,
}

/// Reads credentials and trust; none without `[identity]`.
///
/// With `before` this is a reload: where a file of another trust domain is bad, what was known of that domain stays in
/// force, so that one broken file holds up no revocation of another domain.
///
/// # Errors
/// All that is wrong, not only the first.
pub fn load(config: &Config, before: Option<&Trust>) -> Result<Option<Material>, Vec<IdentityError>> {
    let Some(files) = &config.identity else {
        return Ok(None);
    };
    let mut problems = Vec::new();
    let credentials = credentials(config, &files.certificate, &files.private_key)
        .map_err(|error| problems.push(error))
        .ok();
    let loaded = TrustBundles::load(&files.trust_bundles);
    for problem in &loaded.problems {
        let why = format!("{problem} (hint: {})", problem.hint());
        match before {
            None => problems.push(IdentityError {
                what: "trust bundles",
                why,
            }),
            Some(_) => {
                tracing::error!(problem = %why, "trust of this domain was not reloaded: the last good one stays")
            }
        }
    }
    let mut bundles = match before {
        None => loaded.bundles,
        Some(before) => loaded.or_last_good(before.bundles()),
    };
    if let Some(path) = &files.revocations {
        for (domain, crls) in revocations(path, &mut problems) {
            bundles.set_crls(&domain, crls);
        }
    }
    let sites = config
        .peers
        .iter()
        .map(|peer| (peer.site.to_string(), peer.trust_domain.clone()));
    let trust = Trust::of_sites(bundles, sites);
    let Some(credentials) = credentials else {
        return Err(problems);
    };
    if let Some(end) = ended(&credentials) {
        tracing::error!(%end, "our certificate has ended: peers refuse us; renew it");
    }
    if let Err(error) = credentials.check(&trust, UnixTime::now()) {
        tracing::warn!(%error, "peers that trust what we trust would refuse our certificate");
    }
    if problems.is_empty() {
        Ok(Some(Material { trust, credentials }))
    } else {
        Err(problems)
    }
}

/// The TLS of tunnels with these.
pub fn tls(material: Material, metrics: &GatewayMetrics) -> TunnelTls {
    let refused = metrics.peer_refused.clone();
    let Material { trust, credentials } = material;
    TunnelTls::new(provider(), trust, credentials)
        .on_refusal(Arc::new(move |error| {
            refused.with(&[error.reason()]).inc();
            tracing::warn!(reason = error.reason(), %error, "peer refused");
        }))
        .on_skew(Arc::new(|verified| {
            let skew = verified.skew.map(|skew| skew.to_string());
            tracing::warn!(peer = %verified.identity, ?skew, "peer let in within the leeway for clocks");
        }))
}

/// Trust that lets nobody in.
pub fn nobody() -> Trust {
    Trust::of_sites(TrustBundles::default(), [])
}

fn ended(credentials: &Credentials) -> Option<String> {
    let end = credentials.not_after();
    (certificate::unix_time(end) < UnixTime::now()).then(|| certificate::instant(end))
}

fn credentials(config: &Config, certificate: &Path, key: &Path) -> Result<Credentials, IdentityError> {
    let failed = |why: String| IdentityError { what: "identity", why };
    let credentials = Credentials::load(certificate, key, &provider())
        .map_err(|error| failed(format!("{error} (hint: {})", error.hint())))?;
    let identity = credentials.identity();
    let site = &config.site;
    if identity.trust_domain() != &site.trust_domain || identity.site() != Some(&*site.name) {
        let ours = format!("spiffe://{}/site/{}/gateway/..", site.trust_domain, site.name);
        return Err(failed(format!(
            "certificate `{}` is for `{identity}`, and this gateway is `{ours}`: peers would refuse it (hint: `[site]` \
             and the certificate have to name the same site and trust domain)",
            certificate.display()
        )));
    }
    Ok(credentials)
}

/// The revocation lists of a file, or of a directory: `<trust-domain>.crl` or `.pem`.
fn revocations(path: &Path, problems: &mut Vec<IdentityError>) -> Vec<(TrustDomain, Crls)> {
    let mut failed = |path: &Path, why: &dyn std::fmt::Display| {
        problems.push(IdentityError {
            what: "revocations",
            why: format!("`{}`: {why}", path.display()),
        });
    };
    let files = if path.is_dir() {
        match std::fs::read_dir(path) {
            Ok(entries) => {
                let mut files: Vec<_> = entries
                    .filter_map(Result::ok)
                    .map(|entry| entry.path())
                    // `..data` and the like, of mounted volumes.
                    .filter(|path| !is_hidden(path) && !path.is_dir())
                    .take(MAX_CRL_FILES)
                    .collect();
                files.sort();
                files
            }
            Err(error) => {
                failed(path, &error);
                return Vec::new();
            }
        }
    } else {
        vec![path.to_owned()]
    };
    let mut all = Vec::new();
    for file in files {
        let domain = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let Ok(domain) = TrustDomain::parse(domain) else {
            failed(&file, &"the name is not `<trust-domain>.crl`");
            continue;
        };
        match read(&file).and_then(|bytes| Crls::parse(&bytes).map_err(std::io::Error::other)) {
            Ok(crls) => all.push((domain, crls)),
            Err(error) => failed(&file, &error),
        }
    }
    all
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_CRL + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CRL {
        return Err(std::io::Error::other("larger than any list of revocations should be"));
    }
    Ok(bytes)
}
