//! Where everything of the demo listens, and the configurations that say so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::backend::{Addresses, Ports};

/// The demo never listens anywhere else.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The largest offset that leaves every port a port.
pub const MAX_OFFSET: u16 = u16::MAX - 29_000;

/// The addresses of one site that people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where clients arrive.
    pub edge: SocketAddr,
    /// The operator's port.
    pub admin: SocketAddr,
}

/// Every address of the demo. Port 0 takes a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The site that clients are near to.
    pub aws: Place,
    /// The site that has the backends.
    pub azure: Place,
    /// Where the tunnel from aws arrives at azure.
    pub tunnel: SocketAddr,
    /// The backends, at azure.
    pub backends: Addresses,
}

impl Places {
    /// The well-known ports, all moved up by `offset`, at most [`MAX_OFFSET`]. With `inner` those that only the sites
    /// themselves use are fixed too; else they are free ones.
    pub fn fixed(offset: u16, inner: Inner) -> Self {
        let at = |port: u16| SocketAddr::new(LOOPBACK, port.saturating_add(offset));
        let hidden = |port| match inner {
            Inner::Fixed => at(port),
            Inner::Free => SocketAddr::new(LOOPBACK, 0),
        };
        Self {
            aws: Place {
                edge: at(18_080),
                admin: at(19_000),
            },
            azure: Place {
                edge: at(28_080),
                admin: at(29_000),
            },
            tunnel: hidden(27_443),
            backends: Addresses {
                http: hidden(23_000),
                websocket: hidden(23_001),
                grpc: hidden(23_002),
            },
        }
    }

    /// Free ports for everything.
    pub fn free() -> Self {
        let free = SocketAddr::new(LOOPBACK, 0);
        let place = Place {
            edge: free,
            admin: free,
        };
        Self {
            aws: place,
            azure: place,
            ..Self::fixed(0, Inner::Free)
        }
    }

    /// The ports of the backends.
    pub fn backend_ports(&self) -> Ports {
        Ports {
            http: self.backends.http.port(),
            websocket: self.backends.websocket.port(),
            grpc: self.backends.grpc.port(),
        }
    }

    /// The addresses that a user has to know, with what they are.
    pub fn known(&self) -> [(&'static str, SocketAddr); 4] {
        [
            ("the edge of aws", self.aws.edge),
            ("the edge of azure", self.azure.edge),
            ("the admin port of aws", self.aws.admin),
            ("the admin port of azure", self.azure.admin),
        ]
    }
}

/// What becomes of ports that only the sites themselves use: tunnel and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// Well-known, for files.
    Fixed,
    /// Free ones.
    Free,
}

/// The configuration of aws: it has no backends, and dials azure. `pki` is the directory of its certificate.
pub fn aws(places: &Places, pki: &Path) -> String {
    let peer = format!(
        "# The other site. Its certificate must be in this trust domain.\n\
         [[peers]]\nsite = \"azure\"\ntrust_domain = \"azure.acme.example\"\ndiscover = [\"{}\"]\n",
        places.tunnel
    );
    [
        head("aws", &places.aws, pki),
        peer,
        "# Whatever arrives goes to the service of its protocol at azure.\n".to_owned() + &routes("@azure"),
    ]
    .join("\n")
}

/// The configuration of azure: it has the backends, offers them to aws, and accepts its tunnels.
pub fn azure(places: &Places, pki: &Path) -> String {
    let federation = format!(
        "# Where tunnels of other sites arrive.\n[federation]\nbind = \"{}\"\n",
        places.tunnel
    );
    let peer = "# Aws may come. It dials us, so there is nothing to discover.\n\
                [[peers]]\nsite = \"aws\"\ntrust_domain = \"aws.acme.example\"\n"
        .to_owned();
    let service = |name: &str, protocol: &str, at: SocketAddr| {
        format!(
            "[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nendpoints = [\"{at}\"]\nexport_to = [\"aws\"]\n"
        )
    };
    let chat = service("chat", "grpc", places.backends.grpc)
        + "# Asked for its schema, so that HTTP and WebSocket clients can use it, too.\nschema = \"reflection\"\n";
    [
        head("azure", &places.azure, pki),
        federation,
        peer,
        "# Offered to aws; the default is nobody.\n".to_owned() + &service("web", "http", places.backends.http),
        service("echo", "websocket", places.backends.websocket),
        chat,
        "# For clients that are near to azure.\n".to_owned() + &routes(""),
    ]
    .join("\n")
}

fn head(site: &str, place: &Place, pki: &Path) -> String {
    let file = |name: &str| toml::Value::String(pki.join(name).display().to_string());
    format!(
        "[site]\nname = \"{site}\"\ntrust_domain = \"{site}.acme.example\"\n\n\
         [identity]\ncertificate = {}\nprivate_key = {}\ntrust_bundles = {}\n\n\
         # HTTP/1.1, HTTP/2, WebSocket and gRPC on one port.\n\
         [[listeners]]\nname = \"public\"\nbind = \"{}\"\n\n\
         [admin]\nbind = \"{}\"\n",
        file("gateway.crt"),
        file("gateway.key"),
        file("bundles"),
        place.edge,
        place.admin,
    )
}

fn routes(at: &str) -> String {
    let of_protocol = [("grpc", "chat"), ("websocket", "echo"), ("http", "web")].map(|(protocol, service)| {
        format!("[[routes]]\nmatch = {{ path_prefix = \"/\", protocol = \"{protocol}\" }}\nto = \"{service}{at}\"\n")
    });
    // Whatever protocol a client speaks: the gateway that has the service translates.
    let translated = ["/v1", "/causeway.demo.v1.Chat"]
        .map(|path| format!("[[routes]]\nmatch = {{ path_prefix = \"{path}\" }}\nto = \"chat{at}\"\n"));
    [of_protocol.join("\n"), translated.join("\n")].join("\n")
}
