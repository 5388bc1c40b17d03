//! Quotas on disk: `quotas` in `state_dir`, a list of counters to which changes are appended.
//!
//! ```text
//! causeway quotas 1 5f0c..secret of 32 digits
//! 0a1b..key of 32 digits 1764547200 17
//! ```
//!
//! A line says the end of the period in Unix time and what was spent; of several lines of a key the last counts. A line that
//! is not whole, which a crash can leave at the end, is left out. The list is written anew, beside it and then renamed,
//! when it is much longer than what it says. One gateway at a time has the directory.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use causeway_config::Config;
use tokio::time::MissedTickBehavior;

use super::quotas::{Entry, KEYS, Quotas};
use crate::telemetry::metrics::Counter;

/// Between writing changes down: what a crash loses is less than twice this.
pub const EVERY: Duration = Duration::from_millis(500);

/// Lines that are never worth writing anew.
const FEW: usize = 10_000;

/// A line has at most 32 + 20 + 20 digits and three more; a file of the largest size was not written by us.
const LARGEST: u64 = 80 * (4 * KEYS as u64 + FEW as u64);

const HEAD: &str = "causeway quotas 1 ";

/// Why what was written down cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or a file in it.
    #[error("state_dir `{path}`: {source}")]
    Io {
        /// The directory or file.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another gateway has it.
    #[error("state_dir `{0}` is in use by another gateway: give each its own")]
    InUse(String),
    /// The file is not ours, or damaged at its beginning.
    #[error("`{0}` does not hold quotas: move it away to begin anew")]
    Foreign(String),
}

/// The directory, as long as this gateway has it.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
    quotas: Arc<Quotas>,
    /// None after a failure: then the list is written anew.
    list: Option<File>,
    lines: usize,
}

impl Store {
    /// Takes the directory and reads what is in it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| StoreError::Io { path, source }
        };
        let lock = folder.join("lock");
        let locked = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&lock)
            .map_err(failed(&lock))?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(folder.display().to_string())),
            Err(TryLockError::Error(source)) => return Err(failed(&lock)(source)),
        }
        let file = folder.join("quotas");
        let quotas = match File::open(&file) {
            Ok(open) => {
                let mut text = Vec::new();
                open.take(LARGEST).read_to_end(&mut text).map_err(failed(&file))?;
                parse(&text, now()).ok_or_else(|| StoreError::Foreign(file.display().to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Quotas::default(),
            Err(error) => return Err(failed(&file)(error)),
        };
        let mut store = Self {
            folder: folder.to_owned(),
            _lock: locked,
            quotas: Arc::new(quotas),
            list: None,
            lines: 0,
        };
        store.write_anew().map_err(failed(&file))?;
        Ok(store)
    }

    /// The counters that are written down here.
    pub fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// Writes down what has changed. Blocks until the disk has it.
    ///
    /// # Errors
    /// What the system says. Nothing is lost as long as the gateway runs: the next time everything is written.
    pub fn save(&mut self) -> io::Result<()> {
        let most = (3 * self.quotas.len()).max(FEW);
        let Some(list) = self.list.as_mut().filter(|_| self.lines < most) else {
            return self.write_anew();
        };
        let changes = self.quotas.changes();
        if changes.is_empty() {
            return Ok(());
        }
        self.lines += changes.len();
        let saved = list
            .write_all(lines(&changes).as_bytes())
            .and_then(|()| list.sync_data());
        if saved.is_err() {
            self.list = None;
        }
        saved
    }

    fn write_anew(&mut self) -> io::Result<()> {
        self.list = None;
        let (new, file) = (self.folder.join("quotas.new"), self.folder.join("quotas"));
        // Taken before it is written: what changes meanwhile is appended later.
        let entries = self.quotas.all(now());
        let text = format!("{HEAD}{:032x}\n{}", self.quotas.secret(), lines(&entries));
        let mut list = File::create(&new)?;
        list.write_all(text.as_bytes())?;
        list.sync_all()?;
        fs::rename(&new, &file)?;
        File::open(&self.folder)?.sync_all()?;
        self.list = Some(list);
        self.lines = entries.len();
        Ok(())
    }
}

/// Writes changes down until the gateway is gone.
pub async fn keep(store: Weak<Mutex<Store>>, failures: Counter) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(store) = store.upgrade() else { return };
        let failures = failures.clone();
        // A slow disk holds up neither calls nor the control runtime.
        if tokio::task::spawn_blocking(move || save(&store, &failures))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Writes down what has changed, and says where that fails.
pub fn save(store: &Mutex<Store>, failures: &Counter) {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = store.save() {
        failures.inc();
        tracing::error!(%error, folder = %store.folder.display(), "quotas could not be written down; trying again");
    }
}

/// What an operator should know of a configuration that keeps nothing.
pub fn warning(config: &Config) -> Option<&'static str> {
    let counts = config.routes.iter().any(|route| !route.policies.quota.is_empty());
    (counts && config.state_dir.is_none())
        .then_some("quotas are kept in memory only and begin anew with every start: set `state_dir`")
}

/// Seconds of Unix time.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn lines(entries: &[Entry]) -> String {
    let mut text = String::with_capacity(entries.len() * 64);
    for Entry { key, ends, spent } in entries {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key:032x} {ends} {spent}");
    }
    text
}

/// What a file says; none where it does not begin like one of ours.
fn parse(text: &[u8], now: u64) -> Option<Quotas> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let head = std::str::from_utf8(lines.next()?).ok()?;
    let quotas = Quotas::new(hex(head.strip_prefix(HEAD)?.strip_suffix('\n')?)?, KEYS);
    let mut broken = 0;
    let entries = lines.filter_map(|line| {
        let entry = entry(line);
        broken += usize::from(entry.is_none());
        entry.filter(|entry| entry.ends > now)
    });
    quotas.restore(entries);
    if broken > 0 {
        tracing::warn!(broken, "lines of the quotas were not whole, and are left out");
    }
    Some(quotas)
}

fn entry(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut parts = line.split(' ');
    let entry = Entry {
        key: hex(parts.next()?)?,
        ends: number(parts.next()?)?,
        spent: number(parts.next()?)?,
    };
    parts.next().is_none().then_some(entry)
}

fn hex(digits: &str) -> Option<u128> {
    let good = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| u128::from_str_radix(digits, 16).ok())?
}

fn number(digits: &str) -> Option<u64> {
    let good = digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests;
