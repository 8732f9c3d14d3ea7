//! What all workers share about one cluster: the published set, endpoint states, breakers.
//!
//! The control side writes, workers read. On the way of a request only the generation and the breakers
//! are touched; the lock is for publishing, rebuilding and ejecting, all of them rare. Start at
//! [`ClusterShared`].

mod idle;
mod permit;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use portcullis_stats::SharedGauge;
use serde::Serialize;

pub use self::idle::{IdleCount, IdleShare};
pub use self::permit::SharedConnectionPermit;
use crate::endpoint::{Epoch, Nanos};
use crate::{
    Breaker, BreakerKind, ClusterConfig, Endpoint, EndpointId, EndpointRole, EndpointSet,
    ResolvedAddress, ResolvedEndpoint,
};

/// One cluster, process-wide.
#[derive(Debug)]
pub struct ClusterShared {
    name: Arc<str>,
    epoch: Epoch,
    generation: Generation,
    published: Mutex<Published>,
    breakers: [Breaker; BreakerKind::ALL.len()],
    /// Shows the connections that no worker counts, because they may move. Set by the first worker.
    moving: OnceLock<SharedGauge>,
    /// How many idle connections each worker keeps.
    idle: Mutex<Vec<Weak<IdleShare>>>,
}

/// What workers copy when the generation has moved.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) set: Arc<EndpointSet>,
    pub(crate) transport: Option<Transport>,
}

/// What connecting takes besides the configuration, such as keys that were read from files. Made by the control side
/// and understood by whoever connects; nothing here looks into it.
#[derive(Clone)]
pub struct Transport(Arc<dyn Any + Send + Sync>);

impl Transport {
    /// Something to find again with [`get`](Self::get).
    pub fn new<T: Any + Send + Sync>(made: Arc<T>) -> Self {
        Self(made)
    }

    /// What it was made of, if it was a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Read on every pick, so it keeps away from the breakers that every request writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Generation(AtomicU64);

/// What became of an attempt to eject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    /// Out of the choice for this long.
    Ejected(Duration),
    /// It was out already.
    AlreadyEjected,
    /// As many endpoints as allowed are out.
    CapReached,
    /// It no longer belongs to the cluster.
    Gone,
}

/// An endpoint as the admin shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// The value of the `endpoint` label.
    pub label: Arc<str>,
    /// As configured.
    pub name: Arc<str>,
    /// Where it connects to.
    pub address: ResolvedAddress,
    /// Its relative share.
    pub weight: u32,
    /// What the active check says; true where there is none.
    pub healthy: bool,
    /// How much longer it is ejected, in milliseconds; `None` when it is not.
    pub ejected_for_ms: Option<u64>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// What it is among others that hold the same data, where that is known.
    pub role: Option<EndpointRole>,
    /// Whether the role was found out rather than given.
    pub role_discovered: bool,
    /// Whether it is not used because its history is not the primary's.
    pub fenced: bool,
    /// See [`Replication`](crate::Replication).
    pub lag_ms: Option<u64>,
    /// Likewise.
    pub lag_bytes: Option<u64>,
    /// Likewise.
    pub timeline: Option<u64>,
    /// Likewise.
    pub position: Option<u64>,
}

impl EndpointStatus {
    fn of(endpoint: &Endpoint, now: Nanos) -> Self {
        let (state, replication) = (endpoint.state(), endpoint.state().replication());
        let lag = replication.lag();
        Self {
            label: Arc::clone(endpoint.label()),
            name: Arc::clone(endpoint.name()),
            address: endpoint.address().clone(),
            weight: endpoint.weight(),
            healthy: state.is_healthy(),
            ejected_for_ms: remaining(state.ejected_until(), now),
            consecutive_failures: state.consecutive_failures(),
            role: endpoint.role(),
            role_discovered: replication.role().is_some(),
            fenced: replication.is_fenced(),
            lag_ms: lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            lag_bytes: replication.lag_bytes(),
            timeline: replication.timeline(),
            position: replication.position(),
        }
    }
}

impl ClusterShared {
    /// A cluster with its first endpoints. `now` becomes the start of its clock.
    pub fn new(
        name: &str,
        config: Arc<ClusterConfig>,
        endpoints: impl IntoIterator<Item = ResolvedEndpoint>,
        now: Instant,
    ) -> Arc<Self> {
        Self::with_transport(name, config, None, endpoints, now)
    }

    /// As [`new`](Self::new), when connecting takes more than the configuration.
    pub fn with_transport(
        name: &str,
        config: Arc<ClusterConfig>,
        transport: Option<Transport>,
        endpoints: impl IntoIterator<Item = ResolvedEndpoint>,
        now: Instant,
    ) -> Arc<Self> {
        let set = Arc::new(EndpointSet::new(endpoints, config.starts_healthy()));
        Arc::new(Self {
            name: name.into(),
            epoch: Epoch::new(now),
            generation: Generation::default(),
            breakers: BreakerKind::ALL.map(|kind| Breaker::new(config.limits.of(kind))),
            moving: OnceLock::new(),
            idle: Mutex::default(),
            published: Mutex::new(Published {
                config,
                set,
                transport,
            }),
        })
    }

    /// The cluster's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The cluster's clock.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The endpoints now.
    pub fn set(&self) -> Arc<EndpointSet> {
        Arc::clone(&self.lock().set)
    }

