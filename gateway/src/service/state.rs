//! What all workers know of a service and its endpoints: who is well, who is ejected. Exact for the gateway, by atomics,
//! and kept over a reload: a service by its name, an endpoint by its address and name.
//!
//! A call only reads here, unless its service has `outlier`. Whatever changes who may be used counts
//! [`ServiceState::changes`] up, which is all that a worker looks at per call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use causeway_config as config;
use tokio::sync::Notify;

use super::health::Streak;
use super::latency::Latency;
use super::metrics::{Series, ServiceMetrics};
use super::outlier::{self, Counts, Reason};
use super::times::Times;
use super::{adaptive, breaker};
use crate::discovery;
use crate::telemetry::metrics::{Gauge, Registry};

/// The services of a gateway, over its reloads.
#[derive(Debug)]
pub struct ServiceStates {
    epoch: Instant,
    metrics: ServiceMetrics,
    services: Mutex<HashMap<config::Name, Weak<ServiceState>>>,
}

impl ServiceStates {
    /// Nothing is known of any service.
    pub fn new(registry: &Registry) -> Self {
        Self {
            epoch: Instant::now(),
            metrics: ServiceMetrics::new(registry),
            services: Mutex::default(),
        }
    }

    /// Where services are counted.
    pub fn metrics(&self) -> &ServiceMetrics {
        &self.metrics
    }

    /// What is known of the service of this name; it is forgotten when the last snapshot with it is gone.
    pub fn service(&self, name: &config::Name) -> Arc<ServiceState> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get(name).and_then(Weak::upgrade) {
            return known;
        }
        services.retain(|_, state| state.strong_count() > 0);
        let state = Arc::new(ServiceState {
            name: config::Name::clone(name),
            epoch: self.epoch,
            metrics: self.metrics.clone(),
            series: Series::of(name, &self.metrics),
            endpoints: Mutex::default(),
            changes: AtomicU64::new(0),
            known: AtomicU32::new(0),
            ejected: AtomicU32::new(0),
            counts: breaker::Counts::default(),
            seen: adaptive::Seen::default(),
            gradient: Mutex::default(),
            times: Times::default(),
            wake: Notify::new(),
        });
        services.insert(config::Name::clone(name), Arc::downgrade(&state));
        state
    }
}

/// What is known of one service.
#[derive(Debug)]
pub struct ServiceState {
    name: config::Name,
    epoch: Instant,
    metrics: ServiceMetrics,
    pub(super) series: Series,
    endpoints: Mutex<HashMap<u64, Weak<EndpointState>>>,
    changes: AtomicU64,
    /// Endpoints that discovery gives.
    known: AtomicU32,
    /// Of them, ejected.
    ejected: AtomicU32,
    /// What is under way, where that is limited.
    pub(super) counts: breaker::Counts,
    /// What the limit is found from, where there is one.
    pub(super) seen: adaptive::Seen,
    gradient: Mutex<Option<adaptive::Gradient>>,
    /// How long replies take, where somebody wants a percentile.
    pub(super) times: Times,
    /// Tells the keeper that there is an ejection whose end it has to see to.
    pub(super) wake: Notify,
}

impl ServiceState {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends a window of the limit that is found from times, and sets it anew.
    pub(super) fn adapt(&self, rule: &config::Adaptive) {
        let window = self.seen.take();
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = gradient.get_or_insert_with(|| adaptive::Gradient::new(rule));
        let limit = gradient.on(&window, rule);
        self.seen.set(limit);
        self.series.limit(&self.name, limit, &self.metrics);
    }

    /// Counts an attempt beside another that was wished for, and perhaps granted.
    pub fn count_hedge(&self, granted: bool) {
        self.series.hedge(&self.name, granted, &self.metrics);
    }

    /// Counts a further attempt that was wished for, and perhaps granted.
    pub fn count_retry(&self, granted: bool) {
        self.series.retry(&self.name, granted, &self.metrics);
    }

    /// Counts a call that was refused by a limit.
    pub(super) fn count_refusal(&self, limit: &str) {
        self.series.refused(&self.name, limit, &self.metrics);
    }

    /// Grows whenever an endpoint becomes usable or stops being so.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Milliseconds since the gateway started, never 0.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// When it is `millis` by [`Self::now`].
    pub(super) fn instant(&self, millis: u64) -> Instant {
        self.epoch + std::time::Duration::from_millis(millis)
    }

    /// What is known of an endpoint; forgotten when nobody has it any more.
    pub fn endpoint(self: &Arc<Self>, found: &discovery::Endpoint, service: &config::Service) -> Arc<EndpointState> {
        let key = super::endpoint::Endpoint::key_of(found);
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        endpoints.retain(|_, state| state.strong_count() > 0);
        let starts_unhealthy = service
            .health
            .as_ref()
            .is_some_and(|health| health.start == config::Start::Unhealthy);
        let watched = service.health.is_some() || service.outlier.is_some();
        let gauge = watched.then(|| {
            let address = found.address.to_string();
            self.metrics.endpoint_healthy.with(&[&self.name, &address])
        });
        if let Some(gauge) = &gauge {
            gauge.set(if starts_unhealthy { 0.0 } else { 1.0 });
        }
        let state = Arc::new(EndpointState {
            address: found.address,
            host: Arc::clone(&found.host),
            key,
            flags: AtomicU32::new(if starts_unhealthy { UNHEALTHY } else { 0 }),
            usable_since: AtomicU64::new(self.now()),
            latency: Latency::default(),
            counts: Counts::default(),
            streak: Mutex::default(),
            gauge,
            service: Arc::clone(self),
        });
        endpoints.insert(key, Arc::downgrade(&state));
        state
    }

