//! Gateways with the three backends behind them. They are started once and serve all tests of the process.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use causeway_tests::{Site, SiteSetup, client, pair, until};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::backends;

/// Where clients go.
pub(crate) struct Place {
    /// The listener.
    pub(crate) address: SocketAddr,
    /// Runs clients.
    pub(crate) runtime: Arc<Runtime>,
}

/// Host names stand for the protocol of the backend.
pub(crate) const HOSTS: [(&str, &str); 3] = [("grpc.test", "grpc"), ("http.test", "http"), ("ws.test", "websocket")];

struct Running {
    runtime: Arc<Runtime>,
    local: Site,
    aws: Site,
    _azure: Site,
    _pki: TempDir,
    _grpc: causeway_gateway::demo::backend::Backends,
}

fn services(grpc: SocketAddr, http: SocketAddr, websocket: SocketAddr, extra: &str) -> String {
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/proto");
    let service = |name: &str, at: SocketAddr, schema: &str| {
        format!(
            "[[services]]\nname = \"{name}\"\nprotocol = \"{name}\"\nendpoints = [\"{at}\"]\nschema = \"{schema}\"\n{extra}\n\n"
        )
    };
    service("grpc", grpc, "reflection") + &service("http", http, protos) + &service("websocket", websocket, protos)
}

fn routes(at: &str) -> String {
    HOSTS
        .iter()
        .map(|(host, service)| format!("[[routes]]\nmatch = {{ host = \"{host}\" }}\nto = \"{service}{at}\"\n\n"))
        .collect()
}

fn running() -> &'static Running {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    RUNNING.get_or_init(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (grpc, http, websocket) = runtime.block_on(backends::start());
        let services = |extra: &str| services(grpc.addresses().grpc, http, websocket, extra);
        let local = SiteSetup::new("local").with(&services("")).with(&routes("")).start();
        let pki = TempDir::with_prefix("causeway-pki-").unwrap();
        pair::bootstrap(pki.path(), &["aws", "azure"]);
        let azure = SiteSetup::new("azure")
            .pki(&pki.path().join("azure"))
            .with("[[peers]]\nsite = \"aws\"\ntrust_domain = \"aws.acme.example\"\n")
            .with(&services("export_to = [\"aws\"]"))
            .start();
        let peer = format!(
            "[[peers]]\nsite = \"azure\"\ntrust_domain = \"azure.acme.example\"\ndiscover = [\"{}\"]\n",
            azure.federation()
        );
        let aws = SiteSetup::new("aws")
            .pki(&pki.path().join("aws"))
            .with(&peer)
            .with(&routes("@azure"))
            .start();
        for site in [&local, &azure, &aws] {
            site.wait_ready();
        }
        for site in [&local, &aws] {
            until("calls reach the backend", Duration::from_secs(20), || {
                client::get_host(site.public(), "grpc.test", "/v1/say/hello").is_ok_and(|answer| answer.status == 200)
            });
        }
        Running {
            runtime: Arc::new(runtime),
            local,
            aws,
            _azure: azure,
            _pki: pki,
            _grpc: grpc,
        }
    })
}

/// One gateway, with the backends at its own site.
pub(crate) fn local() -> Place {
    let running = running();
    Place {
        address: running.local.public(),
        runtime: Arc::clone(&running.runtime),
    }
}

/// A gateway whose backends are at the other end of a tunnel.
pub(crate) fn tunnel() -> Place {
    let running = running();
    Place {
        address: running.aws.public(),
        runtime: Arc::clone(&running.runtime),
    }
}
