//! A cluster as one worker uses it: picks endpoints, hears how requests end, keeps count.
//!
//! It opens no connection and waits for nothing. It follows what the control side publishes by itself: a
//! pick that finds a newer generation rebuilds first. Start at [`Cluster::pick`].

mod permit;
mod stats;
#[cfg(test)]
mod tests;
mod view;

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_stats::Shard;

use self::permit::Permit;
pub use self::permit::{ConnectionPermit, PendingPermit, RequestPermit};
pub(crate) use self::stats::AvailabilityGauges;
use self::stats::ClusterStats;
use self::view::View;
use crate::{
    BreakerKind, ClusterConfig, ClusterShared, Ejection, Endpoint, EndpointId, IdleCount,
    IdleShare, LocalEndpoint, Outcome, Overflow, PickContext, ResolvedAddress,
    SharedConnectionPermit, Transport,
};

/// One cluster on one worker. Kept in an `Rc`; everything changes in place.
pub struct Cluster {
    core: Rc<Core>,
    extensions: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
}

/// What picks and permits hold on to. Apart from the extensions, so that a pooled connection that holds a
/// permit does not keep alive the pool that holds the connection.
#[derive(Debug)]
struct Core {
    shared: Arc<ClusterShared>,
    stats: ClusterStats,
    view: RefCell<View>,
}

/// Why there is no endpoint for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PickError {
    /// The cluster has no endpoints, as when DNS has found none yet.
    NoEndpoints,
    /// None is available, and panic mode is off or does not apply.
    NoneAvailable,
    /// This request has tried all that may be picked.
    AllTried,
    /// None of those that are available will do for this request.
    NoneAccepted,
}

impl PickError {
    /// All errors, in the order of their discriminants.
    pub const ALL: [Self; 4] = [
        Self::NoEndpoints,
        Self::NoneAvailable,
        Self::AllTried,
        Self::NoneAccepted,
    ];

    /// The value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoEndpoints => "no_endpoints",
            Self::NoneAvailable => "none_available",
            Self::AllTried => "all_tried",
            Self::NoneAccepted => "none_accepted",
        }
    }
}

impl fmt::Display for PickError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoEndpoints => "the cluster has no endpoints",
            Self::NoneAvailable => "no endpoint of the cluster is available",
            Self::AllTried => "all available endpoints of the cluster were tried",
            Self::NoneAccepted => "no available endpoint of the cluster will do",
        })
    }
}

impl std::error::Error for PickError {}

