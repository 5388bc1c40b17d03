//! A directory of trust: `<trust-domain>.pem`, `.jwks` or `.json`, and `<trust-domain>.crl` beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BundleError, MAX_BUNDLE, TrustBundle};
use crate::crl::{CrlError, Crls, MAX_CRL};
use crate::identity::{IdentityError, TrustDomain};

/// The most files looked at in one directory; two for each of a thousand trust domains.
const MAX_FILES: usize = 2048;

/// What is known of one trust domain: its anchors, and what its authorities have revoked.
#[derive(Clone, Debug)]
struct Domain {
    bundle: Arc<TrustBundle>,
    crls: Arc<Crls>,
}

/// The trust bundles of all known trust domains, each with its revocation lists. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustBundles(Arc<BTreeMap<TrustDomain, Domain>>);

/// One file that could not be used, by name.
#[derive(Debug)]
pub struct BundleProblem {
    /// The file.
    pub path: PathBuf,
    /// The trust domain that the file is for, where its name says one.
    pub trust_domain: Option<TrustDomain>,
    /// What is wrong with it.
    pub what: ProblemKind,
}

/// What is wrong with one file of a directory of trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Its content.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its content.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// A revocation list of a trust domain without bundle.
    #[error("there is no bundle of this trust domain beside it")]
    CrlWithoutBundle,
    /// A second bundle of one trust domain.
    #[error("there is a second bundle of this trust domain beside it")]
    Duplicate,
    /// Its name.
    #[error("the name is not `<trust-domain>.pem`, `.jwks`, `.json` or `.crl`")]
    Extension,
    /// Its name.
    #[error("the name is not that of a trust domain: {0}")]
    Name(#[from] IdentityError),
    /// It cannot be read.
    #[error("reading it: {0}")]
    Read(#[from] io::Error),
    /// There are too many files.
    #[error("more than {MAX_FILES} files")]
    TooMany,
}

impl fmt::Display for BundleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trust bundle `{}`: {}", self.path.display(), self.what)
    }
}

impl BundleProblem {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match &self.what {
            ProblemKind::Bundle(error) => error.hint(),
            ProblemKind::Crl(_) => "write it again at its site with `causeway pki revoke` and copy it",
            ProblemKind::CrlWithoutBundle => "import the bundle, or remove the revocation list",
            ProblemKind::Duplicate => "keep one of `.pem`, `.jwks` and `.json`",
            ProblemKind::Extension | ProblemKind::Name(_) => {
                "name it after its trust domain, such as azure.acme.example.pem"
            }
            ProblemKind::Read(_) => "check that it exists and that this user may read it",
            ProblemKind::TooMany => "a directory of trust holds nothing but bundles and revocation lists",
        }
    }
}

/// What a directory gave: everything that could be used, and what could not.
#[derive(Debug)]
pub struct Loaded {
    /// The trust domains without any problem.
    pub bundles: TrustBundles,
    /// One entry for each bad file. A trust domain with a bad file, be it only the revocation list, is not in
    /// `bundles`.
    pub problems: Vec<BundleProblem>,
}

impl Loaded {
    /// For a reload: where a file of a trust domain is bad, what was known of that domain before stays in force.
    ///
    /// A file that is gone takes its trust domain with it; a directory that cannot be read changes nothing.
    pub fn or_last_good(self, before: &TrustBundles) -> TrustBundles {
        let unreadable = self
            .problems
            .iter()
            .any(|p| p.trust_domain.is_none() && p.path.is_dir())
            || (self.bundles.0.is_empty() && self.problems.iter().any(|p| !p.path.exists()));
        if unreadable {
            return before.clone();
        }
        let mut bundles = self.bundles;
        let known = Arc::make_mut(&mut bundles.0);
        for domain in self.problems.iter().filter_map(|p| p.trust_domain.as_ref()) {
            if let Some(last) = before.0.get(domain) {
                known.entry(domain.clone()).or_insert_with(|| last.clone());
            }
        }
        bundles
    }
}

impl TrustBundles {
    /// Reads a directory. Hidden files are passed over, so that mounted secrets of Kubernetes work.
    pub fn load(directory: &Path) -> Loaded {
        let mut loading = Loading::default();
        match files_of(directory) {
            Ok(paths) if paths.len() > MAX_FILES => loading.problem(directory, None, ProblemKind::TooMany),
            Ok(paths) => paths.iter().for_each(|path| loading.file(path)),
            Err(error) => loading.problem(directory, None, error.into()),
        }
        loading.finish()
    }

