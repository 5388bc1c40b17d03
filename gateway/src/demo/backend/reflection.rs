//! Server reflection of the demo's backend, v1 and v1alpha.
//!
//! The descriptors are given out byte by byte as they were compiled: those of `tonic-reflection` are decoded first, which
//! drops the rules of `google.api.http`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::{v1, v1alpha};

/// `google.protobuf.FileDescriptorSet`, its files as bytes.
#[derive(Clone, PartialEq, Message)]
struct EncodedSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// What can be asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reflection(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    services: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
    /// The file of each service, method and message of the first level.
    symbols: BTreeMap<String, String>,
}

impl Reflection {
    /// Knows the files of these encoded descriptor sets.
    ///
    /// # Errors
    /// When one is malformed.
    pub(super) fn of(sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut known = Known::default();
        for set in sets {
            for encoded in EncodedSet::decode(*set)?.file {
                known.add(encoded)?;
            }
        }
        known.services.sort();
        Ok(Self(Arc::new(known)))
    }
}

impl Known {
    fn add(&mut self, encoded: Vec<u8>) -> Result<(), prost::DecodeError> {
        let file = FileDescriptorProto::decode(encoded.as_slice())?;
        let scope = match file.package() {
            "" => String::new(),
            package => format!("{package}."),
        };
        let mut symbol = |name: String| self.symbols.insert(name, file.name().to_owned());
        for message in &file.message_type {
            symbol(format!("{scope}{}", message.name()));
        }
        for service in &file.service {
            let name = format!("{scope}{}", service.name());
            for method in &service.method {
                symbol(format!("{name}.{}", method.name()));
            }
            symbol(name.clone());
            self.services.push(name);
        }
        self.files.insert(file.name().to_owned(), encoded);
        Ok(())
    }

    fn file(&self, name: &str) -> Result<Vec<Vec<u8>>, Status> {
        let file = self.files.get(name);
        file.map(|file| vec![file.clone()])
            .ok_or_else(|| Status::not_found(format!("no file `{name}`")))
    }

    fn containing(&self, symbol: &str) -> Result<Vec<Vec<u8>>, Status> {
        let name = self.symbols.get(symbol);
        self.file(name.ok_or_else(|| Status::not_found(format!("no symbol `{symbol}`")))?)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, which is the same in both versions but for the types.
macro_rules! service {
    ($package:ident) => {
        #[tonic::async_trait]
        impl $package::server_reflection_server::ServerReflection for Reflection {
            type ServerReflectionInfoStream = Answers<$package::ServerReflectionResponse>;

            async fn server_reflection_info(
                &self,
                request: Request<Streaming<$package::ServerReflectionRequest>>,
            ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                use $package::server_reflection_request::MessageRequest as Ask;
                use $package::server_reflection_response::MessageResponse as Answer;
                let known = Arc::clone(&self.0);
                let answers = request.into_inner().map(move |asked| {
                    let asked = asked?;
                    let found = match &asked.message_request {
                        Some(Ask::ListServices(_)) => {
                            let service = known
                                .services
                                .iter()
                                .map(|name| $package::ServiceResponse { name: name.clone() });
                            Ok(Answer::ListServicesResponse($package::ListServiceResponse {
                                service: service.collect(),
                            }))
                        }
                        Some(Ask::FileByFilename(name)) => known.file(name).map(files),
                        Some(Ask::FileContainingSymbol(symbol)) => known.containing(symbol).map(files),
                        _ => Err(Status::new(Code::Unimplemented, "not known here")),
                    };
                    fn files(file_descriptor_proto: Vec<Vec<u8>>) -> Answer {
                        Answer::FileDescriptorResponse($package::FileDescriptorResponse {
                            file_descriptor_proto,
                        })
                    }
                    let answer = found.unwrap_or_else(|status| {
                        Answer::ErrorResponse($package::ErrorResponse {
                            error_code: status.code().into(),
                            error_message: status.message().to_owned(),
                        })
                    });
                    Ok($package::ServerReflectionResponse {
                        valid_host: asked.host.clone(),
                        original_request: Some(asked),
                        message_response: Some(answer),
                    })
                });
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

service!(v1);
service!(v1alpha);
