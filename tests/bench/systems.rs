//! The systems under test: where their programs are, and how a pair or a single gateway of each is started.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::backend::Ports;
use crate::cases::{Buffers, Topology};
use crate::failure::{During, Failure, Result};
use crate::load::{Entry, Idle};
use crate::process::Running;

/// A program that can do the work.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum System {
    /// This project
    Causeway,
    /// HAProxy with an HTTP/2 tunnel
    Haproxy,
    /// HAProxy with HTTP/1.1 connections between its gateways
    HaproxyH1,
    /// nginx with HTTP/1.1 connections between its gateways (HTTP/2 for gRPC)
    Nginx,
    /// Envoy with an HTTP/2 tunnel
    Envoy,
}

impl System {
    /// As in the arguments, the table and the JSON.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Open files that one idle connection takes in the gateway that needs most: the client's, and one to the other
    /// gateway where the tunnel does not carry many WebSockets over one connection.
    pub(crate) fn files_per_idle(self, idle: Idle) -> u64 {
        match (self, idle) {
            (Self::HaproxyH1 | Self::Nginx, Idle::WebSocket) => 2,
            _ => 1,
        }
    }

    /// Configuration templates in the order in which they are started, each with the end of its file name.
    fn templates(self, topology: Topology) -> &'static [(&'static str, &'static str)] {
        match (self, topology) {
            (Self::Causeway, Topology::Pair | Topology::PairJson) => &[
                ("b.toml", include_str!("peers/causeway-b.toml")),
                ("a.toml", include_str!("peers/causeway-a.toml")),
            ],
            (Self::Causeway, Topology::Single) => &[("single.toml", include_str!("peers/causeway-single.toml"))],
            (Self::Envoy, Topology::Pair) => &[
                ("b.json", include_str!("peers/envoy-b.json")),
                ("a.json", include_str!("peers/envoy-a.json")),
            ],
            (Self::Envoy, Topology::PairJson) => &[
                ("b.json", include_str!("peers/envoy-b.json")),
                ("a.json", include_str!("peers/envoy-json-a.json")),
            ],
            // They pass gRPC through, and cannot make it of JSON.
            (Self::Haproxy | Self::HaproxyH1 | Self::Nginx, Topology::PairJson) => &[],
            (Self::Envoy, Topology::Single) => &[("single.json", include_str!("peers/envoy-single.json"))],
            (Self::Haproxy, Topology::Pair) => &[
                ("b.cfg", include_str!("peers/haproxy-h2-b.cfg")),
                ("a.cfg", include_str!("peers/haproxy-h2-a.cfg")),
            ],
            (Self::HaproxyH1, Topology::Pair) => &[
                ("b.cfg", include_str!("peers/haproxy-h1-b.cfg")),
                ("a.cfg", include_str!("peers/haproxy-h1-a.cfg")),
            ],
            (Self::Haproxy | Self::HaproxyH1, Topology::Single) => {
                &[("single.cfg", include_str!("peers/haproxy-single.cfg"))]
            }
            (Self::Nginx, Topology::Pair) => &[
                ("b.conf", include_str!("peers/nginx-b.conf")),
                ("a.conf", include_str!("peers/nginx-a.conf")),
            ],
            (Self::Nginx, Topology::Single) => &[("single.conf", include_str!("peers/nginx-single.conf"))],
        }
    }

    /// The command that runs one gateway of this system in the foreground.
    fn command(self, program: &Path, config: &Path) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Causeway => command.args(["run", "--config"]).arg(config),
            Self::Envoy => command
                .args([
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "--log-level",
                    "error",
                    "-c",
                ])
                .arg(config),
            Self::Haproxy | Self::HaproxyH1 => command.arg("-db").arg("-f").arg(config),
            Self::Nginx => command.arg("-c").arg(config),
        };
        command
    }

    /// Raises the buffers to 64 KiB where bodies are measured, as causeway's and Envoy's are by default.
    fn tuning(self, buffers: Buffers) -> &'static str {
        match (self, buffers) {
            (Self::Haproxy | Self::HaproxyH1, Buffers::Large) => {
                "  tune.bufsize 65536\n  tune.h2.initial-window-size 1048576"
            }
            (Self::Nginx, Buffers::Large) => {
                "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k; \
                 proxy_max_temp_file_size 0; proxy_request_buffering off;"
            }
            _ => "",
        }
    }
}

/// A system that can be run here.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub(crate) system: System,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// A started system; its processes end when this value is dropped.
#[derive(Debug)]
pub(crate) struct Gateways {
    running: Vec<Running>,
    pub(crate) entry: Entry,
}

impl Gateways {
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running.iter().map(Running::pid).collect()
    }

    /// # Errors
    /// When a gateway has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.running.iter_mut().try_for_each(Running::check_alive)
    }

    /// What the gateways wrote last, to explain a failure.
    pub(crate) fn last_words(&self) -> String {
        let words = self
            .running
            .iter()
            .map(Running::last_words)
            .filter(|words| !words.is_empty());
        words.collect::<Vec<_>>().join(" / ")
    }
}

/// What one start needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// Holds `certs/` and `sites/`; configurations and logs are written here.
    pub(crate) dir: &'a Path,
    pub(crate) backend: Ports,
    pub(crate) topology: Topology,
    pub(crate) buffers: Buffers,
    /// Client connections that must be possible.
    pub(crate) connections: usize,
    /// Open files each process may have.
    pub(crate) files: u64,
}

