//! Lines on their way to a file or a stream that may be slow, full or gone.
//!
//! A thread of its own does the writing. The queue before it is bounded by bytes; what does not fit, and what could not
//! be written, is counted and gone. Nobody who logs ever waits for a disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Counter;

#[cfg(test)]
mod tests;

/// Bytes that may wait; more are dropped.
const WAITING: usize = 4 << 20;
/// How long a stream that takes nothing right now is tried again before lines are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Appended to; opened again on [`Lines::reopen`].
    File(PathBuf),
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// The queue, and the thread behind it. Cloning gives the same queue; the thread ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The writer waits for work here.
    work: Condvar,
    /// Whoever flushes waits for the writer here.
    idle: Condvar,
    dropped: Dropped,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Vec<u8>>,
    bytes: usize,
    busy: bool,
    closed: bool,
    reopen: bool,
}

#[derive(Debug, Default)]
struct Dropped {
    counter: OnceLock<Counter>,
    /// Before there is a counter.
    early: AtomicU64,
}

/// Whether the writer tells of its own trouble in the log: not where it writes the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complain {
    /// A warning when writing begins to fail, and a line when it works again.
    InLog,
    /// Only count.
    Never,
}

impl Lines {
    /// Opens `output` and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened or no thread can be started. A full disk is no error here.
    pub fn start(output: Output, complain: Complain) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            dropped: Dropped::default(),
        });
        let writer = Writer {
            target: Target::open(&output)?,
            output,
            shared: Arc::clone(&shared),
            complain,
            failing: false,
            torn: false,
        };
        std::thread::Builder::new()
            .name("causeway-lines".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Counts dropped lines here from now on, and those dropped before.
    pub fn count_in(&self, counter: Counter) {
        let dropped = &self.0.0.dropped;
        counter.add(dropped.early.swap(0, Ordering::Relaxed));
        let _ = dropped.counter.set(counter);
    }

    /// Queues whole lines, each with its line feed. Never waits for the output.
    pub fn push(&self, lines: Vec<u8>) {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if state.bytes + lines.len() > WAITING {
            drop(state);
            shared.dropped.add(count(&lines));
            return;
        }
        state.bytes += lines.len();
        state.batches.push_back(lines);
        drop(state);
        shared.work.notify_one();
    }

    /// Opens the file again by its name before anything else is written: after it was rotated away.
    pub fn reopen(&self) {
        self.0.0.lock().reopen = true;
        self.0.0.work.notify_one();
    }

    /// Waits until everything queued so far is written or dropped, at most `within`. False when that was too short.
    pub fn flush(&self, within: Duration) -> bool {
        let shared = &self.0.0;
        let deadline = Instant::now() + within;
        let mut state = shared.lock();
        while state.busy || state.reopen || !state.batches.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let (next, _) = shared
                .idle
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
        true
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dropped {
    fn add(&self, lines: u64) {
        match self.counter.get() {
            Some(counter) => counter.add(lines),
            None => {
                self.early.fetch_add(lines, Ordering::Relaxed);
            }
        }
    }
}

struct Writer {
    output: Output,
    target: Target,
    shared: Arc<Shared>,
    complain: Complain,
    failing: bool,
    /// The last line was cut off by an error: the next one begins with a line feed.
    torn: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut state = self.shared.lock();
            state.busy = false;
            if state.batches.is_empty() && !state.reopen {
                self.shared.idle.notify_all();
            }
            while state.batches.is_empty() && !state.reopen && !state.closed {
                state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let reopen = std::mem::take(&mut state.reopen);
            let batch = state.batches.pop_front();
            state.bytes -= batch.as_ref().map_or(0, Vec::len);
            state.busy = true;
            let closed = state.closed;
            drop(state);
            if reopen {
                self.reopen();
            }
            match batch {
                Some(batch) => self.write(&batch),
                None if closed => return,
                None => {}
            }
        }
    }

    fn reopen(&mut self) {
        match Target::open(&self.output) {
            Ok(target) => {
                self.target = target;
                self.torn = false;
            }
            // The old file is still better than none.
            Err(error) if self.complain == Complain::InLog => {
                tracing::warn!(output = ?self.output, %error, "cannot reopen, writing on to the old file");
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, batch: &[u8]) {
        let feed = if self.torn { &b"\n"[..] } else { &[] };
        let result = match self.put(feed) {
            Ok(()) => self.put(batch),
            Err((error, _)) => Err((error, batch.len())),
        };
        match result {
            Ok(()) => {
                self.torn = false;
                if std::mem::take(&mut self.failing) && self.complain == Complain::InLog {
                    tracing::info!(output = ?self.output, "writing lines works again");
                }
            }
            Err((error, left)) => {
                let done = batch.len() - left;
                self.torn = match batch[..done].last() {
                    Some(byte) => *byte != b'\n',
                    None => self.torn,
                };
                self.shared.dropped.add(count(&batch[done..]));
                if !std::mem::replace(&mut self.failing, true) && self.complain == Complain::InLog {
                    tracing::warn!(output = ?self.output, %error, "cannot write lines: they are dropped and counted");
                }
            }
        }
    }

    /// Writes it all, or says how many bytes were left.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut stalled: Option<Instant> = None;
        while !bytes.is_empty() {
            match self.target.write(bytes) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), bytes.len())),
                Ok(written) => {
                    bytes = &bytes[written..];
                    stalled = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody made the stream non-blocking: look again in a moment.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stalled.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err((error, bytes.len()));
                    }
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err(error) => return Err((error, bytes.len())),
            }
        }
        Ok(())
    }
}

enum Target {
    File(File),
    Stderr(io::Stderr),
    Stdout(io::Stdout),
}

impl Target {
    fn open(output: &Output) -> io::Result<Self> {
        Ok(match output {
            Output::File(path) => Self::File(OpenOptions::new().append(true).create(true).open(path)?),
            Output::Stderr => Self::Stderr(io::stderr()),
            Output::Stdout => Self::Stdout(io::stdout()),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stderr(stream) => stream.write(bytes),
            Self::Stdout(stream) => {
                // Standard output buffers up to the last line feed: an error of what it held shows on `flush`.
                let mut stream = stream.lock();
                let written = stream.write(bytes)?;
                stream.flush()?;
                Ok(written)
            }
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}
