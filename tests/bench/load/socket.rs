//! Connections to the gateway.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use crate::failure::{During, Failure, Result};

/// Source addresses in use: 127.0.0.2 to 127.0.0.201.
const SOURCES: usize = 200;
/// Ports used on each, below those that the kernel hands out: a port that was bound on purpose, on any address, is not
/// given to a gateway that just connects, and the gateways would run out of them.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
/// Where to look next when a port is taken: another address.
const STRIDE: usize = 30_011;
const ATTEMPTS: usize = 8;

/// Connects to `port` on 127.0.0.1.
pub(super) async fn connect(port: u16) -> Result<TcpStream> {
    prepare(
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .during("connecting")?,
    )
}

/// The same, for connection number `index` of many: from one of several loopback addresses, so that ports suffice, and
/// so that two connections with numbers near each other never have the same ends.
pub(super) async fn connect_numbered(port: u16, index: usize) -> Result<TcpStream> {
    let mut last = Failure::new("no source address");
    for attempt in 0..ATTEMPTS {
        let from = source(index.wrapping_add(attempt * STRIDE));
        let socket = TcpSocket::new_v4().during("socket")?;
        socket.set_reuseaddr(true).during("SO_REUSEADDR")?;
        match socket.bind(from) {
            Ok(()) => match socket.connect((Ipv4Addr::LOCALHOST, port).into()).await {
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => last = Failure::new(error.to_string()),
                connected => return prepare(connected.during("connecting")?),
            },
            Err(error) => last = Failure::new(format!("binding {from}: {error}")),
        }
    }
    Err(last)
}

/// The number of the first of a series of connections that come and go, apart from those of other series.
pub(super) fn series(number: usize) -> usize {
    number.wrapping_mul(STRIDE)
}

fn source(index: usize) -> SocketAddr {
    let ports = usize::from(PORTS.end - PORTS.start);
    let address = Ipv4Addr::new(127, 0, 0, 2 + (index / ports % SOURCES) as u8);
    SocketAddr::from((address, PORTS.start + (index % ports) as u16))
}

fn prepare(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true).during("TCP_NODELAY")?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_have_sources_of_their_own_below_the_ephemeral_ports() {
        let all: std::collections::BTreeSet<SocketAddr> = (0..100_000).map(source).collect();
        assert_eq!(all.len(), 100_000);
        assert!(
            all.iter()
                .all(|source| source.ip().is_loopback() && PORTS.contains(&source.port()))
        );
        assert_eq!(
            source(usize::from(PORTS.end - PORTS.start) * SOURCES),
            source(0),
            "they start again"
        );
    }
}
