//! Making a connection to an endpoint.

use std::time::Duration;

use causeway_config::HttpVersion;
use causeway_protocols::FailureKind;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::ServiceSpec;
use super::endpoint::Endpoint;
use crate::error::{CallError, Retry};
use crate::socket::Socket;

/// A write to a backend that makes no progress for this long fails.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Connects, with TLS where the service says so, within the service's connect timeout.
///
/// # Errors
/// [`FailureKind::Connect`], which says what failed; the backend has seen nothing of the call.
pub async fn connect(endpoint: &Endpoint) -> Result<Socket, CallError> {
    let limit = endpoint.spec().config.timeouts.connect;
    let failed = |what: String| {
        let detail = format!("connecting to {}: {what}", endpoint.address);
        CallError::new(FailureKind::Connect, detail).retry(Retry::Unprocessed)
    };
    match tokio::time::timeout(limit, open(endpoint)).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {limit:?}"))),
    }
}

async fn open(endpoint: &Endpoint) -> std::io::Result<Socket> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    let spec = endpoint.spec();
    let Some(tls) = &spec.tls else {
        return Ok(Socket::plain(stream, endpoint.clock(), WRITE_STALL));
    };
    let name = server_name(spec, &endpoint.host)?;
    let stream = TlsConnector::from(std::sync::Arc::clone(tls))
        .connect(name, stream)
        .await?;
    if spec.config.version == HttpVersion::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(std::io::Error::other("the backend does not offer h2 by ALPN"));
    }
    Ok(Socket::tls(TlsStream::Client(stream), endpoint.clock(), WRITE_STALL))
}

/// The name that an endpoint, found under `host`, has to prove.
///
/// # Errors
/// When it is no name that a certificate could have.
pub fn server_name(spec: &ServiceSpec, host: &str) -> std::io::Result<ServerName<'static>> {
    let configured = spec.config.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    ServerName::try_from(configured.unwrap_or(host).to_owned()).map_err(std::io::Error::other)
}
