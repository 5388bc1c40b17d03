//! Asks a backend for its schema: gRPC server reflection, v1 and, where that is not known, v1alpha.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use causeway_config as config;
use hyper_util::rt::TokioIo;
use prost::Message;
use prost_types::FileDescriptorProto;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Status};
use tonic_reflection::pb::{v1, v1alpha};
use tower::service_fn;

use crate::discovery::{Endpoint, Watched};

/// For the whole conversation.
const LIMIT: Duration = Duration::from_secs(10);
/// Files of one schema.
const MAX_FILES: usize = 1_000;
/// Bytes of one answer.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Bytes of all files.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Services whose schema is of no use to callers of the gateway.
const SKIPPED: [&str; 3] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.health.v1.Health",
];

/// A service that can be asked.
#[derive(Debug)]
pub(super) struct Backend {
    watched: Watched,
    tls: Option<Arc<rustls::ClientConfig>>,
    server_name: Option<String>,
    authority: Option<String>,
    connect: Duration,
}

impl Backend {
    pub(super) fn new(service: &config::Service, watched: &Watched, tls: Option<&Arc<rustls::ClientConfig>>) -> Self {
        Self {
            watched: watched.clone(),
            tls: tls.cloned(),
            server_name: service.tls.as_ref().and_then(|tls| tls.server_name.clone()),
            authority: service.host.clone(),
            connect: service.timeouts.connect,
        }
    }

    /// An encoded descriptor set of all services, from the first endpoint that answers.
    pub(super) async fn ask(&self) -> Result<Vec<u8>, String> {
        let mut watched = self.watched.changes.clone();
        let answer = watched.wait_for(|answer| !answer.endpoints.is_empty());
        let endpoints = match tokio::time::timeout(LIMIT, answer).await {
            Ok(Ok(answer)) => answer.endpoints.clone(),
            _ => return Err("the service has no endpoint".to_owned()),
        };
        let mut why = String::new();
        for endpoint in endpoints.iter().take(3) {
            match tokio::time::timeout(LIMIT, self.ask_one(endpoint)).await {
                Ok(Ok(set)) => return Ok(set),
                Ok(Err(error)) => why = format!("{}: {error}", endpoint.address),
                Err(_) => why = format!("{}: no answer within {LIMIT:?}", endpoint.address),
            }
        }
        Err(why)
    }

    async fn ask_one(&self, endpoint: &Endpoint) -> Result<Vec<u8>, String> {
        let channel = self.channel(endpoint).await?;
        match with_v1(channel.clone()).await {
            Err(status) if status.code() == Code::Unimplemented => with_v1alpha(channel).await,
            answered => answered,
        }
        .map_err(|status| {
            if status.code() == Code::Unimplemented {
                "it does not offer reflection; give its `.proto` files or a descriptor set as `schema`".to_owned()
            } else {
                format!("{:?}: {}", status.code(), status.message())
            }
        })
    }

    async fn channel(&self, endpoint: &Endpoint) -> Result<Channel, String> {
        let name = self.server_name.as_deref().unwrap_or(&endpoint.host).to_owned();
        let authority = self.authority.clone().unwrap_or_else(|| endpoint.address.to_string());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin: Uri = format!("{scheme}://{authority}")
            .parse()
            .map_err(|error| format!("{authority}: {error}"))?;
        let (address, tls) = (endpoint.address, self.tls.clone());
        let connect = service_fn(move |_: Uri| {
            let (tls, name) = (tls.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let io: Box<dyn Io> = match tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
                        Box::new(TlsConnector::from(tls).connect(name, stream).await?)
                    }
                };
                Ok::<_, std::io::Error>(TokioIo::new(io))
            }
        });
        // The scheme of the origin would make tonic want TLS of its own.
        let dialled = Channel::from_static("http://backend")
            .origin(origin)
            .connect_timeout(self.connect);
        dialled
            .connect_with_connector(connect)
            .await
            .map_err(|error| chain(&error))
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A file as it came, and what it imports. The bytes are kept: decoding drops what is not known here, such as the rules
/// of `google.api.http`.
#[derive(Debug)]
struct File {
    encoded: Vec<u8>,
    imports: Vec<String>,
}

/// The files that have come.
#[derive(Debug, Default)]
struct Files {
    known: BTreeMap<String, File>,
    bytes: usize,
}

/// `google.protobuf.FileDescriptorSet`, its one field as bytes.
#[derive(Clone, PartialEq, Message)]
struct EncodedSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

impl Files {
    /// Takes files over.
    fn take(&mut self, encoded: Vec<Vec<u8>>) -> Result<(), Status> {
        for encoded in encoded {
            self.bytes += encoded.len();
            if self.known.len() >= MAX_FILES || self.bytes > MAX_BYTES {
                return Err(Status::resource_exhausted(
                    "the schema has more than 1000 files or 64 MiB",
                ));
            }
            let file = FileDescriptorProto::decode(encoded.as_slice())
                .map_err(|error| Status::internal(format!("a file descriptor is malformed: {error}")))?;
            let name = file.name().to_owned();
            let imports = file.dependency;
            self.known.insert(name, File { encoded, imports });
        }
        Ok(())
    }

