//! The way to a collector: TLS from the files that the settings name, and the HTTP client of the OTLP exporter.
//!
//! The client holds one connection. Answers are bounded, and a page of HTML is no answer of a collector, whatever its
//! status says.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::settings::Otlp;

/// An answer of OTLP is a few bytes.
const ANSWER: usize = 64 * 1024;

/// Where systems keep the certificates they trust; `SSL_CERT_FILE` lies over these.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no way to a collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A file could not be read.
    #[error("reading `{path}` for the trace collector: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A header field, the endpoint or a certificate makes no sense.
    #[error("trace collector: {0}")]
    Invalid(String),
}

impl CollectorError {
    pub(super) fn invalid(problem: impl ToString) -> Self {
        Self::Invalid(problem.to_string())
    }
}

/// PEM files as the settings name them.
pub(super) struct Pems {
    pub(super) roots: Vec<u8>,
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Pems {
    pub(super) fn read(otlp: &Otlp) -> Result<Self, CollectorError> {
        let roots = match &otlp.certificate {
            Some(path) => read(path)?,
            None => system_roots(),
        };
        let client = match &otlp.client {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        Ok(Self { roots, client })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CollectorError> {
    std::fs::read(path).map_err(|source| CollectorError::File {
        path: path.display().to_string(),
        source,
    })
}

fn system_roots() -> Vec<u8> {
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    named
        .into_iter()
        .chain(SYSTEM_ROOTS.iter().map(std::path::PathBuf::from))
        .find_map(|path| std::fs::read(path).ok())
        .unwrap_or_default()
}

/// Header fields in the form that is sent.
pub(super) fn headers(otlp: &Otlp) -> Result<Vec<(HeaderName, HeaderValue)>, CollectorError> {
    let parse = |(name, value): &(String, String)| {
        let wrong =
            || CollectorError::Invalid(format!("header field `{name}` has a name or value that cannot be sent"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    otlp.headers.iter().map(parse).collect()
}

/// Sends OTLP over HTTP/1.1.
pub(super) struct Client {
    tls: Option<Arc<rustls::ClientConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(otlp: &Otlp) -> Result<Self, CollectorError> {
        let secure = otlp.endpoint.starts_with("https:");
        Ok(Self {
            tls: if secure {
                Some(Arc::new(tls(&Pems::read(otlp)?)?))
            } else {
                None
            },
            headers: headers(otlp)?,
            connection: Mutex::default(),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        let uri = std::mem::take(&mut head.uri);
        let authority = uri.authority().ok_or("the endpoint has no host")?;
        head.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
        head.uri = Uri::from(uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        for (name, value) in &self.headers {
            head.headers.insert(name.clone(), value.clone());
        }
        let mut slot = self.connection.lock().await;
        let mut kept = slot.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let reused = kept.is_some();
        let mut sender = match kept {
            Some(kept) => kept,
            None => self.connect(&uri).await?,
        };
        let build = || Request::from_parts(head.clone(), Full::new(body.clone()));
        let answer = match sender.send_request(build()).await {
            // The collector closed the connection while it lay unused. A span may arrive twice; it has the same id.
            Err(_) if reused => {
                sender = self.connect(&uri).await?;
                sender.send_request(build()).await?
            }
            other => other?,
        };
        let (head, body) = answer.into_parts();
        let html = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if html && head.status.is_success() {
            return Err("the endpoint answers with a page of HTML: it is no OTLP collector".into());
        }
        let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
        *slot = Some(sender);
        Ok(Response::from_parts(head, body))
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        match &self.tls {
            Some(tls) if secure => {
                let name = ServerName::try_from(host)?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
                handshake(connector.connect(name, stream).await?).await
            }
            _ => handshake(stream).await,
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(ANSWER)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends with the sender, at the latest.
    tokio::runtime::Handle::current().spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

impl HttpClient for Client {
    fn send_bytes<'this, 'future>(
        &'this self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'this: 'future,
        Self: 'future,
    {
        Box::pin(self.send(request))
    }
}

fn tls(pems: &Pems) -> Result<rustls::ClientConfig, CollectorError> {
    let mut roots = rustls::RootCertStore::empty();
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pems.roots)
        .filter_map(Result::ok)
        .collect();
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err(CollectorError::invalid(
            "no certificate that could vouch for it was found; name a PEM file in OTEL_EXPORTER_OTLP_CERTIFICATE",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CollectorError::invalid)?
        .with_root_certificates(roots);
    match &pems.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(CollectorError::invalid)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(CollectorError::invalid)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(CollectorError::invalid)
        }
    }
}
