//! One gateway as a child process, with a configuration directory of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binary;
use crate::client::{self, Answer};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::until::until;

/// How long a gateway may take to get ready; the first start on a busy machine is the slow one.
const READY: Duration = Duration::from_secs(20);

/// What a gateway is started with. Addresses are left to it: everything listens on a free port of loopback.
#[derive(Clone, Debug)]
pub struct SiteSetup {
    name: String,
    trust_domain: String,
    pki: Option<PathBuf>,
    admin: String,
    telemetry: String,
    tables: String,
    environment: Vec<(String, String)>,
}

impl SiteSetup {
    /// A site of this name in the trust domain `NAME.acme.example`, with one listener `public` and an admin port.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            trust_domain: format!("{name}.acme.example"),
            pki: None,
            admin: String::new(),
            telemetry: String::new(),
            tables: String::new(),
            environment: Vec::new(),
        }
    }

    /// Certificate, key and bundles from this folder, as `causeway pki bootstrap` writes them; and a federation port.
    #[must_use]
    pub fn pki(mut self, folder: &Path) -> Self {
        self.pki = Some(folder.to_owned());
        self
    }

    /// Adds tables (services, routes, peers, limits ...) as TOML.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// Adds keys to `[admin]`.
    #[must_use]
    pub fn admin(mut self, toml: &str) -> Self {
        self.admin.push_str(toml);
        self.admin.push('\n');
        self
    }

    /// Adds keys to `[telemetry]`.
    #[must_use]
    pub fn telemetry(mut self, toml: &str) -> Self {
        self.telemetry.push_str(toml);
        self.telemetry.push('\n');
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The whole configuration; addresses that are known already are written down, so that a restart keeps them.
    fn render(&self, folder: &Path, known: Option<&Addresses>) -> String {
        let bind =
            |address: Option<SocketAddr>| address.map_or_else(|| "127.0.0.1:0".into(), |address| address.to_string());
        let mut text = format!(
            "[site]\nname = \"{}\"\ntrust_domain = \"{}\"\n\n",
            self.name, self.trust_domain
        );
        if let Some(pki) = &self.pki {
            let _ = writeln!(
                text,
                "[identity]\ncertificate = {:?}\nprivate_key = {:?}\ntrust_bundles = {:?}\n\n[federation]\nbind = {:?}\n",
                pki.join("gateway.crt"),
                pki.join("gateway.key"),
                pki.join("bundles"),
                bind(known.and_then(|known| known.federation)),
            );
        }
        let public = known.and_then(|known| known.listeners.get("public").copied());
        let _ = writeln!(
            text,
            "[admin]\nbind = {:?}\n{}",
            bind(known.and_then(|known| known.admin)),
            self.admin
        );
        let _ = writeln!(
            text,
            "[telemetry]\naccess_log = {{ file = {:?} }}\n{}",
            folder.join("access.log"),
            self.telemetry
        );
        let _ = writeln!(text, "[[listeners]]\nname = \"public\"\nbind = {:?}\n", bind(public));
        text + &self.tables
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; the message has its output.
    pub fn start(self) -> Site {
        let folder =
            TempDir::with_prefix(format!("causeway-{}-", self.name)).expect("a temporary directory can be made");
        let (process, addresses) = launch(&self, folder.path(), None);
        Site {
            folder,
            setup: self,
            process,
            addresses,
        }
    }
}

/// Where a gateway listens, from its ready line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    listeners: BTreeMap<String, SocketAddr>,
    federation: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Addresses {
    /// Reads `{"ready":true,"listeners":{"public":".."},"federation":"..","admin":".."}`.
    fn parse(ready: &serde_json::Value) -> Option<Self> {
        let address = |value: &serde_json::Value| value.as_str()?.parse().ok();
        let listeners = ready["listeners"].as_object()?.iter();
        Some(Self {
            listeners: listeners
                .map(|(name, value)| Some((name.clone(), address(value)?)))
                .collect::<Option<_>>()?,
            federation: address(&ready["federation"]),
            admin: address(&ready["admin"]),
        })
    }
}

fn launch(setup: &SiteSetup, folder: &Path, known: Option<&Addresses>) -> (Process, Addresses) {
    let file = folder.join("causeway.toml");
    write(&file, &setup.render(folder, known));
    let mut command = Command::new(binary::causeway());
    command.arg("run").arg("--config").arg(&file).current_dir(folder);
    // The tests' own surroundings must not change what is tested.
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("OTEL_") || name.starts_with("CAUSEWAY_"));
        if ours && name != "CAUSEWAY_LOG" {
            command.env_remove(name);
        }
    }
    command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
    let process = Process::start(&format!("site {}", setup.name), &mut command);
    let ready = process.ready(READY);
    let addresses = Addresses::parse(&ready).unwrap_or_else(|| panic!("odd ready line: {ready}"));
    (process, addresses)
}

