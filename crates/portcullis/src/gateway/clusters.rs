//! The process-wide side of the clusters: their shared state, their names in DNS, their TLS, their health checks.
//!
//! Workers follow what is published here by themselves. Which endpoint a request gets is not decided here. Start
//! at [`Clusters::stage`].

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{ClusterConfig, ClusterShared, Transport};
use portcullis_config::BuildError;
use portcullis_filter::Random;
use portcullis_net::clock;
use portcullis_stats::Shard;

use super::cluster_tls::ClusterTls;
use super::dns::{ClusterNames, Names};
use super::health::HealthChecks;
use super::plan::Delta;
use crate::model::Model;

/// All clusters of the running configuration.
pub(super) struct Clusters {
    names: Names,
    health: HealthChecks,
    shard: Shard,
    running: BTreeMap<Arc<str>, Cluster>,
}

struct Cluster {
    shared: Arc<ClusterShared>,
    names: ClusterNames,
    tls: Option<ClusterTls>,
}

impl Cluster {
    fn transport(&self) -> Option<Transport> {
        self.tls.as_ref().map(ClusterTls::transport)
    }
}

/// Clusters that are ready to run and that nobody uses yet.
pub(super) struct Staged {
    added: Vec<Cluster>,
    /// The TLS of those that run already, where it changes.
    tls: BTreeMap<Arc<str>, Option<ClusterTls>>,
}

impl Staged {
    /// What workers need of them.
    pub(super) fn shared(&self) -> Vec<Arc<ClusterShared>> {
        self.added
            .iter()
            .map(|cluster| Arc::clone(&cluster.shared))
            .collect()
    }
}

impl Clusters {
    /// No clusters yet. Health checks, and what becomes of files, are counted in `shard`.
    pub(super) fn new(names: Names, shard: Shard, random: Rc<Random>) -> Self {
        Self {
            names,
            health: HealthChecks::new(shard.clone(), random),
            shard,
            running: BTreeMap::new(),
        }
    }

    /// Makes the clusters that are new, with the addresses that DNS has for them within a short time, and the TLS of
    /// those where it changes.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(super) async fn stage(
        &self,
        model: &Model,
        delta: &Delta,
    ) -> Result<Staged, Vec<BuildError>> {
        let mut staged = Staged {
            added: Vec::new(),
            tls: BTreeMap::new(),
        };
        let mut errors = Vec::new();
        for (name, config) in of(model, &delta.added) {
            match self.make(name, config) {
                Ok(cluster) => staged.added.push(cluster),
                Err(failed) => errors.extend(failed),
            }
        }
        for (name, config) in of(model, &delta.changed) {
            if !self.has_other_tls(name, config) {
                continue;
            }
            match ClusterTls::load(name, config, &self.shard) {
                Ok(tls) => {
                    staged.tls.insert(Arc::clone(name), tls);
                }
                Err(failed) => errors.extend(failed),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Names::first_answers(staged.added.iter().map(|cluster| &cluster.names)).await;
        Ok(staged)
    }

    fn make(&self, name: &str, config: &Arc<ClusterConfig>) -> Result<Cluster, Vec<BuildError>> {
        let tls = ClusterTls::load(name, config, &self.shard)?;
        let transport = tls.as_ref().map(ClusterTls::transport);
        let config = Arc::clone(config);
        let shared = ClusterShared::with_transport(name, config, transport, [], clock::now());
        let names = self.names.follow(&shared, None);
        Ok(Cluster { shared, names, tls })
    }

    /// Whether what runs was made for other names or rules. The files' contents are another matter.
    fn has_other_tls(&self, name: &str, config: &ClusterConfig) -> bool {
        let running = self
            .running
            .get(name)
            .map(|cluster| cluster.shared.config());
        running.is_none_or(|running| {
            running.tls != config.tls || running.endpoints != config.endpoints
        })
    }

    /// Runs what was staged, changes what changed in place, and forgets what is gone.
    pub(super) fn commit(&mut self, mut staged: Staged, model: &Model, delta: &Delta) {
        for cluster in staged.added {
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
            if let Some(tls) = staged.tls.remove(name) {
                cluster.tls = tls;
            }
            let before = cluster.shared.config();
            cluster
                .shared
                .publish(Arc::clone(config), cluster.transport());
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

    /// Every file that the TLS of the running clusters is made from.
    pub(super) fn tls_paths(&self) -> impl Iterator<Item = &Path> {
        let tls = self
            .running
            .values()
            .filter_map(|cluster| cluster.tls.as_ref());
        tls.flat_map(ClusterTls::paths)
    }

    /// Looks at all these files again. What cannot be used leaves what is in place.
    pub(super) fn refresh_tls(&mut self) {
        for (name, cluster) in &mut self.running {
            if let Some(tls) = &mut cluster.tls {
                tls.refresh(name);
            }
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

/// The clusters of these names.
fn of<'a>(
    model: &'a Model,
    names: &'a [Arc<str>],
) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<ClusterConfig>)> {
    names
        .iter()
        .filter_map(|name| model.clusters.get_key_value(name))
}