    /// A file that is imported and has not come.
    fn missing(&self, tried: &BTreeSet<String>) -> Option<String> {
        self.known
            .values()
            .flat_map(|file| &file.imports)
            .find(|name| !self.known.contains_key(*name) && !tried.contains(*name))
            .cloned()
    }

    /// All files, each after those that it imports. Files that import each other are refused by the schema.
    fn encode(mut self) -> Vec<u8> {
        let mut ordered = Vec::with_capacity(self.known.len());
        while let Some(name) = self.known.keys().next().cloned() {
            self.put(&name, &mut ordered);
        }
        EncodedSet { file: ordered }.encode_to_vec()
    }

    /// Moves a file into the list, after those that it imports. Its own place is empty by then, so circles end; at most
    /// [`MAX_FILES`] deep, and descriptors of real schemas are some ten.
    fn put(&mut self, name: &str, ordered: &mut Vec<Vec<u8>>) {
        let Some(file) = self.known.remove(name) else { return };
        for import in &file.imports {
            self.put(import, ordered);
        }
        ordered.push(file.encoded);
    }
}

/// The conversation, which is the same in both versions but for the types.
macro_rules! conversation {
    ($name:ident, $package:ident) => {
        async fn $name(channel: Channel) -> Result<Vec<u8>, Status> {
            use $package::server_reflection_request::MessageRequest as Ask;
            use $package::server_reflection_response::MessageResponse as Answer;
            let client = $package::server_reflection_client::ServerReflectionClient::new(channel);
            let mut client = client.max_decoding_message_size(MAX_ANSWER);
            let (ask, asked) = tokio::sync::mpsc::channel(1);
            let send = async |request: Ask| {
                let request = $package::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(request),
                };
                ask.send(request)
                    .await
                    .map_err(|_| Status::unavailable("the backend ended the conversation"))
            };
            send(Ask::ListServices(String::new())).await?;
            let asked = futures_util::stream::unfold(asked, async |mut asked| Some((asked.recv().await?, asked)));
            let mut answers = client.server_reflection_info(asked).await?.into_inner();
            let mut next = async || match answers.message().await? {
                Some(answer) => Ok(answer.message_response),
                None => Err(Status::unavailable("the backend ended the conversation")),
            };
            let services = match next().await? {
                Some(Answer::ListServicesResponse(list)) => list.service,
                Some(Answer::ErrorResponse(error)) => {
                    return Err(Status::new(error.error_code.into(), error.error_message))
                }
                _ => return Err(Status::internal("the answer is no list of services")),
            };
            let mut files = Files::default();
            for service in services {
                if SKIPPED.contains(&service.name.as_str()) {
                    continue;
                }
                send(Ask::FileContainingSymbol(service.name.clone())).await?;
                match next().await? {
                    Some(Answer::FileDescriptorResponse(answer)) => files.take(answer.file_descriptor_proto)?,
                    Some(Answer::ErrorResponse(error)) => {
                        // One service that the backend cannot describe does not hide the others.
                        tracing::warn!(
                            service = service.name,
                            error = error.error_message,
                            "no descriptor"
                        );
                    }
                    _ => return Err(Status::internal("the answer is no file")),
                }
            }
            let mut tried = BTreeSet::new();
            while let Some(missing) = files.missing(&tried) {
                tried.insert(missing.clone());
                send(Ask::FileByFilename(missing)).await?;
                match next().await? {
                    Some(Answer::FileDescriptorResponse(answer)) => files.take(answer.file_descriptor_proto)?,
                    // It may be one of those that everybody has.
                    Some(Answer::ErrorResponse(_)) => {}
                    _ => return Err(Status::internal("the answer is no file")),
                }
            }
            Ok(files.encode())
        }
    };
}

conversation!(with_v1, v1);
conversation!(with_v1alpha, v1alpha);

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, imports: &[&str]) -> Vec<u8> {
        FileDescriptorProto {
            name: Some(name.to_owned()),
            dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
            ..FileDescriptorProto::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn files_are_ordered_by_their_imports_and_circles_end() {
        let mut files = Files::default();
        let encoded = vec![
            file("a", &["b", "c"]),
            file("b", &["c", "missing"]),
            file("c", &[]),
            file("x", &["y"]),
            file("y", &["x"]),
        ];
        files.take(encoded).unwrap();
        assert_eq!(files.missing(&BTreeSet::new()).as_deref(), Some("missing"));
        assert_eq!(files.missing(&BTreeSet::from(["missing".to_owned()])), None);
        let set = prost_types::FileDescriptorSet::decode(files.encode().as_slice()).unwrap();
        let names: Vec<_> = set.file.iter().map(FileDescriptorProto::name).collect();
        assert_eq!(names.len(), 5);
        let at = |name| names.iter().position(|other| *other == name).unwrap();
        assert!(at("c") < at("b") && at("b") < at("a"), "{names:?}");
    }
}
