//! Sites in this process, clients, and load.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_config::Config;
use causeway_gateway::app::App;
use causeway_gateway::demo::backend::{Addresses, Backends, Ports};
use causeway_pki::TrustDomain;
use causeway_pki::cli::bootstrap;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::runtime::Runtime;

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// For backends and HTTP/2 clients.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    &RUNTIME
}

/// One set of backends for all tests.
pub(crate) fn backends() -> Addresses {
    static BACKENDS: LazyLock<Backends> = LazyLock::new(|| {
        let start = Backends::start("demo", IpAddr::V4(Ipv4Addr::LOCALHOST), Ports::default());
        runtime().block_on(start).unwrap()
    });
    BACKENDS.addresses()
}

/// Waits for a condition.
pub(crate) fn until(what: &str, limit: Duration, condition: impl FnMut() -> bool) -> Duration {
    let mut condition = condition;
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    began.elapsed()
}

/// What all gateways of this process have logged.
pub(crate) fn logged(text: &str) -> bool {
    log().lock().unwrap_or_else(PoisonError::into_inner).contains(text)
}

fn log() -> &'static Mutex<String> {
    static LOG: LazyLock<Mutex<String>> = LazyLock::new(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| LogWriter)
            .with_max_level(tracing::Level::INFO)
            .init();
        Mutex::default()
    });
    &LOG
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if std::env::var_os("CAUSEWAY_TEST_LOG").is_some() {
            io::stderr().write_all(text.as_bytes())?;
        }
        log().lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a configuration.
