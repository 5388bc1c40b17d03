//! What is measured.

use clap::ValueEnum;

use crate::backend::{LARGE, MEDIUM, SMALL};
use crate::load::{Connections, Idle};

/// One row group of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Case {
    /// GET of 1 KiB over kept connections
    Http1,
    /// Unary gRPC echo of 100 bytes
    Grpc,
    /// POST of JSON, translated to the unary gRPC echo of 100 bytes
    JsonGrpc,
    /// WebSocket echo of 64 bytes
    Ws,
    /// GET of 64 KiB
    #[value(name = "body64k")]
    Body64k,
    /// gRPC server stream, 1,000 messages a call; the unit is the message
    Stream,
    /// gRPC bidirectional stream, each message echoed; the unit is the echo
    Chat,
    /// POST of 10 MiB
    Upload,
    /// GET of 10 MiB
    #[value(name = "body10m")]
    Body10m,
    /// GET of 1 KiB, each on a new client connection
    Churn,
    /// GET of 1 KiB through one gateway, without a tunnel
    Single,
    /// Memory of idle keep-alive HTTP/1.1 connections
    IdleHttp,
    /// Memory of idle WebSockets
    IdleWs,
}

/// The exchange that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Get {
        path: &'static str,
        length: usize,
        connections: Connections,
    },
    GrpcChat,
    GrpcDownload,
    GrpcUnary,
    Json,
    Upload,
    WebSocket,
}

/// How a case is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Idle(Idle),
    Load(Work),
}

/// Whether two gateways with a tunnel or one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Pair,
    /// A pair that translates JSON to gRPC.
    PairJson,
    Single,
}

/// Whether the peers' buffers are raised for large bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffers {
    Default,
    Large,
}

impl Case {
    /// Measured when nothing else is asked for.
    pub(crate) const DEFAULT: [Self; 7] = [
        Self::Http1,
        Self::Grpc,
        Self::JsonGrpc,
        Self::Ws,
        Self::Body64k,
        Self::IdleHttp,
        Self::IdleWs,
    ];

    /// As in the arguments and the JSON.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Body10m => "Pair, HTTP/1.1 GET, 10 MiB body",
            Self::Body64k => "Pair, HTTP/1.1 GET, 64 KiB body",
            Self::Chat => "Pair, gRPC bidirectional stream, messages of 100 bytes",
            Self::Churn => "Pair, HTTP/1.1 GET, 1 KiB body, a new client connection each",
            Self::Grpc => "Pair, gRPC unary, message of 100 bytes",
            Self::Http1 => "Pair, HTTP/1.1 GET, 1 KiB body",
            Self::JsonGrpc => "Pair, JSON to gRPC unary, message of 100 bytes",
            Self::IdleHttp => "Pair, idle keep-alive HTTP/1.1 connections",
            Self::IdleWs => "Pair, idle WebSockets",
            Self::Single => "Single hop, HTTP/1.1 GET, 1 KiB body",
            Self::Stream => "Pair, gRPC server stream, messages of 100 bytes",
            Self::Upload => "Pair, HTTP/1.1 POST, 10 MiB body",
            Self::Ws => "Pair, WebSocket echo, 64 bytes",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        let get = |(path, length), connections| {
            Kind::Load(Work::Get {
                path,
                length,
                connections,
            })
        };
        match self {
            Self::Body10m => get(LARGE, Connections::Kept),
            Self::Body64k => get(MEDIUM, Connections::Kept),
            Self::Chat => Kind::Load(Work::GrpcChat),
            Self::Churn => get(SMALL, Connections::Fresh),
            Self::Grpc => Kind::Load(Work::GrpcUnary),
            Self::Http1 | Self::Single => get(SMALL, Connections::Kept),
            Self::IdleHttp => Kind::Idle(Idle::Http),
            Self::IdleWs => Kind::Idle(Idle::WebSocket),
            Self::JsonGrpc => Kind::Load(Work::Json),
            Self::Stream => Kind::Load(Work::GrpcDownload),
            Self::Upload => Kind::Load(Work::Upload),
            Self::Ws => Kind::Load(Work::WebSocket),
        }
    }

    /// The exchange that shows that the gateways are ready.
    pub(crate) fn probe(self) -> Work {
        match self.kind() {
            Kind::Idle(Idle::Http) => Work::Get {
                path: SMALL.0,
                length: SMALL.1,
                connections: Connections::Kept,
            },
            Kind::Idle(Idle::WebSocket) => Work::WebSocket,
            Kind::Load(work) => work,
        }
    }

    pub(crate) fn topology(self) -> Topology {
        match self {
            Self::Single => Topology::Single,
            Self::JsonGrpc => Topology::PairJson,
            _ => Topology::Pair,
        }
    }

    pub(crate) fn buffers(self) -> Buffers {
        match self {
            Self::Body10m | Self::Body64k | Self::Upload => Buffers::Large,
            _ => Buffers::Default,
        }
    }

    /// Connections (or streams) of the closed loop, when `wanted` are asked for: few where each carries 10 MiB.
    pub(crate) fn connections(self, wanted: usize) -> usize {
        match self {
            Self::Body10m | Self::Stream | Self::Upload => wanted.min(8),
            _ => wanted,
        }
    }
}
