//! What a server is built from: the worker it runs on and the listener it serves.
//!
//! Everything here belongs to one worker; what workers share is behind [`portcullis_filter::SharedStore`] and
//! the clusters' own shared state. Start at [`ListenerContext`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::Cluster;
use portcullis_config::BuildError;
use portcullis_filter::{FilterContext, Random, SharedStore};
use portcullis_limit::Seed;
use portcullis_net::DrainSignal;
use portcullis_stats::Shard;

/// One worker's own things, common to all its listeners.
pub struct WorkerContext {
    /// The worker's number, from 0.
    pub id: usize,
    /// Makes counters.
    pub stats: Shard,
    /// The clusters, by name.
    pub clusters: Clusters,
    /// State common to all workers.
    pub shared: Arc<SharedStore>,
    /// The process's seed for keys of limits.
    pub seed: Seed,
    /// The worker's generator.
    pub random: Rc<Random>,
}

/// One worker's clusters. A cluster keeps its identity over reloads and DNS changes, so servers may hold on to it.
#[derive(Default)]
pub struct Clusters(RefCell<HashMap<Arc<str>, Rc<Cluster>>>);

impl Clusters {
    /// The cluster with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Rc<Cluster>> {
        self.0.borrow().get(name).cloned()
    }

    /// Adds a cluster, or replaces the one with its name.
    pub fn insert(&self, name: Arc<str>, cluster: Rc<Cluster>) {
        self.0.borrow_mut().insert(name, cluster);
    }

    /// Forgets a cluster. Sessions that use it keep it until they end.
    pub fn remove(&self, name: &str) -> Option<Rc<Cluster>> {
        self.0.borrow_mut().remove(name)
    }

    /// Calls `visit` with every cluster.
    pub fn for_each(&self, mut visit: impl FnMut(&Rc<Cluster>)) {
        for cluster in self.0.borrow().values() {
            visit(cluster);
        }
    }
}

/// What a server is built from, besides its configuration.
pub struct ListenerContext {
    /// The worker.
    pub worker: Rc<WorkerContext>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Makes counters that carry the listener's label.
    pub stats: Shard,
    /// Tells sessions to finish.
    pub drain: DrainSignal,
}

impl ListenerContext {
    /// Where the listener stands in the configuration: `listeners.<name>`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("listeners.{}", self.listener)
    }

    /// The cluster with this name.
    ///
    /// # Errors
    /// There is none. Reading has checked names, so this means that a reload raced; the old server stays.
    pub fn cluster(&self, name: &str) -> Result<Rc<Cluster>, BuildError> {
        self.worker.clusters.find(name).ok_or_else(|| BuildError {
            path: self.path(),
            reason: format!("unknown cluster '{name}'"),
        })
    }

    /// State of this listener that all workers and the control side share, such as pools or a table of sessions: made by
    /// whoever asks first, one for each type. `make` must be quick and ask for nothing shared itself.
    ///
    /// It lives for as long as a server, a session or a [task](crate::ControlSide::task) holds it. A reload builds the
    /// new server before it lets go of the old one, so it stays, with all that is in it, whatever the listener's settings
    /// have become: what depends on them is set anew by [`Protocol::build`](crate::Protocol::build), by each worker alike.
    /// A listener that is gone keeps it until its last session has ended. What must not outlive settings is kept under a
    /// key that names them, by [`SharedStore::of`].
    pub fn common<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        crate::control::common(&self.worker.shared, &self.listener, make)
    }

    /// The context that filters are built in. `path` is where their list stands.
    #[must_use]
    pub fn filters<'a>(&'a self, path: &'a str) -> FilterContext<'a> {
        FilterContext {
            stats: &self.stats,
            shared: &self.worker.shared,
            seed: &self.worker.seed,
            random: &self.worker.random,
            now: portcullis_net::clock::now(),
            path,
        }
    }
}
