//! Sites in this process, their clients, and what their operators see.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use causeway_gateway::app::App;
use causeway_gateway::drain::Stage;
use causeway_gateway::telemetry::metrics::Format;
use tokio::runtime::Runtime;

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// For backends and clients of HTTP/2.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    &RUNTIME
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A gateway; dropped, it is cut.
#[derive(Debug)]
pub(crate) struct Site(Option<App>);

impl Site {
    /// A gateway of this name with so many workers, a listener `public`, and these tables.
    pub(crate) fn start(name: &str, workers: usize, tables: &str) -> Self {
        Self(Some(App::start(Self::config(name, workers, tables)).unwrap()))
    }

    fn config(name: &str, workers: usize, tables: &str) -> causeway_config::Config {
        let text = format!(
            "workers = {workers}\nsite = {{ name = \"{name}\", trust_domain = \"{name}.acme.example\" }}\n\
             admin = {{ bind = \"127.0.0.1:0\" }}\ntelemetry = {{ access_log = \"off\" }}\n\
             listeners = [{{ name = \"public\", bind = \"127.0.0.1:0\" }}]\n{tables}"
        );
        causeway_config::load_str("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    pub(crate) fn app(&self) -> &App {
        self.0.as_ref().unwrap()
    }

    /// Takes these tables over in place of those before.
    pub(crate) fn reload(&self, name: &str, workers: usize, tables: &str) {
        self.app().reload(Self::config(name, workers, tables)).unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.app().bound().listeners["public"]
    }

    /// A series of the metrics, by its beginning up to the value.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let registry = &self.app().shared().telemetry.registry;
        let text = registry.render(Format::Prometheus, Instant::now());
        let line = text.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> io::Result<Answer> {
        let mut client = Client::connect(self.address())?;
        client.ask(method, path, fields, body)
    }

    /// The status of a plain GET.
    pub(crate) fn get(&self, path: &str) -> u16 {
        self.ask("GET", path, "", "").unwrap().status
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(app) = self.0.take() {
            app.shared().drain.enter(Stage::Cutting);
            app.drain();
        }
    }
}

/// A reply as its client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Fields in lower case, a line each.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A client of HTTP/1.1 that keeps its connection.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request, without waiting for its reply.
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &str, body: &str) -> io::Result<()> {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        write!(
            self.0.get_mut(),
            "{method} {path} HTTP/1.1\r\nhost: test\r\n{fields}{length}\r\n{body}"
        )
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &str, body: &str) -> io::Result<Answer> {
        self.send(method, path, fields, body)?;
        self.answer()
    }

    /// Reads the reply.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("odd status line {line:?}")))?;
        let mut head = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            head.push_str(&line.to_ascii_lowercase().replace("\r\n", "\n"));
        }
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length.parse().map_err(io::Error::other)?, 0);
                self.0.read_exact(&mut body)?;
            }
            None if head.contains("transfer-encoding: chunked") => loop {
                line.clear();
                self.0.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                let start = body.len();
                body.resize(start + size + 2, 0);
                self.0.read_exact(&mut body[start..])?;
                body.truncate(start + size);
                if size == 0 {
                    break;
                }
            },
            None => {}
        }
        Ok(Answer { status, head, body })
    }
}

/// A service `backend` at these addresses, and a route of everything to it.
pub(crate) fn service(protocol: &str, addresses: &[SocketAddr], more: &str) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!(
        "[[services]]\nname = \"backend\"\nprotocol = \"{protocol}\"\nendpoints = {addresses:?}\n{more}\n\
         [[routes]]\nmatch = {{ path_prefix = \"/\" }}\nto = \"backend\"\n"
    )
}

/// The gRPC code that a call ends with, over a connection of its own.
pub(crate) fn grpc(address: SocketAddr, path: &str) -> Result<i32, h2::Error> {
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await?;
        runtime().spawn(connection);
        let request = http::Request::post(format!("http://test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (reply, mut body) = client.ready().await?.send_request(request, false)?;
        body.send_data(vec![0, 0, 0, 0, 0].into(), true)?;
        let (head, mut reply) = reply.await?.into_parts();
        while let Some(data) = reply.data().await {
            reply.flow_control().release_capacity(data?.len())?;
        }
        let trailers = reply.trailers().await?.unwrap_or(head.headers);
        let code = trailers
            .get("grpc-status")
            .and_then(|code| code.to_str().ok()?.parse().ok());
        Ok(code.unwrap_or(-1))
    })
}
