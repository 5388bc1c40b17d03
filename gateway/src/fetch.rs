//! Asking other services over HTTP, from the control runtime: key sets, introspection, authorisation.
//!
//! One request at a time on a connection, a few connections kept. Everything has a bound: the time of the whole
//! exchange, the size of the answer, the requests under way. Redirects are not followed: where to ask is what the
//! configuration says, and addresses come from [`discovery`](crate::discovery), which refuses those of metadata
//! services.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use causeway_config::HttpUrl;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::discovery::Watched;

/// Connections that are kept for the next request.
const KEPT: usize = 16;
/// Requests under way to one place.
const MOST: usize = 256;
/// Bytes of the head of an answer.
const HEAD: usize = 32 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The name has no address just now.
    #[error("its name has no address")]
    NoAddress,
    /// Connecting failed.
    #[error("connecting to {address}")]
    Connect {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It speaks no HTTP, or went away.
    #[error("the exchange broke off")]
    Exchange(#[source] hyper::Error),
    /// The body of the answer is too large, or broke off.
    #[error("the answer is over {limit} bytes, or broke off")]
    Body {
        /// The most bytes that are taken.
        limit: usize,
    },
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Too many requests are waiting for it.
    #[error("{MOST} requests are waiting for it already")]
    Busy,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

/// An answer with its whole body.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// One place to ask.
#[derive(Debug)]
pub struct Fetcher {
    /// Where.
    pub url: HttpUrl,
    /// Its addresses.
    pub watched: Watched,
    /// TLS to it, for `https`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The longest time of an exchange.
    pub timeout: Duration,
    /// The largest body of an answer in bytes.
    pub limit: usize,
    /// Where it runs.
    pub handle: Handle,
    /// What it keeps.
    pub pool: Pool,
}

/// Connections of a [`Fetcher`], and how many requests it has under way.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    under_way: Semaphore,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            under_way: Semaphore::new(MOST),
        }
    }
}

impl Fetcher {
    /// Asks, from any thread. The exchange runs on the control runtime, and to its end even if nobody waits any more.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn ask(self: &Arc<Self>, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        let fetcher = Arc::clone(self);
        let asked = self.handle.spawn(async move { fetcher.ask_here(request).await });
        asked.await.unwrap_or(Err(FetchError::Stopping))
    }

    /// As [`ask`](Self::ask), on the runtime of the caller, which has sockets and time.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn ask_here(&self, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        let Ok(_permit) = self.pool.under_way.try_acquire() else {
            return Err(FetchError::Busy);
        };
        let exchange = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        exchange.unwrap_or(Err(FetchError::Timeout(self.timeout)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        let mut sender = match self.kept().await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let answer = sender.send_request(request).await.map_err(FetchError::Exchange)?;
        let (parts, body) = answer.into_parts();
        let limit = self.limit;
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|_| FetchError::Body { limit })?.to_bytes();
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(sender);
        }
        Ok(Answer {
            status: parts.status,
            fields: parts.headers,
            body,
        })
    }

    /// A kept connection that is still good.
    async fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let kept = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut sender = kept?;
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, FetchError> {
        let mut addresses = self.watched.current();
        if addresses.endpoints.is_empty() {
            addresses = self.watched.refreshed(self.timeout).await;
        }
        let mut failed = FetchError::NoAddress;
        for endpoint in &addresses.endpoints {
            let address = endpoint.address;
            match self.open(address).await {
                Ok(sender) => return Ok(sender),
                Err(source) => failed = FetchError::Connect { address, source },
            }
        }
        Err(failed)
    }

    async fn open(&self, address: std::net::SocketAddr) -> std::io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.shake_hands(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(self.url.host.clone()).map_err(std::io::Error::other)?;
                let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
                self.shake_hands(stream).await
            }
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> std::io::Result<SendRequest<Full<Bytes>>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        self.handle.spawn(async move {
            // How it ends, the exchange on it is told.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
