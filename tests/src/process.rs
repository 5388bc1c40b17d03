//! A child process: its output collected line by line, signals by id, killed when dropped.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::until::until;

/// Lines kept of each stream; a test that writes more loses the newest.
const KEPT: usize = 200_000;

/// One output stream of a child.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Mutex<(Vec<String>, Stream)>,
    grew: Condvar,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stream {
    Ended,
    #[default]
    Open,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, (Vec<String>, Stream)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(self: Arc<Self>, from: impl Read + Send + 'static) {
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let mut lines = self.lock();
                if lines.0.len() < KEPT {
                    lines.0.push(text);
                }
                self.grew.notify_all();
            }
            self.lock().1 = Stream::Ended;
            self.grew.notify_all();
        });
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().0.clone()
    }

    /// The first line that `find` makes something of, now or within `limit`; `None` when none comes.
    pub fn find<T>(&self, limit: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        let mut lines = self.lock();
        loop {
            if let Some(found) = lines.0[seen..].iter().find_map(|line| find(line)) {
                return Some(found);
            }
            seen = lines.0.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            if lines.1 == Stream::Ended {
                return None;
            }
            lines = self
                .grew
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// What it writes to standard output.
    pub stdout: Arc<Lines>,
    /// What it writes to standard error.
    pub stderr: Arc<Lines>,
}

impl Process {
    /// Starts `command` with both outputs collected and no input.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name} ({command:?}): {error}"));
        let (stdout, stderr) = (Arc::<Lines>::default(), Arc::<Lines>::default());
        if let Some(pipe) = child.stdout.take() {
            Arc::clone(&stdout).collect(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            Arc::clone(&stderr).collect(pipe);
        }
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// Its first line of standard output that is a JSON object with `"ready": true`.
    ///
    /// # Panics
    /// When none comes within `limit`; the message has what it wrote instead.
    pub fn ready(&self, limit: Duration) -> serde_json::Value {
        let ready = self.stdout.find(limit, |line| {
            serde_json::from_str::<serde_json::Value>(line)
                .ok()
                .filter(|value| value["ready"] == true)
        });
        ready.unwrap_or_else(|| panic!("{} did not get ready within {limit:?}\n{}", self.name, self.output()))
    }

    /// Everything it wrote, for a message.
    pub fn output(&self) -> String {
        let tail = |lines: &Lines| {
            let all = lines.all();
            all[all.len().saturating_sub(60)..].join("\n")
        };
        format!(
            "--- {} stdout ---\n{}\n--- stderr ---\n{}",
            self.name,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name, e.g. `HUP`.
    ///
    /// # Panics
    /// When the shell cannot be run or the process is gone.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{signal} {}", self.id()))
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "sending SIG{signal} to {}",
            self.name
        );
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        until(&format!("{} ends", self.name), limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.expect("the wait above ends with a status")
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // The test's own message says what failed; this says what the program saw. `CAUSEWAY_TEST_OUTPUT` asks for it always.
        if std::thread::panicking() || std::env::var_os("CAUSEWAY_TEST_OUTPUT").is_some() {
            crate::tools::say(&self.output());
        }
    }
}
