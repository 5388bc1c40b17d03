//! Taking a configuration over: load, check, build, publish, retire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_config::{self as config, Config};
use causeway_pki::tls::TunnelTls;

use super::listeners::bind_federation;
use super::problem::of;
use super::{AppError, Gateway, State, poisoned, telling};
use crate::discovery::{self, Discovery};
use crate::drain::Stage;
use crate::federation::links::Links;
use crate::identity;
use crate::snapshot::{Kept, Snapshot};
use crate::worker::Command;

/// A reload waits so long for the addresses of names that it brings, so that calls find them when it is published.
const WARMING: Duration = Duration::from_secs(3);

impl Gateway {
    /// Takes a new configuration over: load, check, build, publish, retire. In-flight calls finish on the old one.
    ///
    /// Blocks for a moment while new names are looked up: not for tasks of the control runtime.
    ///
    /// # Errors
    /// Every problem, see [`AppError`]; then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<u64, AppError> {
        let _turn = poisoned(&self.turn);
        let metrics = &self.shared.telemetry.metrics;
        let reloaded = self.try_reload(config);
        let result = if reloaded.is_ok() { "success" } else { "failure" };
        metrics.reloads.with(&[result]).inc();
        reloaded
    }

    fn try_reload(&self, config: Config) -> Result<u64, AppError> {
        if self.shared.drain.stage() != Stage::Serving {
            return Err(AppError::Draining);
        }
        // Only reloads change it, and this is the only one.
        let (current, generation, before) = {
            let state = poisoned(&self.state);
            (Arc::clone(&state.discovery), state.generation + 1, state.config.clone())
        };
        let discovery = if before.dns == config.dns {
            None
        } else {
            Some(Arc::new(current.renewed(&config.dns)))
        };
        let tls = &self.shared.federation.tls;
        let metrics = &self.shared.telemetry.metrics;
        let trust = tls.get().map(TunnelTls::trust);
        let mut problems = Vec::new();
        let material = identity::load(&config, trust.as_ref()).map_err(|errors| problems.extend(of(errors)));
        let kept = Kept {
            discovery: discovery.as_ref().unwrap_or(&current),
            metrics,
            policies: &self.shared.policies,
            services: &self.shared.services,
            schemas: &self.shared.schemas,
        };
        let snapshot = Snapshot::build(config.clone(), kept, generation).map_err(|errors| problems.extend(of(errors)));
        let (Ok(material), Ok(snapshot)) = (material, snapshot) else {
            // Opened and closed again, so that all problems are told at once.
            if let Err(errors) = self.relisten(&poisoned(&self.state), &config) {
                problems.extend(errors);
            }
            return Err(AppError::of(problems));
        };
        self.warm(&snapshot);
        let admin = poisoned(&self.state).bound.admin;
        for what in needs_restart(&before, &config, admin) {
            tracing::warn!("`{what}` has changed: restart the gateway for that");
        }
        let material = match (material, tls.get()) {
            (Some(material), None) => {
                tls.set(identity::tls(material, metrics)).ok();
                None
            }
            (material, _) => material,
        };
        let mut state = poisoned(&self.state);
        self.publish(&mut state, config, Arc::new(snapshot), material, discovery)?;
        Ok(state.generation)
    }

    /// The last things that can fail, and then those that cannot.
    pub(super) fn publish(
        &self,
        state: &mut State,
        config: Config,
        snapshot: Arc<Snapshot>,
        material: Option<identity::Material>,
        discovery: Option<Arc<Discovery>>,
    ) -> Result<(), AppError> {
        let mut problems = Vec::new();
        let listeners = self.relisten(state, &config).map_err(|errors| problems.extend(errors));
        let tunnels = bind_federation(state, &config).map_err(|error| problems.push(error));
        let (Ok(listeners), Ok(tunnels)) = (listeners, tunnels) else {
            return Err(AppError::of(problems));
        };
        if state.links.is_none()
            && let Some(tls) = self.shared.federation.tls.get()
        {
            let commands = poisoned(&self.workers)
                .iter()
                .map(|worker| worker.commands.clone())
                .collect();
            let settings = config.federation.clone();
            state.links = Some(Links::new(tls.clone(), commands, settings, self.control.clone()));
        }
        if let (Some(links), Some((socket, bind, bound))) = (&mut state.links, tunnels) {
            links.accept(socket).map_err(|source| AppError::Bind {
                address: bind,
                of: "tunnels".to_owned(),
                source,
            })?;
            state.federation = Some((bind, bound));
        }
        // From here on nothing fails.
        self.shared.policies.cache.resize(config.cache.memory);
        if let Some(discovery) = discovery {
            state.discovery = discovery;
            if let Some(links) = &mut state.links {
                links.forget_addresses();
            }
        }
        self.tell_listeners(state, &snapshot, listeners);
        let tls = self.shared.federation.tls.get();
        if let Some(tls) = tls {
            match material {
                Some(material) => tls.publish(material.trust, material.credentials),
                // Without an identity there are no peers.
                None if config.identity.is_none() => tls.publish_trust(identity::nobody()),
                None => {}
            }
            self.tell_all(|| Command::Recheck);
        }
        if let Some(links) = &mut state.links {
            if config.federation.bind.is_none() {
                links.stop_accepting();
                state.federation = None;
            }
            links.update(&config, &state.discovery);
        }
        state.keepers.update(&snapshot.services);
        telling::tell_metrics(&self.shared, &config);
        state.generation = snapshot.generation;
        state.bound.listeners = state
            .sockets
            .iter()
            .map(|listener| (config::Name::clone(&listener.name), listener.bound))
            .collect();
        state.bound.federation = state.federation.map(|(_, bound)| bound);
        state.snapshot = snapshot;
        state.config = config;
        Ok(())
    }

    /// Waits for the first answers of names that nobody has looked up before.
    fn warm(&self, snapshot: &Snapshot) {
        let services = snapshot.services.iter();
        let mut pending: Vec<_> = services
            .map(|service| service.watched.changes.clone())
            .filter(|changes| changes.borrow().state == discovery::State::Pending)
            .collect();
        if pending.is_empty() {
            return;
        }
        let (done, waiting) = std::sync::mpsc::sync_channel(1);
        self.control.spawn(async move {
            for changes in &mut pending {
                let is_known = changes.wait_for(|answer| answer.state != discovery::State::Pending);
                is_known.await.ok();
            }
            done.try_send(()).ok();
        });
        // Late names are late: calls to them are refused until they come.
        waiting.recv_timeout(WARMING).ok();
    }
}

/// What cannot be changed while the gateway runs.
fn needs_restart(before: &Config, now: &Config, admin: Option<SocketAddr>) -> Vec<&'static str> {
    let mut changed = Vec::new();
    if before.workers != now.workers {
        changed.push("workers");
    }
    let same_port = before.admin.bind == now.admin.bind || admin == Some(now.admin.bind);
    let mut admin = before.admin.clone();
    admin.bind = now.admin.bind;
    if !same_port || admin != now.admin {
        changed.push("admin");
    }
    if before.state_dir != now.state_dir {
        changed.push("state_dir");
    }
    if before.telemetry != now.telemetry {
        changed.push("telemetry");
    }
    if before.limits.memory != now.limits.memory {
        changed.push("limits.memory");
    }
    changed
}
