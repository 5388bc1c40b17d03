//! The programs that tests drive; what is missing is said, not hidden.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The path of a program, or `None` after the running test was reported as skipped.
///
/// # Panics
/// When it is missing and `CI` is `true`.
pub fn program(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        skip(&format!("no `{name}` here"));
    }
    found
}

/// The path of a program.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where an ordinary user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Reports the running test as skipped, by name.
///
/// # Panics
/// When `CI` is `true`: there a skip is a failure.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{name} cannot be skipped in CI: {why}"
    );
    say(&format!("test {name} ... skipped: {why}"));
}

/// Writes a line that the test runner does not capture.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs a command to its end and returns its standard output.
///
/// # Panics
/// When it fails; the message has both outputs.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end, whichever it is.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("running {command:?}: {error}"))
}
