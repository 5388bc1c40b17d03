//! One health check of one endpoint, on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use causeway_config::{self as config, HealthCheck, HttpVersion, StatusSet};
use http::{Method, Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{ServiceSpec, connect};

/// What a gRPC health service may answer at most, in bytes.
const ANSWER: usize = 4096;
/// Who we say that we are.
const AGENT: &str = "causeway-health";

/// Checks an endpoint, which was found under `host`.
///
/// # Errors
/// Why it is not well, for the log.
pub async fn probe(spec: &ServiceSpec, health: &config::Health, address: SocketAddr, host: &str) -> Result<(), String> {
    let address = health.port.map_or(address, |port| SocketAddr::new(address.ip(), port));
    let checked = tokio::time::timeout(health.timeout, check(spec, health, address, host)).await;
    checked.unwrap_or_else(|_| Err(format!("no answer within {:?}", health.timeout)))
}

async fn check(spec: &ServiceSpec, health: &config::Health, address: SocketAddr, host: &str) -> Result<(), String> {
    let version = match health.check {
        HealthCheck::Grpc { .. } => HttpVersion::Http2,
        HealthCheck::Tcp | HealthCheck::Http { .. } => spec.config.version,
    };
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| format!("connecting: {error}"))?;
    stream.set_nodelay(true).ok();
    let Some(tls) = &spec.tls else {
        return speak(stream, spec, &health.check, version, "http", host).await;
    };
    let mut tls = (**tls).clone();
    if version == HttpVersion::Http2 {
        tls.alpn_protocols = vec![b"h2".to_vec()];
    }
    let name = connect::server_name(spec, host).map_err(|error| format!("TLS: {error}"))?;
    let shaken = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    let stream = shaken.map_err(|error| format!("TLS: {error}"))?;
    if version == HttpVersion::Http2
        && health.check != HealthCheck::Tcp
        && stream.get_ref().1.alpn_protocol() != Some(b"h2")
    {
        return Err("TLS: no h2 by ALPN".to_owned());
    }
    speak(stream, spec, &health.check, version, "https", host).await
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    spec: &ServiceSpec,
    check: &HealthCheck,
    version: HttpVersion,
    scheme: &str,
    host: &str,
) -> Result<(), String> {
    let host = spec.config.host.as_deref().unwrap_or(host);
    match check {
        HealthCheck::Tcp => Ok(()),
        HealthCheck::Http {
            path,
            host: own,
            expect,
        } => {
            let host = own.as_deref().unwrap_or(host);
            let status = match version {
                HttpVersion::Http1 => get_http1(stream, path, host).await?,
                HttpVersion::Http2 => get_http2(stream, path, scheme, host).await?,
            };
            expected(status, expect)
        }
        HealthCheck::Grpc { service } => ask_grpc(stream, service, scheme, host).await,
    }
}

fn expected(status: u16, expect: &StatusSet) -> Result<(), String> {
    if expect.has(status) {
        Ok(())
    } else {
        Err(format!("status {status}"))
    }
}

/// An authority of this host: IPv6 addresses need brackets.
fn authority(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

async fn get_http1<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    path: &str,
    host: &str,
) -> Result<u16, String> {
    let failed = |error: hyper::Error| format!("HTTP/1.1: {error}");
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(failed)?;
    let request = Request::get(path)
        .header(header::HOST, authority(host))
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // The head is enough; the body goes with the connection. That may end together with its reply's arrival.
    let mut reply = std::pin::pin!(sender.send_request(request));
    let reply = tokio::select! {
        reply = &mut reply => reply,
        _ended = connection => reply.await,
    };
    Ok(reply.map_err(failed)?.status().as_u16())
}

fn request2(method: Method, scheme: &str, host: &str, path: &str) -> Result<http::request::Builder, String> {
    let uri = format!("{scheme}://{}{path}", authority(host));
    let uri: http::Uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
    Ok(Request::builder()
        .method(method)
        .uri(uri)
        .header(header::USER_AGENT, AGENT))
}

async fn get_http2<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    path: &str,
    scheme: &str,
    host: &str,
) -> Result<u16, String> {
    let failed = |error: h2::Error| format!("HTTP/2: {error}");
    let request = request2(Method::GET, scheme, host, path)?
        .body(())
        .map_err(|error| error.to_string())?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
    let asking = async {
        let mut sender = sender.ready().await.map_err(failed)?;
        let (reply, _) = sender.send_request(request, true).map_err(failed)?;
        Ok(reply.await.map_err(failed)?.status().as_u16())
    };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        status = &mut asking => status,
        _ended = connection => asking.await,
    }
}

/// `grpc.health.v1.Health/Check` (gRPC Health Checking Protocol).
async fn ask_grpc<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    service: &str,
    scheme: &str,
    host: &str,
) -> Result<(), String> {
    let failed = |error: h2::Error| format!("gRPC: {error}");
    let request = request2(Method::POST, scheme, host, "/grpc.health.v1.Health/Check")?
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(())
        .map_err(|error| error.to_string())?;
    let message = HealthCheckRequest {
        service: service.to_owned(),
    };
    let message = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    framed.extend_from_slice(&message);
    let (sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
    let asking = async {
        let mut sender = sender.ready().await.map_err(failed)?;
        let (reply, mut body) = sender.send_request(request, false).map_err(failed)?;
        body.send_data(framed.into(), true).map_err(failed)?;
        let (head, mut reply) = reply.await.map_err(failed)?.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(format!("gRPC: status {}", head.status.as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(data) = reply.data().await {
            let data = data.map_err(failed)?;
            reply.flow_control().release_capacity(data.len()).map_err(failed)?;
            answer.extend_from_slice(&data);
            if answer.len() > ANSWER {
                return Err("gRPC: the answer is too long".to_owned());
            }
        }
        let trailers = reply.trailers().await.map_err(failed)?.unwrap_or(head.headers);
        let code = trailers.get("grpc-status").and_then(|code| code.to_str().ok());
        if code != Some("0") {
            return Err(format!("gRPC: code {}", code.unwrap_or("none")));
        }
        serving(&answer)
    };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        served = &mut asking => served,
        _ended = connection => asking.await,
    }
}

/// Whether the answer, with its prefix of five bytes, says SERVING.
fn serving(mut answer: &[u8]) -> Result<(), String> {
    let malformed = || "gRPC: not an answer of a health service".to_owned();
    if answer.len() < 5 || answer.get_u8() != 0 {
        return Err(malformed());
    }
    let length = usize::try_from(answer.get_u32()).unwrap_or(usize::MAX);
    let message = answer.get(..length).ok_or_else(malformed)?;
    let message = HealthCheckResponse::decode(message).map_err(|_| malformed())?;
    match message.status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("gRPC: {}", other.as_str_name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serving_is_well() {
        let framed = |status: u8| vec![0, 0, 0, 0, 2, 8, status];
        assert_eq!(serving(&framed(1)), Ok(()));
        for status in [0, 2, 3, 9] {
            assert!(serving(&framed(status)).is_err(), "{status}");
        }
        for garbage in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\xff\xff\xff\xff\x08\x01",
            b"\0\0\0\0\x02\xff\xff",
        ] {
            assert!(serving(garbage).is_err(), "{garbage:?}");
        }
        assert!(serving(&[0, 0, 0, 0, 0]).is_err(), "UNKNOWN is the default");
    }

    #[test]
    fn an_address_of_ipv6_has_brackets() {
        assert_eq!(authority("::1"), "[::1]");
        assert_eq!(authority("10.0.0.1"), "10.0.0.1");
        assert_eq!(authority("orders.internal:80"), "orders.internal:80");
    }
}
