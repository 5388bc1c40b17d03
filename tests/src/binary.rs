//! The built `causeway`: found beside the running test, or built once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
}

/// The folder of the running test's build profile, e.g. `target/debug`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    // target/debug/deps/pair-0123456789abcdef
    test.ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps")
        .to_owned()
}

/// The target folder of the build.
pub fn target() -> PathBuf {
    profile_folder()
        .parent()
        .expect("a profile lies in the target folder")
        .to_owned()
}

/// The path of `causeway`, up to date with its sources.
///
/// `cargo test` does not always build the binaries of other packages, so that it is built here where it is missing or
/// older than a file it was made from. `CAUSEWAY_BIN` names another one.
///
/// # Panics
/// When the build fails.
pub fn causeway() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("CAUSEWAY_BIN") {
            return given.into();
        }
        let _alone = lock("causeway-bin");
        let binary = profile_folder().join("causeway");
        if !fresh(&binary) {
            build();
        }
        assert!(binary.exists(), "the build made no {}", binary.display());
        binary
    })
}

/// Holds a lock over all test processes that share the target folder, until it is dropped.
///
/// # Panics
/// When the file cannot be made.
pub fn lock(name: &str) -> File {
    let path = target().join(format!(".{name}.lock"));
    let file = File::create(&path).unwrap_or_else(|error| panic!("making {}: {error}", path.display()));
    file.lock()
        .unwrap_or_else(|error| panic!("locking {}: {error}", path.display()));
    file
}

/// Whether the binary is of this workspace and newer than all files that cargo noted as its sources.
fn fresh(binary: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    let (Some(built), Ok(note)) = (modified(binary), fs::read_to_string(binary.with_extension("d"))) else {
        return false;
    };
    let sources = sources(&note);
    let ours = sources
        .iter()
        .any(|source| source.starts_with(workspace().join("gateway")));
    let newer = |source: &Path| modified(source).is_none_or(|at: SystemTime| at > built);
    ours && !sources.iter().any(|source| newer(source)) && !newer(&workspace().join("Cargo.lock"))
}

/// The files of a `.d` note: `target: source source ...`, with spaces in names escaped.
fn sources(note: &str) -> Vec<PathBuf> {
    let (_, list) = note.split_once(": ").unwrap_or_default();
    let list = list.lines().next().unwrap_or_default().replace("\\ ", "\u{0}");
    list.split_ascii_whitespace()
        .map(|source| source.replace('\u{0}', " ").into())
        .collect()
}

fn build() {
    let folder = profile_folder();
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let profile = if profile == "debug" { "dev" } else { profile };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(["build", "--locked", "-p", "causeway-gateway", "--bin", "causeway"]);
    command.args(["--profile", profile, "--target-dir"]).arg(target());
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("running {command:?}: {error}"));
    assert!(status.success(), "{command:?} failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_of_cargo_lists_sources_with_spaces() {
        let note = "/t/debug/causeway: /w/a.rs /w/b\\ c.rs\n\n/w/a.rs:\n";
        assert_eq!(sources(note), [PathBuf::from("/w/a.rs"), PathBuf::from("/w/b c.rs")]);
    }

    #[test]
    fn a_binary_that_is_missing_is_not_fresh() {
        assert!(!fresh(Path::new("/nonexistent/causeway")));
    }
}
