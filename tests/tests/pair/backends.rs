//! The demo's backends on a runtime of their own.

use std::net::Ipv4Addr;

use causeway_gateway::demo::backend::{Backends, Ports};
use causeway_tests::Upstreams;
use tokio::runtime::{Builder, Runtime};

/// Running backends; dropped, they stop.
#[derive(Debug)]
pub(crate) struct Running {
    backends: Backends,
    _runtime: Runtime,
}

impl Running {
    /// Starts them on free ports; `name` is what they tell clients.
    pub(crate) fn start(name: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let start = Backends::start(name, Ipv4Addr::LOCALHOST.into(), Ports::default());
        let backends = runtime.block_on(start).expect("loopback has free ports");
        Self {
            backends,
            _runtime: runtime,
        }
    }

    /// Where they are.
    pub(crate) fn upstreams(&self) -> Upstreams {
        let addresses = self.backends.addresses();
        Upstreams {
            http: addresses.http,
            websocket: addresses.websocket,
            grpc: addresses.grpc,
        }
    }
}
