//! Many connections that do nothing: what they cost is the memory the gateways grow by.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Entry, http1, used, websocket};
use crate::failure::{Failure, Result};

/// Connections being opened at one time.
const OPENING: usize = 64;
/// For allocators and buffer pools to come to rest.
const SETTLE: Duration = Duration::from_secs(2);

/// What is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Keep-alive HTTP/1.1 connections that have had one reply.
    Http,
    /// WebSockets that have echoed one message.
    WebSocket,
}

/// What so many idle connections cost.
#[derive(Debug)]
pub(crate) struct IdleCost {
    /// Connections that were open at the end.
    pub(crate) connections: usize,
    pub(crate) kib_per_connection: f64,
    pub(crate) rss_kib: u64,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
}

/// Opens `count` connections through the gateways and compares their memory before and after.
pub(crate) async fn open(idle: Idle, entry: Entry, count: usize, gateways: &[u32]) -> Result<IdleCost> {
    // Pools and code that the first connections need are not the price of a connection.
    let warm = open_some(idle, entry, 0..OPENING).await;
    tokio::time::sleep(SETTLE).await;
    let before = used(gateways)?.rss_kib;
    let cold = open_some(idle, entry, OPENING..OPENING + count).await;
    tokio::time::sleep(SETTLE).await;
    let after = used(gateways)?.rss_kib;
    let open = cold.streams.iter().filter(|stream| is_open(stream)).count();
    let lost = cold.streams.len() - open;
    let mut first_failure = warm.first_failure.or(cold.first_failure);
    if lost > 0 {
        first_failure.get_or_insert_with(|| format!("{lost} idle connections were closed"));
    }
    if open == 0 {
        return Err(Failure::new(
            first_failure.unwrap_or_else(|| "no connection stayed open".to_owned()),
        ));
    }
    Ok(IdleCost {
        connections: open,
        kib_per_connection: after.saturating_sub(before) as f64 / open as f64,
        rss_kib: after,
        failures: warm.failures + cold.failures + lost as u64,
        first_failure,
    })
}

fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[derive(Default)]
struct Opened {
    streams: Vec<TcpStream>,
    failures: u64,
    first_failure: Option<String>,
}

async fn open_some(idle: Idle, entry: Entry, numbers: std::ops::Range<usize>) -> Opened {
    let mut opened = Opened::default();
    let mut opening = JoinSet::new();
    for number in numbers {
        if opening.len() >= OPENING {
            opened.note(opening.join_next().await);
        }
        opening.spawn_local(async move {
            let open = async {
                match idle {
                    Idle::Http => http1::open_idle(entry.http, number).await,
                    Idle::WebSocket => websocket::open_idle(entry.http, Some(number)).await,
                }
            };
            let late = |_| Err(Failure::new("not open within 10 s"));
            tokio::time::timeout(Duration::from_secs(10), open)
                .await
                .unwrap_or_else(late)
        });
    }
    while let Some(end) = opening.join_next().await {
        opened.note(Some(end));
    }
    opened
}

impl Opened {
    fn note(&mut self, end: Option<std::result::Result<Result<TcpStream>, tokio::task::JoinError>>) {
        match end {
            Some(Ok(Ok(stream))) => self.streams.push(stream),
            Some(Ok(Err(failure))) => self.failed(&failure),
            Some(Err(panic)) => self.failed(&Failure::new(panic.to_string())),
            None => {}
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| failure.to_string());
    }
}