impl Installed {
    /// Starts fresh processes on ports that nothing uses.
    pub(crate) fn start(&self, setting: Setting<'_>, ports: &mut FreePorts) -> Result<Gateways> {
        let (http, grpc) = (ports.take()?, ports.take()?);
        // causeway takes every protocol on one port.
        let grpc = if self.system == System::Causeway { http } else { grpc };
        // Both sides of a call go through one process; nginx turns connections away before the last sixteenth is used.
        let connections = setting.connections * 9 / 4 + 1024;
        let values = [
            ("@DIR@", setting.dir.display().to_string()),
            ("@ENTRY@", http.to_string()),
            ("@ENTRY_GRPC@", grpc.to_string()),
            ("@PEER@", ports.take()?.to_string()),
            ("@PEER_GRPC@", ports.take()?.to_string()),
            ("@ADMIN_A@", ports.take()?.to_string()),
            ("@ADMIN_B@", ports.take()?.to_string()),
            ("@BACKEND_HTTP@", setting.backend.http.to_string()),
            ("@BACKEND_GRPC@", setting.backend.grpc.to_string()),
            ("@BACKEND_WS@", setting.backend.websocket.to_string()),
            ("@CONNECTIONS@", connections.to_string()),
            // causeway's own bound on calls of a tunnel and connections of a service.
            ("@CALLS@", connections.min(65_536).to_string()),
            ("@FILES@", setting.files.to_string()),
            ("@TUNING@", self.system.tuning(setting.buffers).to_owned()),
        ];
        let templates = self.system.templates(setting.topology);
        if templates.is_empty() {
            return Err(Failure::new(format!(
                "{} has nothing for this case",
                self.system.name()
            )));
        }
        let schema = setting.dir.join("echo.binpb");
        fs::write(&schema, include_bytes!("peers/echo.binpb")).during(format_args!("writing {}", schema.display()))?;
        let mut running = Vec::new();
        for (name, template) in templates {
            let path = setting.dir.join(format!("{}-{name}", self.system.name()));
            fs::write(&path, fill(template, &values)?).during(format_args!("writing {}", path.display()))?;
            let log = path.with_extension("log");
            running.push(Running::start(self.system.command(&self.program, &path), log)?);
        }
        Ok(Gateways {
            running,
            entry: Entry { http, grpc },
        })
    }
}

/// Puts values in the places of a template.
///
/// # Errors
/// When a place is left over.
fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let filled = values
        .iter()
        .fold(template.to_owned(), |text, (place, value)| text.replace(place, value));
    let left = filled
        .split('@')
        .nth(1)
        .filter(|name| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_'));
    match left {
        Some(name) => Err(Failure::new(format!("no value for @{name}@ in a template"))),
        None => Ok(filled),
    }
}

/// Ports below the range from which the system takes those of clients, each handed out once a round.
#[derive(Debug)]
pub(crate) struct FreePorts(u16);

impl FreePorts {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;

    pub(crate) fn new() -> Self {
        // Two benchmarks on one machine should not try the same ports first.
        Self(Self::RANGE.start + (std::process::id() % 10_000) as u16)
    }

    fn take(&mut self) -> Result<u16> {
        for _ in Self::RANGE {
            self.0 = if self.0 + 1 >= Self::RANGE.end {
                Self::RANGE.start
            } else {
                self.0 + 1
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, self.0)).is_ok() {
                return Ok(self.0);
            }
        }
        Err(Failure::new("no free port between 20000 and 32000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_template_needs_a_value() {
        let values = [("@DIR@", "/d".to_owned()), ("@ENTRY@", "1".to_owned())];
        assert_eq!(fill("x @DIR@/y :@ENTRY@", &values).unwrap(), "x /d/y :1");
        assert!(fill("@PEER@", &values).unwrap_err().to_string().contains("@PEER@"));
        assert_eq!(fill("\"@type\": \"a@b\"", &values).unwrap(), "\"@type\": \"a@b\"");
    }

    #[test]
    fn causeway_accepts_its_own_templates() {
        let dir = tempfile::tempdir().unwrap();
        for site in ["a", "b"] {
            let files = dir.path().join("sites").join(site);
            fs::create_dir_all(files.join("bundles")).unwrap();
            for name in ["gateway.crt", "gateway.key"] {
                fs::write(files.join(name), "").unwrap();
            }
        }
        fs::write(dir.path().join("echo.binpb"), "").unwrap();
        let mut values = vec![("@DIR@", dir.path().display().to_string())];
        let places = [
            "@ENTRY@",
            "@PEER@",
            "@ADMIN_A@",
            "@ADMIN_B@",
            "@BACKEND_HTTP@",
            "@BACKEND_GRPC@",
            "@BACKEND_WS@",
        ];
        values.extend(
            places
                .into_iter()
                .zip(20_000..)
                .map(|(place, port)| (place, port.to_string())),
        );
        values.extend([("@CONNECTIONS@", "23524".to_owned()), ("@CALLS@", "23524".to_owned())]);
        for topology in [Topology::Pair, Topology::Single] {
            for (name, template) in System::Causeway.templates(topology) {
                let path = dir.path().join(name);
                fs::write(&path, fill(template, &values).unwrap()).unwrap();
                if let Err(problems) = causeway_config::load(&[path], &[]) {
                    panic!("{problems}");
                }
            }
        }
    }

    #[test]
    fn ports_are_handed_out_once() {
        let mut ports = FreePorts::new();
        let taken: Vec<u16> = (0..20).map(|_| ports.take().unwrap()).collect();
        let distinct: std::collections::BTreeSet<u16> = taken.iter().copied().collect();
        assert_eq!(distinct.len(), taken.len());
    }
}
