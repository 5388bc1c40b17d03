//! One gateway with the demo's backends, and a pair of gateways with them at the far one, to test policies at real sockets.

pub(crate) mod origin;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use causeway_pki::TrustDomain;
use causeway_pki::cli::bootstrap;

use crate::app::App;
use crate::demo::backend::{Backends, Ports};

/// A gateway with its backends, and a pair with the same backends behind a tunnel.
#[derive(Debug)]
pub(crate) struct Sites {
    /// Whose backends are its own.
    pub(crate) local: App,
    /// Whose backends are at another site.
    pub(crate) near: App,
    _far: App,
    /// What the configurations of the first two begin with.
    begin: [String; 2],
    runtime: tokio::runtime::Runtime,
    _backends: Backends,
    folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// All values of a field, joined.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.headers.iter().filter(|(field, _)| field == name).collect();
        let values = values.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl Sites {
    /// Starts them. `listener` are further keys of the clients' listener; `tables` further tables, routes above all: in them
    /// `demo-http@@` stands for the service, wherever it is.
    pub(crate) fn start(listener: &str, tables: &str) -> Self {
        Self::start_with(listener, "", tables)
    }

    /// As [`Self::start`], with further services: in them `@EXPORT@` stands for whom they are exported to.
    pub(crate) fn start_with(listener: &str, further: &str, tables: &str) -> Self {
        Self::start_as(listener, further, tables, "export_to = ['near']")
    }

    /// As [`Self::start`], where the services of the far site have these keys instead of their export.
    pub(crate) fn start_exported(tables: &str, export: &str) -> Self {
        Self::start_as("", "", tables, export)
    }

    fn start_as(listener: &str, further: &str, tables: &str, export: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let backends = runtime
            .block_on(Backends::start("b", Ipv4Addr::LOCALHOST.into(), Ports::default()))
            .unwrap();
        let names = ["near", "far"].map(|name| {
            let domain = TrustDomain::parse(&format!("{name}.acme.example")).unwrap();
            (name.to_owned(), domain)
        });
        let pki = folder.path().join("pki");
        let now = time::OffsetDateTime::now_utc();
        bootstrap(&names, &["gw".to_owned()], time::Duration::days(1), &pki, now).unwrap();
        let services = |export: &str| {
            let at = backends.addresses();
            [("http", at.http), ("websocket", at.websocket), ("grpc", at.grpc)].map(|(name, at)| {
                format!("[[services]]\nname = \"demo-{name}\"\nprotocol = \"{name}\"\nendpoints = [\"{at}\"]\n{export}\n")
            }).concat() + &further.replace("@EXPORT@", if export.is_empty() { "[]" } else { "[\"near\"]" })
        };
        let public = format!("[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n{listener}\n");
        let log = |site: &str| folder.path().join(format!("{site}.log"));
        let local = head("local", &log("local"), None) + &public + &services("");
        let far = head("far", &log("far"), Some(&pki.join("far")))
            + "[federation]\nbind = \"127.0.0.1:0\"\n[[peers]]\nsite = \"near\"\ntrust_domain = \"near.acme.example\"\n"
            + &services(export);
        let far = start(&far);
        let tunnel = far.bound().federation.unwrap();
        let near = head("near", &log("near"), Some(&pki.join("near")))
            + &format!("[[peers]]\nsite = \"far\"\ntrust_domain = \"far.acme.example\"\ndiscover = [\"{tunnel}\"]\n")
            + &public;
        Self {
            local: start(&(local.clone() + &tables.replace("@@", ""))),
            near: start(&(near.clone() + &tables.replace("@@", "@far"))),
            begin: [local, near],
            _far: far,
            runtime,
            _backends: backends,
            folder,
        }
    }

    /// Gives both other tables.
    pub(crate) fn reload(&self, tables: &str) {
        let [local, near] = &self.begin;
        for (app, text) in [
            (&self.local, local.clone() + &tables.replace("@@", "")),
            (&self.near, near.clone() + &tables.replace("@@", "@far")),
        ] {
            let config =
                causeway_config::load_str("site.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            app.reload(config).unwrap();
        }
    }

    /// Where clients go: to the gateway alone, and to the pair.
    pub(crate) fn entries(&self) -> [(&'static str, SocketAddr); 2] {
        [("local", &self.local), ("pair", &self.near)].map(|(name, app)| (name, app.bound().listeners["public"]))
    }

    /// The lines of the access log of a site, once there are as many.
    pub(crate) fn access_log(&self, site: &str, count: usize) -> Vec<serde_json::Value> {
        let file = self.folder.path().join(format!("{site}.log"));
        let began = std::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<_> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{} of {count} lines: {text}",
                lines.len()
            );
            std::thread::yield_now();
        }
    }

    /// One gRPC call with one message; its status is that of the trailers, or of the head where there are none.
    pub(crate) fn grpc(&self, at: SocketAddr, path: &str, message: &[u8], headers: &[(&str, &str)]) -> Answer {
        self.runtime.block_on(grpc(at, path, message, headers))
    }
}

fn head(site: &str, log: &Path, pki: Option<&Path>) -> String {
    let identity = pki.map_or_else(String::new, |folder| {
        format!(
            "[identity]\ncertificate = {:?}\nprivate_key = {:?}\ntrust_bundles = {:?}\n",
            folder.join("gateway.crt"),
            folder.join("gateway.key"),
            folder.join("bundles")
        )
    });
    format!(
        "workers = 1\n[site]\nname = \"{site}\"\ntrust_domain = \"{site}.acme.example\"\n[admin]\nbind = \"127.0.0.1:0\"\n[telemetry]\naccess_log = {{ file = {log:?} }}\n{identity}"
    )
}

fn start(text: &str) -> App {
    let config = causeway_config::load_str("site.toml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    App::start(config).unwrap()
}

/// One HTTP/1.1 request with these further lines, each ended by CRLF, on a connection of its own.
pub(crate) fn http(at: SocketAddr, method: &str, target: &str, lines: &str, body: &[u8]) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{lines}");
    if !body.is_empty() {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    raw(at, &bytes, method == "HEAD")
}

/// A WebSocket handshake with these further lines; the answer is its head.
pub(crate) fn upgrade(at: SocketAddr, target: &str, lines: &str) -> Answer {
    let mut stream = connect(at);
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    parse(&head, true)
}

/// Sends these bytes and reads the answer to the end of the connection.
pub(crate) fn raw(at: SocketAddr, bytes: &[u8], bodiless: bool) -> Answer {
    let mut stream = connect(at);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is refused may end by RST.
    stream.read_to_end(&mut answer).ok();
    parse(&answer, bodiless)
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// An answer of HTTP/1.1; status 0 where there is none.
fn parse(bytes: &[u8], bodiless: bool) -> Answer {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Answer::default();
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok()).unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if !bodiless && answer.header("transfer-encoding").is_some() {
        answer.body = chunks(&answer.body);
    }
    answer
}

fn chunks(mut wire: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = wire.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&wire[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&wire[end + 2..end + 2 + length]);
        wire = &wire[end + 4 + length..];
    }
}

async fn grpc(at: SocketAddr, path: &str, message: &[u8], headers: &[(&str, &str)]) -> Answer {
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::runtime::Handle::current().spawn(connection);
    let mut request = http::Request::post(format!("http://test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    // A call may be refused before its body is read.
    send.send_data(Bytes::from(framed), true).ok();
    let response = response.await.unwrap();
    let mut answer = Answer {
        status: response.status().as_u16(),
        ..Answer::default()
    };
    let mut add = |fields: &http::HeaderMap| {
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        answer.headers.extend(fields.iter().map(field));
    };
    add(response.headers());
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        answer.body.extend_from_slice(&data);
    }
    if let Some(trailers) = body.trailers().await.unwrap() {
        add(&trailers);
    }
    drop(client);
    driver.abort();
    answer
}
