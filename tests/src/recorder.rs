//! An origin that keeps every byte it is sent and answers whatever looks like a request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A raw origin on a free port. Its threads end with the connections; the listener ends with the process.
#[derive(Clone, Debug)]
pub struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Starts it.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let record = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut all = record.lock().unwrap_or_else(PoisonError::into_inner);
                let index = all.len();
                all.push(Vec::new());
                let record = Arc::clone(&record);
                std::thread::spawn(move || converse(stream, index, &record));
            }
        });
        Self { address, connections }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What each connection was sent so far.
    pub fn seen(&self) -> Vec<String> {
        let all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    /// The heads of all requests so far, as lines; a body that looks like a request shows as one too.
    pub fn requests(&self) -> Vec<String> {
        let lines = |text: String| {
            text.lines()
                .filter(|line| line.contains(" HTTP/1."))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        self.seen().into_iter().flat_map(lines).collect()
    }
}

fn converse(mut stream: TcpStream, index: usize, record: &Mutex<Vec<Vec<u8>>>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut buffer = [0; 16 << 10];
    let mut answered = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let heads = {
            let mut all = record.lock().unwrap_or_else(PoisonError::into_inner);
            all[index].extend_from_slice(&buffer[..length]);
            all[index].windows(4).filter(|end| end == b"\r\n\r\n").count()
        };
        // One answer for each head; what a body holds is none of its business, as for any lax origin.
        while answered < heads {
            answered += 1;
            if stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
                .is_err()
            {
                return;
            }
        }
    }
}
