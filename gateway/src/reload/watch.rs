//! Watching the files of a configuration.
//!
//! Directories are watched, never files: whoever replaces a file by renaming another over it, or by moving a symbolic
//! link as Kubernetes does, leaves the watched file behind. An event only says "look again": what was there before is
//! compared with what is there now, so that logs that are written into the same directory reload nothing. A change is
//! taken over when nothing has changed any more for [`QUIET`], so that half-written files are rarely read; those that
//! are do no harm, since a bad file changes nothing and its next write is an event again.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::{Reloader, Trigger};

/// Nothing has changed for so long: whoever was writing has finished.
const QUIET: Duration = Duration::from_millis(200);
/// Without events, e.g. on a file system over a network, files are looked at this often.
const LOOK: Duration = Duration::from_secs(10);
/// Files of one directory that are looked at.
const MAX_FILES: usize = 4096;
/// Symbolic links that are followed from a file.
const MAX_LINKS: usize = 16;

/// Reloads when a file changes, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the files of the configuration in use, and those of each one that follows it.
    ///
    /// # Errors
    /// When the system gives no thread. Where it gives no events, files are looked at every ten seconds.
    pub fn start(reloader: Arc<Reloader>) -> std::io::Result<Self> {
        // Events are not counted: one that waits says it all.
        let (wake, events) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let mut eyes = Eyes::new(wake.clone());
        let mut seen = eyes.look(&reloader.files().unwrap_or_default());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while wait(&events, LOOK) && !stopped.load(Ordering::Acquire) {
                let Some(files) = reloader.files() else { return };
                if fingerprint(&files) == seen {
                    continue;
                }
                settle(&events, &files, &stopped);
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // Taken before the files are read: what changes while they are read is seen next time.
                let before = fingerprint(&files);
                // What is wrong is in the log; the next change is the next attempt.
                let reloaded = reloader.reload(Trigger::Files).is_ok();
                seen = match reloader.files() {
                    Some(now) if reloaded && now != files => eyes.look(&now),
                    Some(_) => {
                        eyes.look(&files);
                        before
                    }
                    None => return,
                };
            }
        })?;
        Ok(Self {
            stop,
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Full: it wakes anyhow.
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch over the configuration panicked");
        }
    }
}

/// Whether there is still somebody to wait for.
fn wait(events: &Receiver<()>, within: Duration) -> bool {
    !matches!(events.recv_timeout(within), Err(RecvTimeoutError::Disconnected))
}

/// Waits until the files have stayed the same for [`QUIET`].
fn settle(events: &Receiver<()>, files: &[PathBuf], stopped: &AtomicBool) {
    let mut before = fingerprint(files);
    let mut since = Instant::now();
    while since.elapsed() < QUIET && !stopped.load(Ordering::Acquire) {
        if !wait(events, QUIET.saturating_sub(since.elapsed())) {
            return;
        }
        let now = fingerprint(files);
        if now != before {
            before = now;
            since = Instant::now();
        }
    }
}

/// What the system tells of directories.
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
}

impl Eyes {
    fn new(wake: SyncSender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change. An error may mean that events were lost: look.
            if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
                let _ = wake.try_send(());
            }
        });
        let watcher = watcher
            .map_err(|error| tracing::warn!(%error, "no events for changed files: they are looked at every 10 s"))
            .ok();
        Self {
            watcher,
            watched: HashSet::new(),
        }
    }

    /// Watches where these files are, and tells what is there.
    fn look(&mut self, files: &[PathBuf]) -> Fingerprint {
        let directories = directories_of(files);
        if let Some(watcher) = &mut self.watcher {
            for gone in self.watched.difference(&directories) {
                // It may have been removed, and the watch with it.
                watcher.unwatch(gone).ok();
            }
            for new in &directories {
                // Also what is watched already: a directory that was replaced has a new identity.
                match watcher.watch(new, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    Err(error) => tracing::warn!(directory = %new.display(), %error, "no events for changes there"),
                }
            }
            self.watched = directories;
        }
        fingerprint(files)
    }
}

/// The directories whose changes can change what these files hold: where each is, where each symbolic link on the way
/// to it is, and each directory that is named itself.
fn directories_of(files: &[PathBuf]) -> HashSet<PathBuf> {
    let mut directories = HashSet::new();
    for file in files {
        let mut path = file.clone();
        for _ in 0..MAX_LINKS {
            // The nearest that exists: what is missing may come.
            let parent = path
                .ancestors()
                .skip(1)
                .find(|parent| parent.is_dir() || parent.as_os_str().is_empty());
            let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
            directories.insert(parent.unwrap_or_else(|| Path::new(".")).to_owned());
            let link = path
                .ancestors()
                .find_map(|at| Some((at.to_owned(), fs::read_link(at).ok()?)));
            let Some((link, target)) = link else { break };
            if let Some(parent) = link.parent().filter(|parent| parent.is_dir()) {
                directories.insert(parent.to_owned());
            }
            let rest = path.strip_prefix(&link).unwrap_or_else(|_| Path::new("")).to_owned();
            let target = link.parent().unwrap_or_else(|| Path::new("")).join(target);
            path = if rest.as_os_str().is_empty() {
                target
            } else {
                target.join(rest)
            };
        }
        if file.is_dir() {
            directories.insert(file.clone());
        }
    }
    directories
}

/// What is there: paths with what tells one state of a file from another.
type Fingerprint = BTreeSet<(PathBuf, Option<State>)>;

/// Device, inode, size, and the times of the last change of content and of anything, in nanoseconds.
type State = (u64, u64, u64, i128, i128);

fn fingerprint(files: &[PathBuf]) -> Fingerprint {
    let mut seen = Fingerprint::new();
    for file in files {
        if file.is_dir() {
            let entries = fs::read_dir(file).into_iter().flatten().filter_map(Result::ok);
            for entry in entries.take(MAX_FILES) {
                if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                    seen.insert((entry.path(), state(&entry.path())));
                }
            }
        } else {
            seen.insert((file.clone(), state(file)));
        }
    }
    seen
}

fn state(path: &Path) -> Option<State> {
    let meta = fs::metadata(path).ok()?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Some((
        meta.dev(),
        meta.ino(),
        meta.len(),
        nanoseconds(meta.mtime(), meta.mtime_nsec()),
        nanoseconds(meta.ctime(), meta.ctime_nsec()),
    ))
}
