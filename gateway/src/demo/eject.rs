//! The demo as files: what it runs in one process, for processes of their own.

use std::fs;
use std::io;
use std::path::Path;

use super::lines;
use super::places::{self, Places};
use super::sites::{DemoError, certificates};

/// Writes configurations, certificates and a README into `folder`, which is made if need be.
///
/// # Errors
/// When it is not empty, or cannot be written.
pub fn eject(folder: &Path, places: &Places) -> Result<(), DemoError> {
    let failed = |what: String| move |source: io::Error| DemoError::File { what, source };
    fs::create_dir_all(folder).map_err(failed(format!("making {}", folder.display())))?;
    let mut entries = fs::read_dir(folder).map_err(failed(format!("reading {}", folder.display())))?;
    if entries.next().is_some() {
        return Err(DemoError::NotEmpty(folder.to_owned()));
    }
    certificates(&folder.join("pki"))?;
    let pki = Path::new("pki");
    let files = [
        ("aws.toml", places::aws(places, &pki.join("aws"))),
        ("azure.toml", places::azure(places, &pki.join("azure"))),
        ("README.md", readme(places)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(failed(format!("writing {}", path.display())))?;
    }
    Ok(())
}

/// The commands that run what was written, in the order of their start; each for a terminal of its own.
pub fn commands(places: &Places) -> [String; 3] {
    let ports = places.backend_ports();
    [
        format!(
            "causeway demo-backends --name azure --http-port {} --websocket-port {} --grpc-port {}",
            ports.http, ports.websocket, ports.grpc
        ),
        "causeway run --config azure.toml".to_owned(),
        "causeway run --config aws.toml".to_owned(),
    ]
}

fn readme(places: &Places) -> String {
    let commands = commands(places).join("\n");
    let mut sections = lines::sections(places);
    sections.push(lines::operator(places, "causeway"));
    format!(
        "# Two sites, linked\n\n\
         `aws` is near to clients; `azure` has the backends and offers them to `aws`. `aws` dials the tunnel.\n\n\
         ```text\n\
         client -> aws {} ==tunnel {}==> azure -> backends\n\
         ```\n\n\
         Run each in a terminal of its own, in this directory:\n\n\
         ```sh\n{commands}\n```\n\n\
         Try it:\n\n\
         ```sh\n{}```\n\n\
         `pki/SITE/ca` is the authority of a site: keep it away from its gateway. Certificates end after 90 days;\n\
         `causeway pki renew --help` says how to get new ones. `causeway check --config FILE` says whether a changed\n\
         configuration is good, `causeway explain GET URL --config FILE` where a request would go, and a SIGHUP makes a\n\
         running gateway read it again.\n",
        places.aws.edge,
        places.tunnel,
        lines::text(&sections).trim_end().to_owned() + "\n",
    )
}
