//! `bootstrap`: authorities, certificates and bundles for several sites at once.
//!
//! ```text
//! OUT/aws/gateway.crt, gateway.key     what the gateway of aws presents
//! OUT/aws/bundles/<trust-domain>.pem   whom it trusts: every site of the call
//! OUT/aws/ca/                          the authority of aws; not for the gateway
//! ```

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use time::{Duration, OffsetDateTime};

use super::certificates::write_pair;
use super::{LifetimeArgs, PkiError, SiteArg};
use crate::authority::Authority;
use crate::identity::{Identity, TrustDomain};
use crate::issue::Leaf;
use crate::store::{self, Secrecy};

#[derive(Args, Debug)]
pub struct Bootstrap {
    /// A site and its trust domain; given once for each site.
    #[arg(long = "site", value_name = "SITE=DOMAIN", required = true)]
    sites: Vec<SiteArg>,
    /// Directory to make one directory for each site in.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the gateway of each site; may be given again.
    #[arg(long = "gateway", value_name = "NAME", default_value = "gw-1")]
    gateways: Vec<String>,
    #[command(flatten)]
    lifetime: LifetimeArgs,
}

impl Bootstrap {
    pub(super) fn run(self, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), PkiError> {
        let sites: Vec<_> = self
            .sites
            .into_iter()
            .map(|site| (site.site, site.trust_domain))
            .collect();
        bootstrap(&sites, &self.gateways, self.lifetime.lifetime(), &self.out, now)?;
        for (site, domain) in &sites {
            writeln!(out, "{site} ({domain}) in {}", self.out.join(site).display())?;
        }
        writeln!(
            out,
            "give each gateway gateway.crt, gateway.key and bundles/ of its site; keep ca/ elsewhere"
        )?;
        Ok(())
    }
}

/// Prepares sites that all trust each other, in one new directory each.
///
/// With one gateway a site has `gateway.crt` and `gateway.key`; with more, each has them in a directory of its name.
///
/// # Errors
/// When a directory is there already, two sites share a name or a trust domain, or a name makes no sense; all of that
/// before anything is written.
pub fn bootstrap(
    sites: &[(String, TrustDomain)],
    gateways: &[String],
    lifetime: Duration,
    out: &Path,
    now: OffsetDateTime,
) -> Result<(), PkiError> {
    let mut names = BTreeSet::new();
    let mut domains = BTreeSet::new();
    for (site, domain) in sites {
        if !names.insert(site) || !domains.insert(domain) {
            let what = format!("site {site} or trust domain {domain} is given twice");
            return Err(PkiError::Input {
                what,
                hint: "each site has a name and a trust domain of its own",
            });
        }
        for gateway in gateways {
            Identity::gateway_of(domain, site, gateway)?;
        }
        store::check_free(&out.join(site))?;
    }
    let mut bundles = Vec::new();
    for (site, domain) in sites {
        let place = out.join(site);
        let authority = Authority::create(&place.join("ca"), domain, now)?;
        for gateway in gateways {
            let place = if gateways.len() == 1 {
                place.clone()
            } else {
                place.join(gateway)
            };
            store::make_directory(&place)?;
            let identity = Identity::gateway_of(domain, site, gateway)?;
            let pair = authority.issue(
                &Leaf {
                    identity,
                    dns_names: Vec::new(),
                    lifetime,
                },
                now,
            )?;
            write_pair(&pair, &place.join("gateway.crt"), &place.join("gateway.key"))?;
        }
        bundles.push(authority.bundle()?);
    }
    for (site, _) in sites {
        let place = out.join(site).join("bundles");
        store::make_directory(&place)?;
        for bundle in &bundles {
            let path = place.join(format!("{}.pem", bundle.trust_domain()));
            store::create(&path, bundle.to_pem().as_bytes(), Secrecy::Public)?;
        }
    }
    Ok(())
}
