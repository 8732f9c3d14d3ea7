//! A place within a cluster's limits that may change its thread. Start at [`SharedConnectionPermit`].

use std::sync::Arc;

use portcullis_stats::SharedGauge;

use super::ClusterShared;
use crate::breaker::Admission;
use crate::{BreakerKind, Overflow};

/// The right to have one upstream connection open, whichever thread has it at the time. Counted with the
/// [`ConnectionPermit`](crate::ConnectionPermit)s of all workers; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct SharedConnectionPermit {
    shared: Arc<ClusterShared>,
    admission: Admission,
    /// What shows it; `None` where no worker has the cluster yet.
    active: Option<SharedGauge>,
}

impl ClusterShared {
    /// Admits one more upstream connection that may move between threads, until the permit is dropped. Exact for the
    /// process, as the limit of each worker's [`try_connection`](crate::Cluster::try_connection) is: it is the same.
    ///
    /// # Errors
    /// The limit is reached. Nothing counts that here: on a worker, ask
    /// [`Cluster::try_shared_connection`](crate::Cluster::try_shared_connection).
    pub fn try_connection(self: &Arc<Self>) -> Result<SharedConnectionPermit, Overflow> {
        let kind = BreakerKind::Connections;
        let admission = self.breaker(kind).admit();
        let admission = admission.ok_or(Overflow { limit: kind })?;
        let active = self.moving.get().cloned();
        if let Some(active) = &active {
            active.add(1);
        }
        Ok(SharedConnectionPermit {
            shared: Arc::clone(self),
            admission,
            active,
        })
    }
}

impl Drop for SharedConnectionPermit {
    fn drop(&mut self) {
        let breaker = self.shared.breaker(BreakerKind::Connections);
        breaker.release(self.admission);
        if let Some(active) = &self.active {
            active.add(-1);
        }
    }
}
