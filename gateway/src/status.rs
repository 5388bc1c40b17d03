//! The gateway as its operator sees it: `/status` and `/readyz`.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::admin::{Check, StatusSource};
use crate::app::State;
use crate::discovery;
use crate::drain::Stage;
use crate::worker::Shared;

/// Answers for a running gateway.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Arc<Mutex<State>>,
}

impl StatusSource for Status {
    fn mirrors(&self) -> Value {
        self.shared.policies.mirrors.show()
    }

    fn status(&self) -> Value {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let config = state.config();
        let metrics = &self.shared.telemetry.metrics;
        let listeners: serde_json::Map<_, _> = state
            .bound()
            .listeners
            .iter()
            .map(|(name, address)| (name.to_string(), json!({ "address": address.to_string() })))
            .collect();
        let peers: Vec<_> = config
            .peers
            .iter()
            .map(|peer| {
                json!({
                    "site": &*peer.site,
                    "trust_domain": peer.trust_domain.as_str(),
                    "tunnels": metrics.tunnel_up.with(&[&peer.site]).value(),
                    "calls": metrics.tunnel_calls.with(&[&peer.site]).value(),
                })
            })
            .collect();
        let services: Vec<_> = state
            .snapshot()
            .services
            .iter()
            .map(|service| {
                let answer = service.watched.current();
                let endpoints: Vec<_> = answer
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.address.to_string())
                    .collect();
                let unusable: Vec<_> = answer
                    .endpoints
                    .iter()
                    .map(|found| service.state.endpoint(found, &service.config))
                    .filter(|endpoint| !endpoint.is_usable())
                    .map(|endpoint| endpoint.address.to_string())
                    .collect();
                json!({
                    "name": &*service.config.name,
                    "endpoints": endpoints,
                    "unusable": unusable,
                    "discovery": discovered(&answer.state),
                    "exported_to": service.config.export_to.iter().map(|export| &*export.site).collect::<Vec<_>>(),
                })
            })
            .collect();
        let identity = self.shared.federation.tls.get().map(|tls| {
            let credentials = tls.credentials();
            json!({
                "spiffe_id": credentials.identity().as_str(),
                "not_after": causeway_pki::certificate::instant(credentials.not_after()),
            })
        });
        json!({
            "site": &*config.site.name,
            "version": env!("CARGO_PKG_VERSION"),
            "generation": state.snapshot().generation,
            "draining": self.shared.drain.stage() != Stage::Serving,
            "workers": self.shared.federation.workers,
            "connections": self.shared.connections.load(std::sync::atomic::Ordering::Relaxed),
            "listeners": listeners,
            "federation": state.bound().federation.map(|address| address.to_string()),
            "identity": identity,
            "peers": peers,
            "services": services,
            "routes": config.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(),
        })
    }

    fn config(&self) -> String {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.config().effective.to_string()
    }

    fn ready(&self) -> Vec<Check> {
        let draining = self.shared.drain.stage() != Stage::Serving;
        let mut checks = vec![Check {
            name: "drain".to_owned(),
            problem: draining.then(|| "draining".to_owned()),
        }];
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for listener in &state.config().listeners {
            let bound = state.bound().listeners.contains_key(&listener.name);
            let problem = (!bound).then(|| "not bound".to_owned());
            checks.push(Check {
                name: format!("listener {}", listener.name),
                problem,
            });
        }
        if let Some(tls) = self.shared.federation.tls.get() {
            let not_after = tls.credentials().not_after();
            let expired = causeway_pki::certificate::unix_time(not_after).as_secs()
                <= rustls_pki_types::UnixTime::now().as_secs();
            let problem = expired.then(|| format!("expired at {}", causeway_pki::certificate::instant(not_after)));
            checks.push(Check {
                name: "certificate".to_owned(),
                problem,
            });
        }
        checks
    }
}

fn discovered(state: &discovery::State) -> Value {
    match state {
        discovery::State::Pending => json!("pending"),
        discovery::State::Fresh => json!("fresh"),
        discovery::State::Stale { why, .. } => json!({ "stale": why.label() }),
        discovery::State::Failed { why } => json!({ "failed": why.label() }),
    }
}