    /// Adds a bundle, or replaces the one of the same trust domain. Its revocation lists stay.
    pub fn insert(&mut self, bundle: TrustBundle) {
        let crls = self
            .0
            .get(bundle.trust_domain())
            .map(|d| Arc::clone(&d.crls))
            .unwrap_or_default();
        Arc::make_mut(&mut self.0).insert(
            bundle.trust_domain().clone(),
            Domain {
                bundle: Arc::new(bundle),
                crls,
            },
        );
    }

    /// Sets the revocation lists of a trust domain that has a bundle; otherwise nothing changes.
    pub fn set_crls(&mut self, trust_domain: &TrustDomain, crls: Crls) {
        if let Some(domain) = Arc::make_mut(&mut self.0).get_mut(trust_domain) {
            domain.crls = Arc::new(crls);
        }
    }

    /// The bundle of a trust domain.
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        self.0.get(trust_domain).map(|domain| &*domain.bundle)
    }

    /// The revocation lists of a trust domain; none is the same as an empty one.
    pub fn crls(&self, trust_domain: &TrustDomain) -> Option<&Crls> {
        self.0.get(trust_domain).map(|domain| &*domain.crls)
    }

    /// All bundles, by trust domain.
    pub fn iter(&self) -> impl Iterator<Item = &TrustBundle> {
        self.0.values().map(|domain| &*domain.bundle)
    }
}

impl FromIterator<TrustBundle> for TrustBundles {
    fn from_iter<I: IntoIterator<Item = TrustBundle>>(bundles: I) -> Self {
        let mut all = Self::default();
        bundles.into_iter().for_each(|bundle| all.insert(bundle));
        all
    }
}

/// The visible entries of a directory that are not directories, sorted, so that reports do not depend on the disk.
fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)?.take(2 * MAX_FILES) {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[derive(Default)]
struct Loading {
    bundles: BTreeMap<TrustDomain, TrustBundle>,
    crls: BTreeMap<TrustDomain, (PathBuf, Crls)>,
    problems: Vec<BundleProblem>,
}

impl Loading {
    fn problem(&mut self, path: &Path, trust_domain: Option<TrustDomain>, what: ProblemKind) {
        self.problems.push(BundleProblem {
            path: path.into(),
            trust_domain,
            what,
        });
    }

    fn file(&mut self, path: &Path) {
        let stem = path.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
        let extension = path.extension().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !matches!(&*extension, "pem" | "jwks" | "json" | "crl") {
            return self.problem(path, None, ProblemKind::Extension);
        }
        let domain = match TrustDomain::parse(&stem) {
            Ok(domain) => domain,
            Err(error) => return self.problem(path, None, error.into()),
        };
        if let Err(what) = self.content(path, &extension, &domain) {
            self.problem(path, Some(domain), what);
        }
    }

    fn content(&mut self, path: &Path, extension: &str, domain: &TrustDomain) -> Result<(), ProblemKind> {
        if extension == "crl" {
            let crls = Crls::parse(&read_at_most(path, MAX_CRL)?)?;
            self.crls.insert(domain.clone(), (path.into(), crls));
            return Ok(());
        }
        let file = read_at_most(path, MAX_BUNDLE)?;
        let bundle = match extension {
            "pem" => TrustBundle::from_pem(domain.clone(), &file)?,
            _ => TrustBundle::from_jwks(domain.clone(), &file)?,
        };
        match self.bundles.insert(domain.clone(), bundle) {
            Some(_) => Err(ProblemKind::Duplicate),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Loaded {
        for (domain, (path, _)) in &self.crls {
            let bad = self.problems.iter().any(|p| p.trust_domain.as_ref() == Some(domain));
            if !bad && !self.bundles.contains_key(domain) {
                let (path, trust_domain) = (path.clone(), Some(domain.clone()));
                self.problems.push(BundleProblem {
                    path,
                    trust_domain,
                    what: ProblemKind::CrlWithoutBundle,
                });
            }
        }
        let mut bundles = BTreeMap::new();
        for (domain, bundle) in self.bundles {
            // A revocation list that cannot be read could revoke anything: its trust domain is out until it can.
            if self.problems.iter().any(|p| p.trust_domain.as_ref() == Some(&domain)) {
                continue;
            }
            let crls = self.crls.remove(&domain).map(|(_, crls)| crls).unwrap_or_default();
            bundles.insert(
                domain,
                Domain {
                    bundle: Arc::new(bundle),
                    crls: Arc::new(crls),
                },
            );
        }
        Loaded {
            bundles: TrustBundles(Arc::new(bundles)),
            problems: self.problems,
        }
    }
}

/// Reads a file, and one byte more than allowed of one that is too long: the parser then says so.
fn read_at_most(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
