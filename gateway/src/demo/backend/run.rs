//! The backends as a program of their own, for containers and scripts.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{BackendError, Backends, Ports};

/// How long calls may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// Arguments of `causeway demo-backends`.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Port of the HTTP backend; 0 takes a free one
    #[arg(long, default_value_t = 3000)]
    pub http_port: u16,
    /// Port of the WebSocket backend; 0 takes a free one
    #[arg(long, default_value_t = 3001)]
    pub websocket_port: u16,
    /// Port of the gRPC backend; 0 takes a free one
    #[arg(long, default_value_t = 50051)]
    pub grpc_port: u16,
    /// Name told to clients as the backend that answered
    #[arg(long, default_value = "demo")]
    pub name: String,
}

/// Runs the backends until SIGINT or SIGTERM, on the current tokio runtime.
///
/// Writes one JSON line with the bound addresses to `out` when all three are ready.
///
/// # Errors
/// When a port cannot be had, or `out` cannot be written.
pub async fn run(arguments: BackendArgs, out: &mut (dyn Write + Send)) -> Result<(), BackendError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ports = Ports {
        http: arguments.http_port,
        websocket: arguments.websocket_port,
        grpc: arguments.grpc_port,
    };
    let backends = Backends::start(&arguments.name, arguments.bind, ports).await?;
    let addresses = backends.addresses();
    let ready = json!({
        "ready": true,
        "backends": { "http": addresses.http, "websocket": addresses.websocket, "grpc": addresses.grpc },
    });
    writeln!(out, "{ready}")?;
    out.flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    backends.stop(GRACE).await;
    Ok(())
}
