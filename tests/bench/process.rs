//! The gateways under test as processes: started with their output in a file, and ended by id with every descendant.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::failure::{During, Failure, Result};
use crate::measure::{stat, tree};

/// A running program; it and its descendants are killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with its output going to `log`.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let file = File::create(&log).during(format_args!("creating {}", log.display()))?;
        let copy = file.try_clone().during("sharing a log file")?;
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = command.spawn().during(format_args!("starting {program}"))?;
        Ok(Self { child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines the program wrote.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.log, 5)
    }

    /// # Errors
    /// When the program has ended by itself; names what it said last.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().during("looking after a process")? {
            None => Ok(()),
            Some(status) => Err(Failure::new(format!(
                "ended by itself ({status}): {}",
                self.last_words()
            ))),
        }
    }
}

impl Drop for Running {
    /// The parent goes first, so that it starts no new child in place of a killed one.
    fn drop(&mut self) {
        let family = tree(&[self.child.id()]).unwrap_or_default();
        let _ = self.child.kill();
        for member in family.iter().filter(|member| member.pid != self.child.id()) {
            // Ids are used again: only the very process that was seen is killed.
            let same = stat(member.pid).is_some_and(|now| now.started == member.started);
            if let (true, Some(pid)) = (same, i32::try_from(member.pid).ok().and_then(Pid::from_raw)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn last_lines(path: &Path, count: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines
        .get(lines.len().saturating_sub(count)..)
        .unwrap_or_default()
        .join(" | ")
}

/// Raises the limit of open files, for this process and those it starts, to `wanted` or as far as it may.
pub(crate) fn raise_open_files(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(now.current) {
        return now.current.unwrap_or(wanted);
    }
    // Only root may raise the hard limit; everybody may go up to it.
    let hard = if enough(now.maximum) { now.maximum } else { Some(wanted) };
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: hard,
        },
    );
    if raised.is_err() {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: now.maximum,
                maximum: now.maximum,
            },
        );
    }
    getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_program_ends_its_descendants_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]);
        let running = Running::start(command, dir.path().join("log")).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let family = loop {
            let family = tree(&[running.pid()]).unwrap();
            if family.len() == 3 {
                break family;
            }
            assert!(std::time::Instant::now() < end, "the shell has no children");
            std::thread::yield_now();
        };
        drop(running);
        // A killed grandchild may be a zombie for a moment, until init has seen it.
        for member in family {
            while stat(member.pid).is_some_and(|now| now.started == member.started) {
                let state = fs::read_to_string(format!("/proc/{}/stat", member.pid)).unwrap_or_default();
                if state.is_empty() || state.contains(") Z ") {
                    break;
                }
                assert!(std::time::Instant::now() < end, "{} is still there", member.pid);
            }
        }
    }

    #[test]
    fn a_program_that_ends_is_named_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo cannot bind; exit 3"]);
        let mut running = Running::start(command, dir.path().join("log")).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let failure = loop {
            match running.check_alive() {
                Err(failure) => break failure.to_string(),
                Ok(()) => assert!(std::time::Instant::now() < end),
            }
        };
        assert!(failure.contains("cannot bind"), "{failure}");
    }
}