    /// The configuration now.
    pub fn config(&self) -> Arc<ClusterConfig> {
        Arc::clone(&self.lock().config)
    }

    /// What connecting takes besides the configuration.
    pub fn transport(&self) -> Option<Transport> {
        self.lock().transport.clone()
    }

    /// Grows with every change that workers must see. They look at each pick and rebuild by themselves.
    pub fn generation(&self) -> u64 {
        self.generation.0.load(Acquire)
    }

    /// Publishes another configuration. Nothing happens when it is the same.
    ///
    /// Endpoints are not taken from it: [`publish_endpoints`](Self::publish_endpoints) follows. Without a
    /// health check there is nobody left to call an endpoint healthy again, so all of them are.
    pub fn publish_config(&self, config: Arc<ClusterConfig>) {
        let transport = self.transport();
        self.publish(config, transport);
    }

    /// As [`publish_config`](Self::publish_config), with what connecting takes in the same step.
    ///
    /// With other TLS settings all endpoints are new ones: what is known of the old ones, and every connection to
    /// them, was found out in another way.
    pub fn publish(&self, config: Arc<ClusterConfig>, transport: Option<Transport>) {
        let mut published = self.lock();
        if published.config == config {
            return;
        }
        published.transport = transport;
        if published.config.tls != config.tls {
            published.set = Arc::new(published.set.renewed(config.starts_healthy()));
        }
        for (kind, breaker) in BreakerKind::ALL.into_iter().zip(&self.breakers) {
            breaker.set_limit(config.limits.of(kind));
        }
        if config.health_check.is_none() {
            for endpoint in published.set.endpoints() {
                endpoint.state().set_healthy(true);
            }
        }
        published.config = config;
        self.bump();
    }

    /// Publishes the endpoints that should be there. Those that stay keep their state. True when anything
    /// changed.
    pub fn publish_endpoints(&self, endpoints: impl IntoIterator<Item = ResolvedEndpoint>) -> bool {
        let mut published = self.lock();
        let healthy = published.config.starts_healthy();
        let set = EndpointSet::diffed_from(&published.set, endpoints, healthy);
        let changed = !set.is_same(&published.set);
        if changed {
            published.set = Arc::new(set);
            self.bump();
        }
        changed
    }

    /// Records what the active check found. True when that is news.
    pub fn set_healthy(&self, endpoint: &Endpoint, healthy: bool) -> bool {
        let changed = endpoint.state().set_healthy(healthy);
        if changed {
            self.bump();
        }
        changed
    }

    /// Takes an endpoint out of the choice for a time that grows with every ejection in a row.
    ///
    /// At most the configured share is out at once, exactly, whichever workers ask at the same time.
    pub fn eject(&self, id: EndpointId, now: Instant) -> Ejection {
        let published = self.lock();
        let now = self.epoch.nanos(now);
        let endpoints = published.set.endpoints();
        let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.id() == id) else {
            return Ejection::Gone;
        };
        let state = endpoint.state();
        state.forget_failures();
        if state.is_ejected(now) {
            return Ejection::AlreadyEjected;
        }
        let config = &published.config.ejection;
        let out = endpoints
            .iter()
            .filter(|e| e.state().is_ejected(now))
            .count();
        if out >= config.most_ejected(endpoints.len()) {
            return Ejection::CapReached;
        }
        let (base_time, max_time): (Duration, Duration) =
            (config.base_time.into(), config.max_time.into());
        let quiet = now.since(state.ejected_until()) > max_time;
        let ejections = if quiet {
            1
        } else {
            state.ejections().saturating_add(1)
        };
        let time = base_time.saturating_mul(ejections).min(max_time);
        state.eject(now.plus(time), ejections);
        self.bump();
        Ejection::Ejected(time)
    }

    /// The breaker of one kind.
    pub fn breaker(&self, kind: BreakerKind) -> &Breaker {
        let [connections, pending, requests] = &self.breakers;
        match kind {
            BreakerKind::Connections => connections,
            BreakerKind::Pending => pending,
            BreakerKind::Requests => requests,
        }
    }

    /// All endpoints, for the admin.
    pub fn statuses(&self, now: Instant) -> Vec<EndpointStatus> {
        let now = self.epoch.nanos(now);
        let set = self.set();
        let endpoints = set.endpoints().iter();
        endpoints.map(|one| EndpointStatus::of(one, now)).collect()
    }

    /// How many endpoints there are, how many of them may be picked, and whether that is too few.
    pub(crate) fn availability(&self, now: Instant) -> (usize, usize, bool) {
        let now = self.epoch.nanos(now);
        let Published { config, set, .. } = self.published();
        let all = set.endpoints();
        let available = all.iter().filter(|e| e.state().is_available(now)).count();
        (all.len(), available, config.is_panic(available, all.len()))
    }

    pub(crate) fn published(&self) -> Published {
        self.lock().clone()
    }

    /// Makes connections that may move show in this gauge, unless they show in one already.
    pub(crate) fn show_moving(&self, active: impl FnOnce() -> SharedGauge) {
        self.moving.get_or_init(active);
    }

    fn bump(&self) {
        self.generation.0.fetch_add(1, AcqRel);
    }

    /// Nothing panics while it is held, and what it guards is replaced whole, so poison means nothing.
    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn remaining(until: Nanos, now: Nanos) -> Option<u64> {
    (now < until).then(|| u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX))
}
