//! Listening sockets: one address, one socket per worker.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;

/// Binds one socket for each worker to an address. Port 0 takes a free port, the same for all.
///
/// The first bind is made without `SO_REUSEPORT`, so that a second gateway on the same address fails loudly instead of
/// taking half of the connections.
///
/// # Errors
/// When the address is in use or not ours.
pub fn sockets(address: SocketAddr, workers: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let probe = open(address, Sharing::Alone)?;
    let address = local(&probe)?;
    drop(probe);
    let sockets: io::Result<Vec<TcpListener>> = (0..workers)
        .map(|_| {
            let socket = open(address, Sharing::WithWorkers)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect();
    Ok((sockets?, address))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithWorkers,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::WithWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Inherited by the accepted connections.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("a TCP socket without an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_and_strangers_do_not() {
        let (sockets, address) = sockets("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(sockets.len(), 3);
        assert!(super::sockets(address, 1).is_err(), "a second start must fail");
    }
}
