//! One HTTP request to a server on this machine, without any of the gateway's own machinery.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Largest answer that is read.
const LARGEST: u64 = 8 << 20;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Where a gateway is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Its admin port.
    Port(SocketAddr),
    /// Its admin socket.
    Socket(PathBuf),
}

impl Door {
    /// Where the gateway with this configuration can be read: its socket, or else its port.
    pub(crate) fn of(admin: &causeway_config::Admin) -> Self {
        admin.socket.clone().map_or(Self::Port(admin.bind), Self::Socket)
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// A connection whose reads and writes can be bounded.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn open(door: &Door, within: Duration) -> io::Result<Self> {
        let stream = match door {
            Door::Port(address) => Self::Tcp(TcpStream::connect_timeout(address, within)?),
            Door::Socket(path) => Self::Unix(UnixStream::connect(path)?),
        };
        match &stream {
            Self::Tcp(tcp) => tcp.set_write_timeout(Some(within))?,
            Self::Unix(unix) => unix.set_write_timeout(Some(within))?,
        }
        Ok(stream)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.write_all(bytes),
            Self::Unix(unix) => unix.write_all(bytes),
        }
    }

    fn read(&mut self, room: &mut [u8], within: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => {
                tcp.set_read_timeout(Some(within))?;
                tcp.read(room)
            }
            Self::Unix(unix) => {
                unix.set_read_timeout(Some(within))?;
                unix.read(room)
            }
        }
    }
}

/// Asks with GET; `within` bounds the whole of it.
///
/// # Errors
/// Those of the socket, `TimedOut`, and `InvalidData` for what is no HTTP.
pub(crate) fn get(address: SocketAddr, target: &str, within: Duration) -> io::Result<Answer> {
    ask(&Door::Port(address), "GET", target, within)
}

/// Asks with this method and no body; `within` bounds the whole of it.
///
/// # Errors
/// As [`get`].
pub(crate) fn ask(door: &Door, method: &str, target: &str, within: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + within;
    let mut stream = Stream::open(door, within)?;
    let host = match door {
        Door::Port(address) => address.to_string(),
        Door::Socket(_) => "localhost".to_owned(),
    };
    // HTTP/1.0, so that the answer has no chunks and ends with the connection.
    let request =
        format!("{method} {target} HTTP/1.0\r\nhost: {host}\r\nuser-agent: causeway\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while (answer.len() as u64) < LARGEST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stream.read(&mut piece, left) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            // What a read that took too long is called differs between systems.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(text: &str) -> io::Result<Answer> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(invalid)?;
    let mut words = head.split(' ');
    if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(invalid());
    }
    let status = words
        .next()
        .and_then(|word| word.get(..3))
        .and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(invalid)?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body_or_is_none() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nnot ready\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "not ready\n"));
        assert_eq!(parse("HTTP/1.0 200\r\n\r\n").unwrap().status, 200);
        for wrong in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 \u{e9}\u{e9}\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_costs_no_more_than_the_limit() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = get(silent.local_addr().unwrap(), "/", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