impl Cluster {
    /// The worker's side of `shared`. Counters come from `shard`, with the label `cluster` added.
    pub fn new(shared: Arc<ClusterShared>, shard: &Shard, now: Instant) -> Self {
        let shard = shard.scoped(&[("cluster", shared.name())]);
        let stats = ClusterStats::new(&shard, shared.name());
        shared.show_moving(|| stats::moving_connections(&shard, shared.name()));
        let view = View::new(&shared, shard, &stats, now);
        let core = Core {
            shared,
            stats,
            view: RefCell::new(view),
        };
        Self {
            core: Rc::new(core),
            extensions: RefCell::default(),
        }
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        self.core.shared.name()
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<ClusterShared> {
        &self.core.shared
    }

    /// The configuration this worker goes by.
    pub fn config(&self) -> Arc<ClusterConfig> {
        Arc::clone(self.core.view.borrow().config())
    }

    /// What `read` finds in that configuration, without keeping it: for what is asked at each request.
    pub fn with_config<T>(&self, read: impl FnOnce(&ClusterConfig) -> T) -> T {
        read(self.core.view.borrow().config())
    }

    /// What connecting takes besides the configuration, as this worker goes by it.
    pub fn transport(&self) -> Option<Transport> {
        self.core.view.borrow().transport().cloned()
    }

    /// Picks an endpoint for one attempt of a request and counts it as in flight there until the returned
    /// value is dropped. [`on_done`](Self::on_done) tells how it went.
    ///
    /// When the available share is below the panic threshold, it picks among all endpoints that the context accepts.
    pub fn pick(&self, cx: &PickContext<'_>) -> Result<Picked, PickError> {
        let core = &self.core;
        let mut view = core.view.borrow_mut();
        view.refresh(&core.shared, &core.stats, cx.now);
        let endpoint = view
            .pick(cx)
            .inspect_err(|&error| core.stats.on_pick_error(error))?;
        if view.is_panic() {
            core.stats.panic_picks.inc();
        }
        endpoint.on_start();
        Ok(Picked { endpoint })
    }

    /// As [`pick`](Self::pick), of an endpoint in whose place no other may be taken, such as the one that has a part of the
    /// data: failures do not take it out of the choice, since that would help nobody and keep it away when it is back.
    /// Checks do.
    pub fn pick_named(&self, name: &str, cx: &PickContext<'_>) -> Result<Picked, PickError> {
        let core = &self.core;
        let mut view = core.view.borrow_mut();
        view.refresh(&core.shared, &core.stats, cx.now);
        let endpoint = view
            .named(name, cx.random)
            .inspect_err(|&error| core.stats.on_pick_error(error))?;
        endpoint.on_start();
        Ok(Picked { endpoint })
    }

    /// Whether [`pick_named`](Self::pick_named) would find an endpoint of this name: checks find one well, or too few of all.
    pub fn is_well(&self, name: &str, now: Instant) -> bool {
        let core = &self.core;
        let mut view = core.view.borrow_mut();
        view.refresh(&core.shared, &core.stats, now);
        view.named(name, 0).is_ok()
    }

    /// As [`pick`](Self::pick), of the endpoint that this client has a conversation with: whatever has become of its health
    /// since. `None` if it has left the cluster.
    pub fn pick_again(&self, id: EndpointId) -> Option<Picked> {
        let view = self.core.view.borrow();
        let endpoint = view.endpoints().iter().find(|known| known.id() == id)?;
        let endpoint = Rc::clone(endpoint);
        endpoint.on_start();
        Some(Picked { endpoint })
    }

    /// Counts an attempt at an endpoint that no configuration names: a protocol found it by asking those that are named.
    /// It is counted as `label`, and never checked or ejected; to TLS it is the cluster's first endpoint.
    pub fn found(&self, label: &str, address: ResolvedAddress) -> Picked {
        let view = self.core.view.borrow();
        let first = view.config().endpoints.first();
        let name = first.map_or_else(|| label.into(), |first| first.address.to_string().into());
        Self::attempt(&view, Endpoint::found(name, label.into(), address))
    }

    /// As [`found`](Self::found), of an endpoint that is known by the name in `name`, which is `host:port`: to TLS it is
    /// itself, so that it has to prove that name, unless the configuration says another for all.
    pub fn found_by_name(&self, name: &str, address: ResolvedAddress) -> Picked {
        let view = self.core.view.borrow();
        let tls = view.config().tls.as_ref();
        if tls.is_some_and(|tls| tls.sni.is_some()) {
            drop(view);
            return self.found(name, address);
        }
        Self::attempt(&view, Endpoint::found(name.into(), name.into(), address))
    }

    fn attempt(view: &View, endpoint: Endpoint) -> Picked {
        let endpoint = Rc::new(LocalEndpoint::new(Arc::new(endpoint), view.shard()));
        endpoint.on_start();
        Picked { endpoint }
    }

    /// An attempt ended. Enough failures in a row, over all workers, eject the endpoint.
    pub fn on_done(&self, picked: &Picked, outcome: Outcome, elapsed: Duration, now: Instant) {
        let core = &self.core;
        let endpoint = &picked.endpoint;
        core.view.borrow_mut().on_done(endpoint, outcome, elapsed);
        let reason = match outcome {
            Outcome::Success => return endpoint.state().on_success(),
            Outcome::Neutral => return,
            Outcome::Failure(reason) => reason,
        };
        endpoint.on_failure(reason);
        let threshold = core
            .view
            .borrow()
            .config()
            .ejection
            .consecutive_failures
            .get();
        if endpoint.state().on_failure() < threshold {
            return;
        }
        match core.shared.eject(endpoint.id(), now) {
            Ejection::Ejected(_) => endpoint.on_ejected(),
            Ejection::CapReached => core.stats.ejections_refused.inc(),
            Ejection::AlreadyEjected | Ejection::Gone => {}
        }
    }

    /// Catches up with what the control side published, and with ejections that have ended. Picks do this
    /// by themselves; sweeps of pools call it so that idle workers hear of endpoints that left.
    pub fn refresh(&self, now: Instant) {
        let core = &self.core;
        core.view
            .borrow_mut()
            .refresh(&core.shared, &core.stats, now);
    }

    /// Whether picks are made among all endpoints because too few are available, as of the last refresh.
    pub fn is_panic(&self) -> bool {
        self.core.view.borrow().is_panic()
    }

    /// All endpoints, available or not, as of the last refresh.
    pub fn endpoints(&self) -> Rc<[Rc<LocalEndpoint>]> {
        Rc::clone(self.core.view.borrow().endpoints())
    }

    /// Whether the endpoint belongs to the cluster, as of the last refresh. Pools drop connections to
    /// those that do not.
    pub fn has_endpoint(&self, id: EndpointId) -> bool {
        self.core
            .view
            .borrow()
            .endpoints()
            .iter()
            .any(|endpoint| endpoint.id() == id)
    }

    /// Grows whenever endpoints came or left. Pools compare it to know when to look.
    pub fn set_version(&self) -> u64 {
        self.core.view.borrow().set_version()
    }

    /// Admits one more upstream connection, until the permit is dropped.
    pub fn try_connection(&self) -> Result<ConnectionPermit, Overflow> {
        Permit::acquire(&self.core, BreakerKind::Connections).map(ConnectionPermit)
    }

    /// As [`try_connection`](Self::try_connection), for connections that must not take all places: one of `share` is left to
    /// others, rounded up.
    pub fn try_connection_leaving(&self, share: NonZeroU64) -> Result<ConnectionPermit, Overflow> {
        Permit::acquire_leaving(&self.core, BreakerKind::Connections, share).map(ConnectionPermit)
    }

    /// As [`try_connection`](Self::try_connection), where connections that are idle make room: `give_up` closes one of this
    /// worker's if it has one, and says whether it had. If it had none, another worker's is closed soon, and until then there may
    /// be as many connections above the limit as were idle.
    pub fn try_connection_before_idle(
        &self,
        give_up: impl FnOnce() -> bool,
    ) -> Result<ConnectionPermit, Overflow> {
        Permit::for_connection(&self.core, give_up).map(ConnectionPermit)
    }

    /// Makes the idle connections of a pool known to other workers, which may need their places.
    pub fn share_idle(&self) -> Arc<IdleShare> {
        self.core.shared.share_idle()
    }

    /// As [`share_idle`](Self::share_idle), for a pool that counts them.
    pub fn count_idle(&self) -> IdleCount {
        IdleCount::new(self.share_idle())
    }

    /// Admits one more upstream connection that may move to another worker, until the permit is dropped. A refusal counts
    /// as one of this worker's, as that of [`try_connection`](Self::try_connection).
    pub fn try_shared_connection(&self) -> Result<SharedConnectionPermit, Overflow> {
        let permit = self.core.shared.try_connection();
        permit.inspect_err(|refused| self.core.stats.of(refused.limit).overflows.inc())
    }

    /// Admits one more request that waits for a connection, until the permit is dropped.
    pub fn try_pending(&self) -> Result<PendingPermit, Overflow> {
        Permit::acquire(&self.core, BreakerKind::Pending).map(PendingPermit)
    }

    /// Admits one more request, until the permit is dropped.
    pub fn try_request(&self) -> Result<RequestPermit, Overflow> {
        Permit::acquire(&self.core, BreakerKind::Requests).map(RequestPermit)
    }

    /// The protocol's own part of the cluster, such as its connection pools; made on first use and kept as
    /// long as the cluster. `make` must not ask for an extension itself.
    pub fn extension<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        let id = TypeId::of::<T>();
        let known = self
            .extensions
            .borrow()
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, e)| Rc::clone(e));
        if let Some(Ok(extension)) = known.map(Rc::downcast) {
            return extension;
        }
        let extension = Rc::new(make());
        self.extensions
            .borrow_mut()
            .push((id, Rc::clone(&extension) as Rc<dyn Any>));
        extension
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

/// An endpoint picked for one attempt. Dropping it ends the attempt without a verdict, as when the client
/// goes away.
#[derive(Debug)]
#[must_use]
pub struct Picked {
    endpoint: Rc<LocalEndpoint>,
}

impl Picked {
    /// The endpoint, to keep beyond the attempt.
    pub fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.endpoint
    }
}

impl Deref for Picked {
    type Target = LocalEndpoint;

    fn deref(&self) -> &LocalEndpoint {
        &self.endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.on_end();
    }
}
