//! The Python environment of the interoperability tests: made once under `target/`, shared by all test processes.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::binary::{lock, target, workspace};
use crate::process::Process;
use crate::tools;

/// A Python with the clients and servers that `interop/requirements.txt` names, and the stubs of `demo.proto`.
#[derive(Clone, Debug)]
pub struct Python {
    environment: PathBuf,
}

impl Python {
    /// The environment, made now if need be; `None` after the running test was reported as skipped.
    ///
    /// # Panics
    /// When it cannot be made and `CI` is `true`.
    pub fn find() -> Option<Self> {
        static MADE: OnceLock<Result<Python, String>> = OnceLock::new();
        match MADE.get_or_init(make) {
            Ok(python) => Some(python.clone()),
            Err(why) => {
                tools::skip(why);
                None
            }
        }
    }

    /// A command that runs a script of `tests/interop`.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.environment.join("bin/python"));
        command.arg("-u").arg(folder().join(name));
        command
            .env("PYTHONPATH", self.environment.join("stubs"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        // gRPC would ask a proxy for loopback addresses too.
        for name in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a script of cases; each prints `{"case": .., "ok": .., "detail": ..}`. `CAUSEWAY_TEST_CASES=one,two` runs
    /// only those.
    ///
    /// # Panics
    /// When a case fails, or the script reports none or does not end by itself.
    pub fn cases(&self, name: &str, arguments: &[&str]) {
        let only = std::env::var("CAUSEWAY_TEST_CASES").unwrap_or_default();
        let only = only
            .split(',')
            .filter(|case| !case.is_empty())
            .flat_map(|case| ["--case", case]);
        let mut script = Process::start(name, self.script(name).args(arguments).args(only));
        let status = script.ended(Duration::from_secs(180));
        let lines = script.stdout.all();
        let cases = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let cases = cases.filter(|case| case["case"].is_string()).collect::<Vec<_>>();
        let failed = cases.iter().filter(|case| case["ok"] != true);
        let failed = failed
            .map(|case| format!("{}: {}", case["case"], case["detail"]))
            .collect::<Vec<_>>();
        assert!(
            failed.is_empty(),
            "{} of {} cases of {name} failed:\n{}",
            failed.len(),
            cases.len(),
            failed.join("\n")
        );
        assert!(
            status.success() && !cases.is_empty(),
            "{name} ended with {status}\n{}",
            script.output()
        );
    }
}

fn folder() -> PathBuf {
    workspace().join("tests/interop")
}

fn make() -> Result<Python, String> {
    let python3 = tools::find("python3").ok_or("no `python3` here")?;
    let _alone = lock("interop-venv");
    let environment = target().join("interop-venv");
    let (requirements, proto) = (
        folder().join("requirements.txt"),
        workspace().join("gateway/proto/demo.proto"),
    );

    let wanted = fingerprint(&[&requirements])?;
    if !noted(&environment.join(".packages"), &wanted) {
        if environment.exists() {
            fs::remove_dir_all(&environment).map_err(|error| format!("removing {}: {error}", environment.display()))?;
        }
        step(
            Command::new(&python3).args(["-m", "venv"]).arg(&environment),
            "python3 -m venv (Debian: python3-venv)",
        )?;
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&requirements);
        step(&mut pip, "pip install")?;
        note(&environment.join(".packages"), &wanted)?;
    }

    let imports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocols/proto");
    let stubs = environment.join("stubs");
    let wanted = fingerprint(&[&requirements, &proto])?;
    if !noted(&environment.join(".stubs"), &wanted) {
        fs::create_dir_all(&stubs).map_err(|error| format!("making {}: {error}", stubs.display()))?;
        let mut protoc = Command::new(environment.join("bin/python"));
        protoc.args(["-m", "grpc_tools.protoc"]);
        for (option, path) in [
            ("-I", Path::new(&proto).parent().unwrap_or(&proto)),
            // The rules of `google.api.http`; Python has its own code for them.
            ("-I", &imports),
            ("--python_out=", &stubs),
            ("--grpc_python_out=", &stubs),
        ] {
            protoc.arg(format!("{option}{}", path.display()));
        }
        step(protoc.arg(&proto), "grpc_tools.protoc")?;
        note(&environment.join(".stubs"), &wanted)?;
    }
    Ok(Python { environment })
}

fn step(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{what} failed: {}", text.trim()))
    }
}

fn fingerprint(files: &[&Path]) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file)
            .map_err(|error| format!("reading {}: {error}", file.display()))?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn noted(file: &Path, fingerprint: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text == fingerprint)
}

fn note(file: &Path, fingerprint: &str) -> Result<(), String> {
    fs::write(file, fingerprint).map_err(|error| format!("writing {}: {error}", file.display()))
}
