//! Gateways in this process, and clients that must not notice what others do.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_gateway::app::App;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::task::JoinHandle;

static TURN: RwLock<()> = RwLock::const_new(());

/// A turn for a test that others may run beside.
pub(crate) async fn beside() -> RwLockReadGuard<'static, ()> {
    TURN.read().await
}

/// A turn for a test that measures this process.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().await
}

/// A gateway; dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Site {
    app: Option<App>,
    pub(crate) address: SocketAddr,
}

impl Site {
    /// A gateway with one worker, a listener `public`, and these tables.
    pub(crate) async fn start(tables: &str) -> Self {
        Self::named("local", tables).await
    }

    pub(crate) async fn named(name: &str, tables: &str) -> Self {
        let text = format!(
            "workers = 1\nsite = {{ name = \"{name}\", trust_domain = \"{name}.acme.example\" }}\n\
             admin = {{ bind = \"127.0.0.1:0\" }}\ndrain = {{ deadline = \"5s\" }}\n{}{tables}",
            if tables.contains("[[listeners]]") {
                ""
            } else {
                "listeners = [{ name = \"public\", bind = \"127.0.0.1:0\" }]\n"
            },
        );
        let config = causeway_config::load_str("test", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        // Starting builds a runtime, which cannot be done on one.
        let app = std::thread::spawn(|| App::start(config).unwrap()).join().unwrap();
        let address = app.bound().listeners["public"];
        Self {
            app: Some(app),
            address,
        }
    }

    pub(crate) fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// Stops in order, in the background.
    pub(crate) fn drain(mut self) -> std::thread::JoinHandle<causeway_gateway::drain::Drained> {
        let app = self.app.take().unwrap();
        std::thread::spawn(|| app.drain())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.shared().drain.enter(causeway_gateway::drain::Stage::Cutting);
            std::thread::spawn(|| app.drain()).join().ok();
        }
    }
}

/// Tables for one service of all calls.
pub(crate) fn to(backend: SocketAddr, more: &str) -> String {
    let mut tables = String::new();
    let protocol = if more.contains("protocol") {
        ""
    } else {
        "protocol = \"http\""
    };
    let _ = writeln!(
        tables,
        "[[services]]\nname = \"backend\"\nendpoints = [\"{backend}\"]\n{protocol}\n{more}\n\
         [[routes]]\nmatch = {{ path_prefix = \"/\" }}\nto = \"backend\""
    );
    tables
}

/// A connection of the `h2` crate, and the task that drives it.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://test.example{path}"))
        .body(())
        .unwrap()
}

/// One whole call: status and body.
pub(crate) async fn call(sender: &SendRequest<Bytes>, request: Request<()>) -> Result<(u16, Vec<u8>), h2::Error> {
    let (response, _) = sender.clone().ready().await?.send_request(request, true)?;
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((status, all))
}

/// A client that behaves, at a fixed rate on a connection of its own, while others attack.
#[derive(Debug)]
pub(crate) struct Canary {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    task: JoinHandle<Duration>,
}

impl Canary {
    pub(crate) async fn start(address: SocketAddr) -> Self {
        let sender = connect(address).await;
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&calls));
        let task = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let (status, _) = call(&sender, request("GET", "/canary"))
                    .await
                    .expect("the canary is served");
                assert_eq!(status, 200, "the canary is served");
                slowest = slowest.max(begun.elapsed());
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slowest
        });
        Self { stop, calls, task }
    }

    /// Checks that it was served all the time: no error, no long wait.
    pub(crate) async fn check(self) {
        let before = self.calls.load(Ordering::Relaxed);
        until("the canary is still served", || {
            self.calls.load(Ordering::Relaxed) > before + 2
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.task.await.expect("the canary sang to the end");
        assert!(slowest < Duration::from_secs(2), "the canary waited {slowest:?}");
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Resident memory of this process in bytes.
pub(crate) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
