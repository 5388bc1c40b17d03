//! Connections to the gateway.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use crate::failure::{During, Result};

/// Connections from one source address, well below what the ephemeral ports allow.
const PER_SOURCE: usize = 5_000;
/// Source addresses in use: 127.0.0.2 to 127.0.0.201.
const SOURCES: usize = 200;

/// Connects to `port` on 127.0.0.1.
pub(super) async fn connect(port: u16) -> Result<TcpStream> {
    prepare(
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .during("connecting")?,
    )
}

/// The same, for connection number `index` of many: from one of several loopback addresses, so that ports suffice.
pub(super) async fn connect_numbered(port: u16, index: usize) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4().during("socket")?;
    socket.set_reuseaddr(true).during("SO_REUSEADDR")?;
    socket
        .bind(SocketAddr::from((source(index / PER_SOURCE), 0)))
        .during("binding a source address")?;
    prepare(
        socket
            .connect((Ipv4Addr::LOCALHOST, port).into())
            .await
            .during("connecting")?,
    )
}

/// The source address for connections that come and go: each time the next one.
pub(super) fn next_source(index: &mut usize) -> usize {
    *index = index.wrapping_add(1);
    (*index % SOURCES) * PER_SOURCE
}

fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + (number % SOURCES) as u8)
}

fn prepare(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true).during("TCP_NODELAY")?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_connections_come_from_more_than_one_address() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(9_999 / PER_SOURCE), Ipv4Addr::new(127, 0, 0, 3));
        let mut index = 0;
        let sources: Vec<_> = (0..SOURCES)
            .map(|_| source(next_source(&mut index) / PER_SOURCE))
            .collect();
        assert_eq!(sources.iter().collect::<std::collections::BTreeSet<_>>().len(), SOURCES);
    }
}