/// Replaces a file whole, as a careful operator would.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .expect("a file in a temporary directory can be written");
}

/// A running gateway; dropped, it is killed.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    setup: SiteSetup,
    process: Process,
    addresses: Addresses,
}

impl Site {
    /// The address of the listener `public`.
    pub fn public(&self) -> SocketAddr {
        self.addresses.listeners["public"]
    }

    /// Where tunnels arrive.
    ///
    /// # Panics
    /// When the site was set up without [`SiteSetup::pki`].
    pub fn federation(&self) -> SocketAddr {
        self.addresses.federation.expect("the site has a federation port")
    }

    /// The process: its id, its output, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The folder with its configuration and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its operator asks.
    ///
    /// # Panics
    /// When it has no admin port.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.admin.expect("the gateway has an admin port")
    }

    /// Asks the admin port.
    ///
    /// # Panics
    /// When there is none, or it does not answer.
    pub fn admin(&self, target: &str) -> Answer {
        client::get(self.admin_address(), target).unwrap_or_else(|error| panic!("GET {target} of admin: {error}"))
    }

    /// Waits until `/readyz` says yes. A gateway without an admin port is ready when it has said so.
    ///
    /// # Panics
    /// When it does not within 20 s.
    pub fn wait_ready(&self) {
        let Some(admin) = self.addresses.admin else { return };
        let ready = || client::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200);
        until("/readyz says 200", READY, ready);
    }

    /// A scrape of `/metrics`.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/metrics").text())
    }

    /// The access log so far, one JSON value a line.
    ///
    /// # Panics
    /// When a line is not JSON.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        whole.lines().map(line).collect()
    }

    /// Writes a configuration with these tables instead of the present ones, and sends SIGHUP.
    pub fn reload(&mut self, tables: &str) {
        self.rewrite(tables);
        self.process.signal("HUP");
    }

    /// Puts any text in the place of the configuration, and sends SIGHUP.
    pub fn reload_raw(&mut self, text: &str) {
        write(&self.file(), text);
        self.process.signal("HUP");
    }

    /// The tables that the configuration was last written with.
    pub fn tables(&self) -> &str {
        &self.setup.tables
    }

    /// Asks it to drain and end (SIGTERM), and waits for that.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.process.signal("TERM");
        self.process.ended(limit)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same addresses; returns when it said that it was ready.
    pub fn restart(&mut self) -> Instant {
        self.process.kill();
        let (process, addresses) = launch(&self.setup, self.folder.path(), Some(&self.addresses));
        self.process = process;
        self.addresses = addresses;
        Instant::now()
    }

    /// Writes a configuration with these tables instead of the present ones, and tells nobody.
    pub fn rewrite(&mut self, tables: &str) {
        self.setup.tables = tables.into();
        write(
            &self.file(),
            &self.setup.render(self.folder.path(), Some(&self.addresses)),
        );
    }

    /// Its configuration.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("causeway.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_has_every_bound_address() {
        let line = r#"{"ready":true,"listeners":{"public":"127.0.0.1:1"},"federation":null,"admin":"127.0.0.1:3"}"#;
        let addresses = Addresses::parse(&serde_json::from_str(line).unwrap()).unwrap();
        assert_eq!(addresses.listeners["public"].port(), 1);
        assert_eq!(
            (addresses.federation, addresses.admin.map(|admin| admin.port())),
            (None, Some(3))
        );
    }

    #[test]
    fn what_is_written_loads() {
        let upstreams = crate::Upstreams {
            http: "127.0.0.1:1".parse().unwrap(),
            websocket: "127.0.0.1:2".parse().unwrap(),
            grpc: "127.0.0.1:3".parse().unwrap(),
        };
        let setup = crate::pair::local(&upstreams).telemetry("otlp_endpoint = \"http://127.0.0.1:4\"");
        let text = setup.render(Path::new("/tmp"), None);
        let config = causeway_config::load_str("site.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(
            (config.services.len(), config.routes.len(), config.listeners.len()),
            (3, 3, 1)
        );
    }

    #[test]
    fn a_restart_keeps_the_addresses() {
        let setup = SiteSetup::new("aws")
            .pki(Path::new("/pki/aws"))
            .telemetry("queue = 1")
            .with("[[routes]]");
        let free = setup.render(Path::new("/tmp"), None);
        assert_eq!(free.matches("127.0.0.1:0").count(), 3, "{free}");
        let known = Addresses {
            listeners: BTreeMap::from([("public".into(), "127.0.0.1:1".parse().unwrap())]),
            federation: Some("127.0.0.1:2".parse().unwrap()),
            admin: Some("127.0.0.1:3".parse().unwrap()),
        };
        let kept = setup.render(Path::new("/tmp"), Some(&known));
        assert!(!kept.contains("127.0.0.1:0") && kept.contains("127.0.0.1:2"), "{kept}");
    }
}
