//! Clients of the three protocols, which tell what they were told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use causeway_gateway::demo::backend::proto::SayRequest;
use causeway_gateway::demo::backend::proto::chat_client::ChatClient;
use tonic::Request;
use tonic::transport::Channel;

use crate::place::runtime;

/// A reply over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HashMap<String, String>,
    pub(crate) body: String,
    /// Bytes of the body.
    pub(crate) length: usize,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// One request on a connection of its own.
pub(crate) fn http(address: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{request}\r\n").unwrap();
    read_head(&mut BufReader::new(&stream))
}

/// The handshake of a WebSocket; the connection is good for frames where the status is 101.
pub(crate) fn websocket(address: SocketAddr, target: &str, fields: &[(&str, &str)]) -> (Answer, TcpStream) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{request}\r\n").unwrap();
    let answer = read_head(&mut stream);
    (answer, stream)
}

/// Reads byte by byte up to the end of the head, and for a reply that is no upgrade the rest too.
fn read_head(stream: &mut impl Read) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    let mut lines = head.lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let status = first.get(9..12).and_then(|status| status.parse().ok()).unwrap();
    let mut fields: HashMap<String, String> = HashMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        // Several lines of a list are one list.
        fields
            .entry(name.to_ascii_lowercase())
            .and_modify(|all| *all = format!("{all}, {value}"))
            .or_insert_with(|| value.to_owned());
    }
    let mut body = Vec::new();
    if status != 101 {
        stream.read_to_end(&mut body).unwrap();
    }
    Answer {
        status,
        fields,
        length: body.len(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// A client of gRPC with a connection of its own.
pub(crate) fn grpc(address: SocketAddr) -> ChatClient<Channel> {
    runtime()
        .block_on(ChatClient::connect(format!("http://{address}")))
        .unwrap()
}

/// One unary call.
pub(crate) fn say(client: &mut ChatClient<Channel>, fields: &[(&'static str, &str)]) -> Result<(), tonic::Status> {
    let mut request = Request::new(SayRequest::default());
    for (name, value) in fields {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    runtime().block_on(client.say(request)).map(drop)
}

/// Sends a request and leaves its reply unread.
pub(crate) fn begin(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    stream
}

/// A frame from the server.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A message of so many bytes.
    Data(usize),
    /// With this code.
    Close(u16),
}

/// Sends one message of zeros, masked with zeros.
pub(crate) fn send_frame(socket: &mut TcpStream, size: usize) {
    let mut frame = vec![0x82];
    match u16::try_from(size).unwrap() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.resize(frame.len() + 4 + size, 0);
    socket.write_all(&frame).unwrap();
}

/// Reads one frame of at most 65,535 bytes.
pub(crate) fn read_frame(socket: &mut TcpStream) -> Frame {
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            socket.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).unwrap();
    match head[0] & 0x0f {
        8 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
        _ => Frame::Data(length),
    }
}
