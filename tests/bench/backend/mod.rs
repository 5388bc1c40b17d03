//! The backends: one process, one thread, three ports, as cheap as can be, so that the gateways are what is measured.

mod grpc;
mod http1;
mod websocket;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use tokio::net::{TcpListener, TcpStream};

use crate::failure::{During, Failure, Result};

pub(crate) use grpc::{CHAT, DOWNLOAD, STREAM_MESSAGES, UNARY, frame};

/// What `GET` on a path answers: see [`paths`].
pub(crate) const SMALL: (&str, usize) = ("/1k", 1024);
pub(crate) const MEDIUM: (&str, usize) = ("/64k", 64 * 1024);
pub(crate) const LARGE: (&str, usize) = ("/10m", 10 * 1024 * 1024);
/// Answers the number of bytes received, in decimal.
pub(crate) const UPLOAD: &str = "/upload";

/// Ports on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) grpc: u16,
    pub(crate) websocket: u16,
}

/// Serves until standard input ends, which is when whoever started this process is gone. The ports go to standard
/// output.
pub(crate) async fn serve() -> Result<()> {
    let http = listen().await?;
    let grpc = listen().await?;
    let websocket = listen().await?;
    let mut ports = Vec::new();
    for listener in [&http, &grpc, &websocket] {
        ports.push(listener.local_addr().during("port of a backend")?.port().to_string());
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", ports.join(" "))
        .and_then(|()| out.flush())
        .during("telling the ports")?;

    let bodies = http1::Replies::new();
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        end = accept(http, |stream| http1::connection(stream, bodies.clone())) => end,
        end = accept(grpc, grpc::connection) => end,
        end = accept(websocket, websocket::connection) => end,
        _ = closed => Ok(()),
    }
}

async fn listen() -> Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4().during("backend socket")?;
    socket.bind(([127, 0, 0, 1], 0).into()).during("backend port")?;
    socket.listen(4096).during("backend port")
}

async fn accept<F, W>(listener: TcpListener, connection: F) -> Result<()>
where
    F: Fn(TcpStream) -> W,
    W: Future<Output = ()> + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.during("accepting")?;
        stream.set_nodelay(true).during("TCP_NODELAY")?;
        tokio::task::spawn_local(connection(stream));
    }
}

/// A running backend process; it ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    child: Child,
    pub(crate) ports: Ports,
}

impl Backend {
    /// Starts this program again as a backend.
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::current_exe().during("finding this program")?;
        let mut command = Command::new(program);
        command.arg("backend").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().during("starting the backend")?;
        let ports = child.stdout.take().map(read_ports);
        match ports.unwrap_or_else(|| Err(Failure::new("the backend has no output"))) {
            Ok(ports) => Ok(Self { child, ports }),
            Err(failure) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(failure)
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn read_ports(output: ChildStdout) -> Result<Ports> {
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .during("reading the backend's ports")?;
    let ports: Vec<u16> = line
        .split_ascii_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();
    match ports.as_slice() {
        &[http, grpc, websocket] => Ok(Ports { http, grpc, websocket }),
        _ => Err(Failure::new(format!(
            "the backend said `{}` instead of its ports",
            line.trim()
        ))),
    }
}