pub(crate) fn config(text: &str) -> Config {
    causeway_config::load_str("site.toml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// Starts a gateway.
pub(crate) fn start(text: &str) -> App {
    log();
    App::start(config(text)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The address of the listener `public`.
pub(crate) fn public(app: &App) -> SocketAddr {
    app.bound().listeners["public"]
}

/// The beginning of every configuration.
pub(crate) fn head(site: &str) -> String {
    format!(
        "workers = 2\n[site]\nname = \"{site}\"\ntrust_domain = \"{site}.acme.example\"\n[admin]\nbind = \
         \"127.0.0.1:0\"\n[telemetry]\naccess_log = \"off\"\n"
    )
}

/// A listener of this name on a port; 0 takes a free one.
pub(crate) fn listener(name: &str, port: u16) -> String {
    format!("[[listeners]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n")
}

/// The HTTP backend as a service, exported to these sites.
pub(crate) fn service(name: &str, export_to: &[&str]) -> String {
    let address = backends().http;
    format!(
        "[[services]]\nname = \"{name}\"\nprotocol = \"http\"\nendpoints = [\"{address}\"]\nexport_to = {export_to:?}\n"
    )
}

/// Everything goes there.
pub(crate) fn route(to: &str) -> String {
    format!("[[routes]]\nmatch = {{ path_prefix = \"/\" }}\nto = \"{to}\"\n")
}

/// A peer, dialled at these addresses if there are any.
pub(crate) fn peer(site: &str, addresses: &[SocketAddr]) -> String {
    let mut text = format!("[[peers]]\nsite = \"{site}\"\ntrust_domain = \"{site}.acme.example\"\n");
    if !addresses.is_empty() {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        text.push_str(&format!("discover = {addresses:?}\n"));
    }
    text
}

/// Certificates of sites.
#[derive(Debug)]
pub(crate) struct Pki(pub(crate) TempDir);

impl Pki {
    /// Each site with one gateway, all trusting each other.
    pub(crate) fn of(sites: &[&str]) -> Self {
        Self::with_gateways(sites, &["gw-1"])
    }

    /// Each site with gateways of these names.
    pub(crate) fn with_gateways(sites: &[&str], gateways: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sites: Vec<_> = sites
            .iter()
            .map(|site| {
                let domain = format!("{site}.acme.example");
                ((*site).to_owned(), TrustDomain::parse(&domain).unwrap())
            })
            .collect();
        let gateways: Vec<_> = gateways.iter().map(ToString::to_string).collect();
        let now = OffsetDateTime::now_utc();
        bootstrap(
            &sites,
            &gateways,
            time::Duration::days(90),
            &folder.path().join("pki"),
            now,
        )
        .unwrap();
        Self(folder)
    }

    /// The folder of a site.
    pub(crate) fn site(&self, site: &str) -> PathBuf {
        self.0.path().join("pki").join(site)
    }

    /// `[identity]` and `[federation]` of a site's gateway.
    pub(crate) fn identity(&self, site: &str, bind: Option<SocketAddr>) -> String {
        self.identity_of(&self.site(site), &self.site(site), bind)
    }

    /// As [`Self::identity`], with the certificate from one folder and the bundles from another.
    pub(crate) fn identity_of(&self, certificate: &Path, bundles: &Path, bind: Option<SocketAddr>) -> String {
        let mut text = format!(
            "[identity]\ncertificate = {:?}\nprivate_key = {:?}\ntrust_bundles = {:?}\n",
            certificate.join("gateway.crt"),
            certificate.join("gateway.key"),
            bundles.join("bundles"),
        );
        if let Some(bind) = bind {
            text.push_str(&format!("[federation]\nbind = \"{bind}\"\n"));
        }
        text
    }
}

/// Any free port of loopback.
pub(crate) fn free() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A port that was free a moment ago, for who has to be told before the other side is started.
pub(crate) fn reserved() -> SocketAddr {
    std::net::TcpListener::bind(free()).unwrap().local_addr().unwrap()
}

/// `azure` with the backend, `aws` with the clients; `aws` dials.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) pki: Pki,
    pub(crate) aws: App,
    pub(crate) azure: App,
    pub(crate) federation: SocketAddr,
}

impl Pair {
    pub(crate) fn start() -> Self {
        let pki = Pki::of(&["aws", "azure"]);
        let azure = start(&azure_text(&pki, free(), &["aws"]));
        let federation = azure.bound().federation.unwrap();
        let aws = start(&aws_text(&pki, &[federation]));
        let pair = Self {
            pki,
            aws,
            azure,
            federation,
        };
        pair.wait();
        pair
    }

    /// Until there is a tunnel for each worker, and a call passes.
    pub(crate) fn wait(&self) {
        until("both tunnels are up", PATIENCE, || self.tunnels() == 2);
        until("calls pass through the tunnel", PATIENCE, || passes(public(&self.aws)));
    }

    /// Tunnels that `aws` has.
    pub(crate) fn tunnels(&self) -> usize {
        self.aws.shared().drain.tunnels()
    }
}

/// The configuration of `azure`.
pub(crate) fn azure_text(pki: &Pki, bind: SocketAddr, export_to: &[&str]) -> String {
    head("azure") + &pki.identity("azure", Some(bind)) + &peer("aws", &[]) + &service("demo", export_to)
}

/// The configuration of `aws`, which dials `azure` there.
pub(crate) fn aws_text(pki: &Pki, azure: &[SocketAddr]) -> String {
    head("aws") + &pki.identity("aws", None) + &listener("public", 0) + &peer("azure", azure) + &route("demo@azure")
}

/// Whether a fresh connection gets a good answer at once.
pub(crate) fn passes(address: SocketAddr) -> bool {
    Client::new(address)
        .get("/bytes/10")
        .is_ok_and(|(status, _)| status == 200)
}

/// A blocking client of HTTP/1.1 that keeps its connection.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    /// Whether the last failure was that nobody took the connection.
    pub(crate) unconnected: bool,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            unconnected: false,
        }
    }

    /// Whether the connection is kept for another request.
    pub(crate) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends a request and reads its whole reply.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.unconnected = false;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let connected = TcpStream::connect(self.address);
                self.unconnected = connected.is_err();
                let stream = connected?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")?;
        let (status, keep, body) = read_reply(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok((status, body))
    }
}

/// Reads one reply: status, whether the connection goes on, body.
pub(crate) fn read_reply(stream: &mut impl BufRead) -> io::Result<(u16, bool, Vec<u8>)> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("odd status line {line:?}")))?;
    let (mut length, mut chunked, mut keep) = (0, false, true);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let field = line.trim_end().to_ascii_lowercase();
        match field.split_once(": ") {
            None if field.is_empty() => break,
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", "chunked")) => chunked = true,
            Some(("connection", "close")) => keep = false,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if !chunked {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        return Ok((status, keep, body));
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        line.clear();
        stream.read_line(&mut line)?;
        if size == 0 {
            return Ok((status, keep, body));
        }
    }
}

