//! Two gateways linked by a tunnel: `aws` has the clients, `azure` the backends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;
use crate::client;
use crate::site::{Site, SiteSetup};
use crate::tools;
use crate::until::until;

/// Where the backends of the three protocols are.
#[derive(Clone, Copy, Debug)]
pub struct Upstreams {
    /// HTTP/1.1 and h2c.
    pub http: SocketAddr,
    /// WebSocket.
    pub websocket: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// Where clients of the three protocols go: to the backends themselves, or to one listener of a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// For HTTP clients.
    pub http: SocketAddr,
    /// For WebSocket clients.
    pub websocket: SocketAddr,
    /// For gRPC clients.
    pub grpc: SocketAddr,
    /// Whether the address is a gateway's.
    pub kind: EntryKind,
}

/// What answers at an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The backends themselves.
    Direct,
    /// A gateway with the backends at its own site.
    Local,
    /// A gateway whose backends are at the other end of a tunnel.
    Tunnel,
}

impl Entry {
    /// The backends themselves, each at its own address.
    pub fn direct(upstreams: &Upstreams) -> Self {
        let Upstreams { http, websocket, grpc } = *upstreams;
        Self {
            http,
            websocket,
            grpc,
            kind: EntryKind::Direct,
        }
    }

    /// One listener for all three protocols.
    pub fn gateway(address: SocketAddr, kind: EntryKind) -> Self {
        Self {
            http: address,
            websocket: address,
            grpc: address,
            kind,
        }
    }
}

/// Makes the certificates and bundles of these sites with `causeway pki bootstrap`: `FOLDER/SITE/...`.
///
/// # Panics
/// When the tool fails.
pub fn bootstrap(folder: &Path, sites: &[&str]) {
    let mut command = Command::new(binary::causeway());
    command.args(["pki", "bootstrap"]);
    for site in sites {
        command.arg("--site").arg(format!("{site}={site}.acme.example"));
    }
    tools::run(command.arg("--out").arg(folder));
}

/// The three demo services; `extra` is added to each table.
pub fn services(upstreams: &Upstreams, extra: &str) -> String {
    let table = |name: &str, protocol: &str, address: SocketAddr| {
        format!(
            "[[services]]\nname = \"demo-{name}\"\nprotocol = \"{protocol}\"\nendpoints = [\"{address}\"]\n{extra}\n"
        )
    };
    table("http", "http", upstreams.http)
        + &table("websocket", "websocket", upstreams.websocket)
        + &table("grpc", "grpc", upstreams.grpc)
}

/// Routes that send every call to the demo service of its protocol, here or (`"@azure"`) at a peer.
pub fn routes(at: &str) -> String {
    let route = |protocol: &str| {
        format!(
            "[[routes]]\nmatch = {{ path_prefix = \"/\", protocol = \"{protocol}\" }}\nto = \"demo-{protocol}{at}\"\n\n"
        )
    };
    route("grpc") + &route("websocket") + &route("http")
}

/// The setup of one gateway with the backends at its own site.
pub fn local(upstreams: &Upstreams) -> SiteSetup {
    SiteSetup::new("local").with(&services(upstreams, "")).with(&routes(""))
}

/// Two linked gateways.
#[derive(Debug)]
pub struct Pair {
    /// Where clients arrive; dials the tunnel.
    pub aws: Site,
    /// Where the backends are; exports them to `aws`.
    pub azure: Site,
    /// Certificates, bundles and CAs of both, by site.
    pub pki: TempDir,
}

impl Pair {
    /// Starts both, and waits until the tunnel is up.
    pub fn start(upstreams: &Upstreams) -> Self {
        Self::start_with(upstreams, |setup| setup)
    }

    /// As [`Self::start`], with both setups changed before the start.
    ///
    /// # Panics
    /// When a gateway does not get ready or the tunnel does not come up.
    pub fn start_with(upstreams: &Upstreams, change: impl Fn(SiteSetup) -> SiteSetup) -> Self {
        let pki = TempDir::with_prefix("causeway-pki-").expect("a temporary directory can be made");
        bootstrap(pki.path(), &["aws", "azure"]);
        let azure = SiteSetup::new("azure")
            .pki(&pki.path().join("azure"))
            .with("[[peers]]\nsite = \"aws\"\ntrust_domain = \"aws.acme.example\"\n")
            .with(&services(upstreams, "export_to = [\"aws\"]"))
            .with(&routes(""));
        let azure = change(azure).start();
        let peer = format!(
            "[[peers]]\nsite = \"azure\"\ntrust_domain = \"azure.acme.example\"\ndiscover = [\"{}\"]\n",
            azure.federation()
        );
        let aws = SiteSetup::new("aws")
            .pki(&pki.path().join("aws"))
            .with(&peer)
            .with(&routes("@azure"));
        let aws = change(aws).start();
        aws.wait_ready();
        azure.wait_ready();
        // Readiness is each gateway's own; what tests need is the tunnel.
        until("calls pass through the tunnel", Duration::from_secs(10), || {
            client::get(aws.public(), "/").is_ok_and(|answer| answer.status == 200)
        });
        Self { aws, azure, pki }
    }

    /// Where clients go.
    pub fn entry(&self) -> Entry {
        Entry::gateway(self.aws.public(), EntryKind::Tunnel)
    }
}
