//! The acceptor of tunnels: a bounded number of handshakes, and of those a share for each address.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use causeway_config as config;
use causeway_pki::tls::Peer;
use causeway_pki::verify::Role as PeerRole;
use causeway_protocols::tunnel::Role;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Common, Connection, prepare};

/// Handshakes of arriving tunnels under way.
const MAX_HANDSHAKES: usize = 256;
/// Of those, from one address.
const MAX_HANDSHAKES_OF_ONE: usize = 32;

/// Takes tunnels that arrive on this socket, until it is dropped.
pub(super) async fn accept_tunnels(socket: TcpListener, tls: Arc<rustls::ServerConfig>, common: Arc<Common>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let (stream, address) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a tunnel failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            tracing::warn!(%address, "tunnel refused: too many handshakes are under way");
            continue;
        };
        let Some(one) = common.shaking.take(address.ip(), MAX_HANDSHAKES_OF_ONE) else {
            tracing::debug!(%address, "tunnel refused: too many handshakes of this address are under way");
            continue;
        };
        let (tls, common) = (Arc::clone(&tls), Arc::clone(&common));
        #[expect(
            clippy::disallowed_methods,
            reason = "on the control runtime, bounded by the semaphore"
        )]
        tokio::spawn(async move {
            let limit = common.settings.load().handshake_timeout;
            let shaken = tokio::time::timeout(limit, accept_one(stream, tls)).await;
            drop((permit, one));
            match shaken {
                Ok(Ok(connection)) => {
                    let site = connection.peer.identity().site().map(config::Name::from);
                    let Some(site) = site else { return };
                    let state = common.inbound(&site);
                    common.deal(connection, &state, site).await;
                }
                Ok(Err(error)) => {
                    common.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%address, %error, "tunnel refused");
                }
                Err(_) => tracing::warn!(%address, ?limit, "tunnel refused: the handshake took too long"),
            }
        });
    }
}

async fn accept_one(stream: TcpStream, tls: Arc<rustls::ServerConfig>) -> io::Result<Connection> {
    prepare(&stream)?;
    let shaken = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await?;
    let (stream, tls) = shaken.into_inner();
    let peer = Peer::of(&tls, PeerRole::Client).map_err(io::Error::other)?;
    Ok(Connection {
        stream: stream.into_std()?,
        tls: tls.into(),
        role: Role::Acceptor,
        peer,
    })
}
