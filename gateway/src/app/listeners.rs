//! Listeners from one configuration to the next: which stay, which are new, and which are gone.

use std::net::SocketAddr;
use std::sync::Arc;

use causeway_config::{self as config, Config};

use super::{AppError, Gateway, State, poisoned, tell};
use crate::listen::bind;
use crate::snapshot::Snapshot;
use crate::worker::Command;

/// A listener with its sockets at the workers. It is known by its address: what it is called may change.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) name: config::Name,
    pub(super) bind: SocketAddr,
    pub(super) bound: SocketAddr,
}

impl Listener {
    /// Whether this address means its sockets: as it was written, or the port that was found for port 0.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.bind == address || self.bound == address
    }
}

/// How the listeners get from what they are to what they should be.
#[derive(Debug, Default)]
pub(super) struct Relisten {
    stay: Vec<Listener>,
    renamed: Vec<Listener>,
    opened: Vec<(Listener, Vec<std::net::TcpListener>)>,
}

/// A socket, its configured address, and the one it got.
pub(super) type FederationSocket = (std::net::TcpListener, SocketAddr, SocketAddr);

/// Opens the port of tunnels if it is new or another one.
pub(super) fn bind_federation(state: &State, config: &Config) -> Result<Option<FederationSocket>, AppError> {
    let Some(address) = config.federation.bind else {
        return Ok(None);
    };
    if state
        .federation
        .is_some_and(|(bind, bound)| bind == address || bound == address)
    {
        return Ok(None);
    }
    let failed = |source| AppError::Bind {
        address,
        of: "tunnels".to_owned(),
        source,
    };
    let (mut sockets, bound) = bind::sockets(address, 1).map_err(failed)?;
    let socket = sockets.pop();
    Ok(socket.map(|socket| (socket, address, bound)))
}

impl Gateway {
    /// Finds out which listeners stay, and opens the sockets of new ones.
    pub(super) fn relisten(&self, state: &State, config: &Config) -> Result<Relisten, Vec<AppError>> {
        let workers = poisoned(&self.workers).len();
        let mut left = state.sockets.clone();
        let mut plan = Relisten::default();
        let mut new: Vec<&config::Listener> = Vec::new();
        for listener in &config.listeners {
            let same = |old: &Listener| old.is_at(listener.bind) && old.name == listener.name;
            match left.iter().position(same) {
                Some(at) => plan.stay.push(Listener {
                    bind: listener.bind,
                    ..left.swap_remove(at)
                }),
                None => new.push(listener),
            }
        }
        let mut problems = Vec::new();
        for listener in new {
            // Port 0 is another port each time: there the name says which is which.
            let same = |old: &Listener| old.is_at(listener.bind) && listener.bind.port() != 0;
            let name = config::Name::clone(&listener.name);
            if let Some(at) = left.iter().position(same) {
                plan.renamed.push(Listener {
                    name,
                    bind: listener.bind,
                    ..left.swap_remove(at)
                });
                continue;
            }
            match bind::sockets(listener.bind, workers) {
                Ok((sockets, bound)) => {
                    let bind = listener.bind;
                    plan.opened.push((Listener { name, bind, bound }, sockets));
                }
                Err(source) => problems.push(AppError::Bind {
                    address: listener.bind,
                    of: format!("listener `{name}`"),
                    source,
                }),
            }
        }
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    /// Closes the sockets of removed listeners and opens new ones. The configuration comes before the connections that
    /// need it.
    pub(super) fn tell_listeners(&self, state: &mut State, snapshot: &Arc<Snapshot>, plan: Relisten) {
        let kept = |old: &Listener| {
            let mut kept = plan.stay.iter().chain(&plan.renamed);
            kept.any(|listener| listener.bound == old.bound)
        };
        for gone in state.sockets.iter().filter(|old| !kept(old)) {
            tracing::info!(listener = %gone.name, address = %gone.bound, "listener closed");
            self.tell_all(|| Command::Unlisten(gone.bound));
        }
        self.tell_all(|| Command::Publish(Arc::clone(snapshot)));
        for listener in &plan.renamed {
            self.tell_all(|| Command::Rename(listener.bound, config::Name::clone(&listener.name)));
        }
        state.sockets = plan.stay;
        state.sockets.extend(plan.renamed);
        for (listener, sockets) in plan.opened {
            for (worker, socket) in poisoned(&self.workers).iter().zip(sockets) {
                let name = config::Name::clone(&listener.name);
                tell(worker, Command::Listen(socket, listener.bound, name));
            }
            state.sockets.push(listener);
        }
    }
}
