//! A DNS server that answers as a script says, over UDP and TCP.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What the script says to a question.
#[derive(Clone)]
pub(super) enum Reply {
    Answer(Vec<Record>),
    /// Answer and additional section.
    With(Vec<Record>, Vec<Record>),
    Code(ResponseCode),
    Silence,
    /// Over UDP only a truncated answer, over TCP the whole.
    TooLong(Vec<Record>),
    TruncatedAlways,
    /// The answer under another id.
    WrongId(Vec<Record>),
    Garbage,
}

type Script = Box<dyn FnMut(&str, RecordType) -> Reply + Send>;

/// A question as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) kind: RecordType,
    pub(super) id: u16,
    pub(super) at: Instant,
    pub(super) tcp: bool,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    /// Answers wait here until they are let go.
    gate: Semaphore,
}

impl Server {
    pub(super) async fn start(script: impl FnMut(&str, RecordType) -> Reply + Send + 'static) -> Self {
        let server = Self::held(script).await;
        server.release();
        server
    }

    /// As `start`, but answers wait for [`release`](Self::release).
    pub(super) async fn held(script: impl FnMut(&str, RecordType) -> Reply + Send + 'static) -> Self {
        let state = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            asked: Mutex::default(),
            gate: Semaphore::new(0),
        });
        // The port that TCP got is nearly always free for UDP too.
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = udp.local_addr().unwrap();
        let udp = Arc::new(udp);
        let shared = Arc::clone(&state);
        Handle::current().spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let (shared, udp) = (Arc::clone(&shared), Arc::clone(&udp));
                let query = buffer[..length].to_vec();
                Handle::current().spawn(async move {
                    if let Some(reply) = shared.answer(&query, false).await {
                        let _ = udp.send_to(&reply, from).await;
                    }
                });
            }
        });
        let shared = Arc::clone(&state);
        Handle::current().spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let shared = Arc::clone(&shared);
                Handle::current().spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; usize::from(length)];
                        if stream.read_exact(&mut query).await.is_err() {
                            return;
                        }
                        if let Some(reply) = shared.answer(&query, true).await {
                            let mut framed = (reply.len() as u16).to_be_bytes().to_vec();
                            framed.extend(reply);
                            let _ = stream.write_all(&framed).await;
                        }
                    }
                });
            }
        });
        Self { address, state }
    }

    pub(super) fn release(&self) {
        self.state.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// From now on.
    pub(super) fn say(&self, script: impl FnMut(&str, RecordType) -> Reply + Send + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How often a question was asked; what is sent again for want of an answer does not count.
    pub(super) fn times(&self, name: &str, kind: RecordType) -> usize {
        let ids: HashSet<u16> = self
            .asked()
            .iter()
            .filter(|asked| asked.name == name && asked.kind == kind)
            .map(|asked| asked.id)
            .collect();
        ids.len()
    }
}

impl Shared {
    async fn answer(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries.first().unwrap().clone();
        let name = question.name().to_ascii().to_lowercase();
        self.asked.lock().unwrap().push(Asked {
            name: name.clone(),
            kind: question.query_type(),
            id: query.id,
            at: Instant::now(),
            tcp,
        });
        let _permit = self.gate.acquire().await.unwrap();
        let reply = (self.script.lock().unwrap())(&name, question.query_type());
        let mut message = Message::response(query.id, OpCode::Query);
        message.metadata.recursion_available = true;
        message.add_query(question);
        match reply {
            Reply::Answer(records) => {
                message.add_answers(records);
            }
            Reply::With(records, additional) => {
                message.add_answers(records);
                message.add_additionals(additional);
            }
            Reply::Code(code) => message.metadata.response_code = code,
            Reply::Silence => return None,
            Reply::TooLong(records) if tcp => return whole(&message, &records),
            Reply::TooLong(_) | Reply::TruncatedAlways => message.metadata.truncation = true,
            Reply::WrongId(records) => {
                message.metadata.id ^= 0x5555;
                message.add_answers(records);
            }
            Reply::Garbage => {
                let mut bytes = query.id.to_be_bytes().to_vec();
                bytes.extend([0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0, 0xc0, 0xff]);
                return Some(bytes);
            }
        }
        message.to_vec().ok()
    }
}

/// All records under the name of the question. By hand: the encoder gives up on name compression after some hundred.
fn whole(message: &Message, records: &[Record]) -> Option<Vec<u8>> {
    let mut bytes = message.to_vec().ok()?;
    bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for record in records {
        let data = match &record.data {
            RData::A(a) => a.0.octets().to_vec(),
            RData::AAAA(aaaa) => aaaa.0.octets().to_vec(),
            _ => return None,
        };
        bytes.extend([0xc0, 12]);
        bytes.extend(u16::from(record.record_type()).to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(record.ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    Some(bytes)
}

pub(super) fn address(name: &str, ttl: u32, ip: &str) -> Record {
    let data = match ip.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

pub(super) fn alias(name: &str, ttl: u32, to: &str) -> Record {
    let data = RData::CNAME(CNAME(Name::from_ascii(to).unwrap()));
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

pub(super) fn srv(name: &str, ttl: u32, priority: u16, weight: u16, port: u16, target: &str) -> Record {
    let data = RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()));
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

/// Answers the family that is asked for with those of the addresses that belong to it.
pub(super) fn of_kind(name: &str, kind: RecordType, ttl: u32, ips: &[&str]) -> Reply {
    let records = ips.iter().map(|ip| address(name, ttl, ip));
    Reply::Answer(records.filter(|record| record.record_type() == kind).collect())
}
