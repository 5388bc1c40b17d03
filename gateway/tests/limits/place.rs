//! A gateway in this process, or two that are linked, with the same limits on the routes of all three protocols.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use causeway_config::Config;
use causeway_gateway::app::App;
use causeway_gateway::demo::backend::{Addresses, Backends, Ports};
use causeway_pki::TrustDomain;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::clients;

/// For backends and clients.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    &RUNTIME
}

/// One set of backends for all tests.
pub(crate) fn backends() -> Addresses {
    BACKENDS.addresses()
}

/// Calls that the backends do not answer.
pub(crate) fn waiting() -> u64 {
    BACKENDS.counters().waiting.load(Ordering::Relaxed)
}

static BACKENDS: LazyLock<Backends> = LazyLock::new(|| {
    let start = Backends::start("demo", IpAddr::V4(Ipv4Addr::LOCALHOST), Ports::default());
    runtime().block_on(start).unwrap()
});

/// Where the backends are, seen from the gateway that the clients call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Here,
    BehindATunnel,
}

impl Where {
    pub(crate) const ALL: [Self; 2] = [Self::Here, Self::BehindATunnel];
}

/// What clients call.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) entry: App,
    far: Option<App>,
    base: String,
    at: Where,
    _pki: Option<TempDir>,
}

impl Place {
    /// Routes of all three protocols, each with these tables of its own; `top` is written before them.
    pub(crate) fn start(at: Where, top: &str, of_route: &str) -> Self {
        Self::start_with(at, "", top, of_route)
    }

    /// The same, with these keys of the top level at the entry.
    pub(crate) fn start_with(at: Where, keys: &str, top: &str, of_route: &str) -> Self {
        if at == Where::Here {
            let base = keys.to_owned() + &head("local") + &listener() + &services("");
            let entry = start(&(base.clone() + top + &routes("", of_route)));
            return Self {
                entry,
                far: None,
                base,
                at,
                _pki: None,
            };
        }
        let pki = TempDir::new().unwrap();
        let domain = |site: &str| {
            (
                site.to_owned(),
                TrustDomain::parse(&format!("{site}.acme.example")).unwrap(),
            )
        };
        let (lifetime, now) = (time::Duration::days(1), time::OffsetDateTime::now_utc());
        let gateways = ["gw-1".to_owned()];
        let made = pki.path().join("pki");
        causeway_pki::cli::bootstrap(&[domain("aws"), domain("azure")], &gateways, lifetime, &made, now).unwrap();
        let far = head("azure")
            + &identity(&made, "azure")
            + "federation = { bind = \"127.0.0.1:0\" }\n"
            + "[[peers]]\nsite = \"aws\"\ntrust_domain = \"aws.acme.example\"\n"
            + &services("export_to = [\"aws\"]");
        let far = start(&far);
        let federation = far.bound().federation.unwrap();
        let base = keys.to_owned()
            + &head("aws")
            + &identity(&made, "aws")
            + &listener()
            + &format!(
                "[[peers]]\nsite = \"azure\"\ntrust_domain = \"azure.acme.example\"\ndiscover = [\"{federation}\"]\n"
            );
        let entry = start(&(base.clone() + top + &routes("@azure", of_route)));
        let place = Self {
            entry,
            far: Some(far),
            base,
            at,
            _pki: Some(pki),
        };
        until("the tunnels are up", || place.entry.shared().drain.tunnels() == 2);
        let address = place.address();
        until("calls pass", || clients::http(address, "/unlimited", &[]).status == 200);
        place
    }

    /// The listener of all protocols.
    pub(crate) fn address(&self) -> SocketAddr {
        self.entry.bound().listeners["public"]
    }

    /// Takes other tables over.
    pub(crate) fn reload(&self, top: &str, of_route: &str) {
        let at = if self.at == Where::Here { "" } else { "@azure" };
        let text = self.base.clone() + top + &routes(at, of_route);
        self.entry.reload(config(&text)).unwrap();
    }

    /// The value of a series in the metrics of the entry, by its whole name with labels.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = clients::http(self.entry.bound().admin.unwrap(), "/metrics", &[]).body;
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Stops it in order.
    pub(crate) fn drain(self) {
        self.entry.drain();
        drop(self.far);
    }
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn config(text: &str) -> Config {
    causeway_config::load_str("site.toml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn start(text: &str) -> App {
    App::start(config(text)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn head(site: &str) -> String {
    format!(
        "workers = 2\nsite = {{ name = \"{site}\", trust_domain = \"{site}.acme.example\" }}\n\
         admin = {{ bind = \"127.0.0.1:0\" }}\ntelemetry = {{ access_log = \"off\" }}\n\
         drain = {{ deadline = \"1s\" }}\n"
    )
}

fn identity(pki: &Path, site: &str) -> String {
    let at = |file: &str| pki.join(site).join(file);
    format!(
        "identity = {{ certificate = {:?}, private_key = {:?}, trust_bundles = {:?} }}\n",
        at("gateway.crt"),
        at("gateway.key"),
        at("bundles")
    )
}

/// Trusts the tests to say where they come from.
fn listener() -> String {
    "[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n".to_owned()
}

fn services(more: &str) -> String {
    let Addresses { http, websocket, grpc } = backends();
    let mut text = String::new();
    for (name, address) in [("http", http), ("websocket", websocket), ("grpc", grpc)] {
        let _ = writeln!(
            text,
            "[[services]]\nname = \"{name}\"\nprotocol = \"{name}\"\nendpoints = [\"{address}\"]\n{more}"
        );
    }
    text
}

fn routes(at: &str, of_route: &str) -> String {
    let mut text =
        format!("[[routes]]\nname = \"unlimited\"\nmatch = {{ path = \"/unlimited\" }}\nto = \"http{at}\"\n");
    for name in ["http", "websocket", "grpc"] {
        let _ = writeln!(
            text,
            "[[routes]]\nname = \"{name}\"\nmatch = {{ path_prefix = \"/\", protocol = \"{name}\" }}\n\
             to = \"{name}{at}\"\n{of_route}"
        );
    }
    text
}
