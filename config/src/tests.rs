//! What an operator sees: good configurations load, and bad ones are told in exactly these words.

mod bad;
mod good;
mod keys;
mod policies;
mod robust;

use std::fs;
use std::path::{Path, PathBuf};

use crate::layers::Layers;
use crate::problems::Problems;
use crate::{Config, ConfigProblems};

/// The example that people start from.
const EXAMPLE: &str = r#"[site]
name = "aws"
trust_domain = "aws.acme.example"

[identity]                                # reloaded when the files change
certificate = "pki/gateway.crt"
private_key = "pki/gateway.key"
trust_bundles = "pki/bundles"             # one file per trust domain

[[listeners]]
name = "public"
bind = "0.0.0.0:8080"                     # HTTP/1.1, h2c, WebSocket, gRPC, gRPC-Web on one port; tls = {...} adds ALPN

[federation]
bind = "0.0.0.0:7443"                     # where peers' tunnels arrive, TCP and UDP

[[peers]]
site = "azure"
trust_domain = "azure.acme.example"
discover = "srv:_causeway._tcp.gw.azure.acme.example"   # or "dns:gw.azure.acme.example:7443", or ["10.1.2.3:7443"]

[[services]]
name = "orders"
protocol = "grpc"
endpoints = "dns:orders.internal:50051"
schema = "reflection"                     # or a .proto directory, or a descriptor set
export_to = ["azure"]                     # or [{ site = "azure", callers = ["spiffe://..", "sub:alice"] }]

[[routes]]
match = { host = "api.acme.example", path = "/v1/orders/{rest*}", methods = ["GET", "POST"] }
to = "orders"                             # or "orders@azure", or [{ service = "orders", weight = 90 }, { service = "orders@azure", weight = 10 }]
"#;

/// The least that a gateway needs; tests put lines behind it.
const LEAST: &str = "site = { name = 'aws', trust_domain = 'aws.example' }
listeners = [{ name = 'public', bind = '0.0.0.0:8080' }]
";

/// A directory with the files of [`EXAMPLE`].
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("pki/bundles")).unwrap();
    for name in ["pki/gateway.crt", "pki/gateway.key"] {
        write(folder.path(), name, "");
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// Loads files with an environment of the test's own.
fn load_with(
    files: &[PathBuf],
    environment: &[(&str, &str)],
    arguments: &[(&str, &str)],
) -> Result<Config, ConfigProblems> {
    let mut problems = Problems::default();
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let files = crate::sources::read(files, &mut problems);
    let layers = Layers {
        files,
        environment: own(environment),
        arguments: own(arguments),
    };
    crate::assemble(&layers, problems)
}

/// What is printed about [`LEAST`] with `text` behind it.
fn told(text: &str) -> String {
    match crate::load_str("c.toml", &format!("{LEAST}{text}")) {
        Ok(_) => "fine".to_owned(),
        Err(problems) => problems.to_string(),
    }
}
