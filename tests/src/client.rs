//! A small HTTP/1.1 client on a plain socket, for admin ports, loads and requests that no real client would send.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a field, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// How a request on a kept connection went.
#[derive(Debug)]
pub enum Outcome {
    /// Answered, and the connection can be used again.
    Answered(Answer),
    /// Answered, and the connection is at its end.
    Last(Answer),
    /// Not a byte came back on a connection that had been used: the server closed it while it was idle, and a client
    /// may repeat (RFC 9112 section 9.3.1).
    ClosedWhileIdle,
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    used: u64,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            used: 0,
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer to its end; `None` when the connection ended before its first byte.
    ///
    /// # Errors
    /// When the connection ends inside of the answer, or the answer is no HTTP/1.1.
    pub fn receive(&mut self, method: &str) -> io::Result<Option<Answer>> {
        loop {
            let Some(answer) = self.receive_one(method)? else {
                return Ok(None);
            };
            // Interim answers are followed by the real one.
            if answer.status >= 200 || answer.status == 101 {
                return Ok(Some(answer));
            }
        }
    }

    /// Sends a request with these extra header lines (each ended by CRLF) and reads the answer.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::receive`].
    pub fn request(&mut self, method: &str, target: &str, lines: &str, body: &[u8]) -> io::Result<Outcome> {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{lines}");
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let mut bytes = format!("{head}{length}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        let answer = self.send(&bytes).and_then(|()| self.receive(method));
        let reused = self.used > 0;
        self.used += 1;
        match answer {
            Ok(Some(answer)) if answer.closes() => Ok(Outcome::Last(answer)),
            Ok(Some(answer)) => Ok(Outcome::Answered(answer)),
            Ok(None) if reused => Ok(Outcome::ClosedWhileIdle),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error)
                if reused && matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Ok(Outcome::ClosedWhileIdle)
            }
            Err(error) => Err(error),
        }
    }

    /// Everything up to the end of the connection, or until nothing came for `silence`.
    pub fn rest(&mut self, silence: Duration) -> Vec<u8> {
        let _ = self.stream.get_ref().set_read_timeout(Some(silence));
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    fn receive_one(&mut self, method: &str) -> io::Result<Option<Answer>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok());
        let mut answer = Answer {
            status: status.ok_or_else(|| odd("status line", &line))?,
            ..Answer::default()
        };
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| odd("field line", &line))?;
            answer
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let bodiless = method == "HEAD" || answer.status < 200 || matches!(answer.status, 204 | 304);
        if bodiless {
        } else if answer.header("transfer-encoding").is_some() {
            self.chunks(&mut answer.body)?;
        } else if let Some(length) = answer.header("content-length").map(str::to_owned) {
            let length = length.parse().map_err(|_| odd("content-length", &length))?;
            answer.body.resize(length, 0);
            self.stream.read_exact(&mut answer.body)?;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(Some(answer))
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = usize::from_str_radix(&line, 16).map_err(|_| odd("chunk size", &line))?;
            if length == 0 {
                while !self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {}
                return Ok(());
            }
            let from = body.len();
            body.resize(from + length, 0);
            self.stream.read_exact(&mut body[from..])?;
            let end = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if !end.is_empty() {
                return Err(odd("end of a chunk", &end));
            }
        }
    }

    /// One line without its end; `None` at the end of the connection.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.as_slice() {
            [] => Ok(None),
            [text @ .., b'\r', b'\n'] => Ok(Some(String::from_utf8_lossy(text).into_owned())),
            other => Err(odd("line", &String::from_utf8_lossy(other))),
        }
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// As [`Connection::request`].
pub fn get(address: SocketAddr, target: &str) -> io::Result<Answer> {
    match Connection::open(address)?.request("GET", target, "connection: close\r\n", b"")? {
        Outcome::Answered(answer) | Outcome::Last(answer) => Ok(answer),
        Outcome::ClosedWhileIdle => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Fetches `target` of a host by name on a connection of its own.
///
/// # Errors
/// As [`get`].
pub fn get_host(address: SocketAddr, host: &str, target: &str) -> io::Result<Answer> {
    let mut connection = Connection::open(address)?;
    connection.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())?;
    connection
        .receive("GET")?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn odd(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("odd {what}: {text:?}"))
}
