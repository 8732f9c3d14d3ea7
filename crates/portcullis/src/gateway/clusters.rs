//! The process-wide side of the clusters: their shared state, their names in DNS, their health checks.
//!
//! Workers follow what is published here by themselves. Which endpoint a request gets is not decided here. Start
//! at [`Clusters::stage`].

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{ClusterConfig, ClusterShared};
use portcullis_filter::Random;
use portcullis_net::clock;
use portcullis_stats::Shard;

use super::dns::{ClusterNames, Names};
use super::health::HealthChecks;
use super::plan::Delta;
use crate::model::Model;

/// All clusters of the running configuration.
pub(super) struct Clusters {
    names: Names,
    health: HealthChecks,
    running: BTreeMap<Arc<str>, Cluster>,
}

struct Cluster {
    shared: Arc<ClusterShared>,
    names: ClusterNames,
}

/// Clusters that are ready to run and that nobody uses yet.
pub(super) struct Staged(Vec<Cluster>);

impl Staged {
    /// What workers need of them.
    pub(super) fn shared(&self) -> Vec<Arc<ClusterShared>> {
        self.0
            .iter()
            .map(|cluster| Arc::clone(&cluster.shared))
            .collect()
    }
}

impl Clusters {
    /// No clusters yet. Health checks are counted in `shard`.
    pub(super) fn new(names: Names, shard: Shard, random: Rc<Random>) -> Self {
        Self {
            names,
            health: HealthChecks::new(shard, random),
            running: BTreeMap::new(),
        }
    }

    /// Makes the clusters that are new, with the addresses that DNS has for them within a short time.
    pub(super) async fn stage(&self, model: &Model, delta: &Delta) -> Staged {
        let configs = delta
            .added
            .iter()
            .filter_map(|name| model.clusters.get_key_value(name));
        let clusters: Vec<Cluster> = configs
            .map(|(name, config)| self.make(name, config))
            .collect();
        Names::first_answers(clusters.iter().map(|cluster| &cluster.names)).await;
        Staged(clusters)
    }

    fn make(&self, name: &str, config: &Arc<ClusterConfig>) -> Cluster {
        let shared = ClusterShared::new(name, Arc::clone(config), [], clock::now());
        let names = self.names.follow(&shared, None);
        Cluster { shared, names }
    }

    /// Runs what was staged, changes what changed in place, and forgets what is gone.
    pub(super) fn commit(&mut self, staged: Staged, model: &Model, delta: &Delta) {
        for cluster in staged.0 {
            self.health.follow(&cluster.shared);
            self.running
                .insert(Arc::clone(cluster.shared.name()), cluster);
        }
        for name in &delta.changed {
            let (Some(cluster), Some(config)) =
                (self.running.get_mut(name), model.clusters.get(name))
            else {
                continue;
            };
            let before = cluster.shared.config();
            cluster.shared.publish_config(Arc::clone(config));
            if before.endpoints != config.endpoints || before.dns != config.dns {
                cluster.names = self.names.follow(&cluster.shared, Some(&cluster.names));
            }
            self.health.follow(&cluster.shared);
        }
        for name in &delta.removed {
            self.running.remove(name);
            self.health.forget(name);
        }
    }

    /// DNS has changed the endpoints of this cluster.
    pub(super) fn on_resolved(&mut self, name: &str) {
        if let Some(cluster) = self.running.get(name) {
            self.health.follow(&cluster.shared);
        }
    }

    /// The shared side of all clusters, by name.
    pub(super) fn shared(&self) -> Vec<Arc<ClusterShared>> {
        self.running
            .values()
            .map(|cluster| Arc::clone(&cluster.shared))
            .collect()
    }
}
