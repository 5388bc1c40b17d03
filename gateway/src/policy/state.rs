//! What policies keep over reloads: counters, caches, fetched keys. Found again by name, never part of a snapshot.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;

use crate::authentication::introspection::Introspector;
use crate::authentication::issuer::Issuer;
use crate::authentication::jwks::Jwks;
use crate::authentication::keys::KeySet;
use crate::cache;
use crate::limits::Counters;
use crate::limits::holds::Holds;
use crate::limits::quotas::Quotas;
use crate::limits::shared::Shared;
use crate::limits::store::{Store, StoreError};
use crate::mirror::report::Reports;

/// What policies keep.
#[derive(Debug)]
pub struct State {
    /// The control runtime, for what has to ask somebody.
    pub handle: Handle,
    /// Replies that routes keep.
    pub cache: Arc<cache::Store>,
    /// What came of mirrored calls.
    pub mirrors: Arc<Reports>,
    /// What was spent of rate limits.
    pub counters: Arc<Counters>,
    /// Open calls that are counted.
    pub holds: Arc<Holds>,
    /// What was spent of quotas.
    pub quotas: Arc<Quotas>,
    /// Where that is written down, if anywhere.
    pub store: Option<Arc<Mutex<Store>>>,
    /// Counters that the gateways of the site share.
    pub shared: Registry<Shared>,
    /// Fetched key sets.
    pub jwks: Registry<Jwks>,
    /// Key sets of files and of the configuration.
    pub key_sets: Registry<KeySet>,
    /// Who is asked about tokens, with the answers.
    pub introspectors: Registry<Introspector>,
    /// Issuers of tokens, with the verdicts on their tokens.
    pub issuers: Registry<Issuer>,
}

impl State {
    /// Nothing kept yet.
    pub fn new(handle: Handle) -> Self {
        Self {
            handle,
            cache: Arc::default(),
            mirrors: Arc::default(),
            counters: Arc::default(),
            holds: Arc::default(),
            quotas: Arc::default(),
            store: None,
            shared: Registry::default(),
            jwks: Registry::default(),
            key_sets: Registry::default(),
            introspectors: Registry::default(),
            issuers: Registry::default(),
        }
    }

    /// What was kept in this directory, if there is one; else from nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(folder: Option<&Path>, handle: Handle) -> Result<Self, StoreError> {
        let Some(folder) = folder else {
            return Ok(Self::new(handle));
        };
        let store = Store::open(folder)?;
        Ok(Self {
            quotas: Arc::clone(store.quotas()),
            store: Some(Arc::new(Mutex::new(store))),
            ..Self::new(handle)
        })
    }
}

/// Things that are found again by what they are made from. Held weakly: they live as long as some snapshot uses them.
#[derive(Debug)]
pub struct Registry<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Registry<T> {
    /// The one that fits and is in use.
    pub fn find(&self, fits: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).find(|one| fits(one))
    }

    /// Adds one. Those that nobody uses any more are forgotten.
    pub fn add(&self, one: &Arc<T>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| one.strong_count() > 0);
        known.push(Arc::downgrade(one));
    }
}
