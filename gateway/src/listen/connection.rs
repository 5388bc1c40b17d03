//! One client connection: TLS, then HTTP/1.1 or HTTP/2 by ALPN or by its first bytes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::Origin;
use super::admission::Admission;
use super::http1;
use crate::authentication::certificates;
use crate::drain::Guard;
use crate::http1::Http1Connection;
use crate::http2;
use crate::socket::Socket;
use crate::worker::{Permit, Worker};

/// Bytes in the kernel that are not sent yet, beyond which a socket takes no more: else fairness dies in its buffer.
const NOT_SENT: u32 = 128 * 1024;

/// Serves a connection until it ends.
pub async fn serve(
    mut stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    mut origin: Origin,
    admission: Admission,
    worker: Rc<Worker>,
    guard: Guard,
) {
    if admission.admit(&mut stream, &mut origin, &worker).await.is_none() {
        return;
    }
    let world = worker.world();
    let timeouts = world.snapshot.config.timeouts;
    // The limit is a help, not a need.
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT);
    let socket = match tls {
        None => Socket::plain(stream, &worker.clock, timeouts.write),
        Some(tls) => {
            let limit = world.snapshot.config.limits.handshakes;
            let Some(permit) = Permit::take(&worker.shared, |shared| &shared.handshakes, limit) else {
                worker.observer.shared().metrics.limit_hit.with(&["handshakes"]).inc();
                tracing::warn!(listener = %origin.listener, limit, "handshake refused: too many are under way");
                return;
            };
            let config = &world.snapshot.config;
            // Behind a proxy are many clients.
            let most = if origin.is_trusted(config) {
                usize::MAX
            } else {
                config.limits.handshakes_per_address
            };
            let Some(share) = worker.shared.shaking.take(origin.peer.ip(), most) else {
                let metrics = &worker.observer.shared().metrics;
                metrics.limit_hit.with(&["handshakes_per_address"]).inc();
                // No line an attacker could fill the log with: it is counted.
                tracing::debug!(client = %origin.peer, most, "handshake refused: too many of this address are under way");
                return;
            };
            match Box::pin(handshake(stream, tls, timeouts.handshake)).await {
                Ok(stream) => {
                    drop((permit, share));
                    origin.certificate = (stream.get_ref().1.peer_certificates())
                        .and_then(|chain| certificates::principal(chain.first()?));
                    Socket::tls(stream, &worker.clock, timeouts.write)
                }
                Err(error) => {
                    tracing::debug!(%error, client = %origin.peer, "TLS handshake failed");
                    return;
                }
            }
        }
    };
    drop(world);
    let is_http2 = socket.alpn().is_some_and(|protocol| protocol == b"h2");
    let connection = Http1Connection::of_client(Rc::new(socket));
    if is_http2 {
        Box::pin(http2::server::serve(connection, origin, worker, guard)).await;
    } else {
        match http1::serve(&connection, &origin, &worker, &guard).await {
            http1::Done::Closed => {}
            http1::Done::Http2 => Box::pin(http2::server::serve(connection, origin, worker, guard)).await,
        }
    }
}

async fn handshake(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    limit: Duration,
) -> std::io::Result<TlsStream<TcpStream>> {
    let accepted = tokio::time::timeout(limit, TlsAcceptor::from(tls).accept(stream)).await;
    Ok(TlsStream::Server(accepted.map_err(|_| std::io::ErrorKind::TimedOut)??))
}