    /// How many endpoints discovery gives now.
    pub fn has_endpoints(&self, count: usize) {
        self.known
            .store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A place among the ejected, if there may be one more.
    fn take_ejection(&self, percent: u8) -> bool {
        let known = self.known.load(Ordering::Relaxed);
        let most = outlier::most_ejected(known, percent);
        self.ejected
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |ejected| {
                (ejected < most).then_some(ejected + 1)
            })
            .is_ok()
    }

    fn give_ejection_back(&self) {
        self.ejected.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The checks say that it is not well.
const UNHEALTHY: u32 = 1;
/// Its calls failed, and it is left out for a while.
const EJECTED: u32 = 2;

/// What is known of one endpoint.
#[derive(Debug)]
pub struct EndpointState {
    /// Where it is.
    pub address: SocketAddr,
    /// The name it was found under.
    pub host: Arc<str>,
    /// Names it over changes of the list.
    pub key: u64,
    flags: AtomicU32,
    /// When it became usable last, in milliseconds of the gateway.
    usable_since: AtomicU64,
    pub(super) latency: Latency,
    pub(super) counts: Counts,
    pub(super) streak: Mutex<Streak>,
    gauge: Option<Gauge>,
    service: Arc<ServiceState>,
}

impl EndpointState {
    /// Whether it may be sent calls.
    pub fn is_usable(&self) -> bool {
        self.flags.load(Ordering::Acquire) == 0
    }

    /// Milliseconds of the gateway since when it is usable.
    pub(super) fn usable_since(&self) -> u64 {
        self.usable_since.load(Ordering::Acquire)
    }

    /// Whether it is left out because of its calls.
    pub fn is_ejected(&self) -> bool {
        self.flags.load(Ordering::Acquire) & EJECTED != 0
    }

    /// Whether its checks are good, or nobody checks.
    pub fn is_healthy(&self) -> bool {
        self.flags.load(Ordering::Acquire) & UNHEALTHY == 0
    }

    /// What its checks say.
    pub(super) fn set_healthy(&self, healthy: bool) {
        if healthy {
            self.clear(UNHEALTHY);
        } else {
            self.set(UNHEALTHY);
        }
    }

    /// A call to it went well.
    pub(super) fn succeeded(&self, rule: &config::Outlier) {
        self.counts.succeeded(rule);
    }

    /// A call to it failed; it may be ejected for that.
    pub(super) fn failed(&self, rule: &config::Outlier) {
        if self.counts.failed(rule) {
            self.eject(rule, Reason::Consecutive);
        }
    }

    /// Leaves it out for a while, if so many may be left out.
    pub(super) fn eject(&self, rule: &config::Outlier, reason: Reason) {
        let service = &self.service;
        if self.is_ejected() || !service.take_ejection(rule.max_ejected_percent) {
            return;
        }
        let (length, times) = self.counts.next_ejection(rule);
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.counts.ends_at(service.now().saturating_add(millis));
        if self.set(EJECTED) & EJECTED != 0 {
            // Another worker was first.
            service.give_ejection_back();
            return;
        }
        service.metrics.ejections.with(&[&service.name, reason.label()]).inc();
        tracing::warn!(
            service = %service.name, endpoint = %self.address, reason = reason.label(), ?length, times,
            "endpoint ejected"
        );
        service.wake.notify_one();
    }

    /// Takes it in again.
    pub(super) fn uneject(&self) {
        self.counts.forgive();
        if self.clear(EJECTED) & EJECTED != 0 {
            self.service.give_ejection_back();
            tracing::info!(service = %self.service.name, endpoint = %self.address, "endpoint taken in again");
        }
    }

    /// Sets a flag; the flags before.
    fn set(&self, flag: u32) -> u32 {
        let before = self.flags.fetch_or(flag, Ordering::AcqRel);
        if before == 0 {
            self.changed(false);
        }
        before
    }

    /// Clears a flag; the flags before.
    fn clear(&self, flag: u32) -> u32 {
        let before = self.flags.fetch_and(!flag, Ordering::AcqRel);
        if before != 0 && before & !flag == 0 {
            self.changed(true);
        }
        before
    }

    fn changed(&self, usable: bool) {
        if usable {
            self.usable_since.store(self.service.now(), Ordering::Release);
        }
        if let Some(gauge) = &self.gauge {
            gauge.set(if usable { 1.0 } else { 0.0 });
        }
        self.service.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for EndpointState {
    fn drop(&mut self) {
        if *self.flags.get_mut() & EJECTED != 0 {
            self.service.give_ejection_back();
        }
    }
}

#[cfg(test)]
mod tests;
