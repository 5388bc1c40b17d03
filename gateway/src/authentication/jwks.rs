//! Key sets that are fetched: kept fresh by one task each on the control runtime, and kept in use while that fails.
//!
//! - A set is fetched again every `refresh`, and sooner after a failure.
//! - A token whose key is unknown has the set fetched at once, at most every 30 seconds, however many such tokens come;
//!   all of them wait for that one fetch, and no longer than 3 seconds.
//! - While fetching fails the last good set stays, for `stale`; after that there are no keys, and tokens are refused as
//!   unverifiable.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use causeway_config::{Dns, HttpUrl};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tokio::sync::{Notify, watch};

use super::keys::{KeySet, KeysError};
use super::sha256;
use crate::fetch::{FetchError, Fetcher};
use crate::telemetry::metrics::{Counter, GatewayMetrics};

/// Between fetches that unknown keys ask for.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// How long a call waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest exchange with the issuer.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest key set in bytes.
pub const LARGEST: usize = 256 * 1024;
/// After the first failure; doubles up to the cool-down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What makes one fetched set another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub url: HttpUrl,
    /// The roots that vouch for that, as text.
    pub roots: Option<[u8; 32]>,
    /// How its name is resolved.
    pub dns: Dns,
    /// How often it is fetched.
    pub refresh: Duration,
    /// How long it may be used while that fails.
    pub stale: Duration,
}

/// The keys of one URL.
#[derive(Debug)]
pub struct Jwks {
    /// As configured.
    pub source: Source,
    current: ArcSwap<KeySet>,
    progress: Mutex<Progress>,
    wanted: Notify,
    /// Counts ended fetches.
    rounds: watch::Sender<u64>,
    good: Counter,
    bad: Counter,
}

#[derive(Debug, Default)]
struct Progress {
    /// When it was fetched last.
    fetched: Option<Instant>,
    /// When an unknown key had it fetched last.
    asked: Option<Instant>,
}

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("what it answers {0}")]
    Keys(#[from] KeysError),
}

impl Jwks {
    /// Begins to fetch a set. `before` is what an earlier configuration knew of the same URL.
    pub fn start(source: Source, fetcher: Arc<Fetcher>, before: Option<&Self>, metrics: &GatewayMetrics) -> Arc<Self> {
        let count = |result| metrics.jwks_fetches.with(&[&source.url.authority(), result]);
        let (good, bad) = (count("success"), count("failure"));
        let kept = before.filter(|before| before.source.roots == source.roots);
        let jwks = Arc::new(Self {
            current: ArcSwap::new(kept.map_or_else(KeySet::none, |before| before.current.load_full())),
            progress: Mutex::new(kept.map_or_else(Progress::default, |before| {
                let before = before.progress.lock().unwrap_or_else(PoisonError::into_inner);
                Progress {
                    fetched: before.fetched,
                    asked: before.asked,
                }
            })),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
            good,
            bad,
            source,
        });
        let handle = fetcher.handle.clone();
        handle.spawn(keep(Arc::downgrade(&jwks), fetcher));
        jwks
    }

    /// The keys in use; none before the first fetch, or after too long an outage.
    pub fn current(&self) -> Arc<KeySet> {
        self.current.load_full()
    }

    /// Waits for a fetch that may bring a key that is not in `before`; at once where that was asked for lately. Runs on
    /// any runtime with time.
    pub async fn renewed(&self, before: &KeySet) -> Arc<KeySet> {
        let mut rounds = self.rounds.subscribe();
        let current = self.current();
        if current.generation() != before.generation() {
            return current;
        }
        // Without any keys a fetch is under way or comes by itself.
        if current.is_empty() || self.may_ask(Instant::now()) {
            let _ended = tokio::time::timeout(PATIENCE, rounds.changed()).await;
        }
        self.current()
    }

    /// Whether the call should wait: a fetch that it may ask for, or one that another has just asked for.
    fn may_ask(&self, now: Instant) -> bool {
        let mut progress = self.lock();
        let since = progress.asked.map(|asked| now.saturating_duration_since(asked));
        if since.is_none_or(|since| since >= COOL_DOWN) {
            progress.asked = Some(now);
            drop(progress);
            self.wanted.notify_one();
            return true;
        }
        let ended = progress.fetched.is_some_and(|fetched| Some(fetched) >= progress.asked);
        !ended && since.is_some_and(|since| since < TIMEOUT)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what a fetch has brought.
    fn take(&self, fetched: Result<Bytes, RoundError>, now: Instant) -> Result<(), RoundError> {
        let taken = fetched.and_then(|text| self.replace(&text, now));
        match &taken {
            Ok(()) => self.good.inc(),
            Err(error) => {
                self.bad.inc();
                let why = sources(error);
                let progress = self.lock();
                let spent = |fetched: Instant| now.saturating_duration_since(fetched) > self.source.stale;
                let empty = self.current.load().is_empty();
                if !empty && progress.fetched.is_none_or(spent) {
                    self.current.store(KeySet::none());
                    tracing::error!(url = %shown(&self.source.url), %why, "the key set is too old to be used any longer");
                } else if !empty {
                    tracing::warn!(url = %shown(&self.source.url), %why, "the key set was not fetched: the last one is kept");
                } else {
                    tracing::warn!(url = %shown(&self.source.url), %why, "the key set was not fetched: there are no keys");
                }
            }
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        taken
    }

    fn replace(&self, text: &[u8], now: Instant) -> Result<(), RoundError> {
        // The same text is the same set: what was verified by it stays verified.
        if !self.current.load().is_of(&sha256(text)) {
            self.current.store(KeySet::of_jwks(text)?);
            tracing::info!(url = %shown(&self.source.url), "key set fetched");
        }
        self.lock().fetched = Some(now);
        Ok(())
    }
}

/// An error with its causes.
fn sources(error: &RoundError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A URL without its query, which may hold secrets.
fn shown(url: &HttpUrl) -> String {
    let scheme = if url.tls { "https" } else { "http" };
    let path = url.target.split('?').next().unwrap_or_default();
    format!("{scheme}://{}{path}", url.authority())
}

/// Fetches a set for as long as somebody uses it.
async fn keep(jwks: Weak<Jwks>, fetcher: Arc<Fetcher>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let fetched = fetch(&fetcher).await;
        let Some(jwks) = jwks.upgrade() else { return };
        let wait = match jwks.take(fetched, Instant::now()) {
            Ok(()) => {
                pause = FIRST_PAUSE;
                jwks.source.refresh
            }
            Err(_) => {
                let wait = pause;
                pause = (pause * 2).min(COOL_DOWN);
                wait
            }
        };
        let wait = wait.mul_f64(1.0 - rand::random::<f64>() * 0.1);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = jwks.wanted.notified() => {}
        }
    }
}

async fn fetch(fetcher: &Fetcher) -> Result<Bytes, RoundError> {
    let request = Request::get(&fetcher.url.target)
        .header(header::HOST, fetcher.url.authority())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("causeway/", env!("CARGO_PKG_VERSION")))
        .body(Full::default());
    // The configuration holds valid targets and hosts only.
    let request = request.unwrap_or_default();
    let answer = fetcher.ask_here(request).await?;
    if answer.status != StatusCode::OK {
        return Err(RoundError::Status(answer.status));
    }
    Ok(answer.body)
}
