//! One address of a cluster, and what all workers know about its state.
//!
//! No connections and no counters: those belong to a worker (see [`crate::LocalEndpoint`]). Start at
//! [`Endpoint`].

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::{EndpointRole, Replication};

/// Identifies an endpoint within its cluster, as long as the cluster lives. Never reused, so it is safe
/// as a key of pools and in lists of endpoints already tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

impl EndpointId {
    /// All of those that are in no set.
    pub(crate) const FOUND: Self = Self(u64::MAX);
}

/// An address that can be connected to: names have been resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResolvedAddress {
    /// IP address and port.
    Socket(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl fmt::Display for ResolvedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for ResolvedAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One address of a cluster. Immutable but for its [`state`](Self::state), which it shares with the
/// endpoint that replaces it when only the weight or the given role changes.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    address: ResolvedAddress,
    name: Arc<str>,
    label: Arc<str>,
    weight: u32,
    role: Option<EndpointRole>,
    state: Arc<EndpointState>,
}

impl Endpoint {
    pub(crate) fn new(
        id: EndpointId,
        resolved: ResolvedEndpoint,
        state: Arc<EndpointState>,
    ) -> Self {
        let address = resolved.address.to_string();
        let label = if *address == *resolved.name {
            address
        } else if let ResolvedAddress::Socket(socket) = &resolved.address {
            format!("{}/{}", resolved.name, socket.ip())
        } else {
            resolved.name.to_string()
        };
        Self {
            id,
            address: resolved.address,
            name: resolved.name,
            label: label.into(),
            weight: resolved.weight.max(1),
            role: resolved.role,
            state,
        }
    }

    /// One that no configuration names: it is in no set, so that nothing checks or ejects it. `name` decides about TLS,
    /// `label` is how it is counted.
    pub(crate) fn found(name: Arc<str>, label: Arc<str>, address: ResolvedAddress) -> Self {
        Self {
            id: EndpointId::FOUND,
            address,
            name,
            label,
            weight: 1,
            role: None,
            state: Arc::new(EndpointState::new(true)),
        }
    }

    /// Its identity; an endpoint whose weight or role changes keeps it.
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// Where to connect.
    pub fn address(&self) -> &ResolvedAddress {
        &self.address
    }

    /// As configured (`api.internal:8080`); several endpoints of one DNS name share it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The value of the `endpoint` label: the name, and the address too when DNS found it.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Its share of requests relative to the others; at least 1.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// What the configuration says it is.
    pub fn given_role(&self) -> Option<EndpointRole> {
        self.role
    }

    /// What it is: as found out, else as the configuration says, else unknown.
    pub fn role(&self) -> Option<EndpointRole> {
        self.state.replication.role().or(self.role)
    }

    /// Whether nothing about it would change. Name and address are the same.
    pub(crate) fn is_as(&self, resolved: &ResolvedEndpoint) -> bool {
        self.weight == resolved.weight.max(1) && self.role == resolved.role
    }

    /// What all workers know of it.
    pub fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }
}

/// An endpoint before it has an identity: what configuration and DNS say should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedEndpoint {
    /// As configured.
    pub name: Arc<str>,
    /// What the name stands for.
    pub address: ResolvedAddress,
    /// At least 1; 0 counts as 1.
    pub weight: u32,
    /// What the configuration says it is.
    pub role: Option<EndpointRole>,
}

/// The facts about an endpoint that all workers share. Written rarely, read when a worker rebuilds its
/// list of available endpoints.
///
/// Times are nanoseconds since the cluster's [`Epoch`].
#[derive(Debug)]
pub struct EndpointState {
    healthy: AtomicBool,
    /// Zero when it never was ejected; in the past when it is back.
    ejected_until: AtomicU64,
    /// Ejections in a row, which lengthen the next one.
    ejections: AtomicU32,
    consecutive_failures: AtomicU32,
    replication: Replication,
}

impl EndpointState {
    /// A state without history.
    pub fn new(healthy: bool) -> Self {
        Self {
            healthy: AtomicBool::new(healthy),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            consecutive_failures: AtomicU32::new(0),
            replication: Replication::default(),
        }
    }

    /// What the active check says; true where there is none.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    /// What was found out of its place among others that hold the same data. Changes at any time.
    pub fn replication(&self) -> &Replication {
        &self.replication
    }

    /// True when this changed it.
    pub(crate) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Relaxed) != healthy
    }

    /// Whether failures have taken it out of the choice for now.
    pub fn is_ejected(&self, now: Nanos) -> bool {
        now < self.ejected_until()
    }

    /// Healthy and not ejected.
    pub fn is_available(&self, now: Nanos) -> bool {
        self.is_healthy() && !self.is_ejected(now)
    }

    /// When the last ejection ends or ended; zero when there was none.
    pub fn ejected_until(&self) -> Nanos {
        Nanos(self.ejected_until.load(Relaxed))
    }

    /// How many ejections in a row led to the present one.
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Relaxed)
    }

    /// Failures since the last success, of all workers.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures.load(Relaxed)
    }

    /// Forgets failures. Writes only when there is something to forget: this runs per request, and the
    /// line is shared by all workers.
    pub(crate) fn on_success(&self) {
        if self.consecutive_failures.load(Relaxed) != 0 {
            self.consecutive_failures.store(0, Relaxed);
        }
    }

    /// The number of consecutive failures, this one included.
    pub(crate) fn on_failure(&self) -> u32 {
        self.consecutive_failures
            .fetch_add(1, Relaxed)
            .saturating_add(1)
    }

    /// Starts the count again, as after an ejection or one that was refused.
    pub(crate) fn forget_failures(&self) {
        self.consecutive_failures.store(0, Relaxed);
    }

    /// Only under the lock of [`crate::ClusterShared`].
    pub(crate) fn eject(&self, until: Nanos, ejections: u32) {
        self.ejections.store(ejections, Relaxed);
        self.ejected_until.store(until.0, Relaxed);
    }
}

/// A point in time as nanoseconds since an [`Epoch`], so that it fits an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Where the clock of a cluster starts.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    /// A clock that reads 1 at `now`: zero is kept for "never".
    pub fn new(now: Instant) -> Self {
        Self(now)
    }

    /// `now` on this clock; times before the epoch read as its start.
    pub fn nanos(self, now: Instant) -> Nanos {
        Nanos(1).plus(now.saturating_duration_since(self.0))
    }

    pub(crate) fn instant(self, at: Nanos) -> Option<Instant> {
        self.0
            .checked_add(Duration::from_nanos(at.0.saturating_sub(1)))
    }
}
