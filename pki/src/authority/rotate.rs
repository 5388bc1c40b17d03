//! Rotation of the root, in three steps that each leave everybody connected.
//!
//! 1. *prepare*: a new generation exists; the bundle has both roots; certificates still come from the old one.
//! 2. *activate*: once all peers have the new bundle, certificates come from the new generation.
//! 3. *finish*: once no certificate of the old generation is valid any more, its root leaves the bundle.

use std::fs;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;

use super::{ACTIVE, Authority, AuthorityError, ISSUED, make_generation};
use crate::bundle::TrustBundle;
use crate::certificate;
use crate::store::{self, Secrecy, StoreError};

/// How far a rotation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// No rotation is under way.
    Idle,
    /// The new root is there and nothing was signed under it.
    Prepared,
    /// The new generation signs; the old root is still trusted.
    Activated,
}

/// One generation as a rotation sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GenerationStatus {
    /// Its number.
    pub number: u32,
    /// Whether it is the one that signs.
    pub active: bool,
    /// When its issuing authority ends.
    pub issuing_ends: OffsetDateTime,
    /// How many certificates under it are valid and not revoked.
    pub live: usize,
    /// When the last of them ends.
    pub last_ends: Option<OffsetDateTime>,
}

/// How a rotation stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RotationStatus {
    /// How far it is.
    pub stage: Stage,
    /// Its generations.
    pub generations: Vec<GenerationStatus>,
}

/// Whether the last step waits for certificates under the old root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finish {
    /// Refuse while one is valid.
    WhenUnused,
    /// Cut off whoever still has one.
    CutOffOldCertificates,
}

impl Authority {
    /// How a rotation stands.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn rotation(&self, now: OffsetDateTime) -> Result<RotationStatus, AuthorityError> {
        let revoked = self.revoked()?;
        let mut leaves = Vec::new();
        let issued = self.directory.join(ISSUED);
        for entry in fs::read_dir(&issued).map_err(StoreError::io("reading", &issued))? {
            let path = entry.map_err(StoreError::io("reading", &issued))?.path();
            if path.extension().is_some_and(|extension| extension == "crt") {
                leaves.push((path.clone(), store::read(&path)?));
            }
        }
        let mut generations = Vec::new();
        for generation in &self.generations {
            let issuing = certificate::parse(&generation.issuing).map_err(|e| AuthorityError::Directory {
                path: generation.directory.clone(),
                why: e.to_string(),
            })?;
            let mut ends = Vec::new();
            for (path, leaf) in &leaves {
                let damaged = |why: String| AuthorityError::Directory {
                    path: path.clone(),
                    why,
                };
                let der = CertificateDer::from_pem_slice(leaf).map_err(|error| damaged(error.to_string()))?;
                let parsed = certificate::parse(&der).map_err(|error| damaged(error.to_string()))?;
                let end = parsed.validity().not_after.to_datetime();
                let ours = parsed.issuer().as_raw() == issuing.subject().as_raw();
                if ours && end > now && !revoked.contains(&certificate::serial(&parsed)) {
                    ends.push(end);
                }
            }
            generations.push(GenerationStatus {
                number: generation.number,
                active: generation.number == self.active,
                issuing_ends: generation.issuing_ends,
                live: ends.len(),
                last_ends: ends.into_iter().max(),
            });
        }
        let newer = generations.iter().any(|generation| generation.number > self.active);
        let stage = match generations.len() {
            1 => Stage::Idle,
            _ if newer => Stage::Prepared,
            _ => Stage::Activated,
        };
        Ok(RotationStatus { stage, generations })
    }

    /// Step 1: makes the new generation. From now on [`bundle`](Self::bundle) has both roots.
    ///
    /// # Errors
    /// When a rotation is under way already.
    pub fn prepare_rotation(self, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        if self.rotation(now)?.stage != Stage::Idle {
            return Err(AuthorityError::Rotation {
                why: "a rotation is under way already".into(),
                hint: "see `causeway pki rotate status`",
            });
        }
        make_generation(&self.directory, self.active + 1, &self.trust_domain, now)?;
        Self::open(&self.directory)
    }

    /// Step 2: signs under the new generation. `peers` are the bundles of this trust domain as each peer has it, with
    /// a name for messages.
    ///
    /// # Errors
    /// When nothing is prepared, or a peer does not have the new root: it would refuse every new certificate.
    pub fn activate_rotation(
        self,
        peers: &[(String, TrustBundle)],
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let next = match self
            .generations
            .iter()
            .find(|generation| generation.number > self.active)
        {
            Some(next) if self.rotation(now)?.stage == Stage::Prepared => next,
            _ => {
                return Err(AuthorityError::Rotation {
                    why: "no rotation is prepared".into(),
                    hint: "start with `causeway pki rotate prepare`",
                });
            }
        };
        let lacking = |bundle: &TrustBundle| !bundle.anchors().iter().any(|a| *a.certificate() == next.root);
        let behind: Vec<_> = peers
            .iter()
            .filter(|(_, bundle)| lacking(bundle))
            .map(|(name, _)| name.as_str())
            .collect();
        if !behind.is_empty() {
            return Err(AuthorityError::Rotation {
                why: format!("these peers do not trust the new root yet: {}", behind.join(", ")),
                hint: "import the bundle of `causeway pki bundle export` there, then try again",
            });
        }
        let active = format!("{}\n", next.number);
        store::replace(&self.directory.join(ACTIVE), active.as_bytes(), Secrecy::Public)?;
        Self::open(&self.directory)
    }

    /// Step 3: retires the old generation. Its root leaves the bundle; its files stay as `retired-N`.
    ///
    /// # Errors
    /// When the new generation is not active, or certificates under the old one are still valid.
    pub fn finish_rotation(self, finish: Finish, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let status = self.rotation(now)?;
        if status.stage != Stage::Activated {
            return Err(AuthorityError::Rotation {
                why: "there is no old generation to retire".into(),
                hint: "see `causeway pki rotate status`",
            });
        }
        let old: Vec<_> = status
            .generations
            .iter()
            .filter(|generation| !generation.active)
            .collect();
        let last = old.iter().filter_map(|generation| generation.last_ends).max();
        if let (Some(last), Finish::WhenUnused) = (last, finish) {
            let live: usize = old.iter().map(|generation| generation.live).sum();
            let until = certificate::instant(last);
            return Err(AuthorityError::Rotation {
                why: format!("certificates under the old root that are still valid: {live}, the last until {until}"),
                hint: "renew them with `causeway pki renew` and revoke the old ones, or wait",
            });
        }
        for generation in self
            .generations
            .iter()
            .filter(|generation| generation.number != self.active)
        {
            let retired = self.directory.join(format!("retired-{}", generation.number));
            store::check_free(&retired)?;
            fs::rename(&generation.directory, &retired).map_err(StoreError::io("writing", &retired))?;
        }
        store::sync_directory(&self.directory.join(ACTIVE));
        Self::open(&self.directory)
    }
}