/// Clients that never pause.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// Calls that were answered.
    pub(crate) done: Arc<AtomicU64>,
    /// A connection that nobody takes is no failure from now on.
    pub(crate) may_refuse: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Clients of HTTP/1.1 with kept connections, and streams of one HTTP/2 connection.
    pub(crate) fn start(address: SocketAddr, http1: usize, http2: usize) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            may_refuse: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..http1 {
            let (stop, done, may_refuse) = load.shared();
            let run = move || over_http1(address, &stop, &done, &may_refuse);
            load.threads.push(std::thread::spawn(run));
        }
        for _ in 0..http2 {
            let (stop, done, may_refuse) = load.shared();
            let run = move || runtime().block_on(over_http2(address, &stop, &done, &may_refuse));
            load.threads.push(std::thread::spawn(run));
        }
        let done = Arc::clone(&load.done);
        until("the load runs", PATIENCE, || {
            done.load(Ordering::Relaxed) > 10 || load.threads.iter().any(JoinHandle::is_finished)
        });
        load
    }

    fn shared(&self) -> (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicBool>) {
        (
            Arc::clone(&self.stop),
            Arc::clone(&self.done),
            Arc::clone(&self.may_refuse),
        )
    }

    /// Calls answered so far.
    pub(crate) fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops it; every failure in words.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    }
}

fn over_http1(address: SocketAddr, stop: &AtomicBool, done: &AtomicU64, may_refuse: &AtomicBool) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = Client::new(address);
    while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
        // A connection that was closed while it was idle is no call that failed: the peek sees it.
        if let Some(stream) = &client.stream {
            stream.get_ref().set_nonblocking(true).unwrap();
            let closed = matches!(stream.get_ref().peek(&mut [0]), Ok(0));
            stream.get_ref().set_nonblocking(false).unwrap();
            if closed {
                client.stream = None;
            }
        }
        match client.get("/bytes/100") {
            Ok((200, body)) if body.len() == 100 => drop(done.fetch_add(1, Ordering::Relaxed)),
            Ok((status, body)) => failures.push(format!("{status}: {}", String::from_utf8_lossy(&body))),
            Err(_) if client.unconnected && may_refuse.load(Ordering::Relaxed) => return failures,
            Err(error) => failures.push(format!("HTTP/1.1: {error}")),
        }
    }
    failures
}

async fn over_http2(address: SocketAddr, stop: &AtomicBool, done: &AtomicU64, may_refuse: &AtomicBool) -> Vec<String> {
    let mut failures = Vec::new();
    'connections: while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
        let stream = match tokio::net::TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(_) if may_refuse.load(Ordering::Relaxed) => return failures,
            Err(error) => {
                failures.push(format!("connecting: {error}"));
                continue;
            }
        };
        let (mut client, connection) = match h2::client::handshake(stream).await {
            Ok(handshake) => handshake,
            Err(error) => {
                failures.push(format!("HTTP/2 handshake: {error}"));
                continue;
            }
        };
        runtime().spawn(connection);
        let mut answered = false;
        while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
            client = match client.ready().await {
                Ok(client) => client,
                // Going away: on the next connection.
                Err(_) => continue 'connections,
            };
            let request = http::Request::get("http://test/bytes/100").body(()).unwrap();
            let Ok((response, _)) = client.send_request(request, true) else {
                continue 'connections;
            };
            match whole(response).await {
                Ok((200, 100)) => {
                    answered = true;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(other) => failures.push(format!("HTTP/2: {other:?}")),
                // Between the last look at the accept queue and the closing of the socket the kernel completes
                // connections that nobody takes: it resets them, and no call on them was accepted.
                Err(error) if error.is_io() && !answered && may_refuse.load(Ordering::Relaxed) => return failures,
                // RFC 9113, section 6.8: not processed, and sent again on the next connection.
                Err(error) if error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                    continue 'connections;
                }
                Err(error) => failures.push(format!("HTTP/2: {error}")),
            }
        }
    }
    failures
}

async fn whole(response: h2::client::ResponseFuture) -> Result<(u16, usize), h2::Error> {
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((status, length))
}
